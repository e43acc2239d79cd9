//! Builds a snapshot from one consistent view, a page of rows at a time.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use flotilla_kv::{Batch, Family, Kv, View};
use openraft::{RaftSnapshotBuilder, alias::SnapshotOf};
use tokio::sync::oneshot;

use super::{
    files::{Name, Snapshots, Staged},
    manifest::Manifest,
    part::Part,
};
use crate::store::{StoreError, codec, keys, overlay::after, sync_blocking, types::Types};

/// How many rows are read at a time: some hundred KiB, so that memory is bounded by the part that is filled.
const PAGE_ROWS: usize = 256;

/// A snapshot that is being built.
pub(crate) struct Builder {
    built: Option<oneshot::Receiver<Result<Staged, StoreError>>>,
}

impl Builder {
    /// Takes the view and starts building from it on a blocking thread.
    ///
    /// The view is taken when this returns: entries that are applied later are not in it, as openraft relies on.
    pub(crate) async fn start(snapshots: Arc<Snapshots>, kv: Arc<dyn Kv>, families: &'static [Family]) -> Self {
        let (taken, wait) = oneshot::channel();
        let (done, built) = oneshot::channel();
        flotilla_env::blocking::spawn(move || {
            let view = kv.snapshot();
            let _ = taken.send(()); // the builder may have gone
            let _ = done.send(build(&*kv, &*view, &snapshots, families));
        });
        let _ = wait.await; // an error shows when the result is asked for
        Self { built: Some(built) }
    }

    /// Waits for the snapshot.
    pub(crate) async fn finish(mut self) -> Result<Staged, StoreError> {
        self.take().await
    }

    async fn take(&mut self) -> Result<Staged, StoreError> {
        let stopped = || StoreError::Disk(io::Error::other("the building thread ended"));
        let built = self.built.take().ok_or_else(stopped)?;
        built.await.map_err(|_| stopped())?
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Staged;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Staged>, io::Error> {
        Ok(self.take().await?.into_snapshot()?)
    }
}

fn build(
    kv: &dyn Kv,
    view: &dyn View,
    snapshots: &Arc<Snapshots>,
    families: &'static [Family],
) -> Result<Staged, StoreError> {
    // The log up to the snapshot may be purged once it is reported, so what was applied must be durable by then: it is what a
    // restarted node has instead.
    flotilla_env::failpoint!("snapshot.before_build", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
    sync_blocking(kv)?;
    flotilla_env::failpoint!("snapshot.machine_synced", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
    let at = view.get(keys::META, keys::APPLIED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
    let membership = match view.get(keys::META, keys::MEMBERSHIP)? {
        Some(bytes) => codec::decode_membership(&bytes)?,
        None => Default::default(),
    };
    let mut manifest = Manifest::new(at.as_ref(), &membership);
    if let Some(current) = snapshots.current().filter(|current| current.manifest.at == manifest.at) {
        return Ok(current); // its files must not be written again while they may be in use
    }
    let name = Name::built(manifest.at);
    let held = snapshots.stage(name, manifest.clone()); // so that a sweep leaves the parts alone
    for family in families.iter().copied().chain([keys::DEDUP]) {
        write_family(view, snapshots, &held.name, family, &mut manifest)?;
    }
    let staged = Staged { manifest: Arc::new(manifest), ..held };
    flotilla_env::failpoint!("snapshot.before_seal", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
    snapshots.seal(&staged)?;
    snapshots.promote(kv, &staged, Batch::default())?;
    flotilla_env::failpoint!("snapshot.after_build", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
    snapshots.sweep()?;
    Ok(staged)
}

fn write_family(
    view: &dyn View,
    snapshots: &Snapshots,
    name: &Name,
    family: Family,
    manifest: &mut Manifest,
) -> Result<(), StoreError> {
    let mut part = Part::new(family);
    let mut from = Vec::new();
    loop {
        let page = view.scan(family, &from, None, PAGE_ROWS)?;
        for row in &page {
            part.push(row);
            if part.len() >= snapshots.part_bytes {
                write_part(snapshots, name, std::mem::replace(&mut part, Part::new(family)), manifest)?;
            }
        }
        match page.last().filter(|_| page.len() == PAGE_ROWS) {
            Some((key, _)) => from = after(key),
            None => break,
        }
    }
    if part.rows() > 0 {
        write_part(snapshots, name, part, manifest)?;
    }
    Ok(())
}

fn write_part(snapshots: &Snapshots, name: &Name, part: Part, manifest: &mut Manifest) -> Result<(), StoreError> {
    let (bytes, info) = part.finish();
    let file = snapshots.create_part(name, manifest.parts.len())?;
    file.write_at(0, &[IoSlice::new(&bytes)])?;
    file.sync_data()?;
    flotilla_env::failpoint!("snapshot.part_written", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
    manifest.parts.push(info);
    Ok(())
}
