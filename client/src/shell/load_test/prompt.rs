//! Prompts of a size. Each differs from the first word on, so that no prefix cache answers for the model.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Short words, about one token each.
const WORDS: [&str; 32] = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school",
    "state", "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week",
    "company", "system", "program", "question", "work", "night", "point", "home", "water",
];

/// A prompt of about so many tokens.
pub(super) fn prompt(seed: u64, number: u64, tokens: u32) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed.rotate_left(32) ^ number);
    let mut word = || {
        let index = usize::try_from(random.next_u32()).unwrap_or(0) % WORDS.len();
        WORDS.get(index).copied().unwrap_or_default()
    };
    (0..tokens.max(1)).map(|_| word()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_their_size_differ_and_come_again_with_the_same_seed() {
        assert_eq!(prompt(1, 1, 40).split(' ').count(), 40);
        assert_eq!(prompt(1, 1, 40), prompt(1, 1, 40));
        assert_ne!(prompt(1, 1, 40), prompt(1, 2, 40));
        assert_ne!(prompt(1, 1, 40), prompt(2, 1, 40));
    }
}
