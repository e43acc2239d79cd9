//! What waits at a supernode, as `GET /v1/queue` tells it and as supernodes ask each other.

use serde::{Deserialize, Serialize};

use crate::{ClusterName, RequestId};

/// Which queue a request waits in: small ones never stand behind big ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Heads, small bodies and what the metadata does alone.
    Small,
    /// Bodies that stream.
    Big,
}

impl Lane {
    /// Both, the one that goes first at first.
    pub const ALL: [Self; 2] = [Self::Small, Self::Big];

    /// The word for people and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Big => "big",
        }
    }
}

/// How much a request is.
///
/// # Units
/// `units` order the queue and the estimates: 1, and 1 more for every MiB of the body. `bytes` are those that its body
/// announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// Its lane.
    pub lane: Lane,
    /// Its weight between principals.
    pub units: u32,
    /// Bytes that are announced, not held: bodies of those that wait stay with their clients.
    pub bytes: u64,
}

/// The answer to `GET /v1/queue`: the queues of one supernode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueAnswer {
    /// The supernode whose queues these are, by its peer address.
    pub supernode: String,
    /// Whether the request that was asked for waits anywhere; none if none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<bool>,
    /// Its queues: that of the lists first, then those of the clusters by name.
    pub clusters: Vec<SideStatus>,
    /// Requests that wait, those that came first before the others: the caller's own, for root those of all; of one
    /// request, that one.
    pub items: Vec<EntryStatus>,
    /// Other supernodes that did not answer: what waits there is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// One cluster's queues at a supernode, or those of the lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideStatus {
    /// The cluster; none for the lists.
    pub cluster: Option<ClusterName>,
    /// Whether it was heard lately.
    pub fresh: bool,
    /// Credits of this supernode.
    pub credits: u32,
    /// Those in use.
    pub in_flight: u32,
    /// Streams that hold none.
    pub streams: u32,
    /// Requests that it took from the queues of others since the supernode started.
    pub taken: u64,
    /// Requests that others took from its queue.
    pub given: u64,
    /// The lanes, the small one first.
    pub lanes: Vec<LaneStatus>,
}

impl SideStatus {
    /// How many wait, in both lanes.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.lanes.iter().map(|lane| lane.waiting).sum()
    }
}

/// One lane of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// The lane.
    pub lane: Lane,
    /// How many wait.
    pub waiting: u32,
    /// Their units.
    pub units: u64,
    /// Bytes that they announce; of one request 1 GiB at the most is counted.
    pub bytes: u64,
    /// How long the oldest has waited, in milliseconds.
    pub oldest_ms: u64,
    /// Units per second that it is served with, as last measured.
    pub per_second: f64,
    /// How long all that wait take together, in milliseconds.
    pub wait_ms: u64,
}

/// One request that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryStatus {
    /// The request.
    pub request: RequestId,
    /// Whose it is.
    pub principal: String,
    /// For which cluster; none for a list.
    pub cluster: Option<ClusterName>,
    /// How much it is.
    pub class: Class,
    /// How long it has waited, in milliseconds.
    pub waited_ms: u64,
    /// Its place in its principal's line, from 1 on.
    pub position: u64,
    /// How long it will wait, as far as can be told, in milliseconds.
    pub wait_ms: u64,
}

/// A cluster's numbers at one supernode, within [`crate::files::ClusterStatus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueCounts {
    /// Credits that the cluster offers this supernode.
    pub credits: u32,
    /// Those in use.
    pub in_flight: u32,
    /// Streams that hold none.
    pub streams: u32,
    /// Requests that wait for the cluster.
    pub waiting: u32,
    /// Requests that it took from the queues of others since the supernode started.
    pub taken: u64,
    /// Requests that others took from its queue.
    pub given: u64,
}

impl From<&SideStatus> for QueueCounts {
    fn from(side: &SideStatus) -> Self {
        Self {
            credits: side.credits,
            in_flight: side.in_flight,
            streams: side.streams,
            waiting: side.waiting(),
            taken: side.taken,
            given: side.given,
        }
    }
}

/// Peers: what another supernode knows of a request that waits there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// The request's own entry.
    pub entry: EntryStatus,
    /// The queues of that supernode.
    pub clusters: Vec<SideStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back_from_json_and_between_peers() {
        let cluster: ClusterName = "a".parse().expect("a good name");
        let lane =
            |lane| LaneStatus { lane, waiting: 2, units: 3, bytes: 4, oldest_ms: 5, per_second: 6.5, wait_ms: 7 };
        let side = SideStatus {
            cluster: Some(cluster.clone()),
            fresh: true,
            credits: 8,
            in_flight: 8,
            streams: 1,
            taken: 2,
            given: 3,
            lanes: Lane::ALL.into_iter().map(lane).collect(),
        };
        let entry = EntryStatus {
            request: RequestId::from_bits(1),
            principal: "p".to_owned(),
            cluster: Some(cluster),
            class: Class { lane: Lane::Big, units: 3, bytes: 2 << 20 },
            waited_ms: 1,
            position: 1,
            wait_ms: 2,
        };
        let waits = Waits { entry: entry.clone(), clusters: vec![side.clone()] };
        assert_eq!(crate::codec::decode::<Waits>(&crate::codec::encode(&waits)).expect("it decodes"), waits);
        let counts = QueueCounts::from(&side);
        assert_eq!((counts.waiting, counts.credits, counts.taken, counts.given), (4, 8, 2, 3));
        let (supernode, silent) = ("h:1".to_owned(), Vec::new());
        let answer = QueueAnswer { supernode, found: None, clusters: vec![side], items: vec![entry], silent };
        let text = serde_json::to_string(&answer).expect("plain data");
        assert!(text.contains(r#""lane":"big""#) && !text.contains("found") && !text.contains("silent"), "{text}");
        assert_eq!(serde_json::from_str::<QueueAnswer>(&text).expect("it is read back"), answer);
    }
}
