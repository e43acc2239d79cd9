//! The composition root: a supernode's parts in the order in which they come to life, and back.

use std::{sync::Arc, time::Duration};

use flotilla_api::{
    NodeId, codec,
    peer::{Document, Principal, SUPERNODES, Supernode as Card, auth::FleetSecret},
};
use flotilla_http_server::{DocumentCache, Late, Sealer};
use flotilla_kv::Kv;
use flotilla_member::{
    Addresses, Entrant, Error, Seams, SpaceGauges,
    membership::{self, Kind},
};
use flotilla_raft_store::{Group, formation::Plan, identity::Identity};
use metrics::gauge;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    admission::{self, gate::Gate},
    claims::Claims,
    clusters::Clusters,
    directory::{
        Answer, Command, Directory, DirectoryMachine, Refusal,
        rows::{MEMBERS, MemberRow, Stage, member_key},
    },
    http::{Forwarder, KEPT_BUDGET_BYTES, Others, Polls, Service, Tallies},
    membership::{Membership, Roster},
    root_key,
    tickets::{Follower, Granter},
};

/// The name of the supernodes' group.
pub(crate) const GROUP: &str = SUPERNODES;
/// Between two tries to write the root's document.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How often decoded documents are brought up to date: another supernode may have changed them.
const REFRESH_EVERY: Duration = Duration::from_millis(500);

/// A supernode on its seams, whatever they are: what its listeners need from the first moment on, and what comes to life behind them.
pub struct Supernode {
    pub(crate) settings: Settings,
    pub(crate) addresses: Addresses,
    pub(crate) secret: FleetSecret,
    pub(crate) root: Option<Principal>,
    pub(crate) entrant: Entrant,
    pub(crate) timers: flotilla_raft_store::Settings,
    pub(crate) membership: Late<Membership>,
    pub(crate) service: Late<Service>,
    pub(crate) documents: DocumentCache,
}

impl Supernode {
    /// Reads the folder, which the caller holds, and checks it against the settings. `root` is the principal of the root key, if the
    /// supernode has that.
    ///
    /// # Errors
    /// [`Error`]; the process ends with its exit code.
    pub fn open(
        settings: Settings,
        secret: FleetSecret,
        root: Option<Principal>,
        seams: Seams,
        timers: flotilla_raft_store::Settings,
    ) -> Result<Self, Error> {
        let addresses = settings.check()?;
        let plan = Plan {
            dir: settings.data_dir.clone(),
            fleet: secret.fleet(),
            group: GROUP.to_owned(),
            name: settings.name.clone(),
            own: addresses.peer.clone(),
            members: settings.initial_members.clone(),
            join: settings.join.clone(),
        };
        let entrant = Entrant::open(Kind::Supernode, plan, &secret, seams)?;
        let (membership, service, documents) = (Late::default(), Late::default(), DocumentCache::default());
        Ok(Self { settings, addresses, secret, root, entrant, timers, membership, service, documents })
    }

    /// Joins the group and serves until `stop`.
    ///
    /// # Errors
    /// [`Error`], whose exit code tells the supervisor what to do.
    ///
    /// # Cancel safety
    /// Dropping the future is like a crash, but for the group, which whoever has it ends.
    pub async fn serve(&self, stop: &CancellationToken) -> Result<(), Error> {
        let Some(identity) = self.entrant.place(stop).await? else { return Ok(()) };
        self.entrant.until_fatal(Box::pin(take_part(self, identity, stop))).await
    }

    /// Gives the group, once the supernode has opened it.
    #[must_use]
    pub fn group(&self) -> Option<Group<DirectoryMachine>> {
        self.service.get().map(|service| service.forwarder.directory.group().clone())
    }
}

