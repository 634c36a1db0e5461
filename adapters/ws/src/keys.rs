//! Masking keys and handshake nonces (RFC 6455 sections 4.1 and 5.3).
//!
//! Invariant: they follow from the seed alone, and cannot be foretold without it.
use sha1::{Digest, Sha1};

/// A stream of keys: SHA-1 over the seed and a counter.
#[derive(Clone)]
pub(crate) struct Keys {
    seed: [u8; 32],
    counter: u64,
    block: [u8; 20],
    used: usize,
}

impl Keys {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0, block: [0; 20], used: 20 }
    }

    /// The key of one frame.
    pub(crate) fn key(&mut self) -> [u8; 4] {
        if self.used == self.block.len() {
            self.block = Sha1::new().chain_update(self.seed).chain_update(self.counter.to_be_bytes()).finalize().into();
            self.counter += 1;
            self.used = 0;
        }
        let from = self.used;
        self.used += 4;
        core::array::from_fn(|index| self.block[from + index])
    }

    /// The nonce of a handshake.
    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        for part in nonce.as_chunks_mut::<4>().0 {
            *part = self.key();
        }
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn keys_follow_the_seed_and_do_not_repeat() {
        let (mut one, mut same, mut other) = (Keys::new([1; 32]), Keys::new([1; 32]), Keys::new([2; 32]));
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            let key = one.key();
            assert_eq!(key, same.key());
            assert_ne!(key, other.key());
            seen.insert(key);
        }
        assert!(seen.len() > 990, "{} of 1000 keys differ", seen.len());
    }
}
