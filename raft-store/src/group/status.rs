//! What a node knows of its group, for readers, for waiters and for the metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use flotilla_api::NodeId;
use metrics::{Counter, Gauge, counter, gauge};
use openraft::{Raft, RaftMetrics, ServerState, alias::LogIdOf, async_runtime::WatchReceiver};
use tokio::sync::watch;

use super::snapshots::Schedule;
use crate::{
    network::Member,
    snapshot::Snapshots,
    store::{
        state_machine::{Applied, Once, StateMachine},
        types::Types,
    },
};

/// A group as one of its nodes sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Whether this node leads. A leader that is cut off learns late that another one took over: only a read or a proposal that
    /// succeeds proves that it leads.
    pub is_leader: bool,
    /// The current term.
    pub term: u64,
    /// The log's last index; 0 if it is empty.
    pub last_log_index: u64,
    /// The last applied index.
    pub applied_index: u64,
    /// The last index in the current snapshot.
    pub snapshot_index: Option<u64>,
    /// The last index that was purged from the log.
    pub purged_index: Option<u64>,
    /// The nodes that vote; those of both sides while the membership changes.
    pub voters: BTreeSet<NodeId>,
    /// The nodes that vote, by sets that each have to agree: one, or two while the membership changes from the first to the
    /// second.
    pub voter_sets: Vec<BTreeSet<NodeId>>,
    /// The nodes that only follow.
    pub learners: BTreeSet<NodeId>,
    /// All nodes.
    pub members: BTreeMap<NodeId, Member>,
    /// Whether a snapshot is being installed, so that the state is not whole.
    pub catching_up: bool,
}

impl Status {
    pub(super) fn new(metrics: &RaftMetrics<Types>, applied: &Applied) -> Self {
        let membership = metrics.membership_config.membership();
        let running = metrics.running_state.is_ok();
        Self {
            id: NodeId(metrics.id),
            leader: metrics.current_leader.filter(|_| running).map(NodeId),
            is_leader: running && metrics.state == ServerState::Leader,
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: *applied.index.borrow(),
            snapshot_index: metrics.snapshot.map(|id| id.index()),
            purged_index: metrics.purged.map(|id| id.index()),
            voters: membership.voter_ids().map(NodeId).collect(),
            voter_sets: sets(membership.get_joint_config()),
            learners: membership.learner_ids().map(NodeId).collect(),
            members: membership.nodes().map(|(id, member)| (NodeId(*id), member.clone())).collect(),
            catching_up: *applied.catching_up.borrow(),
        }
    }

    /// Whether these nodes are enough to agree to something.
    #[must_use]
    pub fn is_quorum(&self, test: impl Fn(NodeId) -> bool) -> bool {
        self.voter_sets.iter().all(|set| set.iter().filter(|id| test(**id)).count() > set.len() / 2)
    }

    /// Whether anything but the ends of the log differs.
    fn differs(&self, other: &Self) -> bool {
        let Self { last_log_index, applied_index, .. } = *other;
        Self { last_log_index, applied_index, ..self.clone() } != *other
    }
}

fn sets(joint: &[BTreeSet<u64>]) -> Vec<BTreeSet<NodeId>> {
    joint.iter().map(|set| set.iter().copied().map(NodeId).collect()).collect()
}

/// The group's figures.
struct Figures {
    is_leader: Gauge,
    term: Gauge,
    last_log_index: Gauge,
    applied_index: Gauge,
    purged_index: Gauge,
    elections: Counter,
}

