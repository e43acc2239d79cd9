//! The families and rows of the directory. Stored: fields are never reordered, variants only added at the end.

use flotilla_api::{
    Epoch,
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
/// Key: a name below. Value: as told there.
pub const SYSTEM: Family = "dir_system";

/// All families of the directory, as they go into snapshots.
pub const FAMILIES: &[Family] = &[HOMES, UNCONFIRMED, CLUSTERS, DOCUMENTS, SYSTEM];

/// In [`SYSTEM`]: the last epoch granted, u64.
pub const EPOCH: &[u8] = b"epoch";
/// In [`SYSTEM`]: the documents' revision, u64.
pub const REVISION: &[u8] = b"revision";
/// In [`SYSTEM`]: how many documents there are, u64.
pub const COUNT: &[u8] = b"count";

/// The most documents: they travel to clusters as one value of some 100 bytes each.
pub const DOCUMENTS_MAX: u64 = 4096;
/// The most clusters; each is asked for every page of a list.
pub const CLUSTERS_MAX: usize = 64;

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
    }
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
