//! Prompts of real text and unequal length. Each begins with a number of its own, so that none is found in a cache.

use crate::chance::Chance;

/// A prompt with so many of the sentences, and the question.
#[must_use]
pub fn draw(chance: &mut Chance, name: &str, sentences_max: u64) -> String {
    let mut prompt = format!("Note {name}.");
    for _ in 0..chance.between(0, sentences_max) {
        prompt.push(' ');
        prompt.push_str(pick(chance, &SENTENCES));
    }
    prompt.push(' ');
    prompt.push_str(pick(chance, &QUESTIONS));
    prompt
}

fn pick<const N: usize>(chance: &mut Chance, from: &[&'static str; N]) -> &'static str {
    let at = usize::try_from(chance.between(0, (N as u64).saturating_sub(1))).unwrap_or(0);
    from.get(at).copied().unwrap_or_default()
}

const QUESTIONS: [&str; 8] = [
    "What follows from this for someone who plans a journey?",
    "Explain the main point to a child of ten.",
    "Write three short titles for this.",
    "Which of these statements would you check first, and how?",
    "Tell a short story that begins here.",
    "List what is still unknown.",
    "Summarise this in one sentence.",
    "What would an engineer ask next?",
];

const SENTENCES: [&str; 20] = [
    "The ferry leaves the harbour twice a day, and in winter only when the wind allows it.",
    "Bees tell each other where flowers are by a dance whose angle stands for the direction of the sun.",
    "A cathedral of this size took four generations to build, and its plans changed with each of them.",
    "Water boils at a lower temperature in the mountains, so beans need longer.",
    "The printer refused the first edition because the margins were too narrow for the binding.",
    "Most of the salt in the sea was carried there by rivers over many millions of years.",
    "She had learned to repair clocks from her grandfather, who never used a lamp.",
    "A bridge that stands for a century has been painted more often than it has been crossed by kings.",
    "The library keeps its oldest maps in drawers that may be opened on Thursdays.",
    "Copper conducts heat well, which is why good pans have a layer of it between two others.",
    "The train was late because a signal at the junction had frozen during the night.",
    "Old varieties of apple ripen unevenly, and that suits a household better than a shop.",
    "In a queue with one server, a load of nine tenths means ten customers on the average.",
    "The expedition lost its compass in the second week and went on by the stars.",
    "Glass is neither quite a solid nor quite a liquid, but windows do not flow.",
    "Every spring the village votes on which meadow is left uncut.",
    "A violin loses its voice when the air is dry, so the hall keeps basins under the stage.",
    "The first computers filled rooms and were slower than the watch on your wrist.",
    "Chess players remember positions better than random boards, since they remember reasons.",
    "The treaty was written in two languages, and the comma differs between them.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Stream;

    #[test]
    fn prompts_repeat_by_seed_and_differ_from_the_start() {
        let draw_ten = |seed| {
            let mut chance = Chance::new(seed, Stream::Workload);
            (0..10).map(|number| draw(&mut chance, &number.to_string(), 6)).collect::<Vec<_>>()
        };
        let prompts = draw_ten(1);
        assert_eq!(prompts, draw_ten(1));
        assert_ne!(prompts, draw_ten(2));
        let starts: std::collections::BTreeSet<&str> = prompts.iter().map(|prompt| &prompt[..8]).collect();
        assert_eq!(starts.len(), 10);
    }
}
