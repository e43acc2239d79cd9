//! Answers of the public file routes, as JSON.

use serde::{Deserialize, Serialize};

use crate::{BucketName, ClusterName, Epoch, Key, NodeId, directory::ClusterState};

/// The answer to a PUT: 201 created or 200 replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutAnswer {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: Key,
    /// Length of the content, in bytes.
    pub size: u64,
    /// The ETag, without quotes.
    pub etag: String,
    /// The version, 32 hex digits.
    pub version: String,
    /// The home cluster.
    pub cluster: ClusterName,
    /// The home's epoch.
    pub epoch: Epoch,
    /// How many synced copies every chunk has.
    pub replicas: u32,
    /// The request's id.
    pub request_id: String,
}

/// One file of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListItem {
    /// The key.
    pub key: Key,
    /// Length of the content, in bytes.
    pub size: u64,
    /// The ETag, without quotes.
    pub etag: String,
    /// The version, 32 hex digits.
    pub version: String,
    /// When the version was committed, RFC 3339, UTC.
    pub modified: String,
    /// The home cluster.
    pub cluster: ClusterName,
}

/// One page of a list, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListPage {
    /// The files.
    pub items: Vec<ListItem>,
    /// With a delimiter: the common prefixes, each ending with the delimiter.
    pub prefixes: Vec<String>,
    /// The cursor of the next page, opaque; none at the end.
    pub next: Option<String>,
    /// Clusters that could not be asked; only filled with `partial=true`.
    pub incomplete: Vec<ClusterName>,
}

/// The largest page of a list.
pub const LIST_LIMIT_MAX: usize = 1000;

/// Where the bytes of a file lie: the answer to `GET /v1/files/{bucket}/{key}?layout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The version, 32 hex digits.
    pub version: String,
    /// Length of the content, in bytes.
    pub size: u64,
    /// The home cluster.
    pub cluster: ClusterName,
    /// Whether the content stands in the metadata itself.
    pub inline: bool,
    /// The BLAKE3 trees of the content, in order.
    pub trees: Vec<LayoutTree>,
}

/// One tree of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutTree {
    /// Length of the tree's content, in bytes.
    pub length: u64,
    /// The root, 64 hex digits.
    pub root: String,
    /// The size of every chunk but the last, in bytes.
    pub chunk_size: u64,
    /// The chunks, in order.
    pub chunks: Vec<LayoutChunk>,
}

/// One chunk of a [`LayoutTree`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutChunk {
    /// The chunk's id.
    pub id: String,
    /// Offset in its tree, in bytes.
    pub offset: u64,
    /// Length, in bytes.
    pub length: u64,
    /// The chunk's non-root BLAKE3 chaining value, 64 hex digits.
    pub cv: String,
    /// Its copies.
    pub replicas: Vec<LayoutReplica>,
}

/// One copy of a [`LayoutChunk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutReplica {
    /// The node that holds the copy.
    pub node: NodeId,
    /// Absolute path of the file that holds it; empty if the node does not answer or has no such copy.
    pub file: String,
    /// Where in that file the data begins, in bytes.
    pub file_offset: u64,
    /// Length of the data, in bytes.
    pub length: u64,
}

/// The answer to `GET /v1/clusters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClustersAnswer {
    /// The registered clusters.
    pub clusters: Vec<ClusterStatus>,
    /// The version of the server that answers, and its revision: `0.1.0 (abc1234)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Public addresses of the supernodes, as URLs, by id.
    #[serde(default)]
    pub supernodes: Vec<String>,
}

/// One cluster as the supernode knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name.
    pub name: ClusterName,
    /// How it stands with the directory.
    #[serde(default)]
    pub state: ClusterState,
    /// Whether its last report is fresh.
    pub reachable: bool,
    /// Age of the last report, in milliseconds; none before the first one.
    pub report_age_ms: Option<u64>,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// Its nodes.
    pub nodes: Vec<crate::peer::NodeReport>,
    /// What is under way and waits for it at the supernode that answers; none before the cluster was heard there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<crate::queue::QueueCounts>,
}
