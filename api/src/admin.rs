//! What an operator asks of a cluster: routes under `/v1/clusters/{cluster}/`, and their answers as JSON.

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// A question, or an order, to a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// `GET tasks`: what repair has planned.
    Tasks,
    /// `GET transfers`: copies on their way between nodes, and the last ones that ended.
    Transfers,
    /// `GET nodes`: the members.
    Nodes,
    /// `POST nodes/{node}/drain`, and `DELETE` to take it back: moves all data off a node.
    Drain {
        /// The node.
        node: NodeId,
        /// Whether it drains from now on.
        on: bool,
    },
    /// `POST nodes/{node}/stop`: the node hands over and ends.
    Stop {
        /// The node.
        node: NodeId,
    },
    /// `POST nodes/{node}/remove`: a node without data leaves the cluster for ever; `POST nodes/{node}/remove-lost`: a node that
    /// is gone does, with whatever it had.
    Remove {
        /// The node.
        node: NodeId,
        /// Whether it is gone, so that nothing is asked of it.
        lost: bool,
    },
}

/// The methods and paths behind `/v1/clusters/{cluster}/`, as routers write them.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "tasks"),
    ("GET", "transfers"),
    ("GET", "nodes"),
    ("POST", "nodes/{node}/drain"),
    ("DELETE", "nodes/{node}/drain"),
    ("POST", "nodes/{node}/stop"),
    ("POST", "nodes/{node}/remove"),
    ("POST", "nodes/{node}/remove-lost"),
];

impl Request {
    /// Reads the part of the path behind the cluster's name, for one of [`ROUTES`].
    #[must_use]
    pub fn parse(method: &str, rest: &str) -> Option<Self> {
        match (method, rest) {
            ("GET", "tasks") => Some(Self::Tasks),
            ("GET", "transfers") => Some(Self::Transfers),
            ("GET", "nodes") => Some(Self::Nodes),
            _ => {
                let (node, what) = rest.strip_prefix("nodes/")?.split_once('/')?;
                let node = node.parse().ok()?;
                match (method, what) {
                    ("POST", "drain") => Some(Self::Drain { node, on: true }),
                    ("DELETE", "drain") => Some(Self::Drain { node, on: false }),
                    ("POST", "stop") => Some(Self::Stop { node }),
                    ("POST", "remove") => Some(Self::Remove { node, lost: false }),
                    ("POST", "remove-lost") => Some(Self::Remove { node, lost: true }),
                    _ => None,
                }
            }
        }
    }
}

/// The answer to [`Request::Nodes`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeList {
    /// The members, by id.
    pub items: Vec<Node>,
}

/// A member of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its id; never given to another one.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its peer address.
    pub peer: String,
    /// Its zone, as far as it is known.
    pub zone: Option<String>,
    /// What it is in the cluster's Raft group.
    pub role: Role,
    /// Whether the leader hears of it.
    pub standing: Standing,
    /// For how long it has been silent, as far as this leader can know, in milliseconds.
    pub silent_ms: u64,
    /// Copies on its disk, as it said last.
    pub copies: u64,
    /// Free bytes of its disk, as it said last.
    pub disk_free_bytes: u64,
    /// How far its drain is; none for a node that does not drain.
    pub drain: Option<Drain>,
    /// Whether it leaves the cluster for ever.
    pub leaves: bool,
}

/// How far the drain of a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Chunks that the metadata names the node for, counted for this answer.
    pub named: u64,
    /// Whether no chunk is on its disk or on its way there, and none names it.
    pub empty: bool,
    /// Whether nothing is lost if the node ends for ever: it is empty, and without it and all others that drain or are silent a
    /// quorum of the voters is left.
    pub safe_to_stop: bool,
}

/// What a node is in a Raft group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes.
    Voter,
    /// It follows.
    Learner,
}

/// How a node stands with its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Heard lately.
    Up,
    /// Silent.
    Silent,
}

/// The answer to an order that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The node.
    pub node: NodeId,
}

/// The answer to [`Request::Tasks`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskList {
    /// The tasks that stand, those planned first before the others.
    pub items: Vec<Task>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id: `INDEX-NUMBER`, after its place in the log.
    pub id: String,
    /// What is to be done.
    pub kind: TaskKind,
    /// Whether a node has taken it.
    pub state: TaskState,
    /// The node that gets copies.
    pub to: NodeId,
    /// Chunks that it was planned with.
    pub chunks: u32,
    /// Chunks that are left.
    pub left: u32,
    /// Bytes that are left.
    pub left_bytes: u64,
    /// How often it was taken.
    pub taken: u32,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Makes copies of chunks.
    Copy,
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Nobody has it.
    Waiting,
    /// A node carries it out, or did so lately.
    Leased,
}

/// The answer to [`Request::Transfers`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TransferList {
    /// Transfers that go on, then those that ended, the last one first.
    pub items: Vec<Transfer>,
    /// What went over each link since the receiving node started.
    pub links: Vec<Link>,
    /// Nodes that did not say what they know.
    pub silent: Vec<NodeId>,
}

/// The chunks of one task on their way to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The task.
    pub task: String,
    /// The node that gets copies.
    pub to: NodeId,
    /// How long ago it began, in milliseconds.
    pub age_ms: u64,
    /// How long it took; none while it goes on.
    pub took_ms: Option<u64>,
    /// Its chunks.
    pub chunks: Vec<ChunkTransfer>,
}

/// One chunk of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkTransfer {
    /// The chunk.
    pub chunk: String,
    /// Its length, in bytes.
    pub bytes: u32,
    /// How far it is.
    pub state: ChunkState,
    /// The node that gave it.
    pub from: Option<NodeId>,
    /// Why it failed.
    pub why: Option<String>,
}

/// How far a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkState {
    /// Its turn has not come.
    Waiting,
    /// It is on its way.
    Copying,
    /// Its copy is synced.
    Done,
    /// Nothing needs it any more.
    Gone,
    /// No copy was made.
    Failed,
}

/// What went from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The node that gave.
    pub from: NodeId,
    /// The node that got.
    pub to: NodeId,
    /// Copies that were made.
    pub transfers: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Tries that failed.
    pub failures: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_a_request_and_nothing_else_is() {
        for (method, rest) in ROUTES {
            assert!(Request::parse(method, &rest.replace("{node}", "7")).is_some(), "{method} {rest}");
        }
        for (method, rest) in [
            ("POST", "tasks"),
            ("GET", ""),
            ("GET", "task"),
            ("GET", "tasks/"),
            ("GET", "nodes/x/drain"),
            ("POST", "nodes/7/"),
        ] {
            assert_eq!(Request::parse(method, rest), None, "{method} {rest}");
        }
    }
}
