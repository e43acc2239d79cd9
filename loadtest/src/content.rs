//! Seeded numbers and bytes: the same on every machine, in every build. Knows no store.

use bytes::Bytes;

/// Separates our streams from every other use of BLAKE3; a change of the derivation needs a new text.
const CONTEXT: &str = "flotilla loadtest sequence v1";

/// How many bits of an operation's seed are used: readers that keep JSON numbers as doubles stay exact.
const SEED_BITS: u32 = 53;

/// A sequence of random numbers that depends only on its seed and label, not on the version of a random crate.
pub(crate) struct Sequence(blake3::OutputReader);

impl Sequence {
    /// Begins the sequence of a seed and a label.
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&seed.to_le_bytes()).update(label.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// Fills `out` with the next bytes.
    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    /// Gives the next 64 bits.
    pub(crate) fn u64(&mut self) -> u64 {
        let mut out = [0; 8];
        self.fill(&mut out);
        u64::from_le_bytes(out)
    }

    /// Gives a number below `end`; the bias is under `end / 2^64`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.u64()) * end as u128) >> 64) as usize
    }
}

/// Gives the seed of one write: a function of the run's seed, the key and the key's own version counter.
pub(crate) fn write_seed(run_seed: u64, key: &str, counter: u64) -> u64 {
    Sequence::new(run_seed, &format!("write\0{key}\0{counter}")).u64() >> (u64::BITS - SEED_BITS)
}

/// Gives the content of one write: incompressible, and different for every seed, key and size.
pub(crate) fn content(seed: u64, key: &str, size: u64) -> Bytes {
    let length = usize::try_from(size).expect("a ledger's sizes fit into memory, its reader checks them");
    let mut out = vec![0; length];
    Sequence::new(seed, &format!("content\0{key}\0{size}")).fill(&mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::{Sequence, content, write_seed};

    #[test]
    fn content_is_pinned_by_bytes() {
        // Old ledgers stay checkable only while these hold.
        assert_eq!(write_seed(1, "ledger/a", 0), PINNED_SEED);
        assert_eq!(&content(7, "ledger/a", 16)[..], &PINNED_CONTENT);
        assert_eq!(blake3::hash(&content(7, "ledger/a", 1 << 20)).to_hex().as_str(), PINNED_HASH);
    }

    #[test]
    fn content_differs_by_seed_key_and_size() {
        let base = content(7, "k", 64);
        assert_eq!(base, content(7, "k", 64));
        assert_ne!(base, content(8, "k", 64));
        assert_ne!(base, content(7, "l", 64));
        assert_ne!(base[..], content(7, "k", 65)[..64]);
    }

    #[test]
    fn write_seeds_fit_into_a_double() {
        for counter in 0..100 {
            assert!(write_seed(3, "k", counter) < 1 << 53);
        }
    }

    #[test]
    fn below_reaches_every_number_and_no_other() {
        let mut sequence = Sequence::new(1, "below");
        let mut hits = [0_u32; 5];
        for _ in 0..1000 {
            hits[sequence.below(5)] += 1;
        }
        assert!(hits.iter().all(|&hit| hit > 100), "{hits:?}");
    }

    const PINNED_SEED: u64 = 7_172_952_384_812_245;
    const PINNED_CONTENT: [u8; 16] = [244, 75, 60, 139, 179, 241, 238, 79, 205, 113, 203, 18, 200, 219, 13, 167];
    const PINNED_HASH: &str = "1021d2e6fe156df0c173fdb74931ac8818e68577f331988ee37b76010f175a62";
}
