//! What a profile file says: phases of load, the mix of operations, sizes, popularity and thresholds. Pure.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    operation::Operation,
    sizes::{SizeRange, Sizes},
};

/// The most phases of a profile.
const PHASES_MAX: usize = 1000;
/// The longest run: what a week-long soak needs.
const SECONDS_MAX: f64 = 8.0 * 86_400.0;
/// The highest rate that a profile may ask for, per second.
const RATE_MAX: f64 = 1_000_000.0;
/// Most connections.
const CONNECTIONS_MAX: usize = 20_000;
/// Most files that are made before a run.
const PREFILL_MAX: u64 = 10_000_000;

/// A load profile.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// What it is for, in a sentence.
    #[serde(default)]
    pub(crate) description: String,
    /// When requests are sent.
    #[serde(default, rename = "loop")]
    pub(crate) pacing: Pacing,
    /// How arrivals of an open loop are spaced.
    #[serde(default)]
    pub(crate) arrivals: Arrivals,
    /// Connections of an open loop at most; clients of a closed one.
    #[serde(default = "default_connections")]
    pub(crate) connections: usize,
    /// How long a request may take, besides what its bytes need.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub(crate) timeout: Duration,
    /// Files that are there before the first phase.
    #[serde(default)]
    pub(crate) prefill: u64,
    /// Weights of operations.
    pub(crate) mix: BTreeMap<Operation, f64>,
    /// Weights of sizes, like `"10KB" = 90`, or of ranges, like `"1KB-1MB" = 10`, whose sizes are spread evenly over powers of two.
    pub(crate) sizes: BTreeMap<SizeRange, f64>,
    /// Which files are read most.
    #[serde(default)]
    pub(crate) popularity: Popularity,
    /// The phases, one after the other.
    #[serde(rename = "phase")]
    pub(crate) phases: Vec<Phase>,
    /// What makes the run fail.
    #[serde(default)]
    pub(crate) thresholds: Thresholds,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pacing {
    /// At their time, whether or not earlier ones were answered: as users come.
    #[default]
    Open,
    /// Each client sends when its last request was answered.
    Closed,
}

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// As independent users come: gaps are exponentially distributed.
    #[default]
    Poisson,
    /// All gaps are alike.
    Even,
}

/// Which files are read, replaced and deleted.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Popularity {
    /// All alike.
    #[default]
    Uniform,
    /// The oldest most of all: the n-th by `1 / n^exponent`.
    Zipf {
        /// Above 0; web traffic has 0.6 to 1.
        exponent: f64,
    },
    /// One after the other.
    Sequential,
}

/// A stretch of time with a rate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Phase {
    /// What it is called in reports.
    pub(crate) name: String,
    /// How long it lasts.
    #[serde(rename = "for", deserialize_with = "duration")]
    pub(crate) lasts: Duration,
    /// Requests per second; a closed loop has none.
    #[serde(default)]
    pub(crate) rate: Rate,
    /// A higher rate for a while, again and again.
    #[serde(default)]
    pub(crate) burst: Option<Burst>,
}

/// Requests per second.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Rate {
    /// The same all the time.
    Constant(f64),
    /// From the first to the second, evenly.
    Ramp([f64; 2]),
}

impl Default for Rate {
    fn default() -> Self {
        Self::Constant(0.0)
    }
}

impl Rate {
    /// Gives the rates at the beginning and at the end.
    pub(crate) fn ends(self) -> (f64, f64) {
        match self {
            Self::Constant(rate) => (rate, rate),
            Self::Ramp([from, to]) => (from, to),
        }
    }
}

/// Bursts within a phase.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Burst {
    /// The rate meanwhile, per second.
    pub(crate) rate: f64,
    /// How long each lasts.
    #[serde(rename = "for", deserialize_with = "duration")]
    pub(crate) lasts: Duration,
    /// From the beginning of one to that of the next; the first begins one such time after the phase.
    #[serde(deserialize_with = "duration")]
    pub(crate) every: Duration,
}

/// Limits that decide the exit code; lost and corrupt files fail a run always.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Thresholds {
    /// Of all latencies, in milliseconds.
    pub(crate) p50_ms: Option<f64>,
    /// The same.
    pub(crate) p99_ms: Option<f64>,
    /// The same.
    pub(crate) p999_ms: Option<f64>,
    /// Failed requests, in percent of all.
    pub(crate) failed_percent: Option<f64>,
    /// The longest time without a success.
    pub(crate) gap_seconds: Option<f64>,
    /// Good requests per second, at least.
    pub(crate) per_second_min: Option<f64>,
}

