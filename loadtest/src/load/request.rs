//! One request of a load over a connection of its own, with everything that it proves or disproves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use flotilla_api::Code;
use flotilla_env::Clock;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{CONTENT_LENGTH, ETAG, RANGE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::counts::Failure;
use crate::{
    pool::{Body, Compare, File, Wrong},
    wire::{Connection, Endpoint, Error},
};

/// The most that is read of a list of 256 files, or of a refusal.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The slowest transfer that is waited for, in bytes per second.
const RATE_MIN: u64 = 1_000_000;

/// Why a request failed.
pub(crate) type Failed = (Failure, String);

/// What a request found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// When the head of the answer was there.
    pub(crate) head: Option<Instant>,
    /// The ETag, without quotes.
    pub(crate) etag: String,
    /// The body of a list.
    pub(crate) document: Bytes,
    /// When all was there, if work of the runner's own followed.
    pub(crate) ended: Option<Instant>,
}

/// A client's way to one address: a connection that is made when it is needed.
pub(crate) struct Line {
    endpoint: Endpoint,
    connection: Option<Connection>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
}

impl Line {
    pub(crate) fn new(endpoint: Endpoint, clock: Arc<dyn Clock>, timeout: Duration) -> Self {
        Self { endpoint, connection: None, clock, timeout }
    }

    /// Uploads a file.
    pub(crate) async fn put(&mut self, path: &str, file: &File) -> Result<Outcome, Failed> {
        let limit = self.limit(file.length());
        self.within(limit, async |line: &mut Self| {
            let answer = line.send(Method::PUT, path, None, Body::file(file.clone())).await?;
            let outcome = line.outcome(&answer);
            document(answer).await.map(|_| outcome)
        })
        .await
    }

    /// Downloads a file, or the part from `from` to `to` of it, and compares every byte.
    pub(crate) async fn get(&mut self, path: &str, file: &File, part: Option<(u64, u64)>) -> Result<Outcome, Failed> {
        let (from, to) = part.unwrap_or((0, file.length()));
        let limit = self.limit(to - from);
        self.within(limit, async |line: &mut Self| {
            let range = part.map(|(from, to)| format!("bytes={from}-{}", to - 1));
            let answer = line.send(Method::GET, path, range.as_deref(), Body::empty()).await?;
            let outcome = line.outcome(&answer);
            let wanted = if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
            if answer.status() != wanted {
                return Err(refused(answer).await);
            }
            let mut body = answer.into_body();
            let mut compare = Compare::part(file.clone(), from, to);
            while let Some(frame) = body.frame().await {
                if let Some(bytes) = frame.map_err(broken)?.data_ref() {
                    compare.feed(bytes).map_err(wrong)?;
                }
            }
            compare.finish().map_err(wrong).map(|()| outcome)
        })
        .await
    }

    /// Asks for a file's length and compares it.
    pub(crate) async fn head(&mut self, path: &str, file: &File) -> Result<Outcome, Failed> {
        self.within(self.timeout, async |line: &mut Self| {
            let answer = line.send(Method::HEAD, path, None, Body::empty()).await?;
            let outcome = line.outcome(&answer);
            if answer.status() != StatusCode::OK {
                return Err(refused(answer).await);
            }
            let length = answer.headers().get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
            match length {
                Some(length) if length == file.length() => Ok(outcome),
                Some(length) => Err((Failure::Wrong, format!("length is {length} instead of {}", file.length()))),
                None => Err((Failure::Malformed, "the answer to HEAD has no Content-Length".to_owned())),
            }
        })
        .await
    }

    /// Gets a document, like a list.
    pub(crate) async fn list(&mut self, path: &str) -> Result<Outcome, Failed> {
        self.within(self.timeout, async |line: &mut Self| {
            let answer = line.send(Method::GET, path, None, Body::empty()).await?;
            let outcome = line.outcome(&answer);
            document(answer).await.map(|document| Outcome { document, ..outcome })
        })
        .await
    }

    /// Makes a file from another one; the path names both.
    pub(crate) async fn copy(&mut self, path: &str) -> Result<Outcome, Failed> {
        self.within(self.timeout, async |line: &mut Self| {
            let answer = line.send(Method::POST, path, None, Body::empty()).await?;
            let outcome = line.outcome(&answer);
            document(answer).await.map(|_| outcome)
        })
        .await
    }

    /// Deletes a file.
    pub(crate) async fn delete(&mut self, path: &str) -> Result<Outcome, Failed> {
        self.within(self.timeout, async |line: &mut Self| {
            let answer = line.send(Method::DELETE, path, None, Body::empty()).await?;
            let outcome = line.outcome(&answer);
            document(answer).await.map(|_| outcome)
        })
        .await
    }

