//! Replaces the applied state by a snapshot's.
//!
//! A mark stands in the database from before the first row goes until the last one is there. Whoever opens a database with the
//! mark does the whole installation again, so every step may be cut by a crash.

use std::sync::Arc;

use flotilla_kv::{Batch, Family, Kv};

use super::{
    files::{Snapshots, Staged},
    manifest::PartInfo,
    part::{self, Rows},
};
use crate::store::{StoreError, codec, keys, overlay::after, sync_blocking};

/// How many bytes of rows are written as one batch.
const BATCH_BYTES: usize = 1 << 20;

/// Installs a snapshot that is whole and durable.
///
/// Blocks for as long as it takes to write all of it. When it returns the new state is synced.
pub(crate) fn install(
    kv: &dyn Kv,
    snapshots: &Arc<Snapshots>,
    families: &'static [Family],
    staged: &Staged,
) -> Result<(), StoreError> {
    flotilla_env::failpoint!("snapshot.before_install", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
    let mut mark = Batch::default();
    mark.put(keys::META, keys::INSTALL, staged.name.as_bytes());
    kv.write(mark)?;
    sync_blocking(kv)?;
    flotilla_env::failpoint!("snapshot.install_marked", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));

    let own = || families.iter().copied().chain([keys::DEDUP]);
    for family in own() {
        clear(kv, family)?;
    }
    for (number, info) in staged.manifest.parts.iter().enumerate() {
        let family = own().find(|family| *family == info.family);
        let family =
            family.ok_or_else(|| StoreError::corrupt("manifest", format!("it has family '{}'", info.family)))?;
        load(kv, family, info, &snapshots.read_part(staged, number)?)?;
        flotilla_env::failpoint!("snapshot.install_loading", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
        // Part by part, so that the last sync has little left to do.
        sync_blocking(kv)?;
    }

    flotilla_env::failpoint!("snapshot.install_loaded", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
    let meta = staged.manifest.meta()?;
    let mut last = Batch::default();
    match &meta.last_log_id {
        Some(id) => last.put(keys::META, keys::APPLIED, codec::encode_log_id(id)),
        None => last.delete(keys::META, keys::APPLIED),
    };
    last.put(keys::META, keys::MEMBERSHIP, codec::encode_membership(&meta.last_membership));
    last.delete(keys::META, keys::INSTALL);
    snapshots.promote(kv, staged, last)?;
    sync_blocking(kv)?;
    flotilla_env::failpoint!("snapshot.after_install", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
    snapshots.sweep()
}

/// Does an installation again that a crash cut, if there is one.
pub(crate) fn redo(kv: &dyn Kv, snapshots: &Arc<Snapshots>, families: &'static [Family]) -> Result<(), StoreError> {
    let Some(name) = snapshots.named(kv, keys::INSTALL)? else { return Ok(()) };
    tracing::info!(snapshot = %name, "installing again after a crash");
    let staged = snapshots.load(name)?;
    install(kv, snapshots, families, &staged)
}

/// Removes every row of a family. Not by `drop_range`, which takes rows from under views that readers still have open.
fn clear(kv: &dyn Kv, family: Family) -> Result<(), StoreError> {
    if let Some((last, _)) = kv.last(family)? {
        let mut batch = Batch::default();
        batch.delete_range(family, [], after(&last));
        kv.write(batch)?;
    }
    Ok(())
}

fn load(kv: &dyn Kv, family: Family, info: &PartInfo, bytes: &[u8]) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    let mut batched = 0;
    for row in Rows(part::check(bytes, info)?) {
        let (key, value) = row?;
        batch.put(family, key, value);
        batched += key.len() + value.len();
        if batched >= BATCH_BYTES {
            kv.write(std::mem::take(&mut batch))?;
            batched = 0;
        }
    }
    Ok(kv.write(batch)?)
}
