//! Who belongs to the cluster: new nodes ask for a place, nodes that start say what they have, and the leader changes voters by
//! rule, one change at a time.

mod join;
mod rules;
mod starts;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flotilla_api::{
    NodeId,
    peer::{GreetAnswer, GreetRequest, JoinAnswer, JoinRequest},
};
use flotilla_env::{Clock, Entropy};
use flotilla_member::Period;
use flotilla_raft_store::Member;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::rules::{Seat, Standing, Step};
pub use self::{
    join::{Greeter, Joiner, removed},
    starts::Starts,
};
use crate::{
    board::{Board, SILENT_AFTER},
    metadata::{self, Answer, Command, Metadata, life::queues, nodes},
};

/// Between two looks at the members.
const ROUND: Duration = Duration::from_secs(1);
/// A node that hears of no leader, or is heard by none, for so long asks the others whether it is a member.
const ALONE_MAX: Duration = Duration::from_secs(5);
/// A learner that is no further behind can vote: it has the rest in less than a heartbeat.
const LAG_MAX: u64 = 1000;

/// Why a step could not be made; the next round tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata could not be read or changed.
    #[error(transparent)]
    Metadata(#[from] metadata::read::Error),
    /// A page of it could not be read.
    #[error(transparent)]
    Queue(#[from] queues::Error),
    /// The group did not change.
    #[error(transparent)]
    Raft(#[from] flotilla_raft_store::Error),
    /// A command was answered by another kind of answer.
    #[error("a step was answered with {0:?}")]
    Answer(Answer),
}

/// Keeps the members as the rules want them while this node leads. Cheap to clone.
#[derive(Clone)]
pub struct Membership {
    /// This node.
    pub node: NodeId,
    /// The cluster's identity.
    pub uuid: Uuid,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// What the leader knows of the nodes.
    pub board: Board,
    /// How long a voter may be away before another node gets its vote.
    pub voter_grace: Period,
    /// Asks whether this node is still a member when it hears of no leader.
    pub greeter: Greeter,
    /// Whether the last heartbeat found no leader where this node believes it: one that was removed is told of no new one.
    pub unheard: Arc<AtomicBool>,
    /// Raised when it is not.
    pub removed: CancellationToken,
    /// The monotonic clock.
    pub clock: Arc<dyn Clock>,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
}

impl Membership {
    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut led: Option<(u64, Instant)> = None;
        let mut alone_since: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
            let (status, now) = (self.metadata.group().status(), self.clock.now());
            if status.is_leader || status.leader.is_some() && !self.unheard.load(Ordering::Relaxed) {
                alone_since = None;
            } else if now.duration_since(*alone_since.get_or_insert(now)) >= ALONE_MAX {
                // Who was removed while it was cut off, or just before the leader changed, is told by nobody.
                alone_since = Some(now);
                if self.greeter.is_removed(&status).await {
                    self.removed.cancel();
                }
            }
            if !status.is_leader || status.catching_up {
                led = None;
                continue;
            }
            let since = match led {
                Some((term, since)) if term == status.term => since,
                _ => now,
            };
            led = Some((status.term, since));
            if let Err(error) = self.round(now.duration_since(since)).await {
                tracing::warn!(%error, "the members were not changed; the next round tries again");
            }
        }
    }

    /// Makes one change, if one is due.
    async fn round(&self, led_for: Duration) -> Result<(), Error> {
        let decided = self.metadata.with_view(|view| nodes::decided(view)).await??;
        let group = self.metadata.group();
        let status = group.status();
        if let Some(gone) = decided.iter().find(|(id, row)| row.leaves && !status.members.contains_key(id)) {
            tracing::info!(node = %gone.0, "node has left the cluster");
            return self.step(nodes::Command::Forget { node: *gone.0 }).await.map(drop);
        }
        let writing = self.metadata.with_view(|view| nodes::writing(view)).await??;
        if let Some(gone) = writing.into_iter().find(|id| !status.members.contains_key(id)) {
            return self.step(nodes::Command::Forget { node: gone }).await.map(drop);
        }
        // A leader that slept has heard nobody, and knows nothing of who is away.
        let led_for = led_for.min(self.board.steady_for(self.node));
        let roll = self.board.roll();
        let seats = status.members.keys().map(|id| {
            let known = roll.iter().find(|known| known.candidate.node == *id);
            let silent_for = known.map_or(led_for, |known| known.silent_for);
            let row = decided.get(id);
            Seat {
                node: *id,
                votes: status.voters.contains(id),
                zone: known.and_then(|known| known.candidate.zone.clone()),
                standing: match silent_for {
                    _ if *id == self.node => Standing::Up,
                    short if known.is_some() && short < SILENT_AFTER => Standing::Up,
                    long if long.min(led_for) >= self.voter_grace.0 => Standing::Away,
                    _ => Standing::Silent,
                },
                caught_up: *id == self.node
                    || known.is_some_and(|known| known.candidate.stats.serves)
                        && group.matched(*id).is_some_and(|index| index + LAG_MAX >= status.last_log_index),
                drains: row.is_some_and(|row| row.draining),
                leaves: row.is_some_and(|row| row.leaves),
            }
        });
        let seats: Vec<Seat> = seats.collect();
        let is_up = |id| seats.iter().any(|seat| seat.node == id && seat.standing == Standing::Up);
        if let [_, .., last] = &status.voter_sets[..] {
            // A change that was cut between its two steps; nothing else can be changed before its end.
            if status.is_quorum(is_up) {
                tracing::info!(after = ?last, "a change of voters is brought to its end");
                group.set_voters(last.clone()).await?;
            }
            return Ok(());
        }
        flotilla_env::failpoint!("membership.before_step", |_| Err(flotilla_raft_store::Error::NoLeader.into()));
        match rules::next(&seats) {
            None => Ok(()),
            // A sole voter has nobody to give the leadership to: it leads until the change is committed.
            Some(Step::Voters(voters)) if !voters.contains(&self.node) && status.voters.len() > 1 => {
                tracing::info!("this node's vote goes to another one, and the leadership before it");
                Ok(group.transfer_leader(None).await?)
            }
            Some(Step::Voters(voters)) => {
                tracing::info!(before = ?status.voters, after = ?voters, "voters change");
                Ok(group.set_voters(voters).await?)
            }
            Some(Step::Part(node)) => {
                tracing::info!(%node, "node is no member any more");
                Ok(group.remove_learner(node).await?)
            }
        }
    }

    /// Gives a new node its place. Asked again, it is the same one.
    ///
    /// # Errors
    /// [`Error`]; the node asks again.
    pub async fn place(&self, request: &JoinRequest) -> Result<JoinAnswer, Error> {
        let group = self.metadata.group();
        let status = group.status();
        if !status.is_leader {
            let leader = status.leader.and_then(|id| status.members.get(&id)).map(|leader| leader.peer.clone());
            let none = flotilla_raft_store::Error::NoLeader;
            return leader.map(|peer| JoinAnswer::Ask { peer }).ok_or(Error::Raft(none));
        }
        if let Some(refused) = self.holds_address(request, None) {
            return Ok(refused);
        }
        let floor = status.members.keys().last().map_or(1, |last| last.0 + 1);
        let node = match self.step(nodes::Command::Join { disk: request.disk, floor }).await? {
            Answer::Node(node) => node,
            other => return Err(Error::Answer(other)),
        };
        // The step may have been made by another leader; this one knows who is a member only as long as it leads.
        if !group.status().is_leader {
            return Err(Error::Raft(flotilla_raft_store::Error::NoLeader));
        }
        if let Some(refused) = self.holds_address(request, Some(node)) {
            return Ok(refused);
        }
        if group.member(node).is_none() {
            tracing::info!(%node, peer = request.peer, "node joins");
            group.add_learner(node, Member { name: request.name.clone(), peer: request.peer.clone() }).await?;
        }
        Ok(JoinAnswer::Place { uuid: self.uuid, node })
    }

    /// The refusal of a node whose address belongs to another member than `node`. Of the disk's own node nothing is known at first.
    fn holds_address(&self, request: &JoinRequest, node: Option<NodeId>) -> Option<JoinAnswer> {
        let members = self.metadata.group().status().members;
        let (held, _) = members.iter().find(|(id, member)| Some(**id) != node && member.peer == request.peer)?;
        if node.is_none() && self.metadata.node_of(request.disk).ok().flatten() == Some(*held) {
            return None;
        }
        let why = format!(
            "node {held} is a member at {} and has another disk; if that disk is gone, run 'flotilla node remove {held} --lost' \
             and start this node again, else give it its own disk",
            request.peer
        );
        Some(JoinAnswer::Refused { why })
    }

    /// Tells a node that starts whether it may take part.
    ///
    /// # Errors
    /// [`Error`]; the node asks others.
    pub async fn greeted(&self, request: &GreetRequest) -> Result<GreetAnswer, Error> {
        let group = self.metadata.group();
        let status = group.status();
        if request.uuid != self.uuid {
            return Ok(GreetAnswer::NotLeader);
        }
        // What is applied was decided, so this needs no leader: the node itself may be missing for there to be one.
        let granted = self.metadata.writer_of(request.node)?;
        if request.writer.is_some() && granted > request.writer {
            return Ok(GreetAnswer::StartedSince);
        }
        if !status.is_leader || request.term > status.term {
            return Ok(GreetAnswer::NotLeader);
        }
        if self.is_removed(request.node).await? {
            return Ok(GreetAnswer::Removed);
        }
        Ok(match group.matched(request.node) {
            Some(had) if had > request.last_log_index => GreetAnswer::Older { had },
            _ => GreetAnswer::Welcome,
        })
    }

    /// Whether a node is no member any more, as the leader knows for sure.
    ///
    /// # Errors
    /// [`Error`]: it is not known.
    pub async fn is_removed(&self, node: NodeId) -> Result<bool, Error> {
        let is_member = || self.metadata.group().member(node).is_some();
        if is_member() {
            return Ok(false);
        }
        // One that does not lead any more may not have heard of a node that joined.
        self.metadata.barrier().await?;
        Ok(self.metadata.group().status().is_leader && !is_member())
    }

    async fn step(&self, command: nodes::Command) -> Result<Answer, Error> {
        let id = self.metadata.fresh_id(&*self.entropy);
        Ok(self.metadata.propose(id, Command::Nodes(command)).await?.answer)
    }
}
