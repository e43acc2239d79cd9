//! Bodies of what a directory asks clusters when it is made anew from them, or held against them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Documents;
use crate::{Epoch, FileName};

/// The most home records of one answer: with keys of 1 KiB half a mebibyte.
pub const HOME_RECORDS_MAX: usize = 512;

/// Asks a cluster for home records as its own log has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HomesRequest {
    /// The next ones in the order of [`FileName::to_row`].
    Page {
        /// Behind this one; from the first one on without it.
        after: Option<FileName>,
        /// At most so many; [`HOME_RECORDS_MAX`] are the most.
        limit: u32,
    },
    /// Those of these keys, as far as there are any; of the first [`HOME_RECORDS_MAX`].
    Named {
        /// The keys.
        names: Vec<FileName>,
    },
}

/// Home records, behind a read barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomesAnswer {
    /// The records, in the order asked for. Of a page, fewer than were asked for mean that there are no more.
    pub records: Vec<HomeRecord>,
    /// The cluster's sealed floor.
    pub floor: Epoch,
}

/// What a cluster's own log knows of a key's home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeRecord {
    /// The key.
    pub name: FileName,
    /// The epoch of the grant.
    pub epoch: Epoch,
    /// What the cluster does under it.
    pub state: RecordState,
}

/// What a cluster does under a home record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordState {
    /// It reads and writes.
    Open,
    /// It reads.
    Sealed,
    /// Neither; the directory has yet to let go of the home, or has just done so.
    Closed,
}

/// Has a cluster refuse every first commit under an epoch up to `upto`, and take over the documents of another directory from
/// then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceRequest {
    /// The directory that is made anew.
    pub directory: Uuid,
    /// The epoch.
    pub upto: Epoch,
}

/// The fence stands in the cluster's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceAnswer {
    /// The documents that the cluster has.
    pub documents: Documents,
}
