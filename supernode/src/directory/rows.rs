//! The families and rows of the directory. Stored: fields are never reordered, variants only added at the end.

use std::collections::BTreeSet;

use flotilla_api::{
    ClusterName, Epoch, NodeId,
    keys::PrincipalName,
    peer::{Document, Home},
};
use flotilla_kv::Family;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Key: `FileName::to_row`. Value: [`HomeRow`].
pub const HOMES: Family = "dir_homes";
/// Key: [`epoch_key`]. Value: the `FileName` that was claimed; its cluster has not yet said that it uses the home.
pub const UNCONFIRMED: Family = "dir_unconfirmed";
/// Key: the cluster's name. Value: [`ClusterRow`].
pub const CLUSTERS: Family = "dir_clusters";
/// Key: [`document_key`]. Value: [`Document`].
pub const DOCUMENTS: Family = "dir_documents";
/// Key: [`member_key`]. Value: [`MemberRow`].
pub const MEMBERS: Family = "dir_members";
/// Key: the uuid of a disk that joined, 16 bytes. Value: the id that its supernode was given, [`NodeId`].
pub const DISKS: Family = "dir_disks";
/// Key: a name below. Value: as told there.
pub const SYSTEM: Family = "dir_system";
/// Key: the ticket's number, u64. Value: [`TicketRow`].
pub const TICKETS: Family = "dir_tickets";
/// Key: [`line_key`]. Value: nothing; a ticket that waits.
pub const TICKET_LINES: Family = "dir_ticket_lines";
/// Key: the principal's name. Value: [`OwnerRow`]; only of those that have a ticket that waits or is granted.
pub const TICKET_OWNERS: Family = "dir_ticket_owners";
/// Key: where in the log a ticket was used first, u64. Value: its number, u64.
pub const TICKETS_USED: Family = "dir_tickets_used";

/// All families of the directory, as they go into snapshots.
pub const FAMILIES: &[Family] = &[
    HOMES,
    UNCONFIRMED,
    CLUSTERS,
    DOCUMENTS,
    MEMBERS,
    DISKS,
    SYSTEM,
    TICKETS,
    TICKET_LINES,
    TICKET_OWNERS,
    TICKETS_USED,
];

/// In [`SYSTEM`]: the last epoch granted, u64.
pub const EPOCH: &[u8] = b"epoch";
/// In [`SYSTEM`]: the documents' revision, u64.
pub const REVISION: &[u8] = b"revision";
/// In [`SYSTEM`]: how many buckets and principals there are, u64.
pub const COUNT: &[u8] = b"count";
/// In [`SYSTEM`]: the next supernode's id, u64; ids below it are never given again.
pub const NEXT_MEMBER: &[u8] = b"next_member";
/// In [`SYSTEM`]: the number of the last start of a supernode, u64; none is given twice.
pub const LAST_START: &[u8] = b"last_start";
/// In [`SYSTEM`]: [`RebuildRow`], while the directory is made anew.
pub const REBUILD: &[u8] = b"rebuild";
/// In [`SYSTEM`]: [`TicketsRow`].
pub const TICKETS_STANDING: &[u8] = b"tickets";

/// The most buckets and principals: they travel to clusters as one value of some 100 bytes each.
pub const DOCUMENTS_MAX: u64 = 4096;
/// The most clusters; each is asked for every page of a list.
pub const CLUSTERS_MAX: usize = 64;
/// The most clusters that are refused for ever: one more is a decision that somebody has to make about the others first.
pub const FENCED_MAX: usize = 256;

/// The most supernodes that have joined and were not removed; three are a group, more are spares.
pub const JOINED_MAX: usize = 16;
/// The most rows of supernodes that are read: those of members, and of a few that are being forgotten.
pub const MEMBERS_MAX: usize = 4 * JOINED_MAX;
/// The most rows of [`DOCUMENTS`]: supernodes' are also those of supernodes that formed the group.
pub const DOCUMENT_ROWS_MAX: usize = DOCUMENTS_MAX as usize + CLUSTERS_MAX + FENCED_MAX + 2 * JOINED_MAX;

/// A key's home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeRow {
    /// The home.
    pub home: Home,
}

/// A registered cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRow {
    /// Its identity; a report under its name with another one is refused.
    pub uuid: Uuid,
    /// Whether it gets new keys.
    pub stage: Stage,
    /// Whether its homes are those of a lost directory, which its own reports still name.
    pub adopted: bool,
}

impl ClusterRow {
    /// Makes the row of a cluster that gets new keys.
    #[must_use]
    pub fn new(uuid: Uuid) -> Self {
        Self { uuid, stage: Stage::Active, adopted: false }
    }
}

/// How far a cluster is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It gets new keys.
    Active,
    /// It gets none any more.
    Retiring {
        /// Since this place in the log: homes that were counted behind it can only have become fewer.
        since: u64,
    },
    /// It is lost: nothing that it says is heard, and its homes are dropped.
    Fenced {
        /// As above.
        since: u64,
    },
}

impl Stage {
    /// Since when it gets no new keys.
    #[must_use]
    pub fn since(self) -> Option<u64> {
        match self {
            Self::Active => None,
            Self::Retiring { since } | Self::Fenced { since } => Some(since),
        }
    }
}

