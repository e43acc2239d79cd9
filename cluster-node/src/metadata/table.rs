//! Typed rows over a transaction: encoding in one place, so that a rule reads as the rule.

use flotilla_api::codec;
use flotilla_kv::Family;
use flotilla_raft_store::{Fault, Txn};
use serde::{Serialize, de::DeserializeOwned};

/// Reads a row.
pub fn get<T: DeserializeOwned>(state: &dyn Txn, family: Family, key: &[u8]) -> Result<Option<T>, Fault> {
    state
        .get(family, key)?
        .map(|bytes| codec::decode(&bytes).map_err(|source| Fault::Corrupt { family, source }))
        .transpose()
}

/// Writes a row.
pub fn put<T: Serialize>(state: &mut dyn Txn, family: Family, key: Vec<u8>, row: &T) {
    state.put(family, key, codec::encode(row));
}

/// Reads the first row of a family.
pub fn first<T: DeserializeOwned>(state: &dyn Txn, family: Family) -> Result<Option<(Vec<u8>, T)>, Fault> {
    let Some((key, bytes)) = state.scan(family, &[], None, 1)?.pop() else { return Ok(None) };
    let row = codec::decode(&bytes).map_err(|source| Fault::Corrupt { family, source })?;
    Ok(Some((key, row)))
}
