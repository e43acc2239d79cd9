//! Trials at constant rates, one after the other, as [`Search`] asks for them.

use std::time::Duration;

use tokio::time::sleep;

use super::{Arrival, Engine, lock};
use crate::load::{
    knee::{Knee, Search},
    profile::{Phase, Profile, Rate},
    schedule::{PhaseSpan, Schedule},
};

/// How long nothing is sent before a trial, so that none pays for the one before.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked at whether all was answered.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Engine {
    /// Searches for the highest rate that is borne.
    pub(super) async fn seek(&self, knee: Knee, profile: &Profile, seed: u64) {
        let mut search = Search::new(knee);
        let mut number = 0;
        while let Some(rate) = search.next() {
            number += 1;
            sleep(PAUSE).await;
            let from = self.elapsed();
            // What new connections cost is not what the rate costs.
            self.stats().begin_trial(from + knee.warm_up());
            let name = format!("trial {number}");
            let phase = Phase { name: name.clone(), lasts: knee.lasts, rate: Rate::Constant(rate), burst: None };
            let (from_s, to_s) = (from.as_secs_f64(), (from + knee.lasts).as_secs_f64());
            lock(&self.phases).push(PhaseSpan { name, from_s, to_s, rate_from: rate, rate_to: rate });
            let schedule = Schedule::new(&[phase], profile.arrivals, seed.wrapping_add(number));
            let lost = || self.stats().trial().is_some_and(|trial| search.is_lost(rate, trial));
            self.dispatch(schedule.map(|at| Arrival { at: from + at, request: None }), lost).await;
            let lost = lost();
            let ended = self.elapsed();
            if !self.quiet(profile.timeout * 2).await {
                self.give_up(profile.timeout * 2);
                // What is under way ends by its own limit, and must not be a part of the next trial.
                self.quiet(Duration::MAX).await;
            }
            let trial = self.stats().trial().cloned().unwrap_or_default();
            search.tell(search.judge(rate, from_s, self.elapsed().as_secs_f64(), &trial, lost));
            if let Some(phase) = lock(&self.phases).last_mut() {
                phase.to_s = ended.as_secs_f64();
            }
            *lock(&self.knee) = Some(search.found());
        }
    }

    /// Waits until everything that arrived is answered; tells whether that came about in time.
    async fn quiet(&self, within: Duration) -> bool {
        let until = self.elapsed().saturating_add(within);
        while self.waiting() + self.in_flight() > 0 {
            if self.elapsed() > until {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
        true
    }
}
