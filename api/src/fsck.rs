//! What a comparison of a cluster's metadata with its disks tells, line by line as JSON.

use serde::{Deserialize, Serialize};

use crate::{ClusterName, NodeId};

/// One line of the answer to `GET /v1/clusters/{cluster}/fsck`; the last one is a summary or a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The work goes on.
    Progress {
        /// Copies looked at so far.
        copies: u64,
    },
    /// Something is not as the metadata says.
    Finding(Finding),
    /// The end.
    Summary(Summary),
    /// The comparison could not be ended.
    Failed {
        /// Why.
        detail: String,
    },
}

/// What is wrong with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum What {
    /// The metadata names a copy that is not there.
    Missing,
    /// There is a copy that no metadata names.
    Extra,
    /// The copy does not match its checksums.
    Corrupt,
    /// The copy has another length than the metadata says.
    Short,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "MISSING",
            Self::Extra => "EXTRA",
            Self::Corrupt => "CORRUPT",
            Self::Short => "SHORT",
        })
    }
}

/// One copy that is not as the metadata says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub what: What,
    /// The cluster.
    pub cluster: ClusterName,
    /// The chunk's id.
    pub chunk: String,
    /// The node.
    pub node: NodeId,
    /// Absolute path of the file that holds the copy on that node; empty if there is none, or it can't be told.
    pub file: String,
    /// Files that need the chunk, as `bucket/key`; the first few.
    pub keys: Vec<String>,
    /// More, for people.
    pub detail: String,
}

/// What was looked at and found in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The cluster.
    pub cluster: ClusterName,
    /// Chunks that the metadata names.
    pub chunks: u64,
    /// Copies of them that were looked at.
    pub copies: u64,
    /// Copies on the disks of uploads that may still be committed; no findings.
    pub in_flight: u64,
    /// Copies on the disks that are being purged; no findings.
    pub purging: u64,
    /// Findings.
    pub findings: u64,
    /// Nodes that could not be asked: nothing is known of their copies.
    pub silent: Vec<NodeId>,
}
