//! Cheap seeded numbers for choices, of which a load makes several per request. Pure.

/// SplitMix64: passes the usual statistical tests, one multiplication or two per number, the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Begins the numbers of a seed and a stream, which have nothing to do with those of another.
    pub(crate) fn of(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed);
        let mixed = random.u64();
        Self(mixed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    /// Gives the next 64 bits.
    pub(crate) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Gives a number from 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Gives one of the things, each as often as its share of `total`, which is the sum of all weights; none of no things.
    pub(crate) fn weighted<T>(&mut self, things: impl Iterator<Item = (T, f64)>, total: f64) -> Option<T> {
        let mut at = self.unit() * total;
        let mut last = None;
        for (thing, weight) in things {
            if at < weight {
                return Some(thing);
            }
            at -= weight;
            last = Some(thing); // what rounding left over falls to the last one
        }
        last
    }

    /// Gives a number below `end`, which is above 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        u64::try_from((u128::from(self.u64()) * u128::from(end)) >> 64)
            .expect("the upper half of a product of 64 bits each")
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn numbers_are_pinned_even_and_differ_by_stream() {
        assert_eq!(Random(1234567).u64(), 6457827717110365317); // of the reference implementation
        let mut hits = [0_u32; 10];
        let mut random = Random::of(1, 2);
        for _ in 0..10_000 {
            hits[random.below(10) as usize] += 1;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert!(hits.iter().all(|hits| (900..1100).contains(hits)), "{hits:?}");
        assert_ne!(Random::of(1, 2).u64(), Random::of(1, 3).u64());
        assert_ne!(Random::of(1, 2).u64(), Random::of(2, 2).u64());
    }
}
