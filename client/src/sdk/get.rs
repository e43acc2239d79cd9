//! Reads of files: GET with ranges, streaming, and HEAD.

use std::str::FromStr;

use bytes::Bytes;
use flotilla_api::{ClusterName, Epoch, FileName, header};
use futures::{StreamExt, stream, stream::BoxStream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE},
};
use http_body_util::BodyDataStream;

use super::{
    client::Client,
    content::Content,
    error::Error,
    exchange::{Call, STALL, header_value},
    retry::Failure,
};
use crate::{body::Body, transport::Lane};

/// Which bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From `first` to `last`, both included; without `last`, to the end.
    Span {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: Option<u64>,
    },
    /// The last so many bytes.
    Suffix(u64),
}

impl std::fmt::Display for ByteRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Span { first, last: Some(last) } => write!(f, "bytes={first}-{last}"),
            Self::Span { first, last: None } => write!(f, "bytes={first}-"),
            Self::Suffix(length) => write!(f, "bytes=-{length}"),
        }
    }
}

/// What is known of a file without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Length of the whole file, in bytes.
    pub size: u64,
    /// The ETag, without quotes.
    pub etag: String,
    /// The version, 32 hex digits.
    pub version: String,
    /// The home cluster.
    pub cluster: ClusterName,
    /// The home's epoch.
    pub epoch: Epoch,
    /// When the version was committed, as the server wrote it (an HTTP date).
    pub modified: Option<String>,
    /// The request's id.
    pub request_id: String,
}

/// A file on its way.
pub struct Download {
    /// What is known of the file.
    pub info: FileInfo,
    /// The first and last byte that come, where a range was asked for and granted.
    pub range: Option<(u64, u64)>,
    /// The bytes. Only a stream that ends without an error has given them all.
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("info", &self.info).field("range", &self.range).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins to read a file; tries again until the first byte is on its way, not afterwards.
    ///
    /// # Errors
    /// See [`Error::kind`]. In the body: [`Error::Interrupted`] where it breaks off or stands still for 60 s (ask for the rest with
    /// a range), [`Error::Length`] where it ends cleanly with another length than announced (don't use it).
    pub async fn get(&self, name: &FileName, range: Option<ByteRange>) -> Result<Download, Error> {
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            headers.insert(RANGE, range_value(range));
        }
        self.begin(name, headers).await
    }

    /// Begins to read the rest of a content, from byte `first` to its end; if the file has another ETag by now, the new
    /// content from its beginning ([`Download::range`] is none then).
    ///
    /// # Errors
    /// As [`Client::get`]; [`Error::Malformed`] where the server sends other bytes than were asked for.
    pub async fn get_rest(&self, name: &FileName, first: u64, etag: &str) -> Result<Download, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range_value(ByteRange::Span { first, last: None }));
        let value = header_value(&format!("\"{etag}\""));
        headers.insert(IF_RANGE, value.map_err(|_| Error::Invalid(format!("'{etag}' is not an ETag")))?);
        let download = self.begin(name, headers).await?;
        let info = &download.info;
        match download.range {
            Some(range) if range != (first, info.size.saturating_sub(1)) || info.etag != etag => {
                let got = format!("bytes {} to {} of ETag {}", range.0, range.1, info.etag);
                Err(Error::Malformed(format!("bytes from {first} of ETag {etag} were asked for, {got} came")))
            }
            Some(_) | None => Ok(download),
        }
    }

    async fn begin(&self, name: &FileName, headers: HeaderMap) -> Result<Download, Error> {
        let call = Call { method: Method::GET, lane: Lane::Data, route: name.to_path(), headers, key: None };
        let content = Content::none(self.0.clock.clone());
        let (response, address) = self.run_at(&call, &content, |response| async move { Ok(response) }).await?;
        download(response, address).map_err(|failure| match failure {
            Failure::Malformed(why) => Error::Malformed(why),
            other => Error::Malformed(format!("{other:?}")),
        })
    }

    /// Asks what is known of a file.
    ///
    /// # Errors
    /// See [`Error::kind`]; a missing bucket can't be told from a missing file.
    pub async fn head(&self, name: &FileName) -> Result<FileInfo, Error> {
        let route = name.to_path();
        let call = Call { method: Method::HEAD, lane: Lane::Control, route, headers: HeaderMap::new(), key: None };
        let content = Content::none(self.0.clock.clone());
        self.run(&call, &content, |response| async move {
            let headers = response.headers();
            info(headers, number(headers, &CONTENT_LENGTH)?)
        })
        .await
    }
}

