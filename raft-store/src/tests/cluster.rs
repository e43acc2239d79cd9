//! A group of several nodes in one process.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_api::{CommandId, NodeId};
use flotilla_env::{clock, disk::MemDisk};
use flotilla_kv::{Family, Kv, MemKv};

use super::counter::{Command, Counter};
use uuid::Uuid;

use crate::{
    Applied, Error, Group, Member, Options, Rpc, Settings, Status, Transport, TransportError, families, store::lock,
};

/// Longer than any election and backoff; the clock is paused, so it costs nothing.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The names of the test machine's families.
pub(crate) fn family_names() -> Vec<Family> {
    families::<Counter>().iter().map(|family| family.name).collect()
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    /// It is lost, and the sender waits until its deadline.
    LoseRequest,
    /// It is handled, and the answer is lost.
    LoseAnswer,
    /// It is handled at once, and the answer comes half a second later.
    LateAnswer,
    /// It is refused at once, as by a node that has not opened its group yet.
    Refuse,
}

/// Decides on a message from one node to another.
type Rule = Arc<dyn Fn(u64, u64, Rpc) -> Fate + Send + Sync>;

/// The wires between the nodes.
#[derive(Default)]
pub(crate) struct Net {
    groups: Mutex<BTreeMap<u64, Group<Counter>>>,
    rule: Mutex<Option<Rule>>,
    counts: Mutex<BTreeMap<(u64, &'static str), u64>>,
}

impl Net {
    /// Loses or delivers messages as `rule` says from now on.
    pub(crate) fn rule(&self, rule: impl Fn(u64, u64, Rpc) -> Fate + Send + Sync + 'static) {
        *lock(&self.rule) = Some(Arc::new(rule));
    }

    /// Delivers everything again.
    pub(crate) fn heal(&self) {
        *lock(&self.rule) = None;
    }

    /// Cuts a node off from all others.
    pub(crate) fn isolate(&self, node: u64) {
        self.rule(move |from, to, _| if from == node || to == node { Fate::LoseRequest } else { Fate::Deliver });
    }

    /// How many messages of a kind were sent to a node.
    pub(crate) fn sent(&self, to: u64, rpc: Rpc) -> u64 {
        lock(&self.counts).get(&(to, rpc.as_str())).copied().unwrap_or(0)
    }

    fn fate(&self, from: u64, to: u64, rpc: Rpc) -> Fate {
        let rule = lock(&self.rule).clone();
        rule.map_or(Fate::Deliver, |rule| rule(from, to, rpc))
    }
}

struct Wire {
    from: u64,
    net: Arc<Net>,
}

#[async_trait]
impl Transport for Wire {
    async fn call(
        &self,
        target: NodeId,
        _member: &Member,
        rpc: Rpc,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        *lock(&self.net.counts).entry((target.0, rpc.as_str())).or_default() += 1;
        let fate = self.net.fate(self.from, target.0, rpc);
        let group = lock(&self.net.groups).get(&target.0).cloned();
        let lost = async {
            tokio::time::sleep(deadline).await;
            Err(TransportError::Timeout)
        };
        let Some(group) = group else { return Err(TransportError::Unreachable("it is down".into())) };
        match fate {
            Fate::LoseRequest => lost.await,
            Fate::Refuse => Err(TransportError::Refused("it is not ready yet".into())),
            Fate::LoseAnswer => {
                let _ = tokio::time::timeout(deadline, group.handle(rpc, body)).await;
                lost.await
            }
            Fate::Deliver | Fate::LateAnswer => {
                let answer = tokio::time::timeout(deadline, group.handle(rpc, body)).await;
                if fate == Fate::LateAnswer {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                answer.map_err(|_| TransportError::Timeout)?.map_err(|error| TransportError::Refused(error.to_string()))
            }
        }
    }
}

/// One node: what it keeps over a restart, and its running group.
pub(crate) struct Node {
    pub(crate) kv: Arc<MemKv>,
    pub(crate) disk: MemDisk,
    pub(crate) fatal: Arc<Mutex<Vec<String>>>,
}

/// A group of nodes 1, 2, ...
pub(crate) struct Cluster {
    pub(crate) net: Arc<Net>,
    pub(crate) nodes: BTreeMap<u64, Node>,
    settings: Settings,
    ids: AtomicU64,
}

pub(crate) fn member(id: u64) -> Member {
    Member { name: format!("n{id}"), peer: format!("n{id}:1") }
}

impl Cluster {
    /// Starts and forms a group of nodes 1 to `size`.
    pub(crate) async fn start(size: u64, settings: Settings) -> Self {
        let mut cluster = Self { net: Arc::default(), nodes: BTreeMap::new(), settings, ids: AtomicU64::new(0) };
        for id in 1..=size {
            cluster.add_node(id).await;
        }
        let members = (1..=size).map(|id| (NodeId(id), member(id))).collect();
        cluster.group(1).form(members).await.unwrap();
        for id in 1..=size {
            cluster.wait(id, |status| status.leader.is_some()).await;
        }
        cluster
    }

