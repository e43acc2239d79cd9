//! Answers that are told line by line, as JSON.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;

/// Makes an answer of lines, each sent as it comes. A line that can't be encoded breaks the answer off.
#[must_use]
pub fn stream<T: Serialize + Send + 'static>(lines: impl Stream<Item = T> + Send + 'static) -> Response {
    let lines = lines.map(|line| {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        Ok::<_, serde_json::Error>(Bytes::from(text))
    });
    answer(Body::from_stream(lines))
}

/// Makes an answer of a body that consists of such lines already.
#[must_use]
pub fn answer(body: Body) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}
