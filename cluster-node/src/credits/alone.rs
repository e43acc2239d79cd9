//! How long reads and writes take while nothing else waits, as far as that is known.

use flotilla_api::peer::Answered;

use super::float;

/// Answers of a kind without which a window says nothing of it: one sync that hangs is no slower disk.
pub(super) const SAMPLES_NEW: u32 = 4;
/// Answers of a kind whose mean is off by no more than [`NOISE`].
const SAMPLES_SURE: u32 = 16;
/// What the mean of one window may be off by.
const NOISE: f64 = 0.4;
/// What a quiet window weighs: twenty of them, ten seconds, say about as much as a probe.
const SMOOTHING: f64 = 0.05;

/// The times of reads and writes. They are kept apart, since a write takes ten times as long as a read and the mix
/// changes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Alone {
    /// In microseconds; none if never measured.
    pub us: [Option<f64>; 2],
    /// Whether one of them may have a queue in it.
    pub guessed: bool,
}

impl Alone {
    /// Gives how many times longer than alone these answers took; none if they are of no kind that is known.
    pub fn strain(&self, small: [Answered; 2]) -> Option<f64> {
        let (mut us, mut alone_us) = (0.0, 0.0);
        for (answered, known_us) in small.into_iter().zip(self.us) {
            if let Some(known_us) = known_us {
                us += float(answered.us);
                alone_us += f64::from(answered.count) * known_us;
            }
        }
        (alone_us > 0.0).then(|| us / alone_us)
    }

    /// Gives how many requests are under way where none waits and so many of each kind are answered per second, by
    /// Little's law.
    pub fn in_flight(&self, rates: [f64; 2]) -> f64 {
        rates.into_iter().zip(self.us).filter_map(|(rate, us)| us.map(|us| rate * us / 1e6)).sum()
    }

    /// Begins with kinds that were never measured: as they were felt, which is a guess. Tells whether there was one.
    pub fn meet(&mut self, small: [Answered; 2]) -> bool {
        let known = self.us.iter().any(Option::is_some);
        let mut met = false;
        for (us, answered) in self.us.iter_mut().zip(small) {
            if us.is_none() && answered.count >= if known { SAMPLES_NEW } else { 1 } {
                *us = mean_us(answered, 1);
                met = true;
            }
        }
        self.guessed |= met;
        met
    }

    /// Follows what was felt: slowly while little is under way, and at once where even a load was answered sooner.
    /// Anything above would let waiting pass for normal, and credits grow with it.
    pub fn follow(&mut self, small: [Answered; 2], quiet: bool) {
        for (us, answered) in self.us.iter_mut().zip(small) {
            if let (Some(before), Some(felt_us)) = (*us, mean_us(answered, 1)) {
                let next = if quiet { before + SMOOTHING * (felt_us - before) } else { before };
                let most = mean_us(answered, SAMPLES_SURE).map_or(f64::INFINITY, |us| us / (1.0 - NOISE));
                *us = Some(next.min(most));
            }
        }
    }

    /// Takes what a probe measured, and no higher than before unless it `may_raise`. A measurement that nearly agrees
    /// with the last one is averaged with it. Tells whether one of them is another now by far.
    pub fn learn(&mut self, small: [Answered; 2], may_raise: bool) -> bool {
        let mut other = false;
        for (us, answered) in self.us.iter_mut().zip(small) {
            let Some(felt_us) = mean_us(answered, SAMPLES_NEW) else { continue };
            let Some(before) = us.replace(felt_us) else { continue };
            let agrees = (0.5 * before..=2.0 * before).contains(&felt_us);
            let learnt = if agrees && !self.guessed { 0.5 * (before + felt_us) } else { felt_us };
            let learnt = if may_raise { learnt } else { learnt.min(before) };
            other |= !agrees && (may_raise || felt_us < before);
            *us = Some(learnt);
        }
        other
    }
}

/// Gives the mean of so many answers or more.
fn mean_us(answered: Answered, least: u32) -> Option<f64> {
    (answered.count >= least).then(|| float(answered.us) / f64::from(answered.count))
}
