//! One keep-alive HTTP/1.1 connection by hand: as little client as possible, so that the server is what is measured.
//!
//! Nothing is retried and no redirect is followed. The ledger does not use this; it speaks through the SDK.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode, Uri,
    header::{AUTHORIZATION, ETAG, HOST, HeaderName},
};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::AbortHandle, time::timeout};

use crate::pool::{Body, Compare, File, Wrong};

/// How long a connection may take to stand; loopback and local networks need milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take besides its bytes: longer than any fail-over that servers promise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The slowest transfer that is waited for, in bytes per second; slower is stuck.
const RATE_MIN: u64 = 2_000_000;
/// The most that is read of an answer that is not a file: the metrics of a busy server have some hundred kilobytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not `http://HOST:PORT`.
    #[error("'{0}' is not an address of the form http://HOST:PORT")]
    Address(String),
    /// No connection came about.
    #[error("no connection to {0}: {1}")]
    Connect(String, #[source] std::io::Error),
    /// The connection failed in the middle.
    #[error("connection failed: {0}")]
    Http(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The server answered with a status that was not asked for.
    #[error("server answered {0}: {1}")]
    Status(StatusCode, String),
    /// The answer is too long or was cut.
    #[error("answer can't be read: {0}")]
    Answer(String),
}

/// Why a download is not what was uploaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    /// The request failed.
    #[error(transparent)]
    Wire(#[from] Error),
    /// It succeeded, with the wrong content.
    #[error(transparent)]
    Wrong(#[from] Wrong),
}

/// Where requests go.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    address: String,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// Reads a base address.
    ///
    /// # Errors
    /// [`Error::Address`]; another address must be given.
    pub(crate) fn new(base: &str, token: Option<&str>) -> Result<Self, Error> {
        let wrong = || Error::Address(base.to_owned());
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let value = |text: String| HeaderValue::from_str(&text).map_err(|_| wrong());
        let authorization = token.map(|token| value(format!("Bearer {token}"))).transpose()?;
        Ok(Self { host: value(address.clone())?, address, authorization })
    }
}

/// A connection to one endpoint.
#[derive(Debug)]
pub(crate) struct Connection {
    endpoint: Endpoint,
    sender: SendRequest<Body>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Timeout`] or [`Error::Http`]; a later try can succeed.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let connect = |source| Error::Connect(endpoint.address.clone(), source);
        let socket = timeout(CONNECT_TIMEOUT, TcpStream::connect(&endpoint.address)).await;
        let socket = socket.map_err(|_| Error::Timeout)?.map_err(connect)?;
        // Without it a small request waits for the delayed acknowledgement of the one before.
        socket.set_nodelay(true).map_err(connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        // Owned by this connection, which aborts it; its errors reach the request that was under way.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { endpoint: endpoint.clone(), sender, driver })
    }

    /// Uploads a file and gives the ETag of the answer, without quotes.
    ///
    /// # Errors
    /// Any [`Error`]; after all but [`Error::Status`] the outcome is unknown.
    pub(crate) async fn put(&mut self, path: &str, file: &File) -> Result<String, Error> {
        let limit = deadline(file.length());
        let upload = async {
            let answer = self.send(Method::PUT, path, None, Body::file(file.clone())).await?;
            let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
            let etag = etag.trim_matches('"').to_owned();
            good(answer).await.map(|_| etag)
        };
        timeout(limit, upload).await.unwrap_or(Err(Error::Timeout))
    }

    /// Downloads a file and compares every byte while it arrives.
    ///
    /// # Errors
    /// [`GetError::Wrong`] is a finding, [`GetError::Wire`] a failed request.
    pub(crate) async fn get(&mut self, path: &str, file: &File) -> Result<(), GetError> {
        let download = async {
            let answer = self.send(Method::GET, path, None, Body::empty()).await?;
            if answer.status() != StatusCode::OK {
                return Err(GetError::Wire(refusal(answer).await));
            }
            let mut body = answer.into_body();
            let mut compare = Compare::new(file.clone());
            while let Some(frame) = body.frame().await {
                if let Some(bytes) = frame.map_err(Error::Http)?.data_ref() {
                    compare.feed(bytes)?;
                }
            }
            Ok(compare.finish()?)
        };
        timeout(deadline(file.length()), download).await.unwrap_or(Err(GetError::Wire(Error::Timeout)))
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// Any [`Error`]; after all but [`Error::Status`] the outcome is unknown.
    pub(crate) async fn delete(&mut self, path: &str) -> Result<(), Error> {
        let delete = async { good(self.send(Method::DELETE, path, None, Body::empty()).await?).await.map(drop) };
        timeout(REQUEST_TIMEOUT, delete).await.unwrap_or(Err(Error::Timeout))
    }

    /// Gets a small document.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn document(&mut self, path: &str) -> Result<Bytes, Error> {
        let get = async { good(self.send(Method::GET, path, None, Body::empty()).await?).await };
        timeout(REQUEST_TIMEOUT, get).await.unwrap_or(Err(Error::Timeout))
    }

    /// Whether no further request can be sent.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request, with one header more if there is one, and gives the head of the answer.
    ///
    /// # Errors
    /// [`Error::Http`]: the connection is broken and the outcome unknown. [`Error::Address`]: the path is none.
    ///
    /// # Cancel safety
    /// Dropped, the request may have an effect, and the connection must not be used again.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
        body: Body,
    ) -> Result<http::Response<hyper::body::Incoming>, Error> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.endpoint.host);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        if let Some(value) = &self.endpoint.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(body).map_err(|_| Error::Address(path.to_owned()))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}

fn deadline(bytes: u64) -> Duration {
    REQUEST_TIMEOUT + Duration::from_secs(bytes / RATE_MIN)
}

/// Reads an answer to its end, so that the connection can be used again; an error if it is not a 2xx.
async fn good(answer: http::Response<hyper::body::Incoming>) -> Result<Bytes, Error> {
    if !answer.status().is_success() {
        return Err(refusal(answer).await);
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| Error::Answer(error.to_string()))
}

async fn refusal(answer: http::Response<hyper::body::Incoming>) -> Error {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    Error::Status(status, text.unwrap_or_else(|error| error.to_string()))
}