/// How far the directory is made anew.
///
/// # Bounds
/// At most [`CLUSTERS_MAX`] names in either set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RebuildRow {
    /// The try that goes on; steps of an earlier one are refused.
    pub run: u64,
    /// Clusters that are given up.
    pub fenced: BTreeSet<ClusterName>,
    /// Clusters all of whose homes are there.
    pub adopted: BTreeSet<ClusterName>,
    /// Up to which epoch the clusters refuse first commits; 0 before that is known.
    pub floor: Epoch,
    /// The highest epoch of a home that was adopted.
    pub highest: Epoch,
    /// The highest revision of the clusters' documents.
    pub revision: u64,
    /// How much was found that only a person can decide.
    pub findings: u64,
}

/// A supernode.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemberRow {
    /// The number of its last start.
    pub start: Option<u64>,
    /// Whether it leaves for ever.
    pub leaves: bool,
}

/// Gives a supernode's key in [`MEMBERS`].
#[must_use]
pub fn member_key(id: NodeId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// A place in the queue of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRow {
    /// What its owner alone knows of it.
    pub secret: u64,
    /// Whose it is.
    pub principal: PrincipalName,
    /// A hash of the one request that it is for: method, file and source.
    pub what: [u8; 16],
    /// How much that is.
    pub weight: Weight,
    /// The home that its key had when it was issued.
    pub home: Option<ClusterName>,
    /// Where it is in its life.
    pub state: TicketState,
}

/// How much a request is, as admission counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Whether its body streams.
    pub big: bool,
    /// Its weight between principals.
    pub units: u32,
    /// Bytes that its body announces.
    pub bytes: u64,
}

/// Where a ticket is in its life; the row goes with its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketState {
    /// Its turn has not come.
    Waiting,
    /// A cluster has a place for it.
    Granted {
        /// The cluster.
        cluster: ClusterName,
        /// The how many-th turn of all that was.
        turn: u64,
    },
    /// Its request was sent.
    Used {
        /// The cluster that had the place.
        cluster: ClusterName,
        /// As above.
        turn: u64,
        /// How often it was used.
        times: u8,
    },
}

/// A principal with tickets that wait or are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OwnerRow {
    /// How many.
    pub standing: u32,
    /// None with a lower number waits: so nobody looks through the many that are gone.
    pub from: u64,
}

/// All tickets together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TicketsRow {
    /// Raised with every change of a ticket.
    pub revision: u64,
    /// How many wait.
    pub waiting: u32,
    /// How many principals have one that waits or is granted.
    pub owners: u32,
    /// How many were used and are still known.
    pub used: u32,
    /// None that was used earlier in the log is still known.
    pub used_from: u64,
    /// How many were granted, ever.
    pub turns: u64,
    /// Those that are granted and not used.
    pub granted: Vec<u64>,
}

/// Gives the key of a ticket that waits: a principal's stand together, by number. No principal's name has a zero byte.
#[must_use]
pub fn line_key(principal: &PrincipalName, number: u64) -> Vec<u8> {
    let mut key = principal.as_str().as_bytes().to_vec();
    key.push(0);
    key.extend(number.to_be_bytes());
    key
}

/// Gives the end of a principal's tickets in [`TICKET_LINES`]: the first key that is none of them.
#[must_use]
pub fn line_end(principal: &PrincipalName) -> Vec<u8> {
    let mut key = principal.as_str().as_bytes().to_vec();
    key.push(1);
    key
}

/// Gives the number back from a [`line_key`].
#[must_use]
pub fn line_number(key: &[u8]) -> Option<u64> {
    number(key.get(key.len().checked_sub(8)?..)?)
}

/// Gives a number's key.
#[must_use]
pub fn number_key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Gives a number back from its key.
#[must_use]
pub fn number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Gives the key of an epoch in [`UNCONFIRMED`]: an epoch is granted once, so it names one home.
#[must_use]
pub fn epoch_key(epoch: Epoch) -> Vec<u8> {
    epoch.0.to_be_bytes().to_vec()
}

/// Gives a document's key.
#[must_use]
pub fn document_key(document: &Document) -> Vec<u8> {
    match document {
        Document::Bucket { name } => bucket_key(name.as_str()),
        Document::Principal(principal) => principal_key(&principal.name),
        Document::Supernode(supernode) => supernode_key(supernode.id),
        Document::Cluster { name, .. } => cluster_key(name),
        Document::Fenced { uuid, .. } => fenced_key(*uuid),
    }
}

/// Gives the key of a supernode's document.
#[must_use]
pub fn supernode_key(id: NodeId) -> Vec<u8> {
    format!("supernode/{id}").into_bytes()
}

/// Whether a document counts towards [`DOCUMENTS_MAX`]: clusters and supernodes have bounds of their own.
#[must_use]
pub fn is_counted(document: &Document) -> bool {
    match document {
        Document::Bucket { .. } | Document::Principal(_) => true,
        Document::Supernode(_) | Document::Cluster { .. } | Document::Fenced { .. } => false,
    }
}

/// Gives the key of a cluster's document.
#[must_use]
pub fn cluster_key(name: &ClusterName) -> Vec<u8> {
    format!("cluster/{name}").into_bytes()
}

/// What the keys of clusters that are refused for ever begin with, and the first key behind them.
pub const FENCED_KEYS: (&[u8], &[u8]) = (b"fenced/", b"fenced0");

/// Gives the key of the document of a cluster that is refused for ever.
#[must_use]
pub fn fenced_key(uuid: Uuid) -> Vec<u8> {
    format!("fenced/{uuid}").into_bytes()
}

/// Gives the key of a principal's document.
#[must_use]
pub fn principal_key(name: &PrincipalName) -> Vec<u8> {
    format!("principal/{name}").into_bytes()
}

/// Gives the key of a bucket's document.
#[must_use]
pub fn bucket_key(name: &str) -> Vec<u8> {
    format!("bucket/{name}").into_bytes()
}
