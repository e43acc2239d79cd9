//! The families and keys of a group's own rows; the machine's families are its own affair.

use flotilla_kv::{Family, FamilySpec, View};

use super::{StoreError, codec};
use crate::machine::Machine;

/// The log.
///
/// # Shape
/// `[index u64 BE]` to an entry (see [`super::codec`]).
pub const LOG: Family = "raft_log";

/// Single rows: the vote, marks and the applied position, under the names below.
pub(crate) const META: Family = "raft_meta";

/// The results of the last commands; part of every snapshot.
pub const DEDUP: Family = "raft_dedup";

/// The vote; synced before it is answered.
pub(crate) const VOTE: &[u8] = b"vote";
/// The log id up to which the log was purged; synced before the rows go.
pub(crate) const PURGED: &[u8] = b"purged";
/// The last committed log id that this node had heard of.
pub(crate) const COMMITTED: &[u8] = b"committed";
/// The last applied log id; in one batch with what was applied.
pub(crate) const APPLIED: &[u8] = b"applied";
/// The last applied membership and its log id.
pub(crate) const MEMBERSHIP: &[u8] = b"membership";
/// The name of the current snapshot.
pub(crate) const SNAPSHOT: &[u8] = b"snapshot";
/// The name of the snapshot that is being installed: while it stands, the applied state is not whole.
pub(crate) const INSTALL: &[u8] = b"install";
/// The format of all of this.
pub(crate) const FORMAT: &[u8] = b"format";

/// The format that this build writes.
pub(crate) const FORMAT_NOW: u32 = 1;

/// Gives the key of a log entry.
pub(crate) fn log_key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// Reads a log entry's key back.
pub(crate) fn log_index(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// A key behind every log entry.
pub(crate) const LOG_END: [u8; 9] = [0xff; 9];

/// Reads the index of the last applied entry from a database, for those who check it from outside; 0 if there is none.
///
/// # Errors
/// [`StoreError`].
pub fn applied_index(view: &dyn View) -> Result<u64, StoreError> {
    let bytes = view.get(META, APPLIED)?;
    Ok(bytes.map(|bytes| codec::decode_log_id(&bytes)).transpose()?.map_or(0, |id| id.index()))
}

/// Names the families that a group over `M` needs; whoever opens the database opens at least these.
#[must_use]
pub fn families<M: Machine>() -> Vec<FamilySpec> {
    let own = [FamilySpec::log(LOG), FamilySpec::state(META), FamilySpec::state(DEDUP)];
    own.into_iter().chain(M::FAMILIES.iter().map(|name| FamilySpec::state(name))).collect()
}
