//! Invariant 10: membership changes are deliberate; losing a process never changes the quorum; ids are never reused. The members
//! are those that somebody asked for, and a term has one leader.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_api::NodeId;

use super::Violations;
use crate::{roster::Place, world::World};

const NAME: &str = "membership";

/// Who led in every term that was seen.
#[derive(Debug, Default)]
pub struct Leaders(BTreeMap<u64, NodeId>);

impl Leaders {
    /// Checks what every node says now.
    pub fn look(&mut self, world: &World, violations: &Violations) {
        let may = ids(world, &[Place::Joins, Place::Member, Place::Leaves, Place::Gone]);
        let must = ids(world, &[Place::Member]);
        for host in &world.hosts {
            let Some(status) = host.node().and_then(|node| node.status()) else { continue };
            if status.is_leader {
                let led = *self.0.entry(status.term).or_insert(status.id);
                if led != status.id {
                    violations.add(NAME, format!("n{led} and n{} lead in term {}", status.id, status.term));
                }
            }
            // Of those that began it, only one that was told to leave may lose its vote.
            let first: BTreeSet<NodeId> = must.iter().copied().filter(|id| id.0 <= world.first_nodes()).collect();
            let odd = status.voters.iter().any(|id| !may.contains(id)) || !first.is_subset(&status.voters);
            if status.id != NodeId(host.id) || odd && !status.voters.is_empty() {
                violations.add(NAME, format!("n{} is {}, and {:?} vote", host.id, status.id, status.voters));
            }
        }
    }
}

/// Says what the members of a healed cluster still lack.
///
/// # Errors
/// The first node that does not see the members that are asked for.
pub fn settled(world: &World) -> Result<(), String> {
    let members = ids(world, &[Place::Member]);
    // A vote that had no other place to go is lost for good, and grows again only with the machines.
    let votes = members.len().min(usize::try_from(world.first_nodes()).unwrap_or(usize::MAX));
    for host in world.members() {
        let status = host.node().and_then(|node| node.status()).ok_or_else(|| format!("n{} is not up", host.id))?;
        let here: BTreeSet<NodeId> = status.members.keys().copied().collect();
        let spares = here.difference(&status.voters).count();
        if here != members || status.voters.len() != votes || status.learners.len() != spares {
            let (voters, learners) = (&status.voters, &status.learners);
            return Err(format!("n{} knows {here:?}, of whom {voters:?} vote and {learners:?} don't", host.id));
        }
    }
    match world.hosts.iter().find(|host| world.place(host) == Place::Gone && host.is_up()) {
        Some(host) => Err(format!("n{} has left, and goes on", host.id)),
        None => Ok(()),
    }
}

/// Checks a cluster at rest.
pub fn check(world: &World, violations: &Violations) {
    if let Err(why) = settled(world) {
        violations.add(NAME, why);
    }
}

fn ids(world: &World, places: &[Place]) -> BTreeSet<NodeId> {
    world.roster().with(places).into_iter().map(NodeId).collect()
}
