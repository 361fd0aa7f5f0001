//! How often one key may knock, in a fixed amount of memory.
//!
//! Keys are free, so this only keeps one buggy client from hurting the others; what bounds the total are the job and
//! queue limits. When the memory is full of fresh keys, unknown ones wait: never is a known one forgotten early.

use fedai_protocol::limits::NODE_TICKETS_MAX;
use fedai_protocol::swept_map::SweptMap;
use fedai_protocol::{PublicKey, UnixSeconds};

/// Knocks of each key in the current minute.
#[derive(Clone, Debug, Default)]
pub(crate) struct FloodGate {
    seen: SweptMap<PublicKey, (UnixSeconds, u32)>,
}

impl FloodGate {
    /// Counts one knock; false when the key has had its share of this minute.
    pub(crate) fn admit(&mut self, key: &PublicKey, now: UnixSeconds, per_minute: u32) -> bool {
        let is_over = |(since, _): &(UnixSeconds, u32)| now.since(*since) >= WINDOW_SECONDS;
        let known = self.seen.get_or_insert(*key, (now, 0), NODE_TICKETS_MAX, is_over);
        let Some((since, count)) = known else { return false };
        if now.since(*since) >= WINDOW_SECONDS {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= per_minute
    }
}

const WINDOW_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use fedai_protocol::SigningKey;
    use fedai_protocol::entropy::CountingEntropy;

    #[test]
    fn the_share_is_admitted_and_one_more_is_not_until_the_next_minute() {
        let mut entropy = CountingEntropy(1);
        let keys: [PublicKey; 2] = core::array::from_fn(|_| SigningKey::generate(&mut entropy).public_key());
        let mut gate = FloodGate::default();
        let now = UnixSeconds(1_000);
        assert!((0..3).all(|_| gate.admit(&keys[0], now, 3)));
        assert!(!gate.admit(&keys[0], now, 3));
        assert!(gate.admit(&keys[1], now, 3), "another key is not hurt");
        assert!(gate.admit(&keys[0], now.plus(WINDOW_SECONDS), 3));
    }
}