impl Figures {
    fn new(group: &str) -> Self {
        let group = group.to_owned();
        Self {
            is_leader: gauge!("flotilla_raft_is_leader", "group" => group.clone()),
            term: gauge!("flotilla_raft_term", "group" => group.clone()),
            last_log_index: gauge!("flotilla_raft_last_log_index", "group" => group.clone()),
            applied_index: gauge!("flotilla_raft_applied_index", "group" => group.clone()),
            purged_index: gauge!("flotilla_raft_purged_index", "group" => group.clone()),
            elections: counter!("flotilla_elections_total", "group" => group),
        }
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floating point; indexes stay below 2^53
    fn show_ends(&self, last_log_index: u64, applied_index: u64) {
        self.last_log_index.set(last_log_index as f64);
        self.applied_index.set(applied_index as f64);
    }

    #[allow(clippy::cast_precision_loss)] // as above
    fn show(&self, status: &Status, term_before: u64) {
        self.is_leader.set(if status.is_leader { 1.0 } else { 0.0 });
        self.term.set(status.term as f64);
        self.purged_index.set(status.purged_index.unwrap_or(0) as f64);
        // A term begins with an election, so a node counts those it lived to see.
        self.elections.increment(status.term.saturating_sub(term_before));
    }
}

/// What a status is made of.
pub(super) struct Seen {
    pub(super) raft: Raft<Types, StateMachine>,
    pub(super) applied: Arc<Applied>,
    pub(super) snapshots: Arc<Snapshots>,
}

/// All of a status that changes seldom: it tells whether a new one is worth making, which every entry asks several times.
#[derive(PartialEq)]
struct Outline {
    running: bool,
    state: ServerState,
    leader: Option<u64>,
    term: u64,
    snapshot: Option<u64>,
    purged: Option<u64>,
    membership: Option<LogIdOf<Types>>,
    catching_up: bool,
}

impl Outline {
    fn of(metrics: &RaftMetrics<Types>, applied: &Applied) -> Self {
        Self {
            running: metrics.running_state.is_ok(),
            state: metrics.state,
            leader: metrics.current_leader,
            term: metrics.current_term,
            snapshot: metrics.snapshot.map(|id| id.index()),
            purged: metrics.purged.map(|id| id.index()),
            membership: *metrics.membership_config.log_id(),
            catching_up: *applied.catching_up.borrow(),
        }
    }
}

/// Publishes the status until the group stops, and says so if nobody asked it to; has snapshots built when they are due.
pub(super) async fn publish(
    group: String,
    seen: Seen,
    mut schedule: Schedule,
    status: watch::Sender<Status>,
    fatal: Arc<Once>,
) {
    let Seen { raft, applied, snapshots } = seen;
    let figures = Figures::new(&group);
    let mut metrics = raft.metrics();
    let mut index = applied.index.subscribe();
    let mut catching_up = applied.catching_up.subscribe();
    let mut term = status.borrow().term;
    let mut before = None;
    loop {
        let (outline, last_log_index) = {
            let metrics = metrics.borrow_watched();
            (Outline::of(&metrics, &applied), metrics.last_log_index.unwrap_or(0))
        };
        let applied_index = *index.borrow_and_update();
        figures.show_ends(last_log_index, applied_index);
        if before.as_ref() != Some(&outline) {
            let seen = metrics.borrow_watched().clone();
            let now = Status::new(&seen, &applied);
            figures.show(&now, term);
            term = now.term;
            schedule.built(now.snapshot_index, snapshots.current_rows());
            status.send_if_modified(|before| {
                let differs = before.differs(&now);
                if differs {
                    *before = now;
                }
                differs
            });
            if let Err(error) = seen.running_state {
                fatal.call(|| format!("raft of group '{group}' stopped: {error}"));
                return;
            }
            before = Some(outline);
        }
        if schedule.is_due(applied_index) {
            drop(raft.trigger().snapshot().await); // a group that has stopped says so below
        }
        let alive = tokio::select! {
            changed = metrics.changed() => changed.is_ok(),
            changed = index.changed() => changed.is_ok(),
            changed = catching_up.changed() => changed.is_ok(),
        };
        if !alive {
            fatal.call(|| format!("raft of group '{group}' ended without a word"));
            return;
        }
    }
}