/// Opens what the supernode keeps, takes its place in the group and serves until `stop`, or until something is fatal.
async fn take_part(supernode: &Supernode, identity: Identity, stop: &CancellationToken) -> Result<(), Error> {
    let Supernode { settings, addresses, entrant, timers, documents, .. } = supernode;
    let Entrant { seams, peers, formation, .. } = entrant;
    let admission = admission::Settings { queue_wait: settings.queue_wait.0, stealing: settings.stealing };
    let seat = entrant.seat(timers.clone());
    let kv = seat.database::<DirectoryMachine>(&[]).await?;
    let starts = entrant.starts(kv);
    let start = starts.last(|kv| last_start(kv, identity.node))?;
    let entered = entrant.enter(&seat, &identity, DirectoryMachine, starts, start).await?;
    let group = entered.group.clone();
    let directory = Directory::new(identity.uuid, group, seams.clock.clone(), seams.entropy.clone());
    let roster = Roster::new(identity.node, directory.clone(), seams.clock.clone(), seams.entropy.clone());
    let gate = Gate::new(admission, documents.clone(), seams.clock.clone(), seams.entropy.clone());
    let forwarder = Forwarder {
        directory: directory.clone(),
        clusters: Clusters::new(seams.clock.clone(), seams.entropy.clone()),
        peers: peers.clone(),
        entropy: seams.entropy.clone(),
        gate: gate.clone(),
        clock: seams.clock.clone(),
    };
    let clusters = forwarder.clusters.clone();
    let claims = Claims {
        directory: directory.clone(),
        clusters: clusters.clone(),
        peers: peers.clone(),
        clock: seams.clock.clone(),
        entropy: seams.entropy.clone(),
        idle: settings.claim_idle.0,
    };
    let granter = Granter {
        directory: directory.clone(),
        gate: gate.clone(),
        clock: seams.clock.clone(),
        entropy: seams.entropy.clone(),
        hold: settings.ticket_hold.0,
    };
    let space = SpaceGauges::default();
    let (follower, turns) = Follower::new(directory.clone(), seams.clock.clone());
    let kept = Arc::new(Semaphore::new(KEPT_BUDGET_BYTES));
    let lifetime = settings.capability_lifetime.0;
    let sealer = Sealer::new(supernode.secret.clone(), seams.clock.clone(), lifetime, documents.clone());
    // What was known before a restart tells good tokens from bad ones, also while nobody leads. Hits are served from it: a stale one
    // is refused by its cluster, and everything else needs a leader.
    refresh(&directory, documents);
    supernode.service.set(Service {
        forwarder,
        others: Others::new(directory.group().clone(), peers.clone()),
        roster: roster.clone(),
        documents: documents.clone(),
        sealer,
        kept,
        tallies: Tallies::default(),
        clock: seams.clock.clone(),
        turns,
        polls: Polls::default(),
        ticket_hold: settings.ticket_hold.0,
    });

    let (grace, greeter) = (settings.voter_grace, entered.greeter.clone());
    let membership = Membership::new(identity.node, roster.clone(), grace, greeter, seams.clock.clone());
    let removed = membership.removed.clone();
    let card = Card {
        id: identity.node,
        name: settings.name.clone(),
        peer: addresses.peer.clone(),
        public: addresses.public.clone(),
    };
    let work = async {
        entered.greet().await?;
        supernode.membership.set(membership.clone());
        seat.form(directory.group(), formation).await?;
        let serve = async {
            if let Some(root) = &supernode.root {
                found_root(supernode, &directory, root).await?;
            }
            tracing::info!(node = %identity.node, "supernode serves");
            keep_fresh(&directory, &clusters, documents).await;
            Ok::<_, Error>(())
        };
        let note = async {
            roster.start(&card).await;
            formation.set_formed();
            entered.starts.end(directory.group()).await;
            formation.end_forming();
            Ok::<_, Error>(())
        };
        let rounds = async {
            membership.run(stop.clone()).await;
            Ok::<_, Error>(())
        };
        // Not one after the other: a supernode that is removed may be the one that leads, or the one to be told.
        tokio::try_join!(serve, note, rounds)?;
        Ok(())
    };
    tokio::select! {
        result = Box::pin(work) => result,
        () = removed.cancelled() => {
            // Who waits for a cluster is refused at once, and goes to another supernode.
            gate.run(removed.clone()).await;
            Err(membership::removed(Kind::Supernode, identity.node))
        }
        () = claims.run() => Ok(()),
        () = granter.run() => Ok(()),
        () = follower.run() => Ok(()),
        () = space.keep_shown(&seams.disk, &settings.data_dir) => Ok(()),
        // Ends with the stop.
        () = gate.run(stop.clone()) => Ok(()),
    }
}

