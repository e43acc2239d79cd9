//! A process on its way into its group: the place that it gets, the group that it opens there, and the greeting before it votes.
//!
//! It must not know what the group decides.

use std::sync::Arc;

use flotilla_api::peer::auth::FleetSecret;
use flotilla_client::PeerClient;
use flotilla_kv::Kv;
use flotilla_raft_store::{
    Group, Machine, Settings,
    formation::{Formation, Plan},
    identity::Identity,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Fatal, FormPeers, Seams, Seat,
    membership::{Greeter, Joiner, Kind, Starts},
};

/// A process on its way into its group, from its first moment on.
pub struct Entrant {
    /// What it is.
    pub kind: Kind,
    /// What it is told of its group.
    pub plan: Plan,
    /// The seams.
    pub seams: Seams,
    /// The way to other processes.
    pub peers: PeerClient,
    /// The group's formation.
    pub formation: Arc<Formation>,
    /// Where a fatal error is raised.
    pub fatal: Fatal,
}

impl Entrant {
    /// Reads the folder, which the caller holds, and checks it against the plan.
    ///
    /// # Errors
    /// [`Error`]; the process ends with its exit code.
    pub fn open(kind: Kind, plan: Plan, secret: &FleetSecret, seams: Seams) -> Result<Self, Error> {
        let (clock, transport) = (seams.clock.clone(), seams.transport.clone());
        let peers = PeerClient::new(secret.clone(), &*plan.own, clock, &*seams.entropy, transport);
        let formation = Formation::open(plan.clone(), seams.disk.clone(), seams.entropy.clone())?;
        Ok(Self { kind, plan, seams, peers, formation: Arc::new(formation), fatal: Fatal::default() })
    }

    /// Gives the process its place, as [`Joiner::place`] does; none if `stop` came first.
    ///
    /// # Errors
    /// [`Error`], whose exit code tells the supervisor what to do.
    ///
    /// # Durability
    /// Ok with a place means: the identity is synced.
    ///
    /// # Cancel safety
    /// Every step can be repeated; the place stays the same.
    pub async fn place(&self, stop: &CancellationToken) -> Result<Option<Identity>, Error> {
        let (plan, peers, seams) = (&self.plan, &self.peers, &self.seams);
        let joiner = Joiner {
            dir: &plan.dir,
            group: &plan.group,
            name: &plan.name,
            peer: &plan.own,
            members: &plan.join,
            peers,
            seams,
        };
        let others = FormPeers(peers.clone());
        tokio::select! {
            identity = joiner.place(&self.formation, &others) => identity.map(Some),
            () = stop.cancelled() => Ok(None),
        }
    }

    /// Has `work` done until it ends, or until something is fatal: then the folder is marked.
    ///
    /// # Errors
    /// Of the work, or what was raised.
    ///
    /// # Cancel safety
    /// That of `work`.
    pub async fn until_fatal(&self, work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        tokio::select! {
            biased;
            _ = self.fatal.wait() => self.fatal.end(&self.plan.dir),
            result = work => result,
        }
    }

    /// Gives what is needed to take the place. It wants to lead no earlier than [`Entered::greet`] lets it.
    #[must_use]
    pub fn seat(&self, settings: Settings) -> Seat<'_> {
        Seat {
            group: self.plan.group.clone(),
            dir: self.plan.dir.clone(),
            seams: &self.seams,
            settings,
            peers: &self.peers,
            elects: false,
            fatal: &self.fatal,
        }
    }

    /// Gives the folder's record of starts; `kv` is the process's database.
    #[must_use]
    pub fn starts(&self, kv: Arc<dyn Kv>) -> Starts {
        Starts { dir: self.plan.dir.clone(), disk: self.seams.disk.clone(), kv }
    }

    /// Opens the group in the process's database; `last` is what [`Starts::last`] gave before.
    ///
    /// # Errors
    /// [`Error`]; the process ends with its exit code.
    pub async fn enter<M: Machine>(
        &self,
        seat: &Seat<'_>,
        identity: &Identity,
        machine: M,
        starts: Starts,
        last: Option<u64>,
    ) -> Result<Entered<M>, Error> {
        let group = seat.open(identity, machine, starts.kv.clone()).await?;
        let start = starts.told(last, &group)?;
        let Plan { own, members, join, .. } = &self.plan;
        let greeter = Greeter {
            kind: self.kind,
            uuid: identity.uuid,
            own: own.clone(),
            known: join.iter().chain(members).cloned().collect(),
            start,
            peers: self.peers.clone(),
        };
        Ok(Entered { group, starts, greeter })
    }
}

/// A group that its process has opened, and takes part in once it has greeted the others.
pub struct Entered<M> {
    /// The group.
    pub group: Group<M>,
    /// The folder's record of starts.
    pub starts: Starts,
    /// Asks the other members.
    pub greeter: Greeter,
}

impl<M: Machine> Entered<M> {
    /// Greets the other members, and lets the process take part. To be done before it votes or answers anybody: on an older disk that
    /// could undo what was acked.
    ///
    /// # Errors
    /// As [`Greeter::greet`], and [`Error`] of the disk.
    ///
    /// # Durability
    /// Ok means: a crash from now on is known as one of this start.
    ///
    /// # Cancel safety
    /// Nothing happens but questions, until they are answered; from there on it is not suspended.
    pub async fn greet(&self) -> Result<(), Error> {
        self.greeter.greet(&self.group).await?;
        self.starts.begin()?;
        self.group.let_elect();
        Ok(())
    }
}
