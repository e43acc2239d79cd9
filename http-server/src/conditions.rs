//! Preconditions as clients write them (RFC 9110, section 13): read once, the same way by both servers.
//!
//! It must not know what a file's current ETag is; who knows that evaluates.

use std::time::SystemTime;

use flotilla_api::{Code, Problem};
use http::{HeaderMap, HeaderName, header};

use crate::problem::ApiError;

/// The most ETags of one header: a client that compares with more has lost track, and each one stands in the log.
pub const ETAGS_MAX: usize = 64;
/// The longest ETag that is read; ours are at most 75 bytes.
const ETAG_LEN_MAX: usize = 256;

/// What `If-Match` or `If-None-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtagList {
    /// `*`: whatever is there.
    Any,
    /// These; at most [`ETAGS_MAX`].
    Tags(Vec<EntityTag>),
}

/// One entity tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    /// Whether it was given as `W/"…"`.
    pub weak: bool,
    /// The text between the quotes.
    pub text: String,
}

impl EtagList {
    /// Whether the list names the ETag under the strong comparison: a weak one never does.
    #[must_use]
    pub fn names_strongly(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|tag| !tag.weak && tag.text == etag),
        }
    }

    /// Whether the list names the ETag under the weak comparison.
    #[must_use]
    pub fn names_weakly(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|tag| tag.text == etag),
        }
    }
}

/// The preconditions of a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteConditions {
    /// Only if the current version is one of these.
    pub if_match: Option<EtagList>,
    /// Only if the current version is none of these.
    pub if_none_match: Option<EtagList>,
}

impl WriteConditions {
    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }
}

/// Reads the preconditions of a change.
///
/// # Bounds
/// At most [`ETAGS_MAX`] ETags per header.
///
/// # Errors
/// 400 `header_invalid` naming the header and the fix; `If-Unmodified-Since` too: two versions can be of one second, so a date would
/// let an update be lost.
pub fn write_conditions(headers: &HeaderMap) -> Result<WriteConditions, ApiError> {
    if headers.contains_key(header::IF_UNMODIFIED_SINCE) {
        let detail = "a change is not made under 'If-Unmodified-Since': two versions can be of one second";
        return Err(Problem::new(Code::HeaderInvalid, detail).hint("send If-Match with the ETag that you read").into());
    }
    Ok(WriteConditions {
        if_match: etag_list(headers, &header::IF_MATCH)?,
        if_none_match: etag_list(headers, &header::IF_NONE_MATCH)?,
    })
}

/// The preconditions of a read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadConditions {
    /// Only if the current version is one of these.
    pub if_match: Option<EtagList>,
    /// Only if the current version is none of these.
    pub if_none_match: Option<EtagList>,
    /// Only if the current version is later than this; ignored beside `if_none_match`.
    pub if_modified_since: Option<SystemTime>,
    /// Only if the current version is not later than this; ignored beside `if_match`.
    pub if_unmodified_since: Option<SystemTime>,
}

/// What a read answers under its preconditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadVerdict {
    /// The content.
    Send,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl ReadConditions {
    /// Evaluates the preconditions against a version, its time in whole seconds.
    ///
    /// # Source
    /// RFC 9110, section 13.2.2.
    #[must_use]
    pub fn evaluate(&self, etag: &str, modified: SystemTime) -> ReadVerdict {
        let holds = match (&self.if_match, self.if_unmodified_since) {
            (Some(list), _) => list.names_strongly(etag),
            (None, Some(since)) => modified <= since,
            (None, None) => true,
        };
        if !holds {
            return ReadVerdict::Failed;
        }
        let held_already = match (&self.if_none_match, self.if_modified_since) {
            (Some(list), _) => list.names_weakly(etag),
            (None, Some(since)) => modified <= since,
            (None, None) => false,
        };
        if held_already { ReadVerdict::NotModified } else { ReadVerdict::Send }
    }
}

/// Reads the preconditions of a GET or HEAD. A date that can't be read is no precondition, as RFC 9110 says.
///
/// # Errors
/// 400 `header_invalid` naming the header and the fix.
pub fn read_conditions(headers: &HeaderMap) -> Result<ReadConditions, ApiError> {
    let date =
        |name| headers.get(name).and_then(|v| v.to_str().ok()).and_then(|text| httpdate::parse_http_date(text).ok());
    Ok(ReadConditions {
        if_match: etag_list(headers, &header::IF_MATCH)?,
        if_none_match: etag_list(headers, &header::IF_NONE_MATCH)?,
        if_modified_since: date(header::IF_MODIFIED_SINCE),
        if_unmodified_since: date(header::IF_UNMODIFIED_SINCE),
    })
}

/// Reads a header that lists ETags, all its lines together.
///
/// # Errors
/// 400 `header_invalid` naming the header and the fix.
pub fn etag_list(headers: &HeaderMap, name: &HeaderName) -> Result<Option<EtagList>, ApiError> {
    let bad = |what: &str| {
        let problem = Problem::new(Code::HeaderInvalid, format!("the header '{name}' {what}"));
        problem.hint("send \"ETAG\" in double quotes, several of them separated by commas, or * alone")
    };
    let mut tags: Vec<EntityTag> = Vec::new();
    let mut any = false;
    let mut lines = 0;
    for value in headers.get_all(name) {
        lines += 1;
        let mut rest = value.to_str().map_err(|_| bad("has characters that no ETag has"))?.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(',') {
                rest = after.trim_start();
                continue;
            }
            if let Some(after) = rest.strip_prefix('*') {
                any = true;
                rest = after.trim_start();
            } else {
                let (tag, after) = entity_tag(rest).ok_or_else(|| bad("has an ETag without its double quotes"))?;
                tags.push(tag);
                rest = after.trim_start();
            }
            if tags.len() > ETAGS_MAX {
                return Err(bad(&format!("names more than {ETAGS_MAX} ETags")).into());
            }
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(bad("lacks a comma between two ETags").into());
            }
        }
    }
    match (any, tags.is_empty()) {
        (true, true) => Ok(Some(EtagList::Any)),
        (true, false) => Err(bad("has * beside ETags").into()),
        (false, false) => Ok(Some(EtagList::Tags(tags))),
        (false, true) if lines > 0 => Err(bad("is empty").into()),
        (false, true) => Ok(None),
    }
}

/// Splits the first entity tag off.
fn entity_tag(text: &str) -> Option<(EntityTag, &str)> {
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (tag, rest) = quoted.strip_prefix('"')?.split_once('"')?;
    (tag.len() <= ETAG_LEN_MAX).then(|| (EntityTag { weak, text: tag.to_owned() }, rest))
}

#[cfg(test)]
mod tests;
