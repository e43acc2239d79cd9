//! What a snapshot consists of: its position in the log and its parts.

use flotilla_api::codec;
use serde::{Deserialize, Serialize};

use super::part::crc32c;
use crate::{
    network::messages::Ticket,
    store::{
        StoreError,
        codec::{LogIdRow, MembershipRow},
        types::{LogId, SnapshotMeta, StoredMembership},
    },
};

/// How many parts a snapshot may have: at 8 MiB each they hold 8 TiB, so more is damage.
pub(super) const PARTS_MAX: usize = 1 << 20;
/// How big a part may be that another node announces: a part ends with the row that reaches its size.
pub(super) const PART_BYTES_MAX: u64 = 64 << 20;

/// The list of a snapshot's parts.
///
/// # Shape
/// As a file: a [`codec`] value of this, then its CRC32C as u32 BE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(super) at: Option<LogIdRow>,
    pub(super) membership: MembershipRow,
    pub(super) parts: Vec<PartInfo>,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartInfo {
    pub(super) family: String,
    pub(super) rows: u32,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl Manifest {
    pub(super) fn new(at: Option<&LogId>, membership: &StoredMembership) -> Self {
        Self { at: at.map(LogIdRow::from), membership: membership.into(), parts: Vec::new() }
    }

    /// How many rows all parts have.
    pub(super) fn rows(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.rows)).sum()
    }

    /// Gives the position for openraft.
    pub(super) fn meta(&self) -> Result<SnapshotMeta, StoreError> {
        let last_membership = self.membership.clone().try_into()?;
        Ok(SnapshotMeta { last_log_id: self.at.map(LogId::from), last_membership })
    }

    /// Names this very snapshot; another one at the same position may be cut into other parts.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket { at: self.at, sum: crc32c(&codec::encode(self)) }
    }

    /// Checks what another node announces against the limits.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let too_big = self.parts.iter().any(|part| part.bytes > PART_BYTES_MAX || part.bytes == 0);
        if self.parts.len() > PARTS_MAX || too_big {
            return Err(StoreError::corrupt("manifest", "a part is empty or too big, or there are too many"));
        }
        self.meta().map(|_| ())
    }

    pub(super) fn to_file(&self) -> Vec<u8> {
        let mut bytes = codec::encode(self);
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub(super) fn from_file(bytes: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |why: &str| StoreError::corrupt("manifest", why);
        let (body, crc) = bytes.split_last_chunk().ok_or_else(|| corrupt("it is too short"))?;
        if crc32c(body) != u32::from_be_bytes(*crc) {
            return Err(corrupt("its checksum does not match"));
        }
        codec::decode(body).map_err(|error| corrupt(&error.to_string()))
    }
}
