//! The ledger on disk: appending whole lines, and reading them back after the writer was killed.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{SIZE_MAX, line::Line};
use crate::Error;

/// The longest line: a key of 1,024 bytes in escapes and the other fields need less than half of it.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// A ledger that is appended to.
#[derive(Debug)]
pub(crate) struct Appender {
    path: PathBuf,
    file: Mutex<File>,
}

impl Appender {
    /// Opens a ledger, or begins one; what a killed writer left of its last line is closed off.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
            if file.seek(SeekFrom::End(0))? > 0 {
                file.seek(SeekFrom::End(-1))?;
                let mut last = [0];
                file.read_exact(&mut last)?;
                if last != [b'\n'] {
                    file.write_all(b"\n")?;
                }
            }
            Ok(file)
        };
        Ok(Self { path: path.to_owned(), file: Mutex::new(open().map_err(Error::file(path))?) })
    }

    /// Appends one line.
    ///
    /// # Durability
    /// Written when it returns: it survives the end of this process, not a power cut of this machine. The ledger stands
    /// outside of what is being cut.
    ///
    /// # Errors
    /// [`Error::File`]; what follows would prove nothing, so stop.
    pub(crate) fn append(&self, line: &Line) -> Result<(), Error> {
        let mut text = serde_json::to_vec(line).expect("a line is plain data with text keys");
        text.push(b'\n');
        // One small write to the page cache: shorter than a hop to another thread.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text).map_err(Error::file(&self.path))
    }
}

/// Reads a ledger line by line and gives how many torn lines were left out.
///
/// A torn line is one that a killed writer did not finish. Nothing is lost with it: either its request was not sent yet, or
/// the line written before sending stands.
///
/// # Errors
/// [`Error::File`], or [`Error::Line`] for a line that is whole but not understood.
pub(crate) fn read(path: &Path, mut each: impl FnMut(Line)) -> Result<u64, Error> {
    let mut reader = BufReader::new(File::open(path).map_err(Error::file(path))?);
    let mut torn = 0;
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let length = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(Error::file(path))?;
        if length == 0 {
            break;
        }
        let whole = text.trim_ascii();
        match serde_json::from_slice::<Line>(whole) {
            Ok(line) if line.size <= SIZE_MAX => each(line),
            Ok(line) => {
                let source = serde::de::Error::custom(format!("size {} is over {SIZE_MAX}", line.size));
                return Err(Error::Line { path: path.to_owned(), line: number, source });
            }
            // A line of ours ends with its only closing brace, so a piece of one never does.
            Err(_) if !whole.ends_with(b"}") && (length as u64) < LINE_BYTES_MAX => torn += 1,
            Err(source) => return Err(Error::Line { path: path.to_owned(), line: number, source }),
        }
    }
    Ok(torn)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Appender, read};
    use crate::{
        Error,
        ledger::line::{Line, Op},
    };

    fn line(request_id: &str) -> Line {
        let (key, request_id) = ("k".to_owned(), request_id.to_owned());
        let (answered_ns, status, version, etag) = (None, None, None, None);
        Line { op: Op::Put, key, size: 1, seed: 2, request_id, sent_ns: 3, answered_ns, status, version, etag }
    }

    #[test]
    fn torn_line_of_a_killed_writer_is_left_out_and_later_lines_are_read() {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let path = dir.path().join("ledger");
        Appender::open(&path).and_then(|ledger| ledger.append(&line("a"))).expect("the disk works");
        let whole = serde_json::to_vec(&line("torn")).expect("a line is plain data");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("it exists");
        file.write_all(&whole[..whole.len() - 1]).expect("the disk works");
        Appender::open(&path).and_then(|ledger| ledger.append(&line("b"))).expect("the disk works");

        let mut ids = Vec::new();
        let torn = read(&path, |line| ids.push(line.request_id)).expect("only torn lines are in it");
        assert_eq!((ids, torn), (vec!["a".to_owned(), "b".to_owned()], 1));
    }

    #[test]
    fn whole_line_that_is_not_understood_is_an_error_with_its_number() {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let path = dir.path().join("ledger");
        Appender::open(&path).and_then(|ledger| ledger.append(&line("a"))).expect("the disk works");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("it exists");
        file.write_all(b"{\"op\":\"paint\"}\n").expect("the disk works");
        assert!(matches!(read(&path, drop), Err(Error::Line { line: 2, .. })));
    }
}
