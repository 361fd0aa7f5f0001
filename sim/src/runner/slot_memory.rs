//! Memory of a server with fixed slots: each keeps what it last said, and a prompt that goes on from there computes
//! only what is new. Nothing is shared between slots.

use super::prefix::Prefix;

/// All slots.
#[derive(Clone, Debug)]
pub(super) struct SlotMemory {
    slots: Vec<Slot>,
    turns: u64,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    is_taken: bool,
    said: Prefix,
    tokens: u64,
    last_used: u64,
}

impl SlotMemory {
    pub(super) fn new(slots: u32) -> Self {
        Self { slots: (0..slots).map(|_| Slot::default()).collect(), turns: 0 }
    }

    /// The free slot that remembers most of this text, or else the one longest not used: its number, and how many
    /// tokens need not be computed.
    pub(super) fn admit(&mut self, prefix: &Prefix, tokens: u64) -> Option<(usize, u64)> {
        let known = |slot: &Slot| slot.said.common_tokens(slot.tokens, prefix, tokens.saturating_sub(1));
        let free = self.slots.iter().enumerate().filter(|(_, slot)| !slot.is_taken);
        let (number, cached) = free
            .map(|(number, slot)| ((core::cmp::Reverse(known(slot)), slot.last_used, number), known(slot)))
            .min()
            .map(|((_, _, number), cached)| (number, cached))?;
        self.slots.get_mut(number)?.is_taken = true;
        Some((number, cached))
    }

    /// The sequence in a slot is over, with so many tokens computed.
    pub(super) fn release(&mut self, number: usize, prefix: Prefix, tokens: u64) {
        self.turns += 1;
        if let Some(slot) = self.slots.get_mut(number) {
            *slot = Slot { is_taken: false, said: prefix, tokens, last_used: self.turns };
        }
    }

    /// Nothing is there any more.
    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_finds_its_slot_and_a_stranger_takes_the_oldest() {
        let session = |session| Prefix::Session { session, instructions: session, instruction_tokens: 0 };
        let mut memory = SlotMemory::new(2);
        for session_number in [1, 2] {
            let (slot, cached) = memory.admit(&session(session_number), 100).unwrap();
            assert_eq!(cached, 0);
            memory.release(slot, session(session_number), 150);
        }
        assert_eq!(memory.admit(&session(2), 200), Some((1, 150)));
        assert_eq!(memory.admit(&session(2), 200), Some((0, 0)), "its memory is in use");
        assert_eq!(memory.admit(&session(2), 200), None);
        memory.release(1, session(2), 200);
        assert_eq!(memory.admit(&session(2), 100), Some((1, 99)), "the last token is computed in any case");
    }
}
