//! A file with a line for every request, which can be replayed as a trace.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::counts::Done;

/// The columns; the first four are those of a trace.
const COLUMNS: [&str; 7] = ["at_s", "operation", "file", "bytes", "sent_s", "ended_s", "outcome"];

/// The file. Requests that are of no single file, like lists, are left out.
pub(crate) struct Requests(Mutex<State>);

struct State {
    writer: csv::Writer<BufWriter<File>>,
    /// The first failure, after which nothing more is written.
    failed: Option<io::Error>,
}

impl Requests {
    /// Begins the file; one that is there is replaced.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut writer = csv::Writer::from_writer(BufWriter::new(File::create(path)?));
        writer.write_record(COLUMNS)?;
        Ok(Self(Mutex::new(State { writer, failed: None })))
    }

    /// Adds a request. It is on the way to the disk, not there; a failure is kept for [`Requests::finish`].
    pub(crate) fn write(&self, done: &Done) {
        let Some((number, length)) = done.file else { return };
        let seconds = |time: std::time::Duration| format!("{:.6}", time.as_secs_f64());
        let outcome = match &done.failure {
            None => "ok".to_owned(),
            Some((failure, _)) => failure.name(),
        };
        let record = [
            seconds(done.intended),
            done.operation.name().to_owned(),
            number.to_string(),
            length.to_string(),
            seconds(done.sent),
            seconds(done.ended),
            outcome,
        ];
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed.is_none() {
            state.failed = state.writer.write_record(record).err().map(io::Error::from);
        }
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// Those of writing, also the earlier ones.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed.take().map_or(Ok(()), Err)?;
        state.writer.flush()
    }
}