fn default_connections() -> usize {
    64
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = humantime::parse_duration(&text);
    parsed.map_err(|error| D::Error::custom(format!("'{text}' is no duration like \"30s\" or \"5m\": {error}")))
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// What is wrong, with the line where the parser knows it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let profile: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        profile.check()?;
        Ok(profile)
    }

    /// Gives the time of all phases together.
    pub(crate) fn lasts(&self) -> Duration {
        self.phases.iter().map(|phase| phase.lasts).sum()
    }

    /// Gives the sizes to draw from.
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes::new(self.sizes.iter().map(|(range, weight)| (*range, *weight)).collect())
    }

    /// Multiplies all rates.
    pub(crate) fn scale(&mut self, factor: f64) {
        for phase in &mut self.phases {
            phase.rate = match phase.rate {
                Rate::Constant(rate) => Rate::Constant(rate * factor),
                Rate::Ramp([from, to]) => Rate::Ramp([from * factor, to * factor]),
            };
            if let Some(burst) = &mut phase.burst {
                burst.rate *= factor;
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let sum = |name: &str, weights: &mut dyn Iterator<Item = f64>| {
            let mut total = 0.0;
            for weight in weights {
                if !(weight.is_finite() && weight >= 0.0) {
                    return Err(format!("[{name}]: a weight is a number from 0 on, not {weight}"));
                }
                total += weight;
            }
            if total > 0.0 { Ok(()) } else { Err(format!("[{name}] needs at least one weight above 0")) }
        };
        sum("mix", &mut self.mix.values().copied())?;
        sum("sizes", &mut self.sizes.values().copied())?;
        if self.phases.is_empty() || self.phases.len() > PHASES_MAX {
            return Err(format!("a profile has 1 to {PHASES_MAX} [[phase]], not {}", self.phases.len()));
        }
        if self.lasts().as_secs_f64() > SECONDS_MAX {
            return Err("all phases together last at most 8 days".to_owned());
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return Err(format!("connections is 1 to {CONNECTIONS_MAX}, not {}", self.connections));
        }
        if self.prefill > PREFILL_MAX {
            return Err(format!("prefill is at most {PREFILL_MAX}, not {}", self.prefill));
        }
        if let Popularity::Zipf { exponent } = self.popularity
            && !(exponent > 0.0 && exponent <= 4.0)
        {
            return Err(format!("[popularity]: exponent is above 0 and at most 4, not {exponent}"));
        }
        self.phases.iter().try_for_each(|phase| self.check_phase(phase))
    }

    fn check_phase(&self, phase: &Phase) -> Result<(), String> {
        let name = &phase.name;
        if phase.lasts < Duration::from_millis(10) {
            return Err(format!("phase '{name}' lasts at least 10ms"));
        }
        let (from, to) = phase.rate.ends();
        let rates = [from, to, phase.burst.map_or(0.0, |burst| burst.rate)];
        if rates.iter().any(|rate| !(0.0..=RATE_MAX).contains(rate)) {
            return Err(format!("phase '{name}': a rate is from 0 to {RATE_MAX} per second"));
        }
        if self.pacing == Pacing::Open && rates.iter().all(|rate| *rate == 0.0) {
            return Err(format!("phase '{name}' needs a rate, like `rate = 100` or `rate = [10, 1000]`"));
        }
        match phase.burst {
            Some(burst) if burst.lasts >= burst.every || burst.lasts < Duration::from_millis(10) => {
                Err(format!("phase '{name}': a burst lasts at least 10ms, and less than from one to the next"))
            }
            Some(burst) if phase.lasts.as_secs_f64() / burst.every.as_secs_f64() > 100_000.0 => {
                Err(format!("phase '{name}' has more than 100,000 bursts"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pacing, Profile, Rate};
    use crate::load::builtin;

    const SMALL: &str = r#"
        [mix]
        get = 3
        put = 1
        [sizes]
        "10KB" = 1
        [[phase]]
        name = "all"
        for = "5s"
        rate = [10, 20]
    "#;

    #[test]
    fn small_profile_gets_the_defaults() {
        let profile = Profile::parse(SMALL).expect("it is a profile");
        assert_eq!((profile.pacing, profile.connections, profile.lasts()), (Pacing::Open, 64, Duration::from_secs(5)));
        assert_eq!(profile.phases[0].rate, Rate::Ramp([10.0, 20.0]));
    }

    #[test]
    fn built_in_profiles_are_profiles() {
        for (name, text) in builtin::ALL {
            let profile = Profile::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!profile.description.is_empty(), "{name} says what it is for");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        for (from, to, expect) in [
            ("get = 3", "fetch = 3", "unknown variant `fetch`"),
            ("rate = [10, 20]", "", "needs a rate"),
            ("rate = [10, 20]", "rate = -1", "from 0 to"),
            ("\"10KB\" = 1", "\"10 potatoes\" = 1", "10 potatoes"),
            ("for = \"5s\"", "for = \"5 parsecs\"", "no duration"),
            ("get = 3\n        put = 1", "get = 0", "at least one weight"),
            ("[mix]", "typo = 1\n[mix]", "unknown field `typo`"),
        ] {
            assert!(SMALL.contains(from), "{from}");
            let error = Profile::parse(&SMALL.replace(from, to)).expect_err(to);
            assert!(error.contains(expect), "{to}: {error}");
        }
    }
}
