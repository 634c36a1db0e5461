//! Seeded hashing of levels, topics and edges: a folded multiply, in the manner of wyhash and foldhash.
//!
//! Invariant: the same seed and the same bytes give the same hash on every machine, so that every order that follows from
//! it is reproducible.

/// The secret that decides where topics land in the tables.
///
/// Give it random bits where filters come from strangers: who knows the seed can choose names that all collide. Two
/// structures with the same seed and the same history behave alike, bit for bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seed(pub [u64; 2]);

/// Bits without a pattern (the fractional part of pi), so that a seed of zeros is not a multiplier of zero.
const PI: [u64; 3] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0];

#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededHash {
    first: u64,
    second: u64,
    /// Tests set this to zero: then everything collides, and nothing but speed may change.
    #[cfg(test)]
    mask: u32,
}

impl SeededHash {
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            first: seed.0[0] ^ PI[0],
            second: seed.0[1] ^ PI[1],
            #[cfg(test)]
            mask: u32::MAX,
        }
    }

    /// A hash under which everything collides.
    #[cfg(test)]
    pub(crate) fn degenerate() -> Self {
        Self { mask: 0, ..Self::new(Seed::default()) }
    }

    /// Hash of a level or of a whole topic.
    #[inline]
    pub(crate) fn bytes(&self, bytes: &[u8]) -> u32 {
        let mut state = self.first;
        let (low, high) = match bytes.len() {
            17.. => {
                let mut rest = bytes;
                while let Some((block, tail)) = rest.split_first_chunk::<16>().filter(|(_, tail)| !tail.is_empty()) {
                    state = fold(head8(block) ^ state, tail8(block) ^ self.second);
                    rest = tail;
                }
                // The last sixteen bytes, some of them for the second time.
                let last = bytes.last_chunk::<16>().unwrap_or(&[0; 16]);
                (head8(last), tail8(last))
            }
            8.. => (head8(bytes), tail8(bytes)),
            4.. => (head4(bytes), tail4(bytes)),
            1.. => {
                let ends = u64::from(bytes[0]) << 8 | u64::from(bytes[bytes.len() - 1]);
                (ends, u64::from(bytes[bytes.len() / 2]))
            }
            0 => (0, 0),
        };
        // The length comes in here and not above, where chosen bytes could make up for it.
        self.finish(fold(low ^ state, high ^ self.second) ^ bytes.len() as u64)
    }

    /// Hash of a pair of ids or hashes.
    #[inline]
    pub(crate) fn pair(&self, left: u32, right: u32) -> u32 {
        let both = u64::from(left) << 32 | u64::from(right);
        self.finish(fold(both ^ self.first, self.second | 1))
    }

    #[inline]
    pub(crate) fn word(&self, word: u64) -> u64 {
        fold(word ^ self.first, self.second | 1)
    }

    #[inline]
    #[cfg_attr(not(test), allow(clippy::unused_self))]
    pub(crate) fn finish(&self, state: u64) -> u32 {
        let hash = (fold(state, PI[2]) >> 32) as u32;
        #[cfg(test)]
        let hash = hash & self.mask;
        hash
    }
}

#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn head8(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[inline]
fn tail8(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[inline]
fn head4(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from(u32::from_le_bytes(*chunk)))
}

#[inline]
fn tail4(bytes: &[u8]) -> u64 {
    bytes.last_chunk().map_or(0, |chunk| u64::from(u32::from_le_bytes(*chunk)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::format;

    #[test]
    fn every_byte_and_the_length_count() {
        let hasher = SeededHash::new(Seed([7, 8]));
        let mut bytes = [b'a'; 70];
        let mut seen = BTreeSet::new();
        for len in 0..bytes.len() {
            assert!(seen.insert(hasher.bytes(&bytes[..len])), "{len}");
            for at in 0..len {
                bytes[at] = b'b';
                assert!(seen.insert(hasher.bytes(&bytes[..len])), "{at} of {len}");
                bytes[at] = b'a';
            }
        }
    }

    #[test]
    fn names_that_differ_little_spread() {
        for seed in [Seed::default(), Seed([u64::MAX, 1]), Seed([3, 0x1319_8a2e_0370_7344])] {
            let hasher = SeededHash::new(seed);
            let names: BTreeSet<u32> = (0..10_000).map(|n| hasher.bytes(format!("device/{n}").as_bytes())).collect();
            let pairs: BTreeSet<u32> = (0..10_000).map(|n| hasher.pair(n / 100, n % 100)).collect();
            for hashes in [names, pairs] {
                assert!(hashes.len() > 9_990);
                // Of a hundred equal ranges none has much more than its hundred.
                let mut counts = [0; 100];
                for hash in hashes {
                    counts[((u64::from(hash) * 100) >> 32) as usize] += 1;
                }
                assert!(counts.iter().all(|&count| count < 200), "{seed:?} {counts:?}");
            }
        }
    }

    #[test]
    fn under_the_degenerate_hash_all_collides() {
        let hasher = SeededHash::degenerate();
        assert_eq!([hasher.bytes(b"a"), hasher.bytes(b"b"), hasher.pair(1, 2)], [0; 3]);
    }

    #[test]
    fn the_seed_decides() {
        let [one, two] = [[1, 2], [1, 4]].map(|seed| SeededHash::new(Seed(seed)));
        assert_ne!(one.bytes(b"a/b"), two.bytes(b"a/b"));
        assert_ne!(one.pair(1, 2), two.pair(1, 2));
        assert_eq!(one.bytes(b"a/b"), SeededHash::new(Seed([1, 2])).bytes(b"a/b"));
    }
}
