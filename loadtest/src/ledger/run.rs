//! `ledger run`: clients that put, replace and delete, and write down every request before it is sent and after it was answered.

use std::{
    future::Future,
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use flotilla_client::Kind;
use flotilla_env::{Clock, Entropy, clock, entropy};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    LedgerArgs, StoreError,
    file::Appender,
    line::{Line, Op, Outcome, outcome},
    sdk::Sdk,
    store::{Answer, Store},
    tally::Tally,
    writer::{Change, Writer},
};
use crate::{
    Error, Target,
    command::{EXIT_INTERRUPTED, EXIT_OK},
    content::content,
};

/// The SDK's further tries per request: under a second of waiting, so that a deployment that is back is noticed at once.
const RETRIES: u32 = 3;
/// How long one request may take with its retries; a stopped server holds it till then, and its outcome is unknown.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The first wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest wait after failures in a row; the measured gap is longer than the real one by this at most.
const BACKOFF_MAX: Duration = Duration::from_millis(400);

/// Runs `ledger run`.
///
/// # Cancel safety
/// Dropped or killed at any moment, the ledger's file says of every request whether it was answered.
pub(crate) async fn run(
    args: LedgerArgs,
    target: Target,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let store = Arc::new(Sdk::new(&target, &args.bucket, RETRIES)?);
    write(&args, store, &*entropy::system(), clock::system(), out, interrupt).await
}

/// What all clients of a run share.
struct Run {
    store: Arc<dyn Store>,
    ledger: Appender,
    time: Time,
    end: Instant,
    tally: Mutex<Tally>,
    open: AtomicU64,
}

/// Times for lines: since 1970, but never going back.
struct Time {
    clock: Arc<dyn Clock>,
    start: Instant,
    start_ns: u64,
}

impl Time {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { start: clock.now(), start_ns: clock.wall_ms().saturating_mul(1_000_000), clock }
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn now_ns(&self) -> u64 {
        let since = self.now().saturating_duration_since(self.start).as_nanos();
        self.start_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// Writes to any store until the time is up, and prints the summary.
pub(super) async fn write(
    args: &LedgerArgs,
    store: Arc<dyn Store>,
    entropy: &dyn Entropy,
    clock: Arc<dyn Clock>,
    out: &mut (dyn Write + Send),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<u8, Error> {
    let name = format!("{}-{:x}-{:08x}", args.seed, clock.wall_ms(), entropy.u64() as u32);
    let time = Time::new(clock);
    let end = time.start + Duration::from_secs(args.seconds);
    let tally = Mutex::new(Tally::new(time.start));
    let run = Arc::new(Run { store, ledger: Appender::open(&args.file)?, time, end, tally, open: AtomicU64::new(0) });

    let mut clients = JoinSet::new();
    for client in 0..args.clients {
        clients.spawn(run.clone().client(Writer::new(&name, args.seed, client)));
    }
    let ended = tokio::select! {
        ended = join(&mut clients) => Some(ended),
        () = interrupt => None,
    };
    // Requests that are cut off here keep the line that was written before they were sent.
    clients.shutdown().await;

    let fresh = Tally::new(run.end);
    let tally = std::mem::replace(&mut *run.tally.lock().unwrap_or_else(PoisonError::into_inner), fresh);
    let summary = tally.finish(run.time.now(), run.open.load(Ordering::Relaxed));
    writeln!(out, "{summary}; seed {}, keys ledger/{name}/", args.seed).map_err(Error::Print)?;
    match ended {
        None => Ok(EXIT_INTERRUPTED),
        Some(result) => result.map(|()| EXIT_OK),
    }
}

/// Waits for all clients, or for the first error.
async fn join(clients: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client neither panics nor is aborted while it is waited for")?;
    }
    Ok(())
}

impl Run {
    async fn client(self: Arc<Self>, mut writer: Writer) -> Result<(), Error> {
        let mut backoff = BACKOFF_FIRST;
        while self.time.now() < self.end {
            let change = writer.next();
            let (outcome, error) = self.send(&change).await?;
            writer.settle(&change, outcome);
            match (outcome, error) {
                (Outcome::Acked | Outcome::Missing, _) => backoff = BACKOFF_FIRST,
                (Outcome::Refused, Some(error)) if self.is_hopeless(&error) => return Err(error.into()),
                (Outcome::Refused | Outcome::Unknown, error) => {
                    let why = error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
                    tracing::info!(key = change.key, ?outcome, why, "change was not acked");
                    sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
        Ok(())
    }

    /// Sends one change, with its line before and its line after.
    async fn send(&self, change: &Change) -> Result<(Outcome, Option<StoreError>), Error> {
        let body = match change.op {
            Op::Put => content(change.seed, &change.key, change.size),
            Op::Delete => Bytes::new(),
        };
        let mut line = Line {
            op: change.op,
            key: change.key.clone(),
            size: change.size,
            seed: change.seed,
            request_id: change.request_id.as_str().to_owned(),
            sent_ns: self.time.now_ns(),
            answered_ns: None,
            status: None,
            version: None,
            etag: None,
        };
        self.ledger.append(&line)?;
        self.open.fetch_add(1, Ordering::Relaxed);
        let request = async {
            match change.op {
                Op::Put => self.store.put(&change.key, body, &change.request_id).await,
                Op::Delete => self.store.delete(&change.key, &change.request_id).await,
            }
        };
        let answer = timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|_| Answer::default());
        line.answered_ns = Some(self.time.now_ns());
        (line.status, line.version, line.etag) = (answer.status, answer.version, answer.etag);
        self.ledger.append(&line)?;
        self.open.fetch_sub(1, Ordering::Relaxed);
        let outcome = outcome(change.op, line.status);
        let now = self.time.now();
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).count(outcome, change.size, now);
        Ok((outcome, answer.error))
    }

    /// Says whether a refusal shows that the run can't succeed at all: a wrong token, say. Once something was acked it is
    /// taken for a fault of a server, which the run outlives.
    fn is_hopeless(&self, error: &StoreError) -> bool {
        let wrong = match error {
            StoreError::Name(_) => true,
            StoreError::Client(error) => {
                matches!(error.kind(), Kind::Denied | Kind::Invalid | Kind::NotFound)
            }
        };
        wrong && !self.tally.lock().unwrap_or_else(PoisonError::into_inner).has_success()
    }
}
