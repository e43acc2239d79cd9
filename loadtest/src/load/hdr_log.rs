//! Latencies of every second as an interval log of HdrHistogram, which its other tools read.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use hdrhistogram::serialization::{
    V2DeflateSerializer,
    interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError},
};

use super::{series::Step, times::Times};
use crate::Error;

/// The log's unit for the column of the longest latency: milliseconds, of microseconds in the histograms.
const MAX_DIVISOR: f64 = 1000.0;

/// A log that is being written.
pub(super) struct HdrLog {
    path: PathBuf,
    file: BufWriter<File>,
    /// The first failure, after which nothing more is written.
    failed: Option<io::Error>,
}

impl HdrLog {
    /// Makes the file; one that is there is replaced.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: BufWriter::new(File::create(path)?), failed: None })
    }

    /// Writes the head. Times of the lines count from `started_ms`, in milliseconds since 1970; a failure is kept for
    /// [`HdrLog::finish`].
    pub(super) fn begin(&mut self, started_ms: u64) {
        self.failed = self.head(started_ms).err();
    }

    fn head(&mut self, started_ms: u64) -> io::Result<()> {
        let started = UNIX_EPOCH + Duration::from_millis(started_ms);
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("latencies in microseconds from the intended start, of all requests of each second")
            .with_start_time(started)
            .with_base_time(started)
            .with_max_value_divisor(MAX_DIVISOR)
            .begin_log_with(&mut self.file, &mut V2DeflateSerializer::new())?;
        self.file
            .write_all(b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n")
    }

    /// Adds a step; a failure is kept for [`HdrLog::finish`].
    pub(super) fn write(&mut self, step: &Step, latency: &Times) {
        if self.failed.is_none() {
            self.failed = self.line(step.at_s, step.lasts_s, latency).err();
        }
    }

    fn line(&mut self, at_s: f64, lasts_s: f64, latency: &Times) -> io::Result<()> {
        let mut serializer = V2DeflateSerializer::new();
        let mut line = Vec::new();
        // The head of the log is there already: a writer of this line alone has none.
        let mut builder = IntervalLogWriterBuilder::new();
        builder.with_max_value_divisor(MAX_DIVISOR);
        let mut writer = builder.begin_log_with(&mut line, &mut serializer)?;
        let (from, lasts) = (Duration::from_secs_f64(at_s), Duration::from_secs_f64(lasts_s));
        writer.write_histogram(latency.histogram(), from, lasts, None).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
        })?;
        // With the divisor comes a comment that the head has already.
        let line = line.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
        line.into_iter().try_for_each(|line| self.file.write_all(line))
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// [`Error::File`], also for the earlier lines.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let result = self.failed.take().map_or_else(|| self.file.flush(), Err);
        result.map_err(Error::file(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use hdrhistogram::{
        Histogram,
        serialization::{
            Deserializer,
            interval_log::{IntervalLogIterator, LogEntry},
        },
    };

    use super::HdrLog;
    use crate::load::{series::Step, times::Times};

    #[test]
    fn a_log_is_read_back_by_its_format() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("run.hlog");
        let mut log = HdrLog::create(&path).expect("made");
        log.begin(1_700_000_000_000);
        for second in 0..3_u32 {
            let mut times = Times::default();
            (0..=second).for_each(|_| times.record(Duration::from_millis(20)));
            log.write(&Step { at_s: f64::from(second), lasts_s: 1.0, ..Step::default() }, &times);
        }
        log.finish().expect("written");
        let text = std::fs::read(&path).expect("a file");
        let (mut seen, mut comments) = (Vec::new(), 0);
        for entry in IntervalLogIterator::new(&text) {
            match entry.expect("a line of the format") {
                LogEntry::Interval(interval) => {
                    let bytes = STANDARD.decode(interval.encoded_histogram()).expect("base64");
                    let histogram: Histogram<u32> =
                        Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
                    assert!((interval.max() - 20.0).abs() < 0.1, "{}", interval.max());
                    seen.push((interval.start_timestamp().as_secs(), histogram.len()));
                }
                _ => comments += 1,
            }
        }
        assert_eq!((seen.as_slice(), comments > 0), ([(0, 1), (1, 2), (2, 3)].as_slice(), true));
    }
}
