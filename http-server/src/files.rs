//! What both servers read from a file request the same way: the name, decoded once, and the query of a list.
//!
//! It must not know where files are.

use flotilla_api::{BucketName, Code, FileName, Key, Problem, files::LIST_LIMIT_MAX, name, route};
use http::{HeaderMap, Uri, header::CONTENT_LENGTH};
use percent_encoding::percent_decode_str;

use crate::problem::ApiError;

/// What a path under [`route::FILES`] names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file.
    File(FileName),
    /// A bucket, to be listed.
    Bucket(BucketName),
}

/// Reads the announced length of a body, in bytes; none for a body that comes in chunks.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the name from the path as it was sent, and decodes it once.
///
/// # Errors
/// 400 `bucket_invalid` or `key_invalid` naming the rule.
pub fn target(uri: &Uri) -> Result<Target, ApiError> {
    let path = uri.path().strip_prefix(route::FILES).unwrap_or_default().trim_start_matches('/');
    match path.split_once('/') {
        None => Ok(Target::Bucket(bucket(path)?)),
        Some((bucket_text, key)) => {
            let bucket = bucket(bucket_text)?;
            let key = Key::from_path(key).map_err(|error| invalid(&error))?;
            Ok(Target::File(FileName { bucket, key }))
        }
    }
}

/// Reads the name of a file, for the routes that take no bucket.
///
/// # Errors
/// As [`target`].
pub fn file_name(uri: &Uri) -> Result<FileName, ApiError> {
    match target(uri)? {
        Target::File(name) => Ok(name),
        Target::Bucket(_) => Err(invalid(&name::Error::KeyEmpty)),
    }
}

/// Reads a bucket's name from one segment of a path.
///
/// # Errors
/// 400 `bucket_invalid`.
pub fn bucket(segment: &str) -> Result<BucketName, ApiError> {
    let text = percent_decode_str(segment).decode_utf8().map_err(|_| invalid(&name::Error::Bucket))?;
    text.parse().map_err(|error| invalid(&error))
}

fn invalid(error: &name::Error) -> ApiError {
    let code = match error {
        name::Error::Bucket => Code::BucketInvalid,
        name::Error::KeyEmpty
        | name::Error::KeyLong(_)
        | name::Error::KeyNotUtf8
        | name::Error::KeyControl(_)
        | name::Error::KeyDots
        | name::Error::NoSlash => Code::KeyInvalid,
    };
    ApiError::new(code, error.to_string())
}

/// The query of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// Only keys that begin so.
    pub prefix: String,
    /// Group keys by the part up to this text.
    pub delimiter: Option<String>,
    /// The most items and prefixes.
    pub limit: usize,
    /// Only names after this one.
    pub after: Option<String>,
    /// Whether clusters that can't answer are named instead of making the list an error.
    pub partial: bool,
}

/// Reads a list's query.
///
/// # Errors
/// 400 `header_invalid` naming the parameter.
pub fn list_query(uri: &Uri) -> Result<ListQuery, ApiError> {
    let mut query =
        ListQuery { prefix: String::new(), delimiter: None, limit: LIST_LIMIT_MAX, after: None, partial: false };
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let bad = |what: &str| ApiError::new(Code::HeaderInvalid, format!("query parameter '{name}' {what}"));
        let value = value.replace('+', " ");
        let value = percent_decode_str(&value).decode_utf8().map_err(|_| bad("is not UTF-8"))?.into_owned();
        match name {
            "prefix" if value.len() <= Key::LEN_MAX => query.prefix = value,
            "prefix" => return Err(bad("is longer than a key")),
            "delimiter" if value.len() <= 16 => query.delimiter = Some(value).filter(|text| !text.is_empty()),
            "delimiter" => return Err(bad("is longer than 16 bytes")),
            "limit" => match value.parse() {
                Ok(limit @ 1..=LIST_LIMIT_MAX) => query.limit = limit,
                Ok(_) | Err(_) => return Err(bad(&format!("is a number from 1 to {LIST_LIMIT_MAX}"))),
            },
            "cursor" if value.is_empty() => {}
            "cursor" => query.after = Some(from_cursor(&value).ok_or_else(|| bad("is not a cursor of this server"))?),
            "partial" if value == "true" => query.partial = true,
            "partial" if value == "false" => query.partial = false,
            "partial" => return Err(bad("is 'true' or 'false'")),
            _ => return Err(bad("is not known; a list takes prefix, delimiter, limit, cursor and partial")),
        }
    }
    Ok(query)
}

