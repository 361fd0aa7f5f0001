//! Randomness as an argument: the shell hands in the system's, the simulator a seeded generator, tests a fixed one.

use nostr::SecretKey;

/// A source of random bytes. Key material and nonces come from here and from nowhere else.
pub trait Entropy {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);

    /// 32 fresh bytes.
    fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }

    /// A number below `bound` (0 when `bound` is 0). The bias is below 2^-32 for the small bounds used here.
    fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        let wide = u128::from_be_bytes(bytes);
        wide.checked_rem(u128::from(bound)).map_or(0, |r| u64::try_from(r).unwrap_or(0))
    }

    /// A secret key. Retries the (practically unreachable) values outside the curve order.
    fn secret_key(&mut self) -> SecretKey {
        loop {
            if let Ok(key) = SecretKey::from_slice(&self.bytes32()) {
                return key;
            }
        }
    }
}

impl<E: Entropy + ?Sized> Entropy for &mut E {
    fn fill(&mut self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}

/// Counts up from a seed: for golden files and tests, where the same bytes must come out each time. Never for keys
/// that guard anything.
#[derive(Clone, Debug)]
pub struct CountingEntropy(pub u64);

impl Entropy for CountingEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(32) {
            self.0 = self.0.wrapping_add(1);
            let block =
                crate::domain_separation::digest("fed_ai/counting-entropy/v1", &[&self.0.to_be_bytes()]);
            for (to, from) in part.iter_mut().zip(block) {
                *to = from;
            }
        }
    }
}
