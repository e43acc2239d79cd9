//! One page of a bucket, from a consistent view: bounded in rows returned and in rows looked at.

use flotilla_api::{codec, peer::ListRequest};
use flotilla_kv::View;

use super::{
    keys,
    rows::{FileRow, KeyRow},
};

/// The most rows that one page looks at; tombstones count, so a page over many of them can be short and still have a next one.
const ROWS_MAX: usize = 4096;
/// Rows per read of the database.
const ROWS_STEP: usize = 256;

/// One page: entries in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Files and prefixes.
    pub entries: Vec<Entry>,
    /// Where the next page begins: after this name. None at the end.
    pub next: Option<String>,
}

/// One entry of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A live file: its key and version.
    File(String, Box<FileRow>),
    /// A common prefix, ending with the delimiter.
    Prefix(String),
}

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Kv(#[from] flotilla_kv::Error),
    /// A row does not decode.
    #[error(transparent)]
    Corrupt(#[from] codec::Error),
}

/// Reads one page.
///
/// # Errors
/// See [`Error`]; trying again does not help.
pub fn page(view: &dyn View, request: &ListRequest) -> Result<Page, Error> {
    let bucket = request.bucket.as_str();
    let (start, end) = keys::prefix_range(bucket, &request.prefix);
    let key_at = bucket.len() + 1;
    let mut from = match &request.after {
        Some(after) => start.max(behind(bucket, after, request)),
        None => start,
    };
    let mut page = Page::default();
    let mut looked_at = 0;
    // The name up to which this page has seen everything, tombstones included.
    let mut place = None;
    loop {
        let rows = view.scan(keys::FILES, &from, end.as_deref(), ROWS_STEP)?;
        let full = rows.len() == ROWS_STEP;
        let mut jumped = false;
        for (row_key, value) in rows {
            if page.entries.len() >= request.limit as usize || looked_at >= ROWS_MAX {
                page.next = place;
                return Ok(page);
            }
            looked_at += 1;
            from = row_key.clone();
            from.push(0);
            let key = String::from_utf8_lossy(&row_key[key_at..]).into_owned();
            place = Some(key.clone());
            let KeyRow { file: Some(file), .. } = codec::decode(&value)? else { continue };
            match common_prefix(&key, request) {
                None => page.entries.push(Entry::File(key, Box::new(file))),
                Some(prefix) => {
                    let behind = keys::after_prefix(&keys::prefix_range(bucket, &prefix).0);
                    place = Some(prefix.clone());
                    page.entries.push(Entry::Prefix(prefix));
                    match behind {
                        Some(next) => from = next,
                        None => return Ok(page),
                    }
                    jumped = true;
                    break;
                }
            }
        }
        if !full && !jumped {
            return Ok(page);
        }
    }
}

/// The key under which the rows behind `after` begin; behind a prefix that means behind all its keys.
fn behind(bucket: &str, after: &str, request: &ListRequest) -> Vec<u8> {
    let (mut from, _) = keys::prefix_range(bucket, after);
    if common_prefix(after, request).is_some_and(|prefix| prefix == after) {
        return keys::after_prefix(&from).unwrap_or(from);
    }
    from.push(0);
    from
}

fn common_prefix(key: &str, request: &ListRequest) -> Option<String> {
    let delimiter = request.delimiter.as_deref().filter(|d| !d.is_empty())?;
    let rest = key.strip_prefix(request.prefix.as_str())?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(format!("{}{}", request.prefix, &rest[..end]))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use flotilla_api::{Epoch, FileName, Version};
    use flotilla_kv::{Batch, Error as KvError, Family, Kv, MemKv, Row};

    use super::*;
    use crate::metadata::rows::{Content, Etag, HomeState};

    /// Counts the rows that are read.
    struct Counted<'a>(&'a MemKv, AtomicUsize);

    impl View for Counted<'_> {
        fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.get(family, key)
        }

        fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, KvError> {
            let rows = self.0.scan(family, from, to, limit)?;
            self.1.fetch_add(rows.len(), Ordering::Relaxed);
            Ok(rows)
        }

        fn last(&self, family: Family) -> Result<Option<Row>, KvError> {
            self.0.last(family)
        }
    }

    fn row(number: usize) -> (Vec<u8>, Vec<u8>) {
        let key = format!("k{number:06}").parse().expect("a good key");
        let name = FileName { bucket: "demo".parse().expect("a good name"), key };
        let file = FileRow {
            version: Version { epoch: Epoch(1), index: number as u64 },
            size: 3,
            etag: Etag::Root([9; 32]),
            modified_ms: 5,
            media_type: None,
            content: Content::Trees(Vec::new()),
        };
        let row = KeyRow { epoch: Epoch(1), home: HomeState::Open, file: Some(file) };
        (keys::file(&name), codec::encode(&row))
    }

    /// What a page costs does not depend on how many keys there are.
    #[test]
    fn a_page_is_flat() {
        let kv = MemKv::inline(keys::FAMILIES);
        let mut filled = 0;
        let costs = [1_000, 10_000, 100_000].map(|count| {
            let mut batch = Batch::default();
            for number in filled..count {
                let (key, value) = row(number);
                batch.put(keys::FILES, key, value);
            }
            kv.write(batch).expect("memory");
            filled = count;
            let request = ListRequest {
                bucket: "demo".parse().expect("a good name"),
                prefix: "k".to_owned(),
                delimiter: None,
                after: Some("k000123".to_owned()),
                limit: 500,
            };
            let view = Counted(&kv, AtomicUsize::new(0));
            let page = page(&view, &request).expect("rows that were encoded");
            (page.entries.len(), view.1.load(Ordering::Relaxed))
        });
        assert_eq!(costs, [costs[0]; 3]);
        assert_eq!(costs[0].0, 500);
    }
}
