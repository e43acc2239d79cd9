//! Opens a group: its store, an installation that a crash cut, and openraft on top.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use flotilla_api::NodeId;
use flotilla_env::{Clock, Disk};
use flotilla_kv::{Batch, Kv};
use openraft::{Raft, async_runtime::WatchReceiver, errors::Fatal};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Error, Settings, Status, core::Core, snapshots::Schedule, status};
use crate::{
    machine::Machine,
    network::{Factory, Link, Transport},
    snapshot::{self, Inbox, Snapshots},
    store::{
        StoreError, keys,
        log_store::LogStore,
        rules::{Rules, Typed},
        state_machine::{Applied, Once, StateMachine},
    },
};

/// What a group is made of.
pub struct Options<M> {
    /// This node's id in the group.
    pub id: NodeId,
    /// The group's name: in the metrics' label `group` and in every message, so the same on all of its nodes.
    pub group: String,
    /// The group's identity, in every message as well: one that was formed anew under the same name is another one.
    pub uuid: Uuid,
    /// Whether this node may want to lead from the start, or only after [`super::Group::let_elect`].
    pub elects: bool,
    /// Timers and sizes.
    pub settings: Settings,
    /// The process's database, opened with at least [`crate::families`].
    pub kv: Arc<dyn Kv>,
    /// Where snapshots are kept.
    pub disk: Arc<dyn Disk>,
    /// The folder for snapshots, for nothing else; made if it is missing.
    pub snapshot_dir: PathBuf,
    /// The replicated rules.
    pub machine: Arc<M>,
    /// The way to the other nodes.
    pub transport: Arc<dyn Transport>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Called once, with a sentence for the log, when the group stops though nobody asked it to: the process must end.
    pub on_fatal: Arc<dyn Fn(String) + Send + Sync>,
}

/// The parts of the store.
struct Store {
    log: LogStore,
    machine: StateMachine,
    snapshots: Arc<Snapshots>,
}

pub(super) async fn open<M: Machine>(options: Options<M>) -> Result<(Arc<Core>, Arc<dyn Kv>), Error> {
    let Options { id, group, uuid, elects, settings, kv, disk, snapshot_dir, machine, transport, clock, on_fatal } =
        options;
    let config = settings.config(&group, elects)?;
    let fatal = Arc::new(Once::new(on_fatal));
    let on_panic = {
        let (fatal, group) = (fatal.clone(), group.clone());
        Box::new(move || fatal.call(|| format!("state machine of group '{group}' panicked")))
    };
    let applied = Arc::new(Applied {
        index: watch::Sender::new(0),
        catching_up: watch::Sender::new(false),
        installs: AtomicU64::new(0),
        on_panic,
    });
    let rules: Arc<dyn Rules> = Arc::new(Typed(machine));
    let version = rules.version();
    let store = {
        let (kv, applied) = (kv.clone(), applied.clone());
        let open = move || {
            let snapshots = Snapshots::open(disk, snapshot_dir, settings.snapshot_part_bytes)?;
            open_store(kv, rules, snapshots, applied)
        };
        flotilla_env::blocking::spawn(open).await.map_err(|error| StoreError::Disk(std::io::Error::other(error)))??
    };
    let link = Arc::new(Link {
        group: format!("{group} {uuid}"),
        id: id.0,
        transport,
        append_timeout: settings.append_timeout,
        snapshot_timeout: settings.snapshot_timeout,
    });
    let snapshots = store.snapshots.clone();
    let inbox = Arc::new(Inbox::new(store.snapshots));
    let raft = Raft::new(id.0, config, Factory(link.clone()), store.log, store.machine).await;
    let raft = raft.map_err(|error: Fatal<_>| StoreError::corrupt("raft state", error))?;
    // The core answers once it has published what it read, so the first status already has the members and the term.
    raft.is_initialized().await.map_err(|error| StoreError::corrupt("raft state", error))?;

    let (publisher, status) = watch::channel(Status::new(&raft.metrics().borrow_watched(), &applied));
    let schedule = Schedule::new(settings.snapshot_after_entries);
    let seen = status::Seen { raft: raft.clone(), applied: applied.clone(), snapshots };
    tokio::spawn(status::publish(group, seen, schedule, publisher, fatal.clone()));
    let core = Core { id: id.0, raft, link, status, applied, inbox, clock, fatal, version };
    Ok((Arc::new(core), kv))
}

fn open_store(
    kv: Arc<dyn Kv>,
    rules: Arc<dyn Rules>,
    snapshots: Arc<Snapshots>,
    applied: Arc<Applied>,
) -> Result<Store, StoreError> {
    check_format(&*kv)?;
    snapshot::redo(&*kv, &snapshots, rules.families())?;
    snapshots.recover(&*kv)?;
    let log = LogStore::open(kv.clone())?;
    let machine = StateMachine::open(kv, rules, snapshots.clone(), applied)?;
    Ok(Store { log, machine, snapshots })
}

/// Refuses a store of a newer build, and marks a new one. Not synced: it rides on the first vote.
fn check_format(kv: &dyn Kv) -> Result<(), StoreError> {
    let Some(bytes) = kv.get(keys::META, keys::FORMAT)? else {
        let mut batch = Batch::default();
        batch.put(keys::META, keys::FORMAT, keys::FORMAT_NOW.to_be_bytes());
        return Ok(kv.write(batch)?);
    };
    let bytes: [u8; 4] = bytes.try_into().map_err(|_| StoreError::corrupt("format", "it has no 4 bytes"))?;
    match u32::from_be_bytes(bytes) {
        keys::FORMAT_NOW => Ok(()),
        found => Err(StoreError::Format { found, known: keys::FORMAT_NOW }),
    }
}
