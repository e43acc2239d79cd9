//! Reads what an answer that is no success says; knows neither who asked nor whether to ask again.

use std::time::Duration;

use flotilla_api::{Code, Problem, header};
use http::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE, header::ETAG, header::RETRY_AFTER};

use crate::body::{self, Body, BoxError};

/// A problem document is a few sentences; more than this is not one of ours.
const LENGTH_MAX: usize = 64 << 10;
/// It comes with the head it belongs to; this is time for a lost packet or two.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why an answer could not be read as a problem.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The answer is not from a Flotilla process, or not of a version that is understood.
    Foreign(String),
    /// The answer broke off.
    Lost(BoxError),
}

/// Reads the problem document of an answer to a request that was not HEAD.
pub(crate) async fn read(response: Response<Body>) -> Result<Problem, Unread> {
    let (parts, body) = response.into_parts();
    let media = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !media.starts_with(Problem::MEDIA_TYPE) {
        return Err(Unread::Foreign(format!("status {} without a problem document", parts.status)));
    }
    let bytes = match tokio::time::timeout(DEADLINE, body::collect(body, LENGTH_MAX)).await {
        Ok(collected) => collected.map_err(|e| Unread::Lost(e.into()))?,
        Err(_) => return Err(Unread::Lost(format!("no problem document within {DEADLINE:?}").into())),
    };
    let mut problem: Problem = serde_json::from_slice(&bytes).map_err(|e| {
        Unread::Foreign(format!("status {} with a problem document that does not parse: {e}", parts.status))
    })?;
    problem.retry_after_ms = problem.retry_after_ms.or_else(|| retry_after_ms(&parts.headers));
    Ok(problem)
}

/// Makes the problem that an answer to HEAD, which has no body, can only hint at by its status.
pub(crate) fn of_head(status: StatusCode, headers: &HeaderMap) -> Option<Problem> {
    let code = match status {
        // HEAD is asked of files; a missing bucket answers the same.
        StatusCode::NOT_FOUND => Code::FileNotFound,
        _ => Code::ALL.iter().copied().find(|code| code.status() == status)?,
    };
    let mut problem = Problem::new(code, "the answer to HEAD carries no detail");
    problem.retry_after_ms = retry_after_ms(headers);
    problem.etag = headers.get(ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let id = headers.get(header::REQUEST_ID).and_then(|v| v.to_str().ok());
    problem.request_id = id.unwrap_or_default().to_owned();
    Some(problem)
}

/// Gives when to ask again, if an answer says so.
pub(crate) fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1000))
}
