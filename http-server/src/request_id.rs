//! The id that follows one request through all processes and logs, and what of a request must never reach a log.

use flotilla_api::{RequestId, header};
use flotilla_env::Entropy;
use http::{HeaderMap, HeaderValue};

/// Headers whose values are secrets or prove one.
const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", header::PEER];

/// Takes the id that the client sent, or makes one where it sent none or one that breaks the rules of [`RequestId`].
#[must_use]
pub fn take(headers: &HeaderMap, entropy: &dyn Entropy) -> RequestId {
    headers
        .get(header::REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| RequestId::from_bits(entropy.u128()))
}

/// Gives the id as a header value.
#[must_use]
pub fn to_value(id: &RequestId) -> HeaderValue {
    HeaderValue::from_str(id.as_str()).expect("the alphabet of request ids is visible ASCII")
}

/// Marks secret headers, so that `Debug` of the request shows none of them.
pub fn hide_secrets(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if SECRET.contains(&name.as_str()) {
            value.set_sensitive(true);
        }
    }
}