/// Makes the opaque cursor that goes on behind `name`.
///
/// # Shape
/// `1` and the hex of the name's bytes.
#[must_use]
pub fn to_cursor(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold("1".to_owned(), |mut cursor, byte| {
        write!(cursor, "{byte:02x}").expect("writing to a String cannot fail");
        cursor
    })
}

fn from_cursor(cursor: &str) -> Option<String> {
    let digits = cursor.strip_prefix('1').filter(|digits| digits.is_ascii() && digits.len() % 2 == 0)?;
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok().filter(|name| name.len() <= 2 * Key::LEN_MAX)
}

/// Where a copy or a move takes its content from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub name: FileName,
    /// Whether it ends with the same change: a move.
    pub moves: bool,
}

/// Reads the query of a POST: `copy-from=BUCKET/KEY` or `move-from=BUCKET/KEY`, encoded and decoded like a path.
///
/// # Errors
/// 400 `header_invalid` if it names neither or both, or something else; 400 `bucket_invalid` or `key_invalid` for the name.
pub fn source(uri: &Uri) -> Result<Source, ApiError> {
    let mut found = None;
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let moves = match pair.split_once('=') {
            Some(("copy-from", _)) => false,
            Some(("move-from", _)) => true,
            Some(_) | None => return Err(no_source()),
        };
        let text = pair.split_once('=').map_or("", |(_, value)| value);
        let (bucket_text, key) = text.split_once('/').or_else(|| split_encoded(text)).ok_or_else(no_source)?;
        let key = Key::from_path(key).map_err(|error| invalid(&error))?;
        let name = FileName { bucket: bucket(bucket_text)?, key };
        if found.replace(Source { name, moves }).is_some() {
            return Err(no_source());
        }
    }
    found.ok_or_else(no_source)
}

/// Where the bytes of a PATCH go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// From `first` on, `length` of them; afterwards the file has `size` bytes, if the client says so.
    At {
        /// The first byte.
        first: u64,
        /// How many.
        length: u64,
        /// The length of the file that the client expects afterwards.
        size: Option<u64>,
    },
    /// Behind the last byte.
    End {
        /// How many.
        length: u64,
    },
}

/// Reads where the bytes of a PATCH go: `Content-Range: bytes FIRST-LAST/SIZE` (or `/*`), or `Flotilla-Append: true`.
///
/// # Errors
/// 400 `header_invalid` naming the fix; 411 `length_required` for an append without a length.
pub fn place(headers: &HeaderMap) -> Result<Place, ApiError> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    let bad = |what: &str| {
        let hint = "send 'Content-Range: bytes FIRST-LAST/*' with as many bytes, or 'Flotilla-Append: true'";
        ApiError::from(Problem::new(Code::HeaderInvalid, what).hint(hint))
    };
    let sent = text("content-length").map(|text| text.parse::<u64>().map_err(|_| bad("Content-Length is no number")));
    let sent = sent.transpose()?;
    match (text("content-range"), text(flotilla_api::header::APPEND)) {
        (Some(_), Some(_)) => Err(bad("a PATCH goes to one place")),
        (None, None) => Err(bad("a PATCH says where its bytes go")),
        (None, Some("true")) => match sent {
            Some(0) => Err(bad("an append has at least one byte")),
            Some(length) => Ok(Place::End { length }),
            None => Err(ApiError::new(Code::LengthRequired, "an append needs a Content-Length")),
        },
        (None, Some(_)) => Err(bad("'Flotilla-Append' is 'true'")),
        (Some(range), None) => {
            let (first, last, size) = content_range(range).ok_or_else(|| bad("Content-Range is not understood"))?;
            let length = last - first + 1;
            if sent.is_some_and(|sent| sent != length) {
                return Err(bad("Content-Range and Content-Length name different lengths"));
            }
            Ok(Place::At { first, length, size })
        }
    }
}

/// Reads `bytes FIRST-LAST/SIZE` or `bytes FIRST-LAST/*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (span, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let (first, last) = (number(first)?, number(last).filter(|last| *last < u64::MAX)?);
    let size = if size == "*" { None } else { Some(number(size)?) };
    (first <= last).then_some((first, last, size))
}

/// Splits where the slash between bucket and key is encoded too, as form encoders do.
fn split_encoded(text: &str) -> Option<(&str, &str)> {
    text.split_once("%2F").or_else(|| text.split_once("%2f"))
}

fn no_source() -> ApiError {
    let problem = Problem::new(Code::HeaderInvalid, "a POST to a file makes it from another one");
    problem.hint("add ?copy-from=BUCKET/KEY or ?move-from=BUCKET/KEY, percent-encoded").into()
}

