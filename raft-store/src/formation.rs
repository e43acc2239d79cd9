//! How a new group comes to be: once, by its first initial member, and only when every listed member has agreed.
//!
//! The first member writes down a uuid, asks every other one whether its folder is empty, has all of them write the uuid down
//! (synced), writes its own identity last and only then initialises Raft. Every step can be repeated after a crash.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use flotilla_api::{
    NodeId,
    peer::{FormAnswer, FormRequest},
};
use flotilla_env::{Disk, Entropy};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Member, NAME_RULE,
    identity::{self, Identity},
    is_name,
};

#[cfg(test)]
mod tests;

/// Between two rounds of questions.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// The file in which the first member keeps its proposal.
const PROPOSAL: &str = "forming";
/// How much of a name that can't be one is told, in characters.
const TOLD_MAX: usize = 64;

/// Asks other members of the group that forms.
#[async_trait]
pub trait Peers: Send + Sync {
    /// Asks the member at `address`; an error means that it doesn't answer now.
    async fn ask(&self, address: &str, request: &FormRequest) -> Result<FormAnswer, String>;
}

/// What a process is told of its group.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The data folder.
    pub dir: PathBuf,
    /// The fleet.
    pub fleet: Uuid,
    /// The group's name.
    pub group: String,
    /// This process's name; [`is_name`] holds for it.
    pub name: String,
    /// This process's peer address.
    pub own: String,
    /// The peer addresses of all initial members; node ids are counted from 1 in this order.
    pub members: Vec<String>,
    /// The peer addresses of members of a group that is at work: a process that is no initial member asks them for a place, and
    /// one that is finds out whether its group was formed before.
    pub join: Vec<String>,
}

/// Why a process has no place in its group: configuration, so exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The identity file failed.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The first member's proposal can't be understood.
    #[error(
        "'{}' is not the proposal of a group: {why}; if the group is at work, remove that file; if it never was, empty the data \
         folders of all initial members",
        path.display()
    )]
    Proposal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The folder belongs to something else.
    #[error(
        "the data folder belongs to {what} '{held}', not '{told}'; point data_dir at the right folder, or at an empty one"
    )]
    Foreign {
        /// What differs.
        what: &'static str,
        /// What the folder says.
        held: String,
        /// What the settings say.
        told: String,
    },
    /// The own address is not among the members.
    #[error(
        "this process's peer address {own} is not in initial_members; add it, or set advertise_peer to the one that is"
    )]
    NotListed {
        /// The own address.
        own: String,
    },
    /// The folder is empty, but the group exists.
    #[error(
        "the data folder is empty, but group '{group}' is at work at {peer}; restore the folder, or add the node as a new one"
    )]
    EmptyButKnown {
        /// The group.
        group: String,
        /// The member that said so.
        peer: String,
    },
    /// A member has no name that could be written down.
    #[error("member {peer} is called '{name}', and a name is {}; give it another one in its settings", NAME_RULE)]
    Name {
        /// The member.
        peer: String,
        /// How its name begins.
        name: String,
    },
    /// A member refuses the group.
    #[error("member {peer} refuses to form group '{group}': {why}")]
    Refused {
        /// The group.
        group: String,
        /// The member.
        peer: String,
        /// Its reason.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Proposal {
    uuid: Uuid,
    /// What the members that agreed call themselves; none before all have.
    #[serde(default)]
    names: BTreeMap<NodeId, String>,
}

/// The formation of one process's group, and its answers to the other members'.
pub struct Formation {
    plan: Plan,
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    identity: watch::Sender<Option<Identity>>,
    formed: AtomicBool,
}

impl Formation {
    /// Reads the folder and checks it against the plan.
    ///
    /// # Errors
    /// [`Error`]; the process should end with exit code 78.
    pub fn open(plan: Plan, disk: Arc<dyn Disk>, entropy: Arc<dyn Entropy>) -> Result<Self, Error> {
        let held = Identity::read(&*disk, &plan.dir)?;
        if let Some(identity) = &held {
            let foreign = |what, held: String, told: String| Error::Foreign { what, held, told };
            if identity.fleet != plan.fleet {
                return Err(foreign("the fleet", identity.fleet.to_string(), plan.fleet.to_string()));
            }
            if identity.group != plan.group {
                return Err(foreign("group", identity.group.clone(), plan.group));
            }
        } else if plan.join.is_empty() && !plan.members.contains(&plan.own) {
            return Err(Error::NotListed { own: plan.own });
        }
        Ok(Self { plan, disk, entropy, identity: watch::Sender::new(held), formed: AtomicBool::new(false) })
    }

