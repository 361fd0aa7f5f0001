//! Prompts that look like everybody's. Each audit writes new ones: a list would be learned. They differ in length, so
//! that a count that grows too fast shows, and end at different points.

use fedai_protocol::Entropy;

/// A prompt with the limit of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// What the user asks.
    pub prompt: String,
    /// Most output tokens.
    pub max_tokens: u32,
    /// Seed of the sampling; nothing is sampled at temperature 0, some runners ask for one all the same.
    pub seed: u64,
}

const TASKS: [&str; 10] = [
    "Summarize these notes in two sentences.",
    "Rewrite this text so that a child understands it.",
    "What are the three most important points here?",
    "Turn this into a short and friendly email.",
    "Which open questions do these notes leave? List them.",
    "Write a title and a first sentence for an article about this.",
    "Translate the gist of this into plain English.",
    "What would you ask the author of these notes?",
    "Put the following into a table with two columns.",
    "Explain step by step what has to be done next.",
];
const SUBJECTS: [&str; 12] = [
    "The heat pump in the basement",
    "Our new intern",
    "The budget for the spring fair",
    "The bus line to the harbour",
    "The bakery on the corner",
    "The second draft of the contract",
    "The choir's tour",
    "The old apple tree",
    "The update of the booking system",
    "The school's solar roof",
    "The rehearsal room",
    "The meeting with the neighbours",
];
const VERBS: [&str; 10] = [
    "was discussed again on",
    "has to be finished before",
    "caused some confusion on",
    "was paid for on",
    "will be inspected on",
    "was moved from March to",
    "turned out well on",
    "is planned for",
    "was cancelled on",
    "needs somebody who takes care of it until",
];
const TIMES: [&str; 10] = [
    "Monday",
    "the last Friday of the month",
    "the 14th",
    "Tuesday afternoon",
    "the first weekend of May",
    "the day after the holidays",
    "Thursday at nine",
    "the end of the quarter",
    "Wednesday evening",
    "the 3rd of October",
];
const TAILS: [&str; 8] = [
    ", and nobody objected",
    ", although the weather was bad",
    ", which costs about 340 euros",
    ", as Maria had suggested",
    ", with eleven people present",
    "",
    ", but two details are still missing",
    ", and the minutes are attached",
];
/// Limits that clients ask for often.
const LIMITS: [u32; 4] = [64, 96, 128, 160];
/// Sentences of the shortest and of the longest prompt.
const SENTENCES: (u64, u64) = (2, 18);

/// Writes `count` canaries.
#[must_use]
pub fn write(count: u32, entropy: &mut impl Entropy) -> Vec<Canary> {
    (0..count).map(|n| one(n, count, entropy)).collect()
}

fn one(n: u32, count: u32, entropy: &mut impl Entropy) -> Canary {
    // Lengths are spread evenly and then shaken, so that every audit has short and long ones.
    let span = SENTENCES.1 - SENTENCES.0;
    let even = SENTENCES.0 + span * u64::from(n) / u64::from(count.max(1));
    let sentences = even + entropy.below(3);
    let mut prompt = pick(&TASKS, entropy).to_owned();
    prompt.push_str("\n\n");
    for _ in 0..sentences {
        let parts = [pick(&SUBJECTS, entropy), pick(&VERBS, entropy), pick(&TIMES, entropy)];
        prompt.push_str(&parts.join(" "));
        prompt.push_str(pick(&TAILS, entropy));
        prompt.push_str(". ");
    }
    let max_tokens = LIMITS.get(entropy.below(LIMITS.len() as u64) as usize).copied().unwrap_or(96);
    Canary { prompt: prompt.trim_end().to_owned(), max_tokens, seed: entropy.below(1 << 31) }
}

fn pick(words: &[&'static str], entropy: &mut impl Entropy) -> &'static str {
    let at = usize::try_from(entropy.below(words.len() as u64)).unwrap_or_default();
    words.get(at).copied().unwrap_or_default()
}
