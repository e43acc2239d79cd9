//! Who belongs to a group: new members ask for a place, those that start say what they have, and the leader changes voters by
//! rule, one change at a time.

mod join;
mod places;
mod register;
pub mod rules;
mod starts;

use std::{
    fmt,
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
use flotilla_env::Clock;
use flotilla_raft_store::Member;
use metrics::gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::rules::{Seat, Standing, Step};
pub use self::{
    join::{Greeter, Joiner, removed},
    places::Places,
    register::{Decided, Heard, Register},
    starts::Starts,
};
use crate::Period;

/// One that was not heard of for so long is not up: three heartbeats of a node, more than ten of a Raft group.
pub const SILENT_AFTER: Duration = Duration::from_millis(1600);
/// Between two looks at the members.
const ROUND: Duration = Duration::from_secs(1);
/// A member that hears of no leader, or is heard by none, for so long asks the others whether it is one.
const ALONE_MAX: Duration = Duration::from_secs(5);
/// A learner that is no further behind can vote: it has the rest in less than a heartbeat.
const LAG_MAX: u64 = 1000;

/// Why a step could not be made; the next round tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The register could not be read, or does not answer as it should.
    #[error("{0}")]
    Register(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The group can't serve, or did not change.
    #[error(transparent)]
    Raft(#[from] flotilla_raft_store::Error),
}

/// What a member is, where people read of it, and in the commands that they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A node of a cluster.
    Node,
    /// A supernode.
    Supernode,
}

impl Kind {
    /// What its group is called.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::Node => "cluster",
            Self::Supernode => "group",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Supernode => "supernode",
        })
    }
}

/// Keeps the members as the rules want them while this one leads. Cheap to clone.
#[derive(Clone)]
pub struct Membership<R> {
    /// This member.
    pub node: NodeId,
    /// The group's identity.
    pub uuid: Uuid,
    /// What is kept of the members.
    pub register: R,
    /// How long a voter may be away before another member gets its vote.
    pub voter_grace: Period,
    /// Asks whether this one is still a member when it hears of no leader.
    pub greeter: Greeter,
    /// Whether the last heartbeat found no leader where this one believes it: one that was removed is told of no new one.
    pub unheard: Arc<AtomicBool>,
    /// Raised when it is not.
    pub removed: CancellationToken,
    /// The monotonic clock.
    pub clock: Arc<dyn Clock>,
}

