//! Token buckets: how much one key, and all keys together, may ask for.
//!
//! Keys are free, so the bucket of one key only stops honest mistakes; the global bucket bounds the work.

use fedai_protocol::swept_map::SweptMap;
use fedai_protocol::{PublicKey, UnixMicros};
use serde::{Deserialize, Serialize};

/// Keys remembered at once; a key whose bucket is full again is forgotten first.
const KEYS_MAX: usize = 65_536;

/// Size and refill of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests that may come at once.
    pub burst: f64,
    /// Requests a second over time.
    pub per_second: f64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: UnixMicros,
}

impl Bucket {
    fn refilled(self, now: UnixMicros, rate: Rate) -> f64 {
        let seconds = now.since(self.at) as f64 / 1e6;
        rate.per_second.mul_add(seconds, self.level).min(rate.burst)
    }
}

/// The buckets of all keys and the one they share.
#[derive(Clone, Debug)]
pub struct RateLimit {
    per_key: Rate,
    global: Rate,
    keys: SweptMap<PublicKey, Bucket>,
    all: Option<Bucket>,
}

impl RateLimit {
    /// Empty of use.
    #[must_use]
    pub const fn new(per_key: Rate, global: Rate) -> Self {
        Self { per_key, global, keys: SweptMap::new(), all: None }
    }

    /// Takes one request of `key`; otherwise the milliseconds until the next one is taken.
    pub fn take(&mut self, now: UnixMicros, key: &PublicKey) -> Result<(), u64> {
        let wait = |level: f64, rate: Rate| ((1.0 - level) / rate.per_second.max(1e-6) * 1e3).ceil() as u64;
        let own = self.keys.get(key).map_or(self.per_key.burst, |bucket| bucket.refilled(now, self.per_key));
        if own < 1.0 {
            return Err(wait(own, self.per_key));
        }
        let all = self.all.map_or(self.global.burst, |bucket| bucket.refilled(now, self.global));
        if all < 1.0 {
            return Err(wait(all, self.global));
        }
        let (rate, taken) = (self.per_key, Bucket { level: own - 1.0, at: now });
        let is_full = |bucket: &Bucket| bucket.refilled(now, rate) >= rate.burst;
        *self.keys.get_or_insert(*key, taken, KEYS_MAX, is_full).ok_or(1_000_u64)? = taken;
        self.all = Some(Bucket { level: all - 1.0, at: now });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        PublicKey::from_byte_array([n; 32])
    }

    #[test]
    fn a_burst_passes_and_the_next_one_waits_for_the_refill() {
        let rate = Rate { burst: 2.0, per_second: 1.0 };
        let mut limit = RateLimit::new(rate, Rate { burst: 100.0, per_second: 100.0 });
        let now = UnixMicros(1_000_000_000);
        assert_eq!(limit.take(now, &key(1)), Ok(()));
        assert_eq!(limit.take(now, &key(1)), Ok(()));
        assert_eq!(limit.take(now, &key(1)), Err(1_000));
        assert_eq!(limit.take(now, &key(2)), Ok(()), "another key has its own");
        assert_eq!(limit.take(now.plus_seconds(1), &key(1)), Ok(()));
    }

    #[test]
    fn all_keys_together_are_bounded() {
        let global = Rate { burst: 3.0, per_second: 1.0 };
        let mut limit = RateLimit::new(Rate { burst: 9.0, per_second: 9.0 }, global);
        let passed = (0..10).filter(|n| limit.take(UnixMicros(1), &key(*n)).is_ok()).count();
        assert_eq!(passed, 3);
    }
}
