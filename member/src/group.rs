//! From an empty folder to a running Raft group, and the hand-over at the end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use flotilla_api::{
    peer::{FormAnswer, FormRequest},
    route,
};
use flotilla_client::{Http, Lane, PeerClient, Transport};
use flotilla_env::{Clock, Disk, Entropy, HostProbe, blocking, disk::RealDisk};
use flotilla_kv::{FamilySpec, Kv, RocksKv};
use flotilla_raft_store::{
    Group, Machine, Options, Settings, Status,
    formation::{Formation, Peers},
    identity::Identity,
};

use crate::{Error, Fatal, PeerTransport, memory, watched::Watched};

/// How long another member may take to answer a question of formation.
const FORM_DEADLINE: Duration = Duration::from_secs(2);
/// How long a hand-over of leadership may take at the end; shorter than an election by timeout, which is none.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(1);

/// The seams that a process runs on.
#[derive(Debug, Clone)]
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Databases.
    pub databases: Arc<dyn Databases>,
    /// The way to other processes.
    pub transport: Arc<dyn Transport>,
    /// The machine's load.
    pub probe: Arc<dyn HostProbe>,
}

/// Opens databases.
pub trait Databases: Send + Sync + std::fmt::Debug {
    /// Opens the database of a folder, made if it is missing; blocks.
    ///
    /// # Errors
    /// The process ends with its exit code.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    fn open(&self, options: flotilla_kv::Options) -> Result<Arc<dyn Kv>, flotilla_kv::Error>;
}

/// RocksDB in folders of the machine.
#[derive(Debug, Clone, Copy)]
struct Rocks;

impl Databases for Rocks {
    fn open(&self, options: flotilla_kv::Options) -> Result<Arc<dyn Kv>, flotilla_kv::Error> {
        let kv = RocksKv::open(options)?;
        // Ends by itself once the database is gone.
        tokio::spawn(memory::keep_shown(Arc::downgrade(&kv)));
        Ok(kv)
    }
}

impl Seams {
    /// The machine itself.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: flotilla_env::clock::system(),
            entropy: flotilla_env::entropy::system(),
            disk: Arc::new(RealDisk),
            databases: Arc::new(Rocks),
            transport: Arc::new(Http::new()),
            probe: flotilla_env::host::system(),
        }
    }
}

/// A place in a group: what is needed to take it.
#[derive(Debug)]
pub struct Seat<'a> {
    /// The group's name, also in metrics.
    pub group: String,
    /// The data folder.
    pub dir: PathBuf,
    /// The seams.
    pub seams: &'a Seams,
    /// The group's timers and sizes.
    pub settings: Settings,
    /// The way to the other members.
    pub peers: &'a PeerClient,
    /// Whether it may want to lead before it was told so.
    pub elects: bool,
    /// Where a fatal error is raised.
    pub fatal: &'a Fatal,
}

impl Seat<'_> {
    /// Opens the process's one database: with the families of the group, and those of others who share its log. A write or sync
    /// that fails is raised.
    ///
    /// # Errors
    /// [`Error`]; the process ends with its exit code.
    pub async fn database<M: Machine>(&self, others: &[FamilySpec]) -> Result<Arc<dyn Kv>, Error> {
        let families = [&flotilla_raft_store::families::<M>(), others].concat();
        let options = flotilla_kv::Options::new(self.dir.join("meta"), &families);
        let databases = self.seams.databases.clone();
        let kv = blocking::spawn(move || databases.open(options)).await;
        let kv = kv.map_err(|error| Error::Metadata(error.to_string()))??;
        Ok(Arc::new(Watched::new(kv, self.fatal.clone())))
    }

    /// Opens the group in the database.
    ///
    /// # Errors
    /// [`Error`]; the process ends with its exit code.
    pub async fn open<M: Machine>(&self, identity: &Identity, machine: M, kv: Arc<dyn Kv>) -> Result<Group<M>, Error> {
        let fatal = self.fatal.clone();
        let options = Options {
            id: identity.node,
            group: self.group.clone(),
            uuid: identity.uuid,
            elects: self.elects,
            settings: self.settings.clone(),
            kv,
            disk: self.seams.disk.clone(),
            snapshot_dir: self.dir.join("snapshots"),
            machine: Arc::new(machine),
            transport: Arc::new(PeerTransport(self.peers.clone())),
            clock: self.seams.clock.clone(),
            on_fatal: Arc::new(move |why| fatal.raise(why)),
        };
        Ok(Group::open(options).await?)
    }

    /// Initialises a group that every member has agreed to, if this is the member to do it and it was not done.
    ///
    /// # Errors
    /// [`Error::Raft`]; [`Error::Refused`] if it was done, and the database that knew of it is gone.
    pub async fn form<M: Machine>(&self, group: &Group<M>, formation: &Formation) -> Result<(), Error> {
        // One that joined at the address of the first member, whose disk was lost, has another id.
        let founder = formation.members().next().map(|(id, _)| id);
        if !formation.is_first() || founder != Some(group.status().id) || group.is_formed() {
            return Ok(());
        }
        let Some(founders) = formation.founders()? else {
            return Err(Error::Refused(format!(
                "the data folder '{}' has an identity and no database, though its group was formed; mount or restore 'meta' in it, \
                 or, if that is gone for good, start with an empty folder",
                self.dir.display()
            )));
        };
        flotilla_env::failpoint!("formation.before_init", |_| Err(flotilla_raft_store::Error::NoLeader.into()));
        Ok(group.form(founders).await?)
    }
}

/// Gives leadership away before the process ends, so that nobody waits for an election.
pub async fn hand_over<M: Machine>(group: &Group<M>) {
    let status = group.status();
    if !status.is_leader || status.voters.len() < 2 {
        return;
    }
    let moved = tokio::time::timeout(HAND_OVER_WITHIN, async {
        group.transfer_leader(None).await?;
        // It was only asked for: this node's requests end on the new leader, or wait for it in vain.
        let led_by_another = |now: &Status| !now.is_leader && now.leader.is_some();
        _ = group.watch().wait_for(led_by_another).await;
        Ok::<(), flotilla_raft_store::Error>(())
    });
    match moved.await {
        Ok(Ok(())) => tracing::info!("leadership handed over"),
        Ok(Err(error)) => tracing::warn!(%error, "leadership was not handed over"),
        Err(_) => tracing::warn!(within_ms = HAND_OVER_WITHIN.as_millis(), "nobody took the leadership over"),
    }
}

/// Asks other members over the peer listener.
#[derive(Debug)]
pub struct FormPeers(pub PeerClient);

#[async_trait]
impl Peers for FormPeers {
    async fn ask(&self, address: &str, request: &FormRequest) -> Result<FormAnswer, String> {
        let answer = self.0.post(Lane::Control, address, route::PEER_FORM, request, FORM_DEADLINE).await;
        answer.map_err(|error| error.to_string())
    }
}