impl<R: Register> Membership<R> {
    /// Makes the rounds of member `node`. It counts as unheard until it is told otherwise: one that sends no heartbeats of its own,
    /// or is removed before its first one, finds out by asking.
    #[must_use]
    pub fn new(node: NodeId, register: R, voter_grace: Period, greeter: Greeter, clock: Arc<dyn Clock>) -> Self {
        let (unheard, removed) = (Arc::new(AtomicBool::new(true)), CancellationToken::new());
        Self { node, uuid: greeter.uuid, register, voter_grace, greeter, unheard, removed, clock }
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut led: Option<(u64, Instant)> = None;
        let mut alone_since: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
            let (status, now) = (self.register.group().status(), self.clock.now());
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
                if led.take().is_some() {
                    // Another one tells from now on.
                    show(&[]);
                }
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
        let (kind, group) = (self.greeter.kind, self.register.group());
        let (decided, noted) = (self.register.decided().await?, self.register.noted().await?);
        // Behind what was read: one that joined and started meanwhile is a member by now, and must not be taken for one that left.
        let status = group.status();
        if let Some(gone) = decided.iter().find(|(id, row)| row.leaves && !status.members.contains_key(id)) {
            tracing::info!(node = %gone.0, "{kind} has left the {}", kind.group());
            return self.register.forget(*gone.0).await;
        }
        if let Some(gone) = noted.into_iter().find(|id| !status.members.contains_key(id)) {
            return self.register.forget(gone).await;
        }
        // A leader that slept has heard nobody, and knows nothing of who is away.
        let led_for = led_for.min(self.register.steady_for());
        let heard = self.register.heard();
        let seats = status.members.keys().map(|id| {
            let known = heard.iter().find(|known| known.node == *id);
            let silent_for = known.map_or(led_for, |known| known.silent_for);
            let row = decided.get(id);
            Seat {
                node: *id,
                votes: status.voters.contains(id),
                zone: known.and_then(|known| known.zone.clone()),
                standing: match silent_for {
                    _ if *id == self.node => Standing::Up,
                    short if known.is_some() && short < SILENT_AFTER => Standing::Up,
                    long if long.min(led_for) >= self.voter_grace.0 => Standing::Away,
                    _ => Standing::Silent,
                },
                caught_up: *id == self.node
                    || known.is_some_and(|known| known.serves)
                        && group.matched(*id).is_some_and(|index| index + LAG_MAX >= status.last_log_index),
                drains: row.is_some_and(|row| row.drains),
                leaves: row.is_some_and(|row| row.leaves),
            }
        });
        let seats: Vec<Seat> = seats.collect();
        show(&seats);
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
                tracing::info!("this {kind}'s vote goes to another one, and the leadership before it");
                Ok(group.transfer_leader(None).await?)
            }
            Some(Step::Voters(voters)) => {
                tracing::info!(before = ?status.voters, after = ?voters, "voters change");
                Ok(group.set_voters(voters).await?)
            }
            Some(Step::Part(node)) => {
                tracing::info!(%node, "{kind} is no member any more");
                Ok(group.remove_learner(node).await?)
            }
        }
    }

    /// Gives a new member its place. Asked again, it is the same one.
    ///
    /// # Errors
    /// [`Error`]; the new one asks again.
    pub async fn place(&self, request: &JoinRequest) -> Result<JoinAnswer, Error> {
        let (kind, group) = (self.greeter.kind, self.register.group());
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
        let Some(node) = self.register.place(request.disk, floor).await? else {
            let why = format!(
                "as many {kind}s have joined as there may be; remove those that are gone: 'flotilla {kind} list', then 'flotilla \
                 {kind} remove ID --lost'"
            );
            return Ok(JoinAnswer::Refused { why });
        };
        // The step may have been made by another leader; this one knows who is a member only as long as it leads.
        if !group.status().is_leader {
            return Err(Error::Raft(flotilla_raft_store::Error::NoLeader));
        }
        if let Some(refused) = self.holds_address(request, Some(node)) {
            return Ok(refused);
        }
        match group.member(node) {
            None => {
                tracing::info!(%node, peer = request.peer, "{kind} joins");
                group.add_learner(node, Member { name: request.name.clone(), peer: request.peer.clone() }).await?;
            }
            // A copy of its folder, or the same one at another address: nobody would reach it there, and there may be two of it.
            Some(member) if member.peer != request.peer => {
                let why = format!(
                    "the data folder is that of {kind} {node}, which joined at {}, not at {}; start it at that address, or here with \
                     an empty folder",
                    member.peer, request.peer
                );
                return Ok(JoinAnswer::Refused { why });
            }
            Some(_) => {}
        }
        Ok(JoinAnswer::Place { uuid: self.uuid, node })
    }

    /// The refusal of one whose address belongs to another member than `node`. Of the disk's own member nothing is known at first.
    fn holds_address(&self, request: &JoinRequest, node: Option<NodeId>) -> Option<JoinAnswer> {
        let kind = self.greeter.kind;
        let members = self.register.group().status().members;
        let (held, _) = members.iter().find(|(id, member)| Some(**id) != node && member.peer == request.peer)?;
        if node.is_none() && self.register.member_of(request.disk).ok().flatten() == Some(*held) {
            return None;
        }
        let why = format!(
            "{kind} {held} is a member at {} and has another disk; if that disk is gone, run 'flotilla {kind} remove {held} --lost' \
             and start this {kind} again, else give it its own disk",
            request.peer
        );
        Some(JoinAnswer::Refused { why })
    }

    /// Tells a member that starts whether it may take part.
    ///
    /// # Errors
    /// [`Error`]; it asks others.
    pub async fn greeted(&self, request: &GreetRequest) -> Result<GreetAnswer, Error> {
        let group = self.register.group();
        let status = group.status();
        if request.uuid != self.uuid {
            return Ok(GreetAnswer::NotLeader);
        }
        // What is applied was decided, so this needs no leader: the member itself may be missing for there to be one.
        let granted = self.register.start_of(request.node)?;
        if request.start.is_some() && granted > request.start {
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

    /// Whether one is no member any more, as the leader knows for sure.
    ///
    /// # Errors
    /// [`Error`]: it is not known.
    pub async fn is_removed(&self, node: NodeId) -> Result<bool, Error> {
        let is_member = || self.register.group().member(node).is_some();
        if is_member() {
            return Ok(false);
        }
        // One that does not lead any more may not have heard of one that joined.
        self.register.barrier().await?;
        Ok(self.register.group().status().is_leader && !is_member())
    }
}

/// Shows how the members stand, as this leader sees them.
#[allow(clippy::cast_precision_loss)] // gauges are floats
fn show(seats: &[Seat]) {
    for (standing, count) in rules::tally(seats) {
        gauge!("flotilla_members", "standing" => standing).set(count as f64);
    }
}
