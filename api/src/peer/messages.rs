//! Bodies of peer requests and answers.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::credits::{Felt, Offer};
use crate::{BucketName, ChunkId, ClusterName, Epoch, FileName, NodeId, keys::PrincipalName};

/// One node's synced copy of a chunk, as the node itself counted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCopy {
    /// The node.
    pub node: NodeId,
    /// Bytes of data synced.
    pub length: u64,
    /// CRC32C of the data's block sums (see chunk-store).
    pub crc: u32,
}

/// The answer to a chunk PUT: one copy for the node asked and one for every node behind it in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkAck {
    /// Copies that are synced. Fewer than asked means that a hop behind this one failed.
    pub copies: Vec<StoredCopy>,
    /// Nodes of the chain that have none.
    pub failed: Vec<FailedCopy>,
}

/// A node of a chain that has no copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCopy {
    /// The node.
    pub node: NodeId,
    /// Whether it said that it has no space.
    pub full: bool,
    /// A sentence for the log.
    pub why: String,
}

/// Asks the leader where new chunks should go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRequest {
    /// The gateway that asks; it is replica 1 whenever it is eligible.
    pub gateway: NodeId,
    /// How many chunks.
    pub count: u32,
    /// The most bytes of one chunk.
    pub chunk_bytes: u64,
    /// How many distinct nodes each chunk gets.
    pub replicas: u32,
    /// Nodes that these chunks must not go to.
    pub avoid: Vec<NodeId>,
    /// Nodes that just failed the asker: nobody gets them while there are others. With a `count` of 0 this is all that is told.
    pub suspects: Vec<NodeId>,
}

/// The leader's choice: one list of R distinct nodes per chunk, the gateway first where it takes part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlaceAnswer {
    /// For each chunk, its nodes and their peer addresses.
    pub chunks: Vec<Vec<(NodeId, String)>>,
    /// How many nodes can take chunks now; fewer than R leaves `chunks` empty.
    pub eligible: u32,
    /// Whether lack of space is the reason that too few nodes are eligible.
    pub full: bool,
}

/// A node's statistics; soft state, sent twice a second.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeStats {
    /// Share of the processors in use, 0 to 1, cgroup-aware.
    pub cpu_busy: f32,
    /// Memory that is left to this process, in bytes.
    pub memory_free_bytes: u64,
    /// Memory in all, in bytes.
    pub memory_total_bytes: u64,
    /// Free space for chunks, in bytes.
    pub disk_free_bytes: u64,
    /// Space for chunks in all, in bytes.
    pub disk_total_bytes: u64,
    /// Body bytes that requests hold in memory now.
    pub inflight_bytes: u64,
    /// Requests under way.
    pub requests: u32,
    /// Those of them that clients brought to the node itself, not through a supernode.
    pub direct: u32,
    /// Smoothed time of one chunk sync, in microseconds.
    pub sync_us: u32,
    /// Whether new chunks may be placed here: disk not full, store not poisoned, not draining.
    pub accepts_chunks: bool,
    /// Whether the only reason against new chunks is space.
    pub full: bool,
    /// Whether metadata is served at once: the node is not behind with a snapshot.
    pub serves: bool,
    /// Copies of chunks on its disk.
    pub chunks: u64,
    /// What they take there, in bytes.
    pub chunk_bytes: u64,
}

/// The most damaged copies that one heartbeat names: 16 KiB, and far more than can be mended until the next one.
pub const CORRUPT_TOLD_MAX: usize = 1024;

/// A node's heartbeat to its leader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The cluster's identity.
    pub uuid: Uuid,
    /// The node.
    pub node: NodeId,
    /// Its peer address.
    pub peer: String,
    /// Its public address, as a URL.
    pub public: String,
    /// Its zone; a node without one is a zone of its own.
    pub zone: Option<String>,
    /// Its statistics.
    pub stats: NodeStats,
    /// Copies on it that were found damaged or gone, [`CORRUPT_TOLD_MAX`] of them at most.
    pub corrupt: Vec<ChunkId>,
}

/// The leader's answer to a [`Heartbeat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// Whether the node is no member of the cluster any more.
    pub removed: bool,
    /// Whether it was a leader that answered, as far as it knew.
    pub leads: bool,
}

/// A process with an empty folder asks for a place in a running group. Asked again, it is given the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The group: a cluster's name, or that of the supernodes' group.
    pub group: String,
    /// The folder's own identity, written down before it is told.
    pub disk: Uuid,
    /// The process's name.
    pub name: String,
    /// Its peer address.
    pub peer: String,
}

