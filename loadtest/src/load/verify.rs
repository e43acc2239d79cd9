//! After the load: every file is read back and must be what the answers said; then all are removed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::task::JoinSet;

use super::{
    catalog::{Expected, Item},
    counts::Failure,
    dialect::Verb,
    request::{Failed, Line},
    run::Run,
};

/// Connections of work that is not measured.
const CONNECTIONS: usize = 16;
/// How often a file is asked for before it counts as not checked: servers may be restarting.
const TRIES: usize = 20;
/// How often a file's removal is tried.
const REMOVALS: usize = 5;
/// Between two of them.
const BETWEEN: std::time::Duration = std::time::Duration::from_millis(500);
/// No more than this is spent on a file, besides a request that is under way.
const PER_FILE: std::time::Duration = std::time::Duration::from_secs(30);
/// After so many files in a row that could not be reached, the store is taken for dead, and nobody asks for the others.
const HOPELESS: u64 = 64;
/// Examples that are kept.
const EXAMPLES_MAX: usize = 100;

/// What reading back found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files whose last write's outcome was not known; any of its outcomes is good.
    pub(crate) unknown: u64,
    /// Files that could not be read at all.
    pub(crate) unreadable: u64,
    /// What was wrong: the first of all.
    pub(crate) failures: Vec<Failed>,
}

/// Reads everything back.
///
/// # Cancel safety
/// Dropped, nothing is changed.
pub(crate) async fn read_back(run: &Arc<Run>) -> Checked {
    let walk = Arc::<Walk>::default();
    let mut readers = JoinSet::new();
    for index in 0..CONNECTIONS {
        let (run, walk, mut line) = (run.clone(), walk.clone(), run.line(index));
        readers.spawn(async move {
            let mut checked = Checked::default();
            while let Some(number) = walk.next(&run) {
                let expected = run.catalog().expected(number);
                let Some(expected) = expected else { continue };
                if walk.is_hopeless() {
                    checked.unreadable += 1;
                    continue;
                }
                let before = checked.unreadable;
                check(&run, (&mut line, index), number, expected, &mut checked).await;
                walk.tell(checked.unreadable == before);
            }
            checked
        });
    }
    let mut all = Checked::default();
    while let Some(checked) = readers.join_next().await {
        let checked = checked.expect("a reader neither panics nor is aborted");
        all.files += checked.files;
        all.bytes += checked.bytes;
        all.unknown += checked.unknown;
        all.unreadable += checked.unreadable;
        let room = EXAMPLES_MAX - all.failures.len();
        all.failures.extend(checked.failures.into_iter().take(room));
    }
    all
}

/// Removes all files that may be there; gives how many could not be removed.
///
/// # Cancel safety
/// Dropped, the other files stay.
pub(crate) async fn remove(run: &Arc<Run>) -> u64 {
    let walk = Arc::<Walk>::default();
    let mut removers = JoinSet::new();
    for index in 0..CONNECTIONS {
        let (run, walk, mut line) = (run.clone(), walk.clone(), run.line(index));
        removers.spawn(async move {
            let mut left = 0;
            while let Some(number) = walk.next(&run) {
                if !run.catalog().may_be_there(number) {
                    continue;
                }
                let gone = !walk.is_hopeless() && removed(&run, (&mut line, index), number).await;
                walk.tell(gone);
                left += u64::from(!gone);
            }
            left
        });
    }
    let mut left = 0;
    while let Some(ended) = removers.join_next().await {
        left += ended.expect("a remover neither panics nor is aborted");
    }
    left
}

/// A walk of several connections over all files.
#[derive(Debug, Default)]
struct Walk {
    next: AtomicU64,
    /// Files in a row that could not be reached.
    in_vain: AtomicU64,
}

impl Walk {
    /// Gives the next file.
    fn next(&self, run: &Run) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < run.catalog().begun()).then_some(number)
    }

    /// Takes whether a file could be reached.
    fn tell(&self, reached: bool) {
        if reached {
            self.in_vain.store(0, Ordering::Relaxed);
        } else {
            self.in_vain.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the store is to be taken for dead.
    fn is_hopeless(&self) -> bool {
        self.in_vain.load(Ordering::Relaxed) >= HOPELESS
    }
}

async fn removed(run: &Run, (line, index): (&mut Line, usize), number: u64) -> bool {
    for attempt in 1..=REMOVALS {
        match line.delete(&run.path(Verb::Delete, number)).await {
            Err((failure, _)) if !failure.is_loss() => {}
            _ => return true,
        }
        tokio::time::sleep(BETWEEN).await;
        *line = run.line(index + attempt);
    }
    false
}

async fn check(run: &Run, (line, index): (&mut Line, usize), number: u64, expected: Expected, checked: &mut Checked) {
    let mut last = (Failure::Timeout, String::new());
    let until = run.clock.now() + PER_FILE;
    for attempt in 1..=TRIES {
        match look(run, line, number, expected).await {
            Ok(bytes) => {
                checked.files += 1;
                checked.bytes += bytes;
                checked.unknown += u64::from(matches!(expected, Expected::Either(_) | Expected::MaybeGone(_)));
                return;
            }
            Err((failure, why)) if failure.is_loss() || failure.is_corruption() => {
                let failed = run.found(failure, format!("read back: {why}"), number);
                if checked.failures.len() < EXAMPLES_MAX {
                    checked.failures.push(failed);
                }
                return;
            }
            Err(failed) => last = failed,
        }
        if run.clock.now() > until {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
        // This address may be that of a server that is down for good.
        *line = run.line(index + attempt);
    }
    checked.unreadable += 1;
    if checked.failures.len() < EXAMPLES_MAX {
        checked.failures.push(last);
    }
}

/// Looks once, and gives how many bytes were compared.
async fn look(run: &Run, line: &mut Line, number: u64, expected: Expected) -> Result<u64, Failed> {
    let path = run.path(Verb::Get, number);
    let whole = async |line: &mut Line, item: Item| {
        let (_, file) = run.file(item);
        line.get(&path, &file, None).await.map(|_| file.length())
    };
    match expected {
        Expected::Content(item) => whole(line, item).await,
        Expected::Gone(item) => match whole(line, item).await {
            Err((failure, _)) if failure.is_loss() => Ok(0),
            Err((failure, why)) if !failure.is_corruption() => Err((failure, why)),
            _ => Err((Failure::Wrong, "it is there, although its deletion was acked or its upload refused".to_owned())),
        },
        Expected::Either(item) | Expected::MaybeGone(item) => {
            let maybe_gone = matches!(expected, Expected::MaybeGone(_));
            match whole(line, item).await {
                Err((failure, _)) if failure.is_loss() && maybe_gone => Ok(0),
                Err((failure, _)) if failure.is_corruption() && item.generation < u16::MAX => {
                    whole(line, Item { generation: item.generation + 1, ..item }).await
                }
                other => other,
            }
        }
    }
}
