//! What supernodes and a cluster's leader tell each other about the cluster's load.

use serde::{Deserialize, Serialize};

/// How many requests one supernode may have under way in a cluster, and what that was decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// This supernode's share; less than usual while the cluster is measured.
    pub credits: u32,
    /// The cluster's credits in all; a measurement does not change them.
    pub total: u32,
    /// How long a read takes to the head of its answer while nothing else waits, in microseconds; none if never
    /// measured.
    pub read_us: Option<u32>,
    /// How long a small write takes while nothing else waits, in microseconds; none if never measured.
    pub write_us: Option<u32>,
    /// How many times longer they took last, in thousandths.
    pub strain_milli: u32,
}

/// Requests that a cluster answered well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answered {
    /// How many.
    pub count: u32,
    /// How long they took together, from the dispatch to the head of the answer, in microseconds.
    pub us: u64,
}

/// What one supernode saw of a cluster since its last answer to the cluster's leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Felt {
    /// How long that is, in milliseconds.
    pub window_ms: u32,
    /// Requests under way, in thousandths: the mean over the window.
    pub in_flight_milli: u32,
    /// For how much of the window, in milliseconds, requests waited for a credit. Being out of credits is not enough:
    /// where nobody waits, more of them would not be used.
    pub saturated_ms: u32,
    /// Reads. A client that takes its body slowly is not in their time.
    pub reads: Answered,
    /// Small writes: bodies that were kept here whole before they were sent, so the client's speed is not in their time
    /// either.
    pub writes: Answered,
    /// Requests of any size that the cluster answered with 429, 503 or 504, or whose answer was lost.
    pub failed: u32,
    /// Bytes of bodies that moved, both ways.
    pub bytes: u64,
    /// Requests that the cluster answered with less than 500 and not with 429, and whose time says nothing: errors of
    /// clients, HEADs, deletes, redirects, big ones.
    pub others: u32,
    /// Big ones of those under way, in thousandths.
    pub in_flight_big_milli: u32,
    /// Small requests that wait now.
    pub waiting_small: u32,
    /// Big ones that wait now.
    pub waiting_big: u32,
    /// The offer that stood before the report that this answers: a new leader goes on from there.
    pub offer: Option<Offer>,
}
