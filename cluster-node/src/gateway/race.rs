//! Asks several sources for one thing: one at a time, the next one when the last failed or makes no progress.
//!
//! Must not know what is asked for or who the sources are.

use std::{future::Future, sync::Arc, time::Duration};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;

/// How long a source may make no progress before the next one is asked as well.
pub const HEDGE_AFTER: Duration = Duration::from_secs(1);

/// Why no source gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed<S, E> {
    /// Sources that answered, with what they said.
    pub said: Vec<(S, E)>,
    /// Sources that had not answered at the end.
    pub silent: Vec<S>,
}

/// Gives what the first source gives.
///
/// `ask` gets a handle by which it tells progress; `stalled` hears of sources that made none for [`HEDGE_AFTER`]. What a stalled
/// source gives later is still taken.
///
/// # Errors
/// [`Failed`] when every source has failed, or `deadline` is over.
///
/// # Cancel safety
/// All questions are dropped.
pub async fn race<S: Copy + PartialEq, T, E, F>(
    sources: Vec<S>,
    deadline: Duration,
    ask: impl Fn(S, Arc<Notify>) -> F,
    stalled: impl Fn(S),
) -> Result<T, Failed<S, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let progress = Arc::new(Notify::new());
    let begin = |source| {
        let answer = ask(source, Arc::clone(&progress));
        async move { (source, answer.await) }
    };
    let mut next = sources.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failed = Failed { said: Vec::new(), silent: Vec::new() };
    let mut end = std::pin::pin!(tokio::time::sleep(deadline));
    loop {
        if running.is_empty() {
            let Some(source) = next.next() else { return Err(failed) };
            failed.silent.push(source);
            running.push(begin(source));
        }
        tokio::select! {
            Some((source, answer)) = running.next() => {
                failed.silent.retain(|silent| *silent != source);
                match answer {
                    Ok(given) => return Ok(given),
                    Err(error) => failed.said.push((source, error)),
                }
            }
            () = &mut end => {
                failed.silent.iter().for_each(|source| stalled(*source));
                return Err(failed);
            }
            () = silence(&progress), if next.len() > 0 => {
                failed.silent.last().into_iter().for_each(|source| stalled(*source));
                if let Some(source) = next.next() {
                    failed.silent.push(source);
                    running.push(begin(source));
                }
            }
        }
    }
}

async fn silence(progress: &Notify) {
    while tokio::time::timeout(HEDGE_AFTER, progress.notified()).await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    async fn after_ms<T>(ms: u64, given: T) -> T {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        given
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_source_is_followed_by_the_next_at_once() {
        let begun = tokio::time::Instant::now();
        let ask = |source: u32, _| async move { if source == 2 { Ok("good") } else { Err("bad") } };
        assert_eq!(race(vec![1, 2, 3], DEADLINE, ask, |_| panic!("no one stalled")).await, Ok("good"));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_source_is_passed_by_after_a_second_and_may_still_win() {
        for (late_ms, winner) in [(60_000, 2), (1100, 1)] {
            let slow = RefCell::new(Vec::new());
            let ask = |source: u32, _| after_ms(if source == 1 { late_ms } else { 200 }, Ok::<_, ()>(source));
            let begun = tokio::time::Instant::now();
            assert_eq!(race(vec![1, 2], DEADLINE, ask, |source| slow.borrow_mut().push(source)).await, Ok(winner));
            assert!(begun.elapsed() <= Duration::from_millis(1200));
            assert_eq!(*slow.borrow(), [1]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_makes_progress_is_not_passed_by() {
        let ask = |source: u32, progress: Arc<Notify>| async move {
            for _ in 0..5 {
                after_ms(900, ()).await;
                progress.notify_one();
            }
            Ok::<_, ()>(source)
        };
        assert_eq!(race(vec![1, 2], DEADLINE, ask, |_| panic!("no one stalled")).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_race_of_silent_sources() {
        let ask = |source: u32, _| async move { if source == 1 { Err("bad") } else { pending().await } };
        let failed: Failed<u32, &str> =
            race::<_, (), _, _>(vec![1, 2, 3], DEADLINE, ask, drop).await.expect_err("none gave");
        assert_eq!(failed, Failed { said: vec![(1, "bad")], silent: vec![2, 3] });
    }
}
