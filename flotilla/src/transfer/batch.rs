//! Many files at a time, a bounded number of them under way: what was done, what failed, and which exit code that is.

use std::future::Future;

use futures::{Stream, StreamExt};

use super::progress::Progress;
use crate::{
    exit::{Exit, Failure},
    output::Report,
};

/// What became of the files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files done.
    pub done: u64,
    /// Files that failed, or listings that broke off.
    pub failed: u64,
    first: Option<Exit>,
}

impl Tally {
    /// Counts a file.
    fn count(&mut self, result: Result<(), Failure>, tell: impl FnOnce(&Failure)) {
        match result {
            Ok(()) => self.done += 1,
            Err(failure) => {
                self.failed += 1;
                self.first.get_or_insert(failure.exit());
                tell(&failure);
            }
        }
    }

    /// Gives the exit code: the first failure's where nothing was done.
    pub fn exit(&self) -> Exit {
        match self.first {
            None => Exit::Ok,
            Some(first) if self.done == 0 => first,
            Some(_) => Exit::Partly,
        }
    }

    /// Says whether there was nothing at all.
    pub fn is_empty(&self) -> bool {
        self.done == 0 && self.failed == 0
    }
}

/// Does something with every item, `jobs` of them at a time; an item that fails is told and does not stop the others.
///
/// # Bounds
/// `jobs` items are taken from the stream before the first of them is done.
///
/// # Cancel safety
/// Dropping the future drops what is under way.
pub async fn run<T, F>(
    items: impl Stream<Item = Result<T, Failure>>,
    jobs: usize,
    report: Report,
    progress: &Progress,
    each: impl Fn(T) -> F,
) -> Tally
where
    F: Future<Output = Result<(), Failure>>,
{
    let work = items.map(|item| async {
        match item {
            Ok(item) => each(item).await,
            Err(failure) => Err(failure),
        }
    });
    let mut results = std::pin::pin!(work.buffer_unordered(jobs));
    let mut tally = Tally::default();
    while let Some(result) = results.next().await {
        tally.count(result, |failure| progress.aside(|| report.failure(failure)));
        progress.message(format!("{} files", tally.done));
    }
    tally
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::stream;

    use super::*;

    async fn tally(items: Vec<Result<bool, Failure>>) -> Tally {
        let each = |good: bool| async move { if good { Ok(()) } else { Err(Failure::new(Exit::Denied, "")) } };
        run(stream::iter(items), 2, Report::new(false), &Progress::hidden(), each).await
    }

    #[tokio::test]
    async fn the_exit_code_says_whether_all_some_or_none_were_done() {
        assert_eq!(tally(vec![Ok(true), Ok(true)]).await.exit(), Exit::Ok);
        assert_eq!(tally(vec![Ok(true), Ok(false), Ok(true)]).await.exit(), Exit::Partly);
        assert_eq!(tally(vec![Ok(false), Ok(false)]).await.exit(), Exit::Denied);
        assert_eq!(tally(vec![Ok(true), Err(Failure::unheard())]).await.exit(), Exit::Partly);
        let nothing = tally(Vec::new()).await;
        assert!(nothing.is_empty() && nothing.exit() == Exit::Ok);
    }

    #[tokio::test]
    async fn no_more_than_the_given_number_is_under_way() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let each = |_: usize| async {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        let items = stream::iter((0..50).map(Ok));
        let tally = run(items, 3, Report::new(false), &Progress::hidden(), each).await;
        assert_eq!((tally.done, most.load(Ordering::SeqCst)), (50, 3));
    }
}
