//! Whose tokens a prompt begins with: prompts that begin alike share what was computed for them.
//!
//! Tokens are named in units. The name of a unit stands for everything before it, too, so that equal names at equal
//! places mean equal beginnings.

use std::sync::Arc;

/// The beginning of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Prefix {
    /// Like no other.
    #[default]
    Unshared,
    /// Units of a recorded trace, of [`LISTED_UNIT_TOKENS`] each. What is answered is not among them.
    Listed(Arc<[u64]>),
    /// A conversation: each turn carries all before it, with their answers.
    Session {
        /// Which one.
        session: u64,
        /// The instructions that it begins with, as other conversations may.
        instructions: u64,
        /// Their length.
        instruction_tokens: u64,
    },
}

impl Prefix {
    /// Tokens in a unit.
    #[must_use]
    pub(super) const fn unit_tokens(&self) -> u64 {
        match self {
            Self::Unshared | Self::Session { .. } => SESSION_UNIT_TOKENS,
            Self::Listed(_) => LISTED_UNIT_TOKENS,
        }
    }

    /// Units with names among the first tokens.
    #[must_use]
    pub(super) fn units_in(&self, tokens: u64) -> u64 {
        match self {
            Self::Unshared => 0,
            Self::Listed(names) => (tokens / LISTED_UNIT_TOKENS).min(names.len() as u64),
            Self::Session { .. } => tokens / SESSION_UNIT_TOKENS,
        }
    }

    /// The name of a unit.
    #[must_use]
    pub(super) fn unit(&self, number: u64) -> u64 {
        match self {
            Self::Unshared => 0,
            Self::Listed(names) => usize::try_from(number)
                .ok()
                .and_then(|at| names.get(at))
                .copied()
                .map_or(0, |name| mixed(1, name, 0)),
            Self::Session { session, instructions, instruction_tokens } => {
                let is_shared = (number + 1) * SESSION_UNIT_TOKENS <= *instruction_tokens;
                if is_shared { mixed(2, *instructions, number) } else { mixed(3, *session, number) }
            }
        }
    }

    /// Tokens that two texts of these lengths have in common at their beginnings.
    #[must_use]
    pub(super) fn common_tokens(&self, length: u64, other: &Self, other_length: u64) -> u64 {
        let shorter = length.min(other_length);
        match (self, other) {
            (Self::Listed(names), Self::Listed(others)) => {
                let equal = names.iter().zip(others.iter()).take_while(|(a, b)| a == b).count() as u64;
                equal.saturating_mul(LISTED_UNIT_TOKENS).min(shorter)
            }
            (
                Self::Session { session, instructions, instruction_tokens },
                Self::Session { session: other_session, instructions: other_instructions, .. },
            ) => match (session == other_session, instructions == other_instructions) {
                (true, _) => shorter,
                (false, true) => shorter.min(*instruction_tokens),
                (false, false) => 0,
            },
            _ => 0,
        }
    }
}

/// The names of different kinds do not meet (the finaliser of splitmix64).
const fn mixed(kind: u64, name: u64, number: u64) -> u64 {
    let mut hash = name.wrapping_add(kind.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(number << 40);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Tokens of a unit in the traces of Mooncake.
pub const LISTED_UNIT_TOKENS: u64 = 512;
/// Coarser than a block, as each unit is looked up one by one.
pub const SESSION_UNIT_TOKENS: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_their_instructions_and_nothing_else() {
        let session =
            |session, instructions| Prefix::Session { session, instructions, instruction_tokens: 300 };
        let (a, b, c) = (session(1, 9), session(2, 9), session(3, 8));
        assert_eq!(
            [a.unit(0) == b.unit(0), a.unit(1) == b.unit(1), a.unit(2) == b.unit(2)],
            [true, true, false]
        );
        assert_ne!(a.unit(0), c.unit(0));
        assert_eq!(a.common_tokens(500, &a, 300), 300);
        assert_eq!(a.common_tokens(500, &b, 310), 300);
        assert_eq!(a.common_tokens(500, &c, 310), 0);
    }

    #[test]
    fn listed_units_are_those_of_the_prompt_only() {
        let (a, b) = (Prefix::Listed(Arc::new([4, 5, 6])), Prefix::Listed(Arc::new([4, 5, 7])));
        assert_eq!((a.units_in(1_100), a.units_in(9_000)), (2, 3));
        assert_eq!((a.unit(1) == b.unit(1), a.unit(2) == b.unit(2)), (true, false));
        assert_eq!(a.common_tokens(1_500, &b, 1_500), 1_024);
    }
}
