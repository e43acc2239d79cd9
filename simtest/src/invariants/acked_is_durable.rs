//! Invariant 1: what the metadata names has a synced copy on every node that it names, at any moment.

use std::collections::BTreeMap;

use flotilla_chunk_store::Depth;

use super::Violations;
use crate::{image::Image, settle::latest, world::World};

const NAME: &str = "acked_is_durable";

/// Checks the images of all machines as a power cut of all of them would leave them now.
pub async fn check(world: &World, violations: &Violations) {
    let audit = match latest(world) {
        Ok(audit) => audit,
        Err(why) => return violations.add(NAME, why),
    };
    let mut images = BTreeMap::new();
    for host in world.hosts.iter().filter(|host| !host.lost) {
        match Image::take(world, host).await {
            Ok(Some(image)) => drop(images.insert(host.id, image)),
            Ok(None) => {}
            Err(error) => violations.add(NAME, format!("n{} would not start: {error}", host.id)),
        }
    }
    for (id, chunk) in audit.chunks {
        let Some(facts) = chunk.facts else { continue };
        for node in &chunk.replicas {
            let Some(image) = images.get(&node.0) else { continue };
            if let Err(error) = image.chunks.read_as(id, &facts, 0..facts.length, Depth::Whole).await {
                violations.add(NAME, format!("n{node} is named for {id}, and has no synced copy: {error}"));
            }
        }
        if chunk.replicas.is_empty() {
            violations.add(NAME, format!("{id} is named, and no node has a copy"));
        }
    }
}
