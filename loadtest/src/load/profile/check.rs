//! Whether a profile makes sense, in words that say what would. Pure.

use std::time::Duration;

use super::{Pacing, Phase, Popularity, Profile};

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

impl Profile {
    /// Says what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
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
        let shapes = [!self.phases.is_empty(), self.knee.is_some(), self.trace.is_some()];
        if shapes.iter().filter(|shape| **shape).count() != 1 {
            return Err("a profile has either [[phase]], or [knee], or [trace]".to_owned());
        }
        if self.trace.is_none() {
            sum("mix", &mut self.mix.values().copied())?;
            match &self.sizes_of {
                Some(_) if !self.sizes.is_empty() => return Err("either [sizes] or [sizes_of], not both".to_owned()),
                Some(_) => {}
                None => sum("sizes", &mut self.sizes.values().copied())?,
            }
        } else if self.prefill > 0 || !self.mix.is_empty() || !self.sizes.is_empty() || self.sizes_of.is_some() {
            return Err("a [trace] says itself what is sent: leave prefill, [mix] and sizes away".to_owned());
        }
        if self.pacing == Pacing::Closed && self.phases.is_empty() {
            return Err("[knee] and [trace] have times of their own, so leave loop = \"closed\" away".to_owned());
        }
        self.knee.map_or(Ok(()), |knee| knee.check(RATE_MAX))?;
        if self.phases.len() > PHASES_MAX {
            return Err(format!("a profile has at most {PHASES_MAX} [[phase]], not {}", self.phases.len()));
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