fn range_value(range: ByteRange) -> HeaderValue {
    header_value(&range.to_string()).expect("digits and dashes are a header value")
}

fn download(response: Response<Body>, address: String) -> Result<Download, Failure> {
    let (parts, body) = response.into_parts();
    let announced = number(&parts.headers, &CONTENT_LENGTH);
    let (info, range, length) = if parts.status == StatusCode::PARTIAL_CONTENT {
        let (first, last, size) = content_range(&parts.headers)?;
        (info(&parts.headers, size)?, Some((first, last)), last - first + 1)
    } else {
        let size = announced?;
        (info(&parts.headers, size)?, None, size)
    };
    Ok(Download { info, range, body: exactly(body, length, address) })
}

/// Passes a body on and fails it where it is not of the length announced.
fn exactly(body: Body, expected_bytes: u64, address: String) -> BoxStream<'static, Result<Bytes, Error>> {
    let frames = BodyDataStream::new(body);
    stream::unfold(Some((frames, 0_u64)), move |state| {
        let address = address.clone();
        async move {
            let (mut frames, mut got_bytes) = state?;
            let interrupted = |source| Some((Err(Error::Interrupted { address, source }), None));
            match tokio::time::timeout(STALL, frames.next()).await {
                Err(_) => interrupted(format!("no progress for {STALL:?}").into()),
                Ok(Some(Err(e))) => interrupted(e.into_inner()),
                Ok(Some(Ok(bytes))) => {
                    got_bytes += bytes.len() as u64;
                    if got_bytes > expected_bytes {
                        return Some((Err(Error::Length { expected_bytes, got_bytes }), None));
                    }
                    Some((Ok(bytes), Some((frames, got_bytes))))
                }
                Ok(None) if got_bytes < expected_bytes => {
                    Some((Err(Error::Length { expected_bytes, got_bytes }), None))
                }
                Ok(None) => None,
            }
        }
    })
    .boxed()
}

fn info(headers: &HeaderMap, size: u64) -> Result<FileInfo, Failure> {
    let etag = text(headers, &ETAG)?;
    Ok(FileInfo {
        size,
        etag: etag.trim_start_matches("W/").trim_matches('"').to_owned(),
        version: text(headers, &HeaderName::from_static(header::VERSION))?.to_owned(),
        cluster: number(headers, &HeaderName::from_static(header::CLUSTER))?,
        epoch: number(headers, &HeaderName::from_static(header::EPOCH))?,
        modified: text(headers, &LAST_MODIFIED).ok().map(str::to_owned),
        request_id: text(headers, &HeaderName::from_static(header::REQUEST_ID)).unwrap_or_default().to_owned(),
    })
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Failure> {
    let value = headers.get(name).and_then(|v| v.to_str().ok());
    value.ok_or_else(|| Failure::Malformed(format!("the answer lacks the header '{name}'")))
}

fn number<T: FromStr>(headers: &HeaderMap, name: &HeaderName) -> Result<T, Failure> {
    let value = text(headers, name)?;
    value.parse().map_err(|_| Failure::Malformed(format!("the answer's header '{name}' says '{value}'")))
}

/// Reads `bytes FIRST-LAST/SIZE`.
fn content_range(headers: &HeaderMap) -> Result<(u64, u64, u64), Failure> {
    let value = text(headers, &CONTENT_RANGE)?;
    let parsed = value.strip_prefix("bytes ").and_then(|rest| {
        let (span, size) = rest.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?, size.parse().ok()?))
    });
    match parsed {
        Some((first, last, size)) if first <= last && last < size => Ok((first, last, size)),
        _ => Err(Failure::Malformed(format!("the answer's Content-Range says '{value}'"))),
    }
}