/// The answer to a [`JoinRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// The place: the group's identity and the member's id.
    Place {
        /// The group's identity.
        uuid: Uuid,
        /// The member's id.
        node: NodeId,
    },
    /// The leader is there.
    Ask {
        /// Its peer address.
        peer: String,
    },
    /// There is no place for this folder.
    Refused {
        /// A sentence that says what to do.
        why: String,
    },
}

/// A member that starts says what it has, before it takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GreetRequest {
    /// The group's identity.
    pub uuid: Uuid,
    /// The member.
    pub node: NodeId,
    /// The newest term that it has seen: a leader of an older one leads no more.
    pub term: u64,
    /// The last index of its log.
    pub last_log_index: u64,
    /// The number of its last start, which the group's log gave, as its own database has it: a node's is its writer id. None if that
    /// start may not have come so far; 0 if the folder should know of every start and has nothing of the group.
    pub start: Option<u64>,
}

/// The answer to a [`GreetRequest`], the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GreetAnswer {
    /// The one asked does not lead.
    NotLeader,
    /// It may take part.
    Welcome,
    /// It has synced more than it has now: its disk is an older copy of itself.
    Older {
        /// The index up to which it had the log.
        had: u64,
    },
    /// It was started since, and its disk does not know of that: it is an older copy of itself.
    StartedSince,
    /// It is no member of the group any more.
    Removed,
}

/// One node within a [`ClusterReport`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub id: NodeId,
    /// Its peer address.
    pub peer: String,
    /// Its public address, as a URL.
    pub public: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Whether the leader heard from it lately.
    pub alive: bool,
    /// Its last statistics.
    pub stats: NodeStats,
}

/// A cluster's state, from its leader to every supernode, twice a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its identity; another uuid under the same name is refused.
    pub uuid: Uuid,
    /// The leader that reports.
    pub leader: NodeId,
    /// The leader's term; a report of a lower term is ignored.
    pub term: u64,
    /// The leader's applied index: ids that a supernode makes for this cluster carry it.
    pub applied: u64,
    /// Its nodes.
    pub nodes: Vec<NodeReport>,
    /// The revision of [`Documents`] that the cluster has applied.
    pub documents: u64,
    /// The directory that they are of; none before the first ones.
    pub directory: Option<Uuid>,
    /// How many requests the supernode that is told may have under way here; none while a new leader does not know.
    pub offer: Option<Offer>,
}

/// A supernode's answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// Present when the cluster's documents are behind.
    pub documents: Option<Documents>,
    /// What the supernode saw of the cluster since its last answer; none before it knows the cluster.
    pub felt: Option<Felt>,
}

/// All documents of the supernode group, as one versioned value that is pushed into every cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Documents {
    /// The identity of the supernode group.
    pub directory: Uuid,
    /// Raised by every change.
    pub revision: u64,
    /// The documents.
    pub entries: Vec<Document>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Document {
    /// A bucket.
    Bucket {
        /// Its name.
        name: BucketName,
    },
    /// Who may do what.
    Principal(Principal),
    /// A member of the supernode group that was started.
    Supernode(Supernode),
    /// A cluster that the directory knows: whoever makes the directory anew asks for it.
    Cluster {
        /// Its name.
        name: ClusterName,
        /// Its identity.
        uuid: Uuid,
        /// Whether it gets no new keys.
        retiring: bool,
    },
    /// A cluster that nobody listens to any more.
    Fenced {
        /// The name that it had; another one may have it by now.
        name: ClusterName,
        /// Its identity.
        uuid: Uuid,
    },
}

/// A supernode, as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supernode {
    /// Its id within the group; never given to another one.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its peer address.
    pub peer: String,
    /// Its public address, as a URL.
    pub public: String,
}

/// A principal, known by the hash of its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Its name.
    pub name: PrincipalName,
    /// BLAKE3 of the key's text.
    pub key_hash: [u8; 32],
    /// Whether it may do everything.
    pub root: bool,
    /// When its key was made, in milliseconds since 1970, for people; 0 for root's.
    pub created_ms: u64,
}

/// A key's home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// The cluster.
    pub cluster: ClusterName,
    /// The grant's epoch.
    pub epoch: Epoch,
}

