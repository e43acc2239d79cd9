//! Refuses requests whose framing two readers could read differently; hyper alone takes some of them.
//!
//! It looks at one request's head and at what [`crate::wire`] saw on the connection; it must not know routes or credentials.
//!
//! # Source
//! RFC 9112 sections 3.2 (Host) and 6.1 (Transfer-Encoding), RFC 9110 section 7.2.

use std::sync::atomic::{AtomicU64, Ordering};

use flotilla_api::{Code, Problem};
use http::{HeaderMap, Request, Version, header, uri::Authority};

use crate::problem::ApiError;

/// From which request on a connection's bytes can't be trusted; shared between the reader and the requests.
#[derive(Debug)]
pub(crate) struct Suspicion(AtomicU64);

impl Default for Suspicion {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Suspicion {
    /// Raises suspicion of the connection's request number `first` (from 0) and of all that follow.
    pub(crate) fn raise(&self, first: u64) {
        self.0.fetch_min(first, Ordering::Release);
    }

    pub(crate) fn of(&self, number: u64) -> bool {
        number >= self.0.load(Ordering::Acquire)
    }
}

/// Marks a request that came over a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnWire {
    /// Whether the bytes of its head, or what came before it, can be read in two ways.
    pub(crate) suspicious: bool,
}

/// Checks a request's framing.
///
/// A request that came over a connection must also name its host; one that a test made in memory need not.
///
/// # Errors
/// 400 `header_invalid`; the connection must be closed after the answer, since what follows on it can't be trusted.
pub fn check<B>(request: &Request<B>) -> Result<(), ApiError> {
    let wire = request.extensions().get::<OnWire>();
    if wire.is_some_and(|wire| wire.suspicious) {
        return refuse("a line's end or the body's length is given in a way that readers could take differently");
    }
    check_host(request.headers(), wire.is_some() && request.version() == Version::HTTP_11)?;
    check_target(request)?;
    check_coding(request.headers())
}

fn check_host(headers: &HeaderMap, needed: bool) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if needed => refuse("the header Host is missing"),
        (None, _) => Ok(()),
        (Some(_), Some(_)) => refuse("there is more than one header Host"),
        (Some(host), None) => {
            let text = host.as_bytes();
            let good = text.is_empty() || Authority::try_from(text).is_ok_and(|_| !text.contains(&b'@'));
            if good { Ok(()) } else { refuse("the header Host is not HOST or HOST:PORT") }
        }
    }
}

/// A target with a host of its own (`GET http://a/…`) must name the one in the header: a proxy in front of us may have decided by
/// either of them.
fn check_target<B>(request: &Request<B>) -> Result<(), ApiError> {
    let (Some(target), Some(host)) = (request.uri().authority(), request.headers().get(header::HOST)) else {
        return Ok(());
    };
    if target.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) {
        return Ok(());
    }
    refuse("the request's target and the header Host name different hosts")
}

fn check_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return refuse("the only Transfer-Encoding taken is 'chunked', once");
    }
    if headers.contains_key(header::CONTENT_LENGTH) {
        return refuse("Content-Length and Transfer-Encoding exclude each other");
    }
    Ok(())
}

fn refuse(detail: &str) -> Result<(), ApiError> {
    Err(Problem::new(Code::HeaderInvalid, detail).hint("send each framing header once, as RFC 9112 says").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_headers(headers: &[(&str, &str)]) -> Result<(), ApiError> {
        let mut request = Request::builder().uri("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).expect("valid request"))
    }

    #[test]
    fn ambiguous_heads_are_refused_as_header_invalid() {
        let refused: &[&[(&str, &str)]] = &[
            &[("host", "a"), ("host", "a")],
            &[("host", "a b")],
            &[("host", "user@a")],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "identity")],
            &[("transfer-encoding", "chunked"), ("content-length", "3")],
        ];
        for headers in refused {
            let error = check_headers(headers).expect_err("must be refused");
            assert_eq!(error.code, Code::HeaderInvalid, "{headers:?}");
        }
    }

    #[test]
    fn a_target_names_the_same_host_as_the_header() {
        let check = |target: &str, host: &str| {
            check(&Request::builder().uri(target).header("host", host).body(()).expect("valid request"))
        };
        assert_eq!(check("http://A:80/x", "a:80"), Ok(()));
        for (target, host) in [("http://a/x", "b"), ("http://a:80/x", "a"), ("http://a@b/x", "b")] {
            assert_eq!(check(target, host).expect_err("must be refused").code, Code::HeaderInvalid, "{target} {host}");
        }
    }

    #[test]
    fn plain_heads_are_taken() {
        let taken: &[&[(&str, &str)]] = &[
            &[],
            &[("host", "")],
            &[("host", "[::1]:7400")],
            &[("host", "flotilla.example:7400"), ("transfer-encoding", "Chunked ")],
            &[("content-length", "3")],
        ];
        for headers in taken {
            assert_eq!(check_headers(headers), Ok(()), "{headers:?}");
        }
    }
}
