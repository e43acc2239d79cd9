//! Ids of members in a group's machine: always the same one for the same disk, and never given twice. Pure.

use flotilla_api::{NodeId, codec};
use flotilla_kv::{Family, View};
use flotilla_raft_store::{Fault, Txn};
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// The most disks that are looked at for those of one member; a group has fewer.
const DISKS_MAX: usize = 1024;

/// Where a machine keeps them.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Key: the uuid of a disk that joined, 16 bytes. Value: the [`NodeId`] that it was given.
    pub disks: Family,
    /// Has the next id under `next`.
    pub system: Family,
    /// The key of the next id, u64; ids below it are never given again.
    pub next: &'static [u8],
}

impl Places {
    /// Gives a disk's member its id, at least `floor`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn give(&self, state: &mut dyn Txn, disk: Uuid, floor: u64) -> Result<NodeId, Fault> {
        if let Some(known) = get(state, self.disks, disk.as_bytes())? {
            return Ok(known);
        }
        let id = self.next(state)?.max(floor);
        state.put(self.system, self.next.to_vec(), codec::encode(&(id + 1)));
        state.put(self.disks, disk.as_bytes().to_vec(), codec::encode(&NodeId(id)));
        Ok(NodeId(id))
    }

    /// Takes a member's place for ever. Whether or not it joined by a command, its id is used up; an empty folder of its disk, if it
    /// asks once more, gets another one.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn take(&self, state: &mut dyn Txn, node: NodeId) -> Result<(), Fault> {
        let next = self.next(state)?.max(node.0 + 1);
        state.put(self.system, self.next.to_vec(), codec::encode(&next));
        for (disk, row) in state.scan(self.disks, &[], None, DISKS_MAX)? {
            if row == codec::encode(&node) {
                state.delete(self.disks, disk);
            }
        }
        Ok(())
    }

    /// Whether an id that no member has was one's that has left: it is used up, and no disk that joins has it.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn has_left(&self, view: &dyn View, node: NodeId) -> Result<bool, Fault> {
        let next: u64 = match view.get(self.system, self.next)? {
            Some(row) => codec::decode(&row).map_err(|source| Fault::Corrupt { family: self.system, source })?,
            None => 1,
        };
        let own = codec::encode(&node);
        let joins = view.scan(self.disks, &[], None, DISKS_MAX)?.iter().any(|(_, row)| *row == own);
        Ok((1..next).contains(&node.0) && !joins)
    }

    fn next(&self, state: &dyn Txn) -> Result<u64, Fault> {
        Ok(get(state, self.system, self.next)?.unwrap_or(1))
    }
}

fn get<T: DeserializeOwned>(state: &dyn Txn, family: Family, key: &[u8]) -> Result<Option<T>, Fault> {
    let row = state.get(family, key)?;
    row.map(|row| codec::decode(&row).map_err(|source| Fault::Corrupt { family, source })).transpose()
}