/// Claims a key for a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// The key.
    pub name: FileName,
    /// For which cluster.
    pub cluster: ClusterName,
    /// Its identity: of one that was forgotten, another cluster may have the name.
    pub uuid: Uuid,
    /// A first commit under this epoch was refused by the sealed floor alone: grant a fresh one if it still stands.
    pub refresh: Option<Epoch>,
}

/// The home after a claim: the first claim in the log wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimAnswer {
    /// The home, maybe another cluster's.
    pub home: Home,
}

/// Asks a supernode which nodes of a cluster serve clients now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesRequest {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether for a write.
    pub write: bool,
}

/// What a supernode knows of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodesAnswer {
    /// Public addresses of the cluster's nodes, as URLs, the best one first; none if no report of it is fresh.
    pub addresses: Vec<String>,
    /// All registered clusters.
    pub clusters: Vec<ClusterName>,
}

/// Asks one cluster for one page of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// The bucket.
    pub bucket: BucketName,
    /// Only keys that begin so.
    pub prefix: String,
    /// Group keys by the part up to this text.
    pub delimiter: Option<String>,
    /// Only keys (or prefixes) after this one.
    pub after: Option<String>,
    /// At most so many items and prefixes together.
    pub limit: u32,
}

/// A step of formation, from the first initial member to each other one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormRequest {
    /// Is this node's folder empty and never joined?
    Probe {
        /// The group's name.
        group: String,
    },
    /// Write this identity down, synced, and confirm it.
    Assign {
        /// The group's name.
        group: String,
        /// The proposed identity of the group.
        uuid: Uuid,
        /// The id of the node asked.
        node: NodeId,
    },
}

/// The answer to a [`FormRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormAnswer {
    /// The folder is empty.
    Empty,
    /// The folder has this identity.
    Member {
        /// The group's identity.
        uuid: Uuid,
        /// The node's id.
        node: NodeId,
        /// What the node is called in its settings.
        name: String,
    },
    /// The group is at work already: an empty folder has no place in its formation.
    Formed {
        /// The group's identity.
        uuid: Uuid,
    },
    /// The node belongs to another group or was told another name.
    Refused {
        /// A sentence for the log.
        why: String,
    },
}

/// Where a replica lies on the answering node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocateAnswer {
    /// The chunks found: id, absolute path, offset of the data, length of the data.
    pub found: Vec<(ChunkId, String, u64, u64)>,
}

/// Homes that a cluster's own log closed: the directory lets go of them, if they still stand at these epochs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRequest {
    /// The cluster that closed them.
    pub cluster: ClusterName,
    /// The homes; at most [`HOMES_MAX`].
    pub homes: Vec<(FileName, Epoch)>,
}

/// The most homes that one message between cluster and directory names.
pub const HOMES_MAX: usize = 128;

/// Asks a cluster about old claims: those that its log knows are confirmed, the others are closed at their epochs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleRequest {
    /// The claims; at most [`HOMES_MAX`].
    pub claims: Vec<(FileName, Epoch)>,
}

/// What became of old claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleAnswer {
    /// Epochs whose homes are in use: the cluster itself tells when they end.
    pub confirmed: Vec<Epoch>,
}

/// Asks for one page of the ids on a node's disk, in the store's own order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryRequest {
    /// Where the last page ended.
    pub after: Option<ChunkId>,
    /// The most ids.
    pub limit: u32,
}

/// Asks how copies look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectRequest {
    /// The chunks.
    pub ids: Vec<ChunkId>,
    /// How closely to look.
    pub depth: Inspect,
}

/// How closely a copy is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inspect {
    /// Whether it is there, and as long as it should be.
    Place,
    /// Its contents are read too.
    Contents,
    /// As that, no faster than the node's pace of repair lets it.
    Paced,
}

/// How a copy looks to the node that should have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Copy {
    /// It is there, and as far as was looked in order.
    Whole {
        /// Length of its data, in bytes.
        length: u64,
        /// The hash that it says it has, and has if it was read whole: a chaining value at its offset in its tree.
        cv: [u8; 32],
        /// Absolute path of the file that holds it.
        file: String,
    },
    /// It is not there.
    Missing,
    /// It has fewer or more bytes than it should.
    Short {
        /// What is wrong.
        why: String,
        /// Absolute path of the file that holds it; empty if it can't be told.
        file: String,
    },
    /// It is damaged.
    Corrupt {
        /// What is wrong.
        why: String,
        /// As above.
        file: String,
    },
}
