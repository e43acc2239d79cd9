//! Invariant 9: the index of chunks can be made from the disks alone.
//!
//! Chunks that were removed may come back with it, since what a recycled volume said of others is gone; nothing names them.

use std::collections::BTreeSet;

use flotilla_api::ChunkId;
use flotilla_chunk_store::{ChunkStore, Error, LIST_MAX};

use super::Violations;
use crate::{image::Image, world::World};

const NAME: &str = "index_rebuilt";

/// Compares what every disk has with and without its index.
pub async fn check(world: &World, violations: &Violations) {
    for host in world.hosts.iter().filter(|host| !host.lost) {
        let compared = async {
            let Some(image) = Image::take(world, host).await? else { return Ok(()) };
            let (with, without) = (list(&image.chunks).await?, list(&image.without_index().await?).await?);
            let lost: Vec<_> = with.difference(&without).map(ToString::to_string).collect();
            if !lost.is_empty() {
                violations.add(NAME, format!("n{}: without the index {lost:?} are gone", host.id));
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = compared.await {
            violations.add(NAME, format!("n{}: {error}", host.id));
        }
    }
}

/// Lists all chunks of a store.
pub(crate) async fn list(store: &ChunkStore) -> Result<BTreeSet<ChunkId>, Error> {
    let mut all = BTreeSet::new();
    let mut after = None;
    loop {
        let page = store.list(after, LIST_MAX).await?;
        after = page.last().copied();
        let full = page.len() == LIST_MAX;
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}
