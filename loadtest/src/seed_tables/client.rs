//! One client of a row: takes work, sends it over a connection of its own, and counts what became of it.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::time::{Instant, sleep};

use super::{
    bench::Bench,
    supply::{Action, Supply},
    tally::Tally,
};
use crate::{
    pool::File,
    wire,
    wire::{Connection, Endpoint, GetError},
};

/// Failures in a row after which a client gives its row up.
const FAILURES_MAX: u32 = 10;
/// The wait after a failure, so that a server that is down is not asked in a tight loop.
const BACKOFF: Duration = Duration::from_millis(100);

/// One client of a row.
pub(super) struct Client {
    bench: Arc<Bench>,
    endpoint: Endpoint,
    connection: Option<Connection>,
    tally: Tally,
}

impl Client {
    /// Makes a client with a connection that stands already.
    pub(super) fn new(bench: Arc<Bench>, endpoint: Endpoint, connection: Connection) -> Self {
        Self { bench, endpoint, connection: Some(connection), tally: Tally::default() }
    }

    /// Works until nothing is handed out any more, `end` is reached, or too much fails in a row.
    pub(super) async fn work(mut self, action: Action, supply: Arc<Supply>, end: Option<Instant>) -> Tally {
        let clock = self.bench.clock();
        let start = clock.now();
        let mut in_a_row = 0;
        while in_a_row < FAILURES_MAX && end.is_none_or(|end| clock.now() < end) {
            let Some((number, file)) = supply.take() else { break };
            let begin = clock.now();
            match self.once(action, number, &file).await {
                Ok(()) => {
                    self.tally.good(file.length(), clock.now().saturating_duration_since(begin));
                    in_a_row = 0;
                }
                Err(error) => {
                    // What is left of a failed exchange must not become the next one's answer.
                    self.connection = None;
                    in_a_row += 1;
                    self.count(action, &file, &error);
                    sleep(BACKOFF).await;
                }
            }
        }
        self.tally.client_seconds.push(clock.now().saturating_duration_since(start).as_secs_f64());
        self.tally
    }

    async fn once(&mut self, action: Action, number: u64, file: &File) -> Result<(), GetError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.endpoint).await?),
        };
        let path = self.bench.path(file);
        match action {
            Action::Put => {
                self.bench.note_sent(file);
                let etag = connection.put(&path, file).await?;
                self.tally.acked(number, file.clone(), etag);
            }
            Action::Get => connection.get(&path, file).await?,
            Action::Delete => {
                connection.delete(&path).await?;
                self.bench.note_gone(file);
            }
        }
        Ok(())
    }

    fn count(&mut self, action: Action, file: &File, error: &GetError) {
        let why = format!("{action:?} of file {:x}: {error}", file.id());
        match (action, error) {
            (_, GetError::Wrong(_)) => self.tally.corrupt(why),
            // Only acked files are read and deleted, but for those of an interrupted run.
            (Action::Get | Action::Delete, GetError::Wire(wire::Error::Status(StatusCode::NOT_FOUND, _))) => {
                // A file is lost once, however often it is asked for.
                if self.bench.note_gone(file) {
                    self.tally.lost(why);
                }
            }
            (Action::Put | Action::Get | Action::Delete, GetError::Wire(_)) => self.tally.failed(why),
        }
    }
}