/// Reads the client's Idempotency-Key, if it sent one.
///
/// # Errors
/// 400 `header_invalid`.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<flotilla_api::RequestId>, ApiError> {
    let Some(value) = headers.get(flotilla_api::header::IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let bad = |error| ApiError::new(Code::HeaderInvalid, format!("header 'Idempotency-Key': {error}"));
    text.parse().map(Some).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect("a good URI")
    }

    #[test]
    fn names_are_decoded_once_and_checked() {
        let name = |text: &str| target(&uri(text));
        let key = |text: &str| match name(text) {
            Ok(Target::File(name)) => name.key.as_str().to_owned(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(key("/v1/files/demo/a/b%20c"), "a/b c");
        assert_eq!(key("/v1/files/demo/%252e%252e/x"), "%2e%2e/x");
        assert!(matches!(name("/v1/files/demo"), Ok(Target::Bucket(_))));
        for (path, code) in [
            ("/v1/files/demo/%2e%2e/x", Code::KeyInvalid),
            ("/v1/files/demo/a/../b", Code::KeyInvalid),
            ("/v1/files/demo/%ff", Code::KeyInvalid),
            ("/v1/files/demo/%00", Code::KeyInvalid),
            ("/v1/files/demo/", Code::KeyInvalid),
            ("/v1/files/De/x", Code::BucketInvalid),
            ("/v1/files/", Code::BucketInvalid),
        ] {
            assert_eq!(name(path).map_err(|error| error.code), Err(code), "{path}");
        }
    }

    #[test]
    fn places_of_a_patch_are_exact() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
            place(&pairs.collect()).map_err(|error| error.code)
        };
        let range = |text| read(&[("content-range", text)]);
        assert_eq!(range("bytes 3-5/*"), Ok(Place::At { first: 3, length: 3, size: None }));
        assert_eq!(range("bytes 0-0/9"), Ok(Place::At { first: 0, length: 1, size: Some(9) }));
        let append = ("flotilla-append", "true");
        assert_eq!(read(&[append, ("content-length", "7")]), Ok(Place::End { length: 7 }));
        assert_eq!(read(&[append]), Err(Code::LengthRequired));
        for bad in ["bytes */9", "bytes 5-3/*", "bytes=3-5", "items 3-5/*", "bytes 3-/*", "bytes 3-5", "bytes +3-5/*"] {
            assert_eq!(range(bad), Err(Code::HeaderInvalid), "{bad}");
        }
        assert_eq!(range("bytes 0-18446744073709551615/*"), Err(Code::HeaderInvalid));
        for bad in [
            &[][..],
            &[append, ("content-range", "bytes 3-5/*")],
            &[append, ("content-length", "0")],
            &[("flotilla-append", "yes")],
            &[("content-range", "bytes 3-5/*"), ("content-length", "4")],
        ] {
            assert_eq!(read(bad), Err(Code::HeaderInvalid), "{bad:?}");
        }
    }

    #[test]
    fn sources_are_decoded_once() {
        let read = |query: &str| source(&uri(&format!("/v1/files/demo/x?{query}")));
        let key = |query: &str| read(query).map(|source| (source.name.to_header(), source.moves));
        assert_eq!(key("copy-from=demo/a%20b/c"), Ok(("demo/a%20b/c".to_owned(), false)));
        assert_eq!(key("move-from=demo%2Fa%252Fb"), Ok(("demo/a%252Fb".to_owned(), true)));
        for (query, code) in [
            ("", Code::HeaderInvalid),
            ("copy-from=demo", Code::HeaderInvalid),
            ("copy-from=demo/a&move-from=demo/a", Code::HeaderInvalid),
            ("copy-from=demo/a&x=1", Code::HeaderInvalid),
            ("copy-from=demo/..", Code::KeyInvalid),
            ("copy-from=De/a", Code::BucketInvalid),
        ] {
            assert_eq!(read(query).map_err(|error| error.code), Err(code), "{query}");
        }
    }

    #[test]
    fn cursors_return_and_strange_ones_are_refused() {
        let after =
            |cursor: &str| list_query(&uri(&format!("/v1/files/demo?cursor={cursor}"))).map(|query| query.after);
        assert_eq!(after(&to_cursor("ä/b")), Ok(Some("ä/b".to_owned())));
        for cursor in ["2aa", "1a", "1zz", "1ff"] {
            assert_eq!(after(cursor).map_err(|error| error.code), Err(Code::HeaderInvalid), "{cursor}");
        }
        for query in ["limit=0", "limit=1001", "limit=x", "partial=1", "foo=1", "delimiter=aaaaaaaaaaaaaaaaa"] {
            let list = list_query(&uri(&format!("/v1/files/demo?{query}")));
            assert_eq!(list.map_err(|error| error.code), Err(Code::HeaderInvalid), "{query}");
        }
    }
}
