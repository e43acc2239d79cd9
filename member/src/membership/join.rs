//! The other side: a new member asks for its place, and one that starts asks whether its disk is what the group knows.

use std::{collections::BTreeSet, path::Path, time::Duration};

use flotilla_api::{
    NodeId,
    peer::{GreetAnswer, GreetRequest, JoinAnswer, JoinRequest},
    route,
};
use flotilla_client::{Lane, PeerClient, peer};
use flotilla_raft_store::{
    Group, Machine, Status,
    formation::{self, Formation, Peers},
    identity::{self, Identity},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Kind;
use crate::{Error, Seams};

#[cfg(test)]
mod tests;

/// Between two rounds of questions.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a member may take: joining is two commits.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long the leader may take to greet a member.
const GREET_DEADLINE: Duration = Duration::from_secs(1);
/// The file in which a folder's identity is kept until it has a place.
const FILE: &str = "joining";

#[derive(Serialize, Deserialize)]
struct Joining {
    disk: Uuid,
}

/// A process with an empty folder on its way into a running group.
pub struct Joiner<'a> {
    /// The data folder.
    pub dir: &'a Path,
    /// The group.
    pub group: &'a str,
    /// The process's name.
    pub name: &'a str,
    /// Its peer address.
    pub peer: &'a str,
    /// Members to ask, by their peer addresses.
    pub members: &'a [String],
    /// The way to them.
    pub peers: &'a PeerClient,
    /// The seams.
    pub seams: &'a Seams,
}

