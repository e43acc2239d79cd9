//! When a cluster that was healed is at rest: everybody follows one leader, every chunk has its copies, nothing waits.

use std::time::Duration;

use flotilla_api::NodeId;
use flotilla_cluster_node::audit::{self, Audit};
use tokio::time::{Instant, sleep};

use crate::{
    host::Host,
    invariants::{index_rebuilt, membership},
    kv::{applied, sum_of},
    world::{REPLICAS, World},
};

/// How long it may take: repair looks every ten seconds, and one look may follow from another.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(150);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Waits until the cluster is at rest.
///
/// # Errors
/// What it still waits for when its time is over.
pub async fn settle(world: &World) -> Result<Audit, String> {
    let end = Instant::now() + SETTLES_WITHIN;
    loop {
        let found = match look(world) {
            Ok(audit) => garbage(world, &audit).await.map(|()| audit),
            Err(why) => Err(why),
        };
        match found {
            Ok(audit) => return Ok(audit),
            Err(why) if Instant::now() >= end => return Err(why),
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}

/// Reads the metadata of the node that has applied most.
///
/// # Errors
/// If there is none, or it does not make sense.
pub fn latest(world: &World) -> Result<Audit, String> {
    let kvs = world.hosts.iter().filter(|host| !host.lost).filter_map(Host::kv);
    let kv = kvs.max_by_key(|kv| applied(&**kv)).ok_or("no node has metadata")?;
    audit::read(&*kv).map_err(|error| error.to_string())
}

/// Looks for copies that nothing names.
async fn garbage(world: &World, audit: &Audit) -> Result<(), String> {
    for host in world.members() {
        let node = NodeId(host.id);
        let Some(store) = host.node().and_then(|node| node.chunks()) else { continue };
        let mut here = index_rebuilt::list(&store).await.map_err(|error| error.to_string())?;
        here.retain(|id| !audit.chunks.get(id).is_some_and(|chunk| chunk.replicas.contains(&node)));
        if !here.is_empty() {
            let ids: Vec<_> = here.iter().map(|id| format!("{id} {:?}", audit.chunks.get(id))).collect();
            return Err(format!("n{node} holds what nothing names there: {ids:?}"));
        }
    }
    Ok(())
}

fn look(world: &World) -> Result<Audit, String> {
    let mut leaders = Vec::new();
    let mut states = Vec::new();
    membership::settled(world)?;
    for host in world.members() {
        let status = host.node().and_then(|node| node.status()).ok_or_else(|| format!("n{} is not up", host.id))?;
        leaders.push(status.leader.ok_or_else(|| format!("n{} knows no leader", host.id))?);
        let kv = host.kv().ok_or_else(|| format!("n{} has no database", host.id))?;
        states.push((applied(&*kv), sum_of(&*kv, &crate::host::replicated())));
    }
    leaders.dedup();
    states.dedup();
    if leaders.len() != 1 || states.len() != 1 {
        return Err(format!("nodes differ: leaders {leaders:?}, positions {states:?}"));
    }
    let audit = latest(world)?;
    if audit.waiting > 0 || audit.tasks > 0 {
        return Err(format!("{} rows wait, {} tasks stand", audit.waiting, audit.tasks));
    }
    for (id, chunk) in &audit.chunks {
        if chunk.replicas.len() != REPLICAS as usize || chunk.facts.is_none() {
            return Err(format!("chunk {id} is not as it should be: {chunk:?}"));
        }
    }
    Ok(audit)
}
