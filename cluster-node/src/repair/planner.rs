//! What the leader plans: copies for chunks that have too few, and the end of copies that are too many. Soft state: a new leader
//! begins anew.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    time::Duration,
};

use flotilla_api::{ChunkId, NodeId};
use metrics::gauge;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Error, Parts, ROUND, Repair,
    balance::Moves,
    fleet::{Fleet, Shape},
    survey::{Counts, Found, Survey},
};
use crate::metadata::{
    heal::{
        Command, TaskId, Work,
        tasks::{CHUNKS_MAX, PLANS_MAX},
    },
    life::queues,
    nodes,
    rows::{ChunkRef, TaskRow},
};

/// Tasks that stand per node: enough that it never waits for the next one, few enough that what is more urgent need not wait long.
const TASKS_PER_NODE: usize = 4;
/// The most bytes of one task, so that a lease is not the unit in which progress is lost.
const TASK_BYTES_MAX: u64 = 64 << 20;
/// Chunks that are set aside in one round because their node has enough to do; beyond that nobody has room.
const ASIDE_MAX: usize = 512;
/// Pages of a survey in one round: some ten thousand chunks, in milliseconds.
const PAGES: usize = 16;
/// The pause between surveys that change nothing doubles up to the longest one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// A lease that ran out so long ago was not kept by a node that works, however slow repair is held by foreground work: leases are
/// kept with every copy that is made.
const HUNG_AFTER_MS: u64 = 60_000;

pub(super) struct Planner {
    repair: Repair,
    term: Option<u64>,
    led_since: Instant,
    shape: Shape,
    survey: Option<Survey>,
    next_survey: Instant,
    pause: Duration,
    /// What the last survey found.
    left: u64,
    short: VecDeque<Found>,
    surplus: VecDeque<Found>,
    /// Copies that are verified before they are dropped: at the pace of their nodes, so that nothing else waits for it.
    dropping: Option<AbortOnDropHandle<Result<bool, Error>>>,
}

impl Planner {
    pub(super) fn new(repair: Repair) -> Self {
        let now = repair.0.clock.now();
        Self {
            repair,
            term: None,
            led_since: now,
            shape: Shape::default(),
            survey: None,
            next_survey: now,
            pause: PAUSE_MIN,
            left: u64::MAX,
            short: VecDeque::new(),
            surplus: VecDeque::new(),
            dropping: None,
        }
    }