    /// The initial members with their ids.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.plan.members.iter().zip(1..).map(|(address, id)| (NodeId(id), address.as_str()))
    }

    /// Whether this process is the one that forms the group.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.plan.members.first() == Some(&self.plan.own)
    }

    /// Whether this process has to ask the group for a place: it has none, and is no initial member.
    #[must_use]
    pub fn has_to_join(&self) -> bool {
        self.identity.borrow().is_none() && !self.plan.members.contains(&self.plan.own)
    }

    /// Takes the place that the group gave.
    ///
    /// # Durability
    /// Ok means: the identity is synced.
    ///
    /// # Errors
    /// [`Error::Identity`].
    pub fn adopt(&self, uuid: Uuid, node: NodeId, disk: Uuid) -> Result<(), Error> {
        let (fleet, group) = (self.plan.fleet, self.plan.group.clone());
        let identity = Identity { format: 1, fleet, group, uuid, node, disk };
        identity.write(&*self.disk, &self.plan.dir)?;
        self.identity.send_replace(Some(identity));
        Ok(())
    }

    /// Notes that the group is at work, so that empty members are told.
    pub fn set_formed(&self) {
        self.formed.store(true, Ordering::Relaxed);
    }

    /// Gives the members that a group begins with, by the names that they gave; none once this folder says that the group was
    /// initialised ([`Formation::end_forming`]).
    ///
    /// # Errors
    /// [`Error::Identity`], [`Error::Proposal`].
    pub fn founders(&self) -> Result<Option<BTreeMap<NodeId, Member>>, Error> {
        let Some(Proposal { mut names, .. }) = self.proposal()? else { return Ok(None) };
        let named = self.members().map(|(id, peer)| {
            let name = names.remove(&id).unwrap_or_else(|| format!("{}-n{id}", self.plan.group));
            (id, Member { name, peer: peer.to_owned() })
        });
        Ok(Some(named.collect()))
    }

    fn proposal(&self) -> Result<Option<Proposal>, Error> {
        identity::read(&*self.disk, &self.plan.dir.join(PROPOSAL)).map_err(|error| match error {
            identity::Error::Malformed { path, why } => Error::Proposal { path, why },
            error @ identity::Error::Io { .. } => error.into(),
        })
    }

    /// Notes that the group was initialised, and that this folder has what it needs to know of that: synced entries of its log. From
    /// then on a folder without them has lost its database, and must not begin the group a second time under the same identity.
    /// If it can't be noted, the next start does it.
    pub fn end_forming(&self) {
        if let Err(error) = self.remove_proposal() {
            tracing::warn!(%error, "the proposal of the group's first member stays");
        }
    }

    fn remove_proposal(&self) -> Result<(), Error> {
        if self.proposal()?.is_none() {
            return Ok(());
        }
        let path = self.plan.dir.join(PROPOSAL);
        let removed = self.disk.remove(&path).and_then(|()| self.disk.sync_dir(&self.plan.dir));
        removed.map_err(|source| identity::Error::Io { path, source }.into())
    }

    /// Answers another member.
    pub fn answer(&self, request: &FormRequest) -> FormAnswer {
        let refused = |why: String| FormAnswer::Refused { why };
        let (FormRequest::Probe { group } | FormRequest::Assign { group, .. }) = request;
        if *group != self.plan.group {
            return refused(format!("it is of group '{}'", self.plan.group));
        }
        let held = self.identity.borrow().clone();
        match (request, held) {
            (_, Some(identity)) if self.formed.load(Ordering::Relaxed) => FormAnswer::Formed { uuid: identity.uuid },
            (FormRequest::Assign { uuid, .. }, Some(identity)) if identity.uuid != *uuid => {
                refused(format!("its folder belongs to {}", identity.uuid))
            }
            (_, Some(identity)) => self.agreed(identity.uuid, identity.node),
            (FormRequest::Probe { .. }, None) => FormAnswer::Empty,
            (FormRequest::Assign { uuid, node, .. }, None) => {
                match self.members().find(|(_, address)| *address == self.plan.own) {
                    Some((id, _)) if id == *node => {}
                    place => return refused(format!("its initial_members give it {place:?}, not id {node}")),
                }
                match self.take(*uuid, *node) {
                    Ok(()) => self.agreed(*uuid, *node),
                    Err(error) => refused(error.to_string()),
                }
            }
        }
    }

    fn agreed(&self, uuid: Uuid, node: NodeId) -> FormAnswer {
        FormAnswer::Member { uuid, node, name: self.plan.name.clone() }
    }

    /// Waits until this process has an identity.
    ///
    /// # Errors
    /// [`Error`]; the process should end with exit code 78. Members that don't answer are asked again for ever.
    ///
    /// # Cancel safety
    /// Every step can be repeated.
    pub async fn run(&self, peers: &dyn Peers) -> Result<Identity, Error> {
        let mut identity = self.identity.subscribe();
        if let Some(identity) = identity.borrow().clone() {
            return Ok(identity);
        }
        if self.is_first() {
            return self.form(peers).await;
        }
        loop {
            tokio::select! {
                found = identity.wait_for(Option::is_some) => {
                    if let Ok(Some(identity)) = found.as_deref() {
                        return Ok(identity.clone());
                    }
                }
                () = tokio::time::sleep(5 * ASK_AGAIN_AFTER) => self.check_not_formed(peers).await?,
            }
        }
    }

    async fn form(&self, peers: &dyn Peers) -> Result<Identity, Error> {
        let path = self.plan.dir.join(PROPOSAL);
        let uuid = match self.proposal()? {
            Some(proposal) => proposal.uuid,
            None => {
                let uuid = uuid::Builder::from_random_bytes(self.entropy.u128().to_le_bytes()).into_uuid();
                identity::write_synced(&*self.disk, &path, &Proposal { uuid, names: BTreeMap::new() })?;
                uuid
            }
        };
        flotilla_env::failpoint!("formation.proposed");
        self.check_not_formed(peers).await?;
        let group = self.plan.group.clone();
        for (id, address) in self.members().skip(1) {
            self.until_agreed(peers, address, &FormRequest::Probe { group: group.clone() }, uuid, id).await?;
        }
        flotilla_env::failpoint!("formation.probed");
        let mut names = BTreeMap::from([(NodeId(1), self.plan.name.clone())]);
        for (id, address) in self.members().skip(1) {
            let assign = FormRequest::Assign { group: group.clone(), uuid, node: id };
            names.extend(self.until_agreed(peers, address, &assign, uuid, id).await?.map(|name| (id, name)));
        }
        identity::write_synced(&*self.disk, &path, &Proposal { uuid, names })?;
        flotilla_env::failpoint!("formation.assigned");
        self.take(uuid, NodeId(1))?;
        Ok(self.identity.borrow().clone().expect("the identity was just taken"))
    }

    /// Gives the member's name, if it has a place already.
    async fn until_agreed(
        &self,
        peers: &dyn Peers,
        address: &str,
        request: &FormRequest,
        uuid: Uuid,
        id: NodeId,
    ) -> Result<Option<String>, Error> {
        let group = self.plan.group.clone();
        let refused = |why: String| Error::Refused { group: group.clone(), peer: address.to_owned(), why };
        loop {
            match (peers.ask(address, request).await, request) {
                (Ok(FormAnswer::Empty), FormRequest::Probe { .. }) => return Ok(None),
                (Ok(FormAnswer::Member { uuid: held, node, name }), _) if held == uuid && node == id => {
                    if !is_name(&name) {
                        let name = name.chars().take(TOLD_MAX).collect();
                        return Err(Error::Name { peer: address.to_owned(), name });
                    }
                    return Ok(Some(name));
                }
                (Ok(FormAnswer::Member { uuid, node, .. }), _) => {
                    return Err(refused(format!("it is node {node} of {uuid}")));
                }
                (Ok(FormAnswer::Formed { .. }), _) => {
                    return Err(Error::EmptyButKnown { group, peer: address.to_owned() });
                }
                (Ok(FormAnswer::Refused { why }), _) => return Err(refused(why)),
                (Ok(FormAnswer::Empty), FormRequest::Assign { .. }) => {}
                (Err(why), _) => tracing::debug!(peer = %address, %why, "member does not answer yet"),
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }

    async fn check_not_formed(&self, peers: &dyn Peers) -> Result<(), Error> {
        for address in self.plan.members.iter().chain(&self.plan.join).filter(|address| **address != self.plan.own) {
            let probe = FormRequest::Probe { group: self.plan.group.clone() };
            if let Ok(FormAnswer::Formed { .. }) = peers.ask(address, &probe).await {
                return Err(Error::EmptyButKnown { group: self.plan.group.clone(), peer: address.to_owned() });
            }
        }
        Ok(())
    }

    fn take(&self, uuid: Uuid, node: NodeId) -> Result<(), Error> {
        self.adopt(uuid, node, uuid::Builder::from_random_bytes(self.entropy.u128().to_le_bytes()).into_uuid())
    }
}
