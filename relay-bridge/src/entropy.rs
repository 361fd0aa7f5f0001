//! Randomness of the operating system, behind the protocol's [`Entropy`] argument. Nothing else in the shells draws
//! random bytes, so a test or a simulator that hands in its own generator controls all of it.

use fedai_protocol::Entropy;
use nostr::secp256k1::rand::RngCore;
use nostr::secp256k1::rand::rngs::OsRng;

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        OsRng.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(SystemEntropy.bytes32(), SystemEntropy.bytes32());
    }
}
