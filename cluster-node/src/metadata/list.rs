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