    /// Bounds a request in time; what is left of a failed one must not become the next one's answer.
    async fn within<F>(&mut self, limit: Duration, request: F) -> Result<Outcome, Failed>
    where
        F: AsyncFnOnce(&mut Self) -> Result<Outcome, Failed>,
    {
        let timed_out = || (Failure::Timeout, format!("no whole answer within {limit:?}"));
        let result = tokio::time::timeout(limit, request(self)).await.unwrap_or_else(|_| Err(timed_out()));
        if result.as_ref().is_err_and(|(failure, _)| !failure.is_answer()) {
            self.connection = None;
        }
        result
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        range: Option<&str>,
        body: Body,
    ) -> Result<Response<Incoming>, Failed> {
        let connection = match &mut self.connection {
            Some(connection) if !connection.is_closed() => connection,
            closed => {
                let opened = Connection::open(&self.endpoint).await;
                closed.insert(opened.map_err(|error| (Failure::Refused, error.to_string()))?)
            }
        };
        let range = range.map(|range| (RANGE, HeaderValue::try_from(range).expect("digits are visible ASCII")));
        connection.send(method, path, range, body).await.map_err(|error| match error {
            Error::Http(error) => broken(error),
            other => (Failure::Malformed, other.to_string()),
        })
    }

    fn outcome(&self, answer: &Response<Incoming>) -> Outcome {
        let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
        let etag = etag.trim_matches('"').to_owned();
        Outcome { head: Some(self.clock.now()), etag, ..Outcome::default() }
    }

    fn limit(&self, bytes: u64) -> Duration {
        self.timeout + Duration::from_secs(bytes / RATE_MIN)
    }
}

fn broken(error: hyper::Error) -> Failed {
    (Failure::Broken, error.to_string())
}

fn wrong(wrong: Wrong) -> Failed {
    let failure = if matches!(wrong, Wrong::Short { .. }) { Failure::Short } else { Failure::Wrong };
    (failure, wrong.to_string())
}

async fn document(answer: Response<Incoming>) -> Result<Bytes, Failed> {
    if !answer.status().is_success() {
        return Err(refused(answer).await);
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| (Failure::Broken, error.to_string()))
}

/// Whether a refusal says when to come again: after a number of seconds, or at a date. A header that no client can follow is none,
/// and "at once" is no answer of a server that has too much to do.
fn says_when(headers: &HeaderMap) -> bool {
    let told = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    told.is_some_and(|text| text.ends_with(" GMT") || text.parse::<u32>().is_ok_and(|seconds| seconds > 0))
}

/// Names a refusal. A 404 is one of an acked file, since no others are asked for: who knows better says so.
async fn refused(answer: Response<Incoming>) -> Failed {
    let status = answer.status();
    let failure = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            if says_when(answer.headers()) {
                Failure::BusyWithRetryAfter
            } else {
                Failure::Busy
            }
        }
        StatusCode::NOT_FOUND => Failure::Lost,
        _ if status.is_server_error() => Failure::ServerError,
        _ if status.is_client_error() => Failure::ClientError,
        _ => Failure::Malformed,
    };
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    // The store itself says that it has not what it acked; a part is only asked for within the file.
    let admits = status == StatusCode::INTERNAL_SERVER_ERROR && text.contains(Code::DataCorrupt.as_str());
    let failure = if admits || status == StatusCode::RANGE_NOT_SATISFIABLE { Failure::Wrong } else { failure };
    (failure, format!("{status}: {}", text.chars().take(300).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use flotilla_env::clock;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_refusal_keeps_its_connection_and_a_broken_answer_does_not() {
        const BUSY: &str = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let endpoint = Endpoint::new(&format!("http://{}", listener.local_addr().expect("bound")), None);
        let mut line = Line::new(endpoint.expect("an address"), clock::system(), Duration::from_secs(10));
        let server = tokio::spawn(async move {
            for answers in [&[BUSY, BUSY, "HTTP/1.1 429 Too"][..], &[BUSY]] {
                let (mut socket, _) = listener.accept().await.expect("the client comes");
                for answer in answers {
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") {
                        socket.read_exact(&mut byte).await.expect("a request on this connection");
                        head.push(byte[0]);
                    }
                    socket.write_all(answer.as_bytes()).await.expect("the client listens");
                }
            }
        });
        let mut failures = Vec::new();
        for _ in 0..4 {
            failures.push(line.delete("/v1/files/demo/a").await.expect_err("refused").0);
        }
        let busy = Failure::BusyWithRetryAfter;
        assert_eq!(failures, [busy, busy, Failure::Broken, busy]);
        server.await.expect("both connections were used as expected");
    }

    #[test]
    fn a_refusal_says_when_to_come_again_or_it_does_not() {
        let told =
            |text: &'static str| says_when(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]));
        assert!(told("1") && told("30") && told("Fri, 31 Dec 1999 23:59:59 GMT"));
        assert!(!told("0") && !told("-1") && !told("soon") && !told("") && !told("1.5"));
        assert!(!says_when(&HeaderMap::new()));
    }
}