    /// Starts an empty node.
    pub(crate) async fn add_node(&mut self, id: u64) {
        let kv = Arc::new(MemKv::inline(&family_names()));
        self.nodes.insert(id, Node { kv, disk: MemDisk::new(), fatal: Arc::default() });
        self.boot(id).await;
    }

    /// Starts a node that is down.
    pub(crate) async fn boot(&mut self, id: u64) {
        let node = &self.nodes[&id];
        let group = open(id, node.kv.clone(), &node.disk, self.net.clone(), &self.settings, &node.fatal).await.unwrap();
        lock(&self.net.groups).insert(id, group);
    }

    /// Takes a node down as a power cut does: only what it had synced is left.
    pub(crate) async fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        // The store first: what the dying group writes from here on goes nowhere.
        node.kv = Arc::new(node.kv.crash());
        node.disk = node.disk.crash(0);
        let group = lock(&self.net.groups).remove(&id).unwrap();
        group.shutdown().await;
    }

    pub(crate) fn group(&self, id: u64) -> Group<Counter> {
        lock(&self.net.groups)[&id].clone()
    }

    /// Waits until a node's status is as `is` wants it.
    pub(crate) async fn wait(&self, id: u64, is: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.group(id).watch();
        let found = tokio::time::timeout(LONG, status.wait_for(|status| is(status))).await;
        found.expect("the status comes in time").unwrap().clone()
    }

    /// Waits until one of `among` leads with all of them following, and names it.
    pub(crate) async fn leader(&self, among: &[u64]) -> u64 {
        let set: BTreeSet<NodeId> = among.iter().map(|id| NodeId(*id)).collect();
        let wanted = |status: &Status| status.leader.is_some_and(|leader| set.contains(&leader));
        loop {
            let mut leaders = BTreeSet::new();
            for id in among {
                leaders.insert(self.wait(*id, wanted).await.leader);
            }
            if let (1, Some(Some(leader))) = (leaders.len(), leaders.first()) {
                return leader.0;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Makes an id that no other command has.
    pub(crate) fn id(&self, seen: Option<u64>) -> CommandId {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        CommandId { id: format!("cmd-{number}").parse().unwrap(), seen }
    }

    /// Proposes a new command on a node.
    pub(crate) async fn propose(&self, on: u64, command: Command) -> Result<Applied<u64>, Error> {
        let group = self.group(on);
        group.propose(self.id(Some(group.applied_index())), command, LONG).await
    }

    /// Gives all rows of a node's applied state.
    pub(crate) fn rows(&self, id: u64) -> Vec<(Family, flotilla_kv::Row)> {
        rows(&*self.nodes[&id].kv)
    }

    /// Waits until a node has applied what another one has.
    pub(crate) async fn level(&self, id: u64, with: u64) {
        let index = self.group(with).applied_index();
        loop {
            // A node that installs a snapshot says so; it is asked again when it is done.
            match self.group(id).wait_applied(index, LONG).await {
                Ok(()) => return,
                Err(Error::CatchingUp) => drop(self.wait(id, |status| !status.catching_up).await),
                Err(error) => panic!("node {id}: {error}"),
            }
        }
    }
}

/// Gives all rows of the replicated families.
pub(crate) fn rows(kv: &dyn Kv) -> Vec<(Family, flotilla_kv::Row)> {
    let families = [super::counter::ROWS, crate::store::keys::DEDUP];
    let all = families.into_iter().map(|family| (family, kv.scan(family, &[], None, usize::MAX).unwrap()));
    all.flat_map(|(family, rows)| rows.into_iter().map(move |row| (family, row))).collect()
}

/// Opens one node's group.
pub(crate) async fn open(
    id: u64,
    kv: Arc<dyn Kv>,
    disk: &MemDisk,
    net: Arc<Net>,
    settings: &Settings,
    fatal: &Arc<Mutex<Vec<String>>>,
) -> Result<Group<Counter>, Error> {
    let fatal = fatal.clone();
    let options = Options {
        id: NodeId(id),
        group: "test".into(),
        uuid: Uuid::nil(),
        elects: true,
        settings: settings.clone(),
        kv,
        disk: Arc::new(disk.clone()),
        snapshot_dir: PathBuf::from("/snapshots"),
        machine: Arc::new(Counter),
        transport: Arc::new(Wire { from: id, net }),
        clock: clock::system(),
        on_fatal: Arc::new(move |why| lock(&fatal).push(why)),
    };
    Group::open(options).await
}
