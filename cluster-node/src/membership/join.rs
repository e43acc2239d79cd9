//! The other side: a new node asks for its place, and one that starts asks whether its disk is what the cluster knows.

use std::{path::Path, time::Duration};

use flotilla_api::{
    ClusterName, NodeId,
    peer::{GreetAnswer, GreetRequest, JoinAnswer, JoinRequest},
    route,
};
use flotilla_client::{Lane, PeerClient};
use flotilla_member::{Error, Seams};
use flotilla_raft_store::{Status, formation::Formation, identity};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Between two rounds of questions.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a member may take: joining is two commits.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long the leader may take to greet a node.
const GREET_DEADLINE: Duration = Duration::from_secs(1);
/// The file in which a folder's identity is kept until it has a place.
const FILE: &str = "joining";

#[derive(Serialize, Deserialize)]
struct Joining {
    disk: Uuid,
}

/// A node with an empty folder on its way into a running cluster.
pub struct Joiner<'a> {
    /// The data folder.
    pub dir: &'a Path,
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// The node's name.
    pub name: &'a str,
    /// The node's peer address.
    pub peer: &'a str,
    /// Members to ask, by their peer addresses.
    pub members: &'a [String],
    /// The way to them.
    pub peers: &'a PeerClient,
    /// The seams.
    pub seams: &'a Seams,
}

impl Joiner<'_> {
    /// Asks until there is a place, and takes it.
    ///
    /// # Errors
    /// [`Error::Refused`] and errors of the disk; members that don't answer are asked again for ever.
    ///
    /// # Durability
    /// Ok means: the identity is synced.
    ///
    /// # Cancel safety
    /// Every step can be repeated; the place stays the same.
    pub async fn join(&self, formation: &Formation) -> Result<(), Error> {
        let path = self.dir.join(FILE);
        let disk = match identity::read::<Joining>(&*self.seams.disk, &path)? {
            Some(joining) => joining.disk,
            None => {
                let disk = uuid::Builder::from_random_bytes(self.seams.entropy.u128().to_le_bytes()).into_uuid();
                identity::write_synced(&*self.seams.disk, &path, &Joining { disk })?;
                disk
            }
        };
        let (cluster, name, peer) = (self.cluster.clone(), self.name.to_owned(), self.peer.to_owned());
        let request = JoinRequest { cluster, disk, name, peer };
        loop {
            for member in self.members.iter().filter(|member| *member != self.peer) {
                if let Some((uuid, node)) = self.ask(member, &request).await? {
                    formation.adopt(uuid, node, disk)?;
                    tracing::info!(%node, "joined the cluster");
                    return Ok(());
                }
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// Asks one member, and the leader that it names.
    async fn ask(&self, member: &str, request: &JoinRequest) -> Result<Option<(Uuid, NodeId)>, Error> {
        let mut asked = member.to_owned();
        for _ in 0..2 {
            let answer = self.peers.post(Lane::Control, &asked, route::PEER_JOIN, request, JOIN_DEADLINE).await;
            match answer {
                Ok(JoinAnswer::Place { uuid, node }) => return Ok(Some((uuid, node))),
                Ok(JoinAnswer::Ask { peer }) => asked = peer,
                Ok(JoinAnswer::Refused { why }) => return Err(Error::Refused(why)),
                Err(error) => {
                    tracing::info!(peer = %asked, %error, "no place yet; asking again");
                    break;
                }
            }
        }
        Ok(None)
    }
}

/// Says what this node has, and hears whether it may take part. Where nobody leads, nobody knows better.
///
/// # Errors
/// [`Error::Refused`], with what to do.
pub async fn greet(status: &Status, peer: &str, peers: &PeerClient) -> Result<(), Error> {
    let node = status.id;
    match status.members.get(&node) {
        Some(member) if member.peer != peer => {
            return Err(Error::Refused(format!(
                "the data folder is that of node {node}, which is known at {}, not at {peer}; point data_dir at the right \
                 folder, or set advertise_peer to the address that is known",
                member.peer
            )));
        }
        _ => {}
    }
    let request = GreetRequest { node, last_log_index: status.last_log_index };
    let others = status.members.iter().filter(|(id, _)| **id != node);
    let asked = others.map(|(_, member)| {
        peers.post::<_, GreetAnswer>(Lane::Control, &member.peer, route::PEER_GREET, &request, GREET_DEADLINE)
    });
    for answer in futures::future::join_all(asked).await {
        match answer {
            Ok(GreetAnswer::Welcome) => return Ok(()),
            Ok(GreetAnswer::Removed) => return Err(removed(node)),
            Ok(GreetAnswer::Older { had }) => {
                return Err(Error::Refused(format!(
                    "the data folder is an older copy of node {node}: its log ends at {}, and the node had synced it up to \
                     {had}; bring the newest copy back, or run 'flotilla node remove {node} --lost' and join with an empty \
                     folder",
                    status.last_log_index
                )));
            }
            Ok(GreetAnswer::NotLeader) | Err(_) => {}
        }
    }
    Ok(())
}

/// What a node that is no member any more ends with.
pub fn removed(node: NodeId) -> Error {
    Error::Refused(format!(
        "node {node} was removed from its cluster; start it with an empty data folder and 'join' to have it join as a new node"
    ))
}
