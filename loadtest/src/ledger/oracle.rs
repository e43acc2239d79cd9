//! The judge: what a key may hold and what was seen of it, in; a verdict, out. Pure.

use std::fmt;

use bytes::Bytes;

use super::history::{History, State};
use crate::content::content;

#[cfg(test)]
mod tests;

/// What is wrong with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// An acked file is not there.
    Lost,
    /// A content that was replaced is back, or one that was refused stands.
    Stale,
    /// A deleted file is back.
    Resurrected,
    /// The content is none that was ever sent.
    Corrupt,
}

impl Verdict {
    /// Every verdict.
    pub(crate) const ALL: [Self; 4] = [Self::Lost, Self::Stale, Self::Resurrected, Self::Corrupt];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "LOST",
            Self::Stale => "STALE",
            Self::Resurrected => "RESURRECTED",
            Self::Corrupt => "CORRUPT",
        })
    }
}

/// What reading a key gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    /// No file.
    Absent,
    /// A whole file.
    File {
        /// Its bytes.
        content: Bytes,
        /// Its ETag, without quotes.
        etag: String,
    },
    /// The servers say that no good copy is left, or sent more or less than they announced.
    Broken(String),
}

/// What a list said of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The size in bytes.
    pub(crate) size: u64,
    /// The ETag, without quotes.
    pub(crate) etag: String,
}

/// A verdict and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) why: &'static str,
}

fn finding(verdict: Verdict, why: &'static str) -> Option<Finding> {
    Some(Finding { verdict, why })
}

/// Judges one key; none if all is as it may be.
pub(crate) fn judge(key: &str, history: &History, read: &Read, listed: Option<&Listed>) -> Option<Finding> {
    judge_read(key, history, read).or_else(|| judge_list(read, listed))
}

fn judge_read(key: &str, history: &History, read: &Read) -> Option<Finding> {
    let allowed = history.allowed();
    if allowed.missed {
        return finding(Verdict::Lost, "a DELETE found no file where an acked one stood");
    }
    let (bytes, etag) = match read {
        Read::Absent if allowed.states.contains(&State::Absent) => return None,
        Read::Absent => return finding(Verdict::Lost, "an acked file is not there"),
        Read::Broken(_) => return finding(Verdict::Corrupt, "the content can't be read whole"),
        Read::File { content, etag } => (content, etag),
    };
    if is_plain_root(etag) && *etag != *blake3::hash(bytes).to_hex() {
        return finding(Verdict::Corrupt, "the ETag is not the hash of the content");
    }
    let is = |state: State| match state {
        State::Absent => false,
        State::File { seed, size } => size == bytes.len() as u64 && content(seed, key, size) == *bytes,
    };
    if allowed.states.iter().any(|&state| is(state)) {
        return None;
    }
    match (history.sent().any(|(state, _)| is(state)), allowed.known()) {
        (false, _) => finding(Verdict::Corrupt, "the content is none that was sent"),
        (true, State::Absent) => finding(Verdict::Resurrected, "a content is back that was deleted or refused"),
        (true, State::File { .. }) => finding(Verdict::Stale, "a content is back that was replaced or refused"),
    }
}

fn judge_list(read: &Read, listed: Option<&Listed>) -> Option<Finding> {
    match (read, listed) {
        (Read::Absent, None) | (Read::Broken(_), _) => None,
        (Read::Absent, Some(_)) => finding(Verdict::Resurrected, "the list shows a file that is not there"),
        (Read::File { .. }, None) => finding(Verdict::Lost, "the list does not show the file"),
        (Read::File { content, etag }, Some(listed)) => {
            if listed.size == content.len() as u64 && listed.etag == *etag {
                None
            } else {
                finding(Verdict::Stale, "the list shows another size or ETag")
            }
        }
    }
}

/// Says whether an ETag is the hash of one tree; that of several trees has a suffix.
fn is_plain_root(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}