    /// Waits until another round can do something.
    pub(super) async fn rest(&mut self) {
        let Some(dropping) = &mut self.dropping else { return tokio::time::sleep(ROUND).await };
        let Ok(dropped) = tokio::time::timeout(ROUND, dropping).await else { return };
        self.dropping = None;
        match dropped {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "copies that are too many could not be dropped"),
            Err(error) => tracing::error!(%error, "a task of repair ended early"),
        }
    }

    /// Makes one round; true if there is more to do at once.
    pub(super) async fn round(&mut self) -> Result<bool, Error> {
        if !self.leads() {
            return Ok(false);
        }
        flotilla_env::failpoint!("repair.plan", |_| Ok(false));
        let draining = self.repair.0.metadata.with_view(|view| nodes::draining(view)).await??;
        let mut fleet = self.fleet(draining);
        let standing = self.repair.tasks().await?;
        self.show(&standing);
        self.forget(&fleet, &standing).await?;
        let shape = fleet.shape();
        if shape.counted != self.shape.counted {
            // What was found may be wrong, and what is lost now is more urgent.
            self.begin_anew();
        } else if shape != self.shape {
            // A damaged copy is more urgent than one too many, which is found again.
            self.surplus.clear();
            self.pause = PAUSE_MIN;
            self.next_survey = self.repair.0.clock.now();
        }
        self.shape = shape;
        if self.survey.is_some() {
            return self.go_on(&fleet).await;
        }
        if self.plan(&mut fleet, &standing).await? {
            // The next look at the tasks sees what was planned: a survey before it would find the same chunks again.
            return Ok(true);
        }
        if self.dropping.is_none() && !self.surplus.is_empty() {
            self.dropping = Some(self.repair.drop_copies(&fleet, &mut self.surplus));
        }
        let now = self.repair.0.clock.now();
        if self.short.is_empty() && self.dropping.is_none() && now >= self.next_survey {
            let chunks = standing.iter().flat_map(|(_, row)| row.work.chunks());
            let planned: HashSet<ChunkId> = chunks.map(|chunk| chunk.id).collect();
            self.survey =
                Some(Survey::new(planned, if standing.is_empty() { fleet.moves() } else { Moves::default() }));
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether this node leads, and since when.
    fn leads(&mut self) -> bool {
        let Parts { metadata, clock, .. } = &*self.repair.0;
        let (status, now) = (metadata.group().status(), clock.now());
        if !status.is_leader || status.catching_up {
            if self.term.take().is_some() {
                self.dropping = None;
                // Another one tells from now on.
                self.show(&[]);
                show_counts(Counts::default());
            }
            return false;
        }
        let is_new = self.term.replace(status.term) != Some(status.term);
        if is_new {
            self.led_since = now;
            self.begin_anew();
        }
        true
    }

    /// Judges the nodes.
    fn fleet(&self, draining: BTreeSet<NodeId>) -> Fleet {
        let Parts { node, metadata, board, clock, down_grace, .. } = &*self.repair.0;
        let led_for = clock.now().duration_since(self.led_since).min(board.steady_for(*node));
        let members = metadata.group().status().members.into_keys();
        Fleet::new(members, board.roll(), led_for, down_grace.0, board.corrupt(), draining)
    }

    fn begin_anew(&mut self) {
        self.short.clear();
        self.surplus.clear();
        self.dropping = None;
        self.survey = None;
        self.left = u64::MAX;
        self.pause = PAUSE_MIN;
        self.next_survey = self.repair.0.clock.now();
    }

    /// Walks on, and takes over what was found at the end.
    async fn go_on(&mut self, fleet: &Fleet) -> Result<bool, Error> {
        let Some(mut survey) = self.survey.take() else { return Ok(false) };
        let wanted = self.repair.0.replicas;
        let of = fleet.clone();
        let walked = self.repair.0.metadata.with_view(move |view| {
            for _ in 0..PAGES {
                if !survey.page(view, &of, wanted)? {
                    return Ok((survey, false));
                }
            }
            Ok::<_, queues::Error>((survey, true))
        });
        let (survey, more) = walked.await??;
        if more {
            self.survey = Some(survey);
            return Ok(true);
        }
        let (short, surplus, counts) = survey.finish();
        if counts.short + counts.missing + counts.surplus > 0 {
            tracing::info!(
                chunks = counts.chunks,
                short = counts.short,
                missing = counts.missing,
                surplus = counts.surplus,
                "surveyed"
            );
        }
        show_counts(counts);
        let longest = self.repair.0.survey_every;
        let (found, left) = (!(short.is_empty() && surplus.is_empty()), counts.short + counts.surplus);
        if left == 0 && found {
            tracing::info!(chunks = short.len(), "copies move to nodes that have less than others");
        }
        // What was found is soon looked at again, later and later if that changes nothing.
        self.pause = match left {
            0 if found => PAUSE_MIN,
            0 => longest,
            left if left < self.left => PAUSE_MIN,
            _ => (self.pause * 2).min(longest),
        };
        self.left = left;
        self.next_survey = self.repair.0.clock.now() + self.pause;
        (self.short, self.surplus) = (short.into(), surplus.into());
        Ok(found)
    }

    /// Plans tasks for as many chunks as the nodes that can take them have room for.
    async fn plan(&mut self, fleet: &mut Fleet, standing: &[(TaskId, TaskRow)]) -> Result<bool, Error> {
        let mut room: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (_, row) in standing {
            *room.entry(row.work.target()).or_default() += 1;
        }
        let mut works: Vec<Work> = Vec::new();
        let mut open: BTreeMap<NodeId, (Vec<ChunkRef>, u64)> = BTreeMap::new();
        let mut left = VecDeque::new();
        while let Some(short) = self.short.pop_front() {
            if works.len() + open.len() >= PLANS_MAX {
                left.push_back(short);
                break;
            }
            let (id, bytes) = (short.chunk.id, u64::from(short.chunk.length));
            let chance = self.repair.0.entropy.u64() as f64 / u64::MAX as f64;
            // Chosen as if all had room: one more copy in the wrong zone would stay there. Its turn comes when a task has ended; if
            // there is no place at all, the next survey finds it again.
            let best = || fleet.choose(id, bytes, &short.holders, chance);
            let Some(to) = short.to.or_else(best) else { continue };
            if room.get(&to).is_some_and(|tasks| *tasks >= TASKS_PER_NODE) {
                left.push_back(short);
                if left.len() >= ASIDE_MAX {
                    break;
                }
                continue;
            }
            fleet.reserve(to, bytes);
            let task = open.entry(to).or_default();
            task.0.push(short.chunk);
            task.1 += bytes;
            if task.0.len() >= CHUNKS_MAX || task.1 >= TASK_BYTES_MAX {
                let (chunks, _) = open.remove(&to).unwrap_or_default();
                works.push(Work::Copy { to, chunks });
                *room.entry(to).or_default() += 1;
            }
        }
        left.append(&mut self.short);
        self.short = left;
        works.extend(open.into_iter().map(|(to, (chunks, _))| Work::Copy { to, chunks }));
        if works.is_empty() {
            return Ok(false);
        }
        self.repair.step(Command::Plan { work: works }).await?;
        Ok(true)
    }

    /// Drops tasks that nobody carries out, so that their chunks are planned for others.
    async fn forget(&self, fleet: &Fleet, standing: &[(TaskId, TaskRow)]) -> Result<(), Error> {
        if standing.is_empty() {
            return Ok(());
        }
        let now_ms = self.repair.0.metadata.with_view(|view| queues::waiting(view)).await??.clock_ms;
        for task in stuck(standing, now_ms, |node| fleet.takes(node)) {
            self.repair.step(Command::Forget { task }).await?;
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floats
    fn show(&self, standing: &[(TaskId, TaskRow)]) {
        let leased = standing.iter().filter(|(_, row)| row.lease.is_some()).count();
        for (state, count) in [("leased", leased), ("waiting", standing.len() - leased)] {
            gauge!("flotilla_tasks", "kind" => "copy", "state" => state).set(count as f64);
        }
    }
}

/// Gives the tasks that nobody carries out: only its target may take a task, and its chunks count as planned as long as it stands.
/// They are those of nodes that are down, drain or can't store anything, and those of nodes that hang: one of their leases ran out
/// long ago. A hanging node that wakes up finds its leases refused.
fn stuck(standing: &[(TaskId, TaskRow)], now_ms: u64, takes: impl Fn(NodeId) -> bool) -> Vec<TaskId> {
    let hangs = |row: &TaskRow| row.lease.is_some() && row.until_ms + HUNG_AFTER_MS <= now_ms;
    let hanging: BTreeSet<NodeId> =
        standing.iter().filter(|(_, row)| hangs(row)).map(|(_, row)| row.work.target()).collect();
    let free = standing.iter().filter(|(_, row)| row.lease.is_none() || row.until_ms <= now_ms);
    let lost = |row: &TaskRow| !takes(row.work.target()) || hanging.contains(&row.work.target());
    free.filter(|(_, row)| lost(row)).map(|(task, _)| *task).collect()
}

#[allow(clippy::cast_precision_loss)] // gauges are floats
fn show_counts(counts: Counts) {
    for (state, count) in [("short", counts.short), ("missing", counts.missing)] {
        gauge!("flotilla_chunks", "state" => state).set(count as f64);
    }
}

#[cfg(test)]
mod tests {
    use crate::metadata::heal::tasks::Lease;

    use super::*;

    fn row(number: u8, to: u64, leased_until_ms: Option<u64>) -> (TaskId, TaskRow) {
        let task = TaskId(1, number);
        let lease = leased_until_ms.map(|_| Lease { task, node: NodeId(to), epoch: 1 });
        let work = Work::Copy { to: NodeId(to), chunks: Vec::new() };
        (task, TaskRow { work, lease, until_ms: leased_until_ms.unwrap_or(0), taken: 0, planned: 0 })
    }

    #[test]
    fn tasks_that_nobody_carries_out_are_dropped() {
        let now = 500_000;
        let long_ago = now - HUNG_AFTER_MS;
        let standing = [
            row(0, 1, None),
            row(1, 1, Some(now - 1)),
            row(2, 2, None),
            row(3, 2, Some(long_ago)),
            row(4, 3, Some(now + 1)),
            row(5, 3, None),
            row(6, 4, Some(long_ago + 1)),
        ];
        let numbers = |found: Vec<TaskId>| found.iter().map(|task| task.1).collect::<Vec<_>>();
        assert_eq!(numbers(stuck(&standing, now, |_| true)), [2, 3], "all of the node that hangs, none of a slow one");
        assert_eq!(numbers(stuck(&standing, now, |node| node.0 != 3)), [2, 3, 5], "what is leased is left alone");
        assert_eq!(numbers(stuck(&standing, now, |_| false)), [0, 1, 2, 3, 5, 6]);
    }
}
