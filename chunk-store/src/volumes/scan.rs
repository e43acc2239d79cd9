//! Walks through the records of a volume; pure but for the reads. Must not know what becomes of them.

use flotilla_env::disk::DiskFile;

use super::record::{self, Epoch, HEADER_BYTES, Header, PAGE_BYTES, RECORD_BYTES_MAX};
use crate::error::{Error, Flaw};

/// How much is read at once: some records of the largest size.
const WINDOW_BYTES: u64 = 4 << 20;

const _: () = assert!(WINDOW_BYTES > RECORD_BYTES_MAX + PAGE_BYTES, "a record fits a window");

/// A record that was come upon.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) offset: u64,
    pub(crate) header: Header,
    pub(crate) data: &'a [u8],
    /// Whether the data matches its checksums.
    pub(crate) checked: Result<(), Flaw>,
}

/// How the bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From the page cache where they are there.
    Cache,
    /// From the device: after an unclean end the cache may hold pages that never got there.
    Device,
}

/// Calls `each` for every record of an epoch from `from` to `to`, until it gives an error.
///
/// Pages that start no record (holes, torn records, older epochs) are stepped over one by one: the epoch's salt keeps data from
/// passing for a record.
pub(crate) fn records(
    file: &dyn DiskFile,
    epoch: Epoch,
    (from, to): (u64, u64),
    source: Source,
    mut each: impl FnMut(Found<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut window = vec![0; usize::try_from(WINDOW_BYTES.min(to.saturating_sub(from))).expect("megabytes")];
    let mut start = from;
    while start < to {
        let length = usize::try_from(to - start).unwrap_or(usize::MAX).min(window.len());
        let filled = match source {
            Source::Cache => file.read_at(start, &mut window[..length]),
            Source::Device => file.read_past_cache(start, &mut window[..length]),
        };
        let filled = filled.map_err(|source| Error::Io { what: "read a volume", source })?;
        let bytes = &window[..filled];
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= PAGE_BYTES as usize) {
            let Ok(header) = record::decode(rest, epoch) else {
                at += PAGE_BYTES as usize;
                continue;
            };
            let end = usize::try_from(record::record_bytes(header.length)).expect("a record has a megabyte");
            if end > rest.len() {
                break; // goes on behind the window, or was cut off with the volume
            }
            let data = &rest[HEADER_BYTES..HEADER_BYTES + usize::try_from(header.length).expect("a megabyte")];
            let checked = record::check(&header, 0, data);
            // A torn record's pages are looked at too: its end may never have been written.
            let step = if checked.is_ok() { end } else { PAGE_BYTES as usize };
            each(Found { offset: start + at as u64, header, data, checked })?;
            at += step;
        }
        if at == 0 {
            return Ok(()); // the file ends here
        }
        start += at as u64;
    }
    Ok(())
}