impl Joiner<'_> {
    /// Gives the process its place: what its folder says, what the group that forms gives it, or what it asks a running one for.
    ///
    /// An initial member with an empty folder asks, too, if its settings name members to ask and the group is at work: its disk
    /// was replaced. The group refuses that until the lost member at this address was removed.
    ///
    /// # Errors
    /// As [`Joiner::join`] and [`Formation::run`]; the process should end with its exit code.
    ///
    /// # Durability
    /// Ok means: the identity is synced.
    ///
    /// # Cancel safety
    /// Every step can be repeated; the place stays the same.
    pub async fn place(&self, formation: &Formation, others: &dyn Peers) -> Result<Identity, Error> {
        if formation.has_to_join() {
            self.join(formation).await?;
        }
        match formation.run(others).await {
            Err(formation::Error::EmptyButKnown { peer, .. }) if !self.members.is_empty() => {
                tracing::warn!(
                    group = self.group,
                    told_by = peer,
                    "the group is at work and the folder empty; joining"
                );
                self.join(formation).await?;
                Ok(formation.run(others).await?)
            }
            placed => Ok(placed?),
        }
    }

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
        let (group, name, peer) = (self.group.to_owned(), self.name.to_owned(), self.peer.to_owned());
        let request = JoinRequest { group, disk, name, peer };
        loop {
            for member in self.members.iter().filter(|member| *member != self.peer) {
                if let Some((uuid, node)) = self.ask(member, &request).await? {
                    formation.adopt(uuid, node, disk)?;
                    tracing::info!(%node, group = self.group, "joined the group");
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

/// Says what this member has, and hears whether it may take part.
#[derive(Clone)]
pub struct Greeter {
    /// What the member is.
    pub kind: Kind,
    /// The group's identity.
    pub uuid: Uuid,
    /// This member's peer address.
    pub own: String,
    /// Peer addresses from the settings; a folder may know less.
    pub known: Vec<String>,
    /// The number of the member's last start, if its disk is sure to know it; 0 if it is, and has nothing of the group.
    pub start: Option<u64>,
    /// The way to other members.
    pub peers: PeerClient,
}

/// What the others said.
struct Heard {
    /// The addresses that answered at all.
    answered: BTreeSet<String>,
    /// What a leader said; the worst of it, if several believe to lead.
    verdict: Option<GreetAnswer>,
}

impl Greeter {
    /// Asks until a leader says that this member may take part, or so many answer that nobody can lead without one of them.
    ///
    /// # Errors
    /// [`Error::Refused`], with what to do.
    ///
    /// # Cancel safety
    /// Nothing happens but questions.
    pub async fn greet<M: Machine>(&self, group: &Group<M>) -> Result<(), Error> {
        let mut told = false;
        loop {
            let status = group.status();
            let (kind, node) = (self.kind, status.id);
            if let Some(member) = status.members.get(&node).filter(|member| member.peer != self.own) {
                return Err(Error::Refused(format!(
                    "the data folder is that of {kind} {node}, which is known at {}, not at {}; point data_dir at the right \
                     folder, or set advertise_peer to the address that is known",
                    member.peer, self.own
                )));
            }
            let Heard { answered, verdict } = self.ask(&status).await;
            match verdict {
                Some(GreetAnswer::Welcome) => return Ok(()),
                Some(GreetAnswer::Removed) => return Err(removed(kind, node)),
                Some(GreetAnswer::Older { had }) => {
                    let last = status.last_log_index;
                    return Err(older(
                        kind,
                        node,
                        &format!("its log ends at {last}, and the {kind} had synced it up to {had}"),
                    ));
                }
                Some(GreetAnswer::StartedSince) if self.start == Some(0) => {
                    return Err(older(
                        kind,
                        node,
                        &format!("it has no database, and the {kind} had one (is 'meta' mounted?)"),
                    ));
                }
                Some(GreetAnswer::StartedSince) => {
                    return Err(older(kind, node, &format!("the {kind} was started since it was made")));
                }
                Some(GreetAnswer::NotLeader) | None => {}
            }
            let is_here = |id: NodeId| {
                id == node || status.members.get(&id).is_some_and(|member| answered.contains(&member.peer))
            };
            let enough = match status.voters.is_empty() {
                // It has nothing: what it had, if anything, the others know.
                true => !answered.is_empty() || self.known.iter().all(|known| *known == self.own),
                false => status.is_quorum(is_here),
            };
            if enough {
                return Ok(());
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!("waiting for other members of the group, which know whether this disk is the newest");
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// Whether a leader says that this one is no member any more.
    pub async fn is_removed(&self, status: &Status) -> bool {
        self.ask(status).await.verdict == Some(GreetAnswer::Removed)
    }

    async fn ask(&self, status: &Status) -> Heard {
        let last_log_index = status.last_log_index;
        let (uuid, node, term, start) = (self.uuid, status.id, status.term, self.start);
        let request = GreetRequest { uuid, node, term, last_log_index, start };
        let members = status.members.values().map(|member| &member.peer);
        let others: BTreeSet<&String> = members.chain(&self.known).filter(|peer| **peer != self.own).collect();
        let asked = others.iter().map(|peer| {
            self.peers.post::<_, GreetAnswer>(Lane::Control, peer, route::PEER_GREET, &request, GREET_DEADLINE)
        });
        let mut heard = Heard { answered: BTreeSet::new(), verdict: None };
        for (peer, answer) in others.iter().zip(futures::future::join_all(asked).await) {
            match answer {
                Ok(said) => {
                    heard.answered.insert((*peer).clone());
                    heard.verdict = heard.verdict.max((said != GreetAnswer::NotLeader).then_some(said));
                }
                // One that is not ready itself is there, and does not lead.
                Err(peer::Error::Problem(_)) => _ = heard.answered.insert((*peer).clone()),
                Err(error) => tracing::debug!(%peer, %error, "member does not answer"),
            }
        }
        heard
    }
}

fn older(kind: Kind, node: NodeId, why: &str) -> Error {
    Error::Refused(format!(
        "the data folder is an older copy of {kind} {node}: {why}; bring the newest copy back, or run 'flotilla {kind} remove {node} \
         --lost' and join with an empty folder"
    ))
}

/// What one that is no member any more ends with.
#[must_use]
pub fn removed(kind: Kind, node: NodeId) -> Error {
    let group = kind.group();
    Error::Refused(format!(
        "{kind} {node} was removed from its {group}; start it with an empty data folder and 'join' to have it join as a new {kind}"
    ))
}