/// Reads the number of the supernode's last start, before its group is open.
fn last_start(kv: &dyn Kv, node: NodeId) -> Result<Option<u64>, Error> {
    let row = kv.get(MEMBERS, &member_key(node)).map_err(Error::Kv)?;
    let row: Option<MemberRow> = row
        .map(|row| codec::decode(&row))
        .transpose()
        .map_err(|error| Error::Metadata(format!("supernodes are corrupt: {error}")))?;
    Ok(row.and_then(|row| row.start))
}

/// Brings the decoded documents and what is shown of clusters up to date for as long as it is polled.
async fn keep_fresh(directory: &Directory, clusters: &Clusters, documents: &DocumentCache) {
    loop {
        // Principals of a directory that was lost are known to its clusters, until a rebuild has taken them over. Looked at before
        // the documents are read, which are those of its end then.
        let partial = clusters.has_foreign() || directory.rebuild().is_ok_and(|row| row.is_some());
        refresh(directory, documents);
        documents.set_partial(partial);
        show_clusters(directory, clusters);
        tokio::time::sleep(REFRESH_EVERY).await;
    }
}

/// Brings the decoded documents up to what is applied here.
fn refresh(directory: &Directory, documents: &DocumentCache) {
    if directory.revision().is_ok_and(|revision| revision != documents.revision()) {
        match directory.documents() {
            Ok(fresh) => documents.replace(fresh),
            Err(error) => tracing::error!(%error, "documents can't be read"),
        }
    }
}

/// Shows how many clusters are heard of those that should be. While the registered ones can't be read, what was shown last stands.
#[allow(clippy::cast_precision_loss)] // gauges are floats
fn show_clusters(directory: &Directory, clusters: &Clusters) {
    let Ok(registered) = directory.clusters() else { return };
    let expected = registered.into_iter().filter_map(|(name, row)| match row.stage {
        Stage::Active | Stage::Retiring { .. } => Some(name),
        Stage::Fenced { .. } => None,
    });
    let expected: Vec<_> = expected.collect();
    for (state, count) in clusters.tally(&expected) {
        gauge!("flotilla_clusters", "state" => state).set(count as f64);
    }
}

/// Has the root's document written, in place of the group's if the settings say so and no earlier start has done that.
async fn found_root(supernode: &Supernode, directory: &Directory, root: &Principal) -> Result<(), Error> {
    let (dir, replace) = (&supernode.settings.data_dir, supernode.settings.replace_root_key);
    let done = replace && root_key::was_put(dir, root)?;
    if done {
        tracing::warn!(
            "replace_root_key was followed by an earlier start with this key; take it out, or remove root-key.put to do it again"
        );
    }
    let replace = replace && !done;
    write_root(directory, &supernode.entrant.seams, root, replace).await;
    if replace {
        root_key::note_put(dir, root)?;
    }
    Ok(())
}

/// Writes the root's document until one is there: without it nobody can do anything.
async fn write_root(directory: &Directory, seams: &Seams, root: &Principal, replace: bool) {
    loop {
        let put = match replace {
            true => Command::PutDocument(Document::Principal(root.clone())),
            false => Command::FoundRoot(root.clone()),
        };
        match directory.propose(seams.entropy.u128(), put).await {
            Ok(Answer::Done) => return,
            Ok(Answer::Refused(Refusal::Taken)) => {
                tracing::warn!("the root key is another one than that in root_key_file, which opens nothing");
                return;
            }
            Ok(answer) => tracing::error!(?answer, "the root's document was not taken"),
            Err(error) => tracing::debug!(%error, "no leader for the root's document yet"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}
