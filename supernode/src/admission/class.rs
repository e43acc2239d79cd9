//! What a request asks for: its lane, how much it counts, and which clusters can serve it. Must not know who else asks.

use std::sync::Arc;

use flotilla_api::{
    ClusterName, RequestId,
    keys::KeyId,
    queue::{Class, Lane},
};
use http::Method;
use tokio::time::Instant;

/// The longest body of a small request: one that is kept whole until it is answered, so that its client's speed is not
/// felt.
pub const SMALL_BODY_MAX: u64 = 64 << 10;
/// The most units of one request: turns come around every 4 units, and a longer wait for one turn would be felt by
/// everybody.
pub const UNITS_MAX: u32 = 64;
/// What a body of unknown length counts: twice a chunk, since most that are streamed are not tiny.
const UNITS_UNKNOWN: u32 = 16;
/// As that, in bytes.
const BYTES_UNKNOWN: u64 = 16 << 20;
/// What a list counts: a page of every cluster.
const UNITS_LIST: u32 = 4;

/// Which clusters can serve a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Any that takes new keys: while it waits it owns nothing, and may be moved.
    Any,
    /// The home of its key.
    Home(ClusterName),
    /// All of them: a list. It takes one of the few places that lists have, and no credit of a cluster.
    Everywhere,
}

/// How long a request waits for its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: it would rather take a ticket.
    AtOnce,
    /// As long as any request may, and not if that will not do.
    Queue,
    /// As long as it takes: it stands for a ticket. There is one of each principal at the most.
    Ticket,
    /// It has its place, whatever is free: it was let through elsewhere.
    Due,
}

/// A request that wants to be sent to a cluster.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The request, for its record.
    pub request: RequestId,
    /// Whose it is.
    pub principal: Arc<str>,
    /// The key that it came with, which is looked at again when it is let through; a ticket that stands in a queue has none.
    pub key: Option<KeyId>,
    /// What it asks for, for its record.
    pub op: &'static str,
    /// How much it is.
    pub class: Class,
    /// Where it can go.
    pub place: Place,
    /// When it came first, if it comes again because another claim of its key was earlier.
    pub first: Option<Instant>,
    /// How long it waits.
    pub patience: Patience,
}

/// Tells how much a request is; `across` marks a copy between two clusters, whose bytes go through here.
#[must_use]
pub fn class(method: &Method, length: Option<u64>, across: bool) -> Class {
    let has_body = [Method::PUT, Method::PATCH].contains(method);
    match length {
        Some(bytes) if across || (has_body && bytes > SMALL_BODY_MAX) => big(bytes),
        None if across || has_body => Class { lane: Lane::Big, units: UNITS_UNKNOWN, bytes: BYTES_UNKNOWN },
        Some(bytes) if has_body => Class { lane: Lane::Small, units: 1, bytes },
        Some(_) | None => Class { lane: Lane::Small, units: 1, bytes: 0 },
    }
}

/// Tells how much a list is.
#[must_use]
pub fn list() -> Class {
    Class { lane: Lane::Small, units: UNITS_LIST, bytes: 0 }
}

fn big(bytes: u64) -> Class {
    let units = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).saturating_add(1).min(UNITS_MAX);
    Class { lane: Lane::Big, units, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, length: Option<u64>, across: bool, expect: (Lane, u32, u64)) {
        let Class { lane, units, bytes } = class(method, length, across);
        assert_eq!((lane, units, bytes), expect, "{method} {length:?} {across}");
    }

    #[test]
    fn a_body_makes_a_request_big_and_nothing_else_does() {
        check(&Method::PUT, Some(0), false, (Lane::Small, 1, 0));
        check(&Method::PUT, Some(SMALL_BODY_MAX), false, (Lane::Small, 1, SMALL_BODY_MAX));
        check(&Method::PUT, Some(SMALL_BODY_MAX + 1), false, (Lane::Big, 1, SMALL_BODY_MAX + 1));
        check(&Method::PATCH, Some(5 << 20), false, (Lane::Big, 6, 5 << 20));
        check(&Method::PUT, Some(u64::MAX), false, (Lane::Big, UNITS_MAX, u64::MAX));
        check(&Method::PUT, None, false, (Lane::Big, 16, 16 << 20));
        for method in [Method::GET, Method::HEAD, Method::DELETE, Method::POST] {
            check(&method, None, false, (Lane::Small, 1, 0));
        }
        check(&Method::GET, Some(1 << 30), false, (Lane::Small, 1, 0));
        check(&Method::POST, Some(3 << 20), true, (Lane::Big, 4, 3 << 20));
        check(&Method::POST, None, true, (Lane::Big, 16, 16 << 20));
    }
}
