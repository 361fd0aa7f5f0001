//! Maps by id for books that are asked thousands of times a second and never gone through in order: a world has one
//! entry for each job under way, and a tree of ids spends its time comparing them.
//!
//! The hash has no secret: all keys are of this world's own making. Whoever needs an order keeps a tree.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map that is only ever asked by key.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// A multiplicative hash over words of eight bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl IdHasher {
    const fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (byte, value) in word.iter_mut().zip(chunk) {
                *byte = *value;
            }
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    /// The upper bits are the mixed ones; maps look at the lower ones, too.
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    use super::*;
    use fedai_protocol::simulated;

    #[test]
    fn ids_and_numbers_of_a_world_are_spread_over_the_lower_bits() {
        let map: IdMap<u8, u8> = IdMap::default();
        let of_ids: BTreeSet<u64> =
            (0..4_096).map(|n| map.hasher().hash_one(simulated::id(2, n)) % 4_096).collect();
        let of_keys: BTreeSet<u64> =
            (0..4_096).map(|n| map.hasher().hash_one(simulated::key(1, n)) % 4_096).collect();
        let of_numbers: BTreeSet<u64> = (0..4_096_usize).map(|n| map.hasher().hash_one(n) % 4_096).collect();
        // As many as random draws would meet: 1 - 1/e of all places.
        for places in [of_ids.len(), of_keys.len(), of_numbers.len()] {
            assert!(places > 2_400, "{places}");
        }
    }
}
