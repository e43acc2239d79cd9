//! What a profile file says: phases of load, the mix of operations, sizes, popularity and thresholds. Pure.

mod check;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    knee::Knee,
    operation::Operation,
    sizes::{SizeRange, Sizes},
    trace::Trace,
};

/// A load profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// As it was written.
    #[serde(skip)]
    pub(crate) text: String,
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
    #[serde(default)]
    pub(crate) mix: BTreeMap<Operation, f64>,
    /// Weights of sizes, like `"10KB" = 90`, or of ranges, like `"1KB-1MB" = 10`, whose sizes are spread evenly over powers of two.
    #[serde(default)]
    pub(crate) sizes: BTreeMap<SizeRange, f64>,
    /// Instead of them, a folder whose files have such sizes; a relative path is one from the profile's folder.
    #[serde(default)]
    pub(crate) sizes_of: Option<SizesOf>,
    /// Which files are read most.
    #[serde(default)]
    pub(crate) popularity: Popularity,
    /// The phases, one after the other; or
    #[serde(default, rename = "phase")]
    pub(crate) phases: Vec<Phase>,
    /// a search for the highest rate; or
    #[serde(default)]
    pub(crate) knee: Option<Knee>,
    /// recorded requests, which say all but how many connections there are.
    #[serde(default)]
    pub(crate) trace: Option<TraceFile>,
    /// What makes the run fail.
    #[serde(default)]
    pub(crate) thresholds: Thresholds,
    /// Of one of several runners: the number of its first connection among all, and where between two evenly spaced arrivals its
    /// first one is.
    #[serde(skip)]
    pub(crate) first_client: usize,
    #[serde(skip, default = "whole")]
    pub(crate) offset: f64,
}

/// A folder and the sizes of its files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizesOf {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// What was found there.
    #[serde(skip)]
    pub(crate) sizes: Option<Sizes>,
}

/// Where recorded requests are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceFile {
    /// A CSV file; a relative path is one from the profile's folder.
    pub(crate) file: PathBuf,
    /// What it holds.
    #[serde(skip)]
    pub(crate) trace: Arc<Trace>,
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
    /// Of the latencies of requests that succeeded, in milliseconds.
    pub(crate) ok_p99_ms: Option<f64>,
    /// Failed requests, in percent of all.
    pub(crate) failed_percent: Option<f64>,
    /// The longest time without a success.
    pub(crate) gap_seconds: Option<f64>,
    /// Good requests per second, at least.
    pub(crate) per_second_min: Option<f64>,
}

fn whole() -> f64 {
    1.0
}

fn default_connections() -> usize {
    64
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
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
        Ok(Self { text: text.to_owned(), ..profile })
    }

    /// Gives the time from the first request to the last one; of a search, about that.
    pub(crate) fn lasts(&self) -> Duration {
        match (&self.knee, &self.trace) {
            (Some(knee), _) => knee.lasts_about(),
            (_, Some(file)) => file.trace.lasts(),
            _ => self.phases.iter().map(|phase| phase.lasts).sum(),
        }
    }

    /// Gives the sizes to draw from; those of a trace's files are only told apart by them.
    pub(crate) fn sizes(&self) -> Sizes {
        if self.trace.is_some() {
            return Sizes::decades();
        }
        if let Some(sizes) = self.sizes_of.as_ref().and_then(|of| of.sizes.clone()) {
            return sizes;
        }
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
        if let Some(knee) = &mut self.knee {
            (knee.from, knee.to) = (knee.from * factor, knee.to * factor);
        }
        if let Some(file) = &mut self.trace {
            Arc::make_mut(&mut file.trace).scale(factor);
        }
    }

    /// Changes it as the command line asks.
    ///
    /// # Errors
    /// A search and a trace have times of their own.
    pub(crate) fn adjust(&mut self, connections: Option<u32>, closed: bool) -> Result<(), String> {
        if closed && self.phases.is_empty() {
            return Err("[knee] and [trace] have times of their own: leave --closed away".to_owned());
        }
        if let Some(connections) = connections {
            self.connections = connections as usize;
        }
        if closed {
            self.pacing = Pacing::Closed;
        }
        Ok(())
    }

    /// Makes it one of `shares` that together are this one.
    pub(crate) fn share(&mut self, index: u64, shares: u64) {
        self.scale(1.0 / shares as f64);
        self.offset = (index + 1) as f64 / shares as f64;
        let part = |all: u64| all / shares + u64::from(index < all % shares);
        let connections = self.connections as u64;
        let before = connections / shares * index + index.min(connections % shares);
        // As many as there were, since they were a usize; a runner without a connection would send nothing.
        self.first_client = usize::try_from(before).unwrap_or_default();
        self.connections = usize::try_from(part(connections)).unwrap_or(self.connections).max(1);
        self.prefill = part(self.prefill);
    }

    /// Reads what a profile only names; relative paths are those from a folder.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn load(&mut self, folder: &Path) -> Result<(), String> {
        if let Some(of) = &mut self.sizes_of {
            let path = folder.join(&of.folder);
            let sizes = Sizes::of_folder(&path);
            of.sizes = Some(sizes.map_err(|error| format!("[sizes_of]: '{}' can't be used: {error}", path.display()))?);
        }
        if let Some(file) = &mut self.trace {
            let path = folder.join(&file.file);
            let wrong = |error: String| format!("[trace]: '{}' can't be used: {error}", path.display());
            let text = std::fs::File::open(&path).map_err(|error| wrong(error.to_string()))?;
            file.trace = Arc::new(Trace::read(text).map_err(wrong)?);
        }
        Ok(())
    }
}
