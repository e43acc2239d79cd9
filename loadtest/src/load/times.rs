//! Distributions of times: microseconds to three digits, of a size that does not grow with the number of times. Pure.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer as Decoder, Serializer as _, V2DeflateSerializer},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

/// Digits that are kept of a time.
const DIGITS: u8 = 3;
/// The longest time that is told apart, in microseconds: a day.
const MAX_US: u64 = 86_400_000_000;

/// The quantiles of the curve.
const CURVE: [f64; 16] =
    [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9995, 0.9999, 0.99999, 0.999_999, 1.0];

/// How often which time was seen. Several of them add up to the one that a single observer had seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Times(Histogram<u32>);

impl Default for Times {
    fn default() -> Self {
        let mut histogram = Histogram::new(DIGITS).expect("3 digits are allowed");
        histogram.auto(true);
        Self(histogram)
    }
}

impl Times {
    /// Counts a time.
    pub(crate) fn record(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(MAX_US);
        self.0.record(us).expect("it grows by itself");
    }

    /// Counts all that another one has.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("it grows by itself");
    }

    /// Whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives a quantile in milliseconds; 0 of nothing.
    pub(crate) fn at_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile).min(self.0.max()) as f64 / 1e3
    }

    /// Gives how many were longer than a limit.
    pub(crate) fn over(&self, limit: Duration) -> u64 {
        let us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX).min(MAX_US);
        if us >= self.0.max() {
            return 0;
        }
        // What is not told apart from the limit is not over it.
        self.0.count_between(self.0.highest_equivalent(us).saturating_add(1), MAX_US)
    }

    /// Gives the quantiles that are told of latencies; none of nothing.
    pub(crate) fn latencies(&self) -> Option<Latencies> {
        let ms = |quantile| self.at_ms(quantile);
        (!self.is_empty()).then(|| Latencies {
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            p999: ms(0.999),
            max: ms(1.0),
            mean: self.0.mean() / 1e3,
        })
    }

    /// Gives the curve of quantiles, each with its time in milliseconds; empty of nothing.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        CURVE.iter().filter(|_| !self.is_empty()).map(|quantile| (*quantile, self.at_ms(*quantile))).collect()
    }

    /// Gives what it is made of, for formats of others.
    pub(crate) fn histogram(&self) -> &Histogram<u32> {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn buckets(&self) -> usize {
        self.0.distinct_values()
    }
}

/// As text: base64 of the V2 format of HdrHistogram, deflated, which its other implementations read too.
impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(S::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        let mut histogram = Decoder::new().deserialize(&mut bytes.as_slice()).map_err(D::Error::custom)?;
        histogram.auto(true);
        Ok(Self(histogram))
    }
}

/// Latencies, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Times;

    fn of(ms: impl IntoIterator<Item = u64>) -> Times {
        let mut times = Times::default();
        ms.into_iter().for_each(|ms| times.record(Duration::from_millis(ms)));
        times
    }

    #[test]
    fn two_add_up_to_what_one_observer_had_seen() {
        // Half of the times are short and half are long, so that no average of both 99th percentiles is right.
        let (fast, slow) = (of(1..=100), of(1001..=1100));
        let mut sum = fast.clone();
        sum.add(&slow);
        assert_eq!(sum, of((1..=100).chain(1001..=1100)));
        assert!((sum.at_ms(0.99) - 1098.0).abs() < 2.0, "{}", sum.at_ms(0.99));
    }

    #[test]
    fn text_is_read_as_it_was_written_and_nonsense_is_refused() {
        let times = of([0, 1, 5, 90_000_000]);
        let text = serde_json::to_string(&times).expect("text");
        let mut read: Times = serde_json::from_str(&text).expect("times");
        assert_eq!(read, times);
        read.record(Duration::from_secs(1_000_000));
        assert!((read.at_ms(1.0) / 86_400_000.0 - 1.0).abs() < 0.001, "a day is the longest");
        for nonsense in ["\"\"", "\"AAAA\"", "\"?\"", "7"] {
            assert!(serde_json::from_str::<Times>(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn those_over_a_limit_are_counted() {
        let times = of([10, 20, 30, 40]);
        assert_eq!([5, 20, 39, 40].map(|ms| times.over(Duration::from_millis(ms))), [4, 2, 1, 0]);
    }
}
