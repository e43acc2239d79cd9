//! What happens in a run, drawn from its seed before it begins. Pure data.

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use crate::{host::Kept, net::Weather};

/// How long clients work.
const LOAD: Duration = Duration::from_secs(12);
/// The time between two faults, at most and at least, in milliseconds.
const FAULT_GAP_MS: (u64, u64) = (300, 2_500);

/// A fault of the fakes or of a node that the invariant of its line must find: how each check is shown to be able to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// `acked_is_durable`: syncs of files do nothing.
    NoSync,
    /// `applied_alike`: one node's database loses a row of some batches.
    LostRow,
    /// `failed_sync`: a database tries again after a failed sync and tells nobody.
    SyncAgain,
    /// `linearizable`: a leader answers reads without asking a quorum whether it still leads.
    NoReadIndex,
    /// `healed`: a node unlinks a copy that it is named for.
    Unlink,
    /// `bounded`: no snapshot is ever built.
    KeepLog,
    /// `not_done`: a transport calls a peer unreachable after it had sent it the request.
    FalseFailure,
    /// `index_rebuilt`: a volume loses its beginning.
    TornVolume,
    /// `memory_returned`: a client neither reads an answer nor lets go of it.
    HeldBody,
    /// `one_home`: a cluster commits under whatever epoch it is told.
    AnyEpoch,
    /// `membership`: a node is drained and removed that nobody wanted to go.
    Unasked,
}

impl Plant {
    /// All of them with their names and the invariants that find them.
    pub const ALL: [(Self, &str, &str); 11] = [
        (Self::NoSync, "no_sync", "acked_is_durable"),
        (Self::LostRow, "lost_row", "applied_alike"),
        (Self::SyncAgain, "sync_again", "failed_sync"),
        (Self::NoReadIndex, "no_read_index", "linearizable"),
        (Self::Unlink, "unlink", "healed"),
        (Self::KeepLog, "keep_log", "bounded"),
        (Self::FalseFailure, "false_failure", "not_done"),
        (Self::TornVolume, "torn_volume", "index_rebuilt"),
        (Self::HeldBody, "held_body", "memory_returned"),
        (Self::AnyEpoch, "any_epoch", "one_home"),
        (Self::Unasked, "unasked", "membership"),
    ];
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where it was drawn from.
    pub seed: u64,
    /// How many nodes form the cluster.
    pub nodes: u64,
    /// How many machines more there are, for nodes that join it.
    pub spares: u64,
    /// How many clients.
    pub clients: u64,
    /// How many keys they share.
    pub keys: u64,
    /// How long they work.
    pub load: Duration,
    /// After how many entries a snapshot is built.
    pub snapshot_after_entries: u64,
    /// The size of a volume: the smaller, the more often one is recycled.
    pub volume_bytes: u64,
    /// How far ahead each machine's wall clock is, in milliseconds.
    pub wall_ahead_ms: Vec<u64>,
    /// What is planted.
    pub plant: Option<Plant>,
    /// What goes wrong, in the order of the times since the load began.
    pub events: Vec<(Duration, Event)>,
}

/// Something that happens to the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The network changes.
    Weather(Weather),
    /// Nothing gets from the first machine to the second one any more.
    Cut(u64, u64),
    /// All links are mended.
    MendLinks,
    /// A machine's process ends in the middle of what it does, after so many changes and syncs more.
    CutAfter(u64, u32),
    /// A machine's process ends, if it still runs, with this left.
    End(u64, Kept),
    /// A machine's process ends in order.
    Stop(u64),
    /// A machine's process starts, unless one runs.
    Boot(u64),
    /// A machine's syncs take so long from now on.
    Slow(u64, Duration),
    /// The next sync of a machine's chunks fails.
    FailChunkSync(u64),
    /// The next sync of a machine's database fails.
    FailDatabaseSync(u64),
    /// An operator ends the process and trusts the machine's disk again, if anything failed on it.
    Accept(u64),
    /// An operator wants other members.
    Order(Order),
}

/// What an operator wants of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A spare one joins.
    Join(u64),
    /// It gives its data away and leaves.
    Retire(u64),
    /// It is lost with its disk, and the cluster is told so.
    Lose(u64),
}

impl Order {
    /// Gives the machine.
    #[must_use]
    pub fn machine(self) -> u64 {
        match self {
            Self::Join(id) | Self::Retire(id) | Self::Lose(id) => id,
        }
    }
}

impl Plan {
    /// Draws a run.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let nodes = if rng.random_range(0..3) == 0 { 5 } else { 3 };
        let mut plan = Self {
            seed,
            nodes,
            spares: rng.random_range(0..2),
            clients: rng.random_range(2..=4),
            keys: rng.random_range(3..=6),
            load: LOAD,
            snapshot_after_entries: rng.random_range(40..=400),
            volume_bytes: [128 << 10, 256 << 10, 1 << 20][rng.random_range(0..3)],
            wall_ahead_ms: (0..=nodes).map(|_| rng.random_range(0..60_000)).collect(),
            plant: None,
            events: Vec::new(),
        };
        let mut at = ms(rng.random_range(0..1500));
        while at < plan.load {
            plan.draw_fault(at, &mut rng);
            at += ms(rng.random_range(FAULT_GAP_MS.0..=FAULT_GAP_MS.1));
        }
        plan.draw_orders(&mut rng);
        plan.events.sort_by_key(|(at, _)| *at);
        plan
    }

    /// Gives how many machines there are.
    #[must_use]
    pub fn machines(&self) -> u64 {
        self.nodes + self.spares
    }

    /// A spare machine joins, one of those that were there leaves or is lost; of five, another one is lost too.
    fn draw_orders(&mut self, rng: &mut StdRng) {
        let mut orders: Vec<Order> = (self.nodes + 1..=self.machines()).map(Order::Join).collect();
        let first = rng.random_range(1..=self.nodes);
        match rng.random_range(0..10) {
            0..4 => {}
            4..7 => orders.push(Order::Retire(first)),
            _ => orders.push(Order::Lose(first)),
        }
        if self.nodes == 5 && self.spares > 0 && orders.len() > 1 && rng.random_bool(0.5) {
            let second = self.other(first, rng);
            if !matches!(orders[1], Order::Lose(_)) && second <= self.nodes {
                orders.push(Order::Lose(second));
            }
        }
        let mut times: Vec<Duration> = orders.iter().map(|_| ms(rng.random_range(0..9_000))).collect();
        times.sort();
        if rng.random_bool(0.3) {
            orders.reverse();
        }
        self.events.extend(times.into_iter().zip(orders.into_iter().map(Event::Order)));
    }

    /// Gives a run of the same size in which nothing goes wrong.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        Self { events: Vec::new(), spares: 0, ..Self::draw(seed) }
    }

    /// Plants a fault, and leaves out all others where they could hide it or do without it.
    #[must_use]
    pub fn planted(mut self, plant: Plant) -> Self {
        self.plant = Some(plant);
        self.events.retain(|(_, event)| !matches!(event, Event::Order(_)));
        if !matches!(plant, Plant::FalseFailure | Plant::AnyEpoch) {
            self.spares = 0;
        }
        match plant {
            Plant::NoSync | Plant::LostRow | Plant::Unlink | Plant::TornVolume | Plant::HeldBody => self.events.clear(),
            Plant::SyncAgain => {
                self.events = vec![(ms(2_000), Event::FailDatabaseSync(1)), (ms(8_000), Event::MendLinks)];
            }
            Plant::KeepLog => {
                self.events.clear();
                self.snapshot_after_entries = 20;
            }
            Plant::NoReadIndex => {
                // The first leader is the one that forms the cluster; clients go on asking it.
                self.events.clear();
                self.isolate(ms(1_000), ms(9_000), &[1]);
            }
            Plant::FalseFailure | Plant::AnyEpoch => {}
            Plant::Unasked => self.events = vec![(ms(1_000), Event::Order(Order::Retire(2)))],
        }
        self
    }

    fn draw_fault(&mut self, at: Duration, rng: &mut StdRng) {
        let node = rng.random_range(1..=self.machines());
        let end = at + ms(rng.random_range(200..4_000));
        match rng.random_range(0..100) {
            0..15 => {
                let most = [2_000, 20_000, 80_000][rng.random_range(0..3)];
                let (lost_permille, late_permille) = (rng.random_range(0..80), rng.random_range(0..100));
                let weather = Weather { delay_us: (100, most), lost_permille, late_permille };
                self.between(at, Event::Weather(weather), end, Event::Weather(Weather::FAIR));
            }
            15..30 => self.isolate(at, end, &[node]),
            30..38 => {
                let other = self.other(node, rng);
                self.between(at, Event::Cut(node, other), end, Event::MendLinks);
            }
            38..46 => {
                let other = self.other(node, rng);
                self.isolate(at, end, &[node, other]);
            }
            46..70 => {
                self.events.push((at, Event::CutAfter(node, rng.random_range(0..40))));
                self.events.push((at + ms(300), Event::End(node, kept(rng))));
                self.events.push((end + ms(300), Event::Boot(node)));
            }
            70..75 => {
                let seed = rng.next_u64();
                for node in 1..=self.machines() {
                    self.events.push((at, Event::End(node, Kept::Some(seed ^ node))));
                    self.events.push((end + ms(rng.random_range(0..500)), Event::Boot(node)));
                }
            }
            75..82 => self.between(at, Event::Stop(node), end + ms(3_000), Event::Boot(node)),
            82..90 => {
                let sync = ms(rng.random_range(20..400));
                self.between(at, Event::Slow(node, sync), end, Event::Slow(node, Duration::from_micros(500)));
            }
            90..95 => {
                self.between(at, Event::FailChunkSync(node), end + ms(500), Event::Accept(node));
                self.events.push((end + ms(600), Event::Boot(node)));
            }
            _ => {
                self.between(at, Event::FailDatabaseSync(node), end + ms(500), Event::Accept(node));
                self.events.push((end + ms(600), Event::Boot(node)));
            }
        }
    }

    fn between(&mut self, at: Duration, event: Event, end: Duration, back: Event) {
        self.events.extend([(at, event), (end, back)]);
    }

    fn isolate(&mut self, at: Duration, end: Duration, some: &[u64]) {
        for inside in some {
            for outside in (1..=self.machines()).filter(|node| !some.contains(node)) {
                self.events.extend([(at, Event::Cut(*inside, outside)), (at, Event::Cut(outside, *inside))]);
            }
        }
        self.events.push((end, Event::MendLinks));
    }

    fn other(&self, node: u64, rng: &mut StdRng) -> u64 {
        1 + (node - 1 + rng.random_range(1..self.machines())) % self.machines()
    }
}

fn kept(rng: &mut StdRng) -> Kept {
    match rng.random_range(0..4) {
        0 => Kept::All,
        1 => Kept::Some(0),
        _ => Kept::Some(rng.next_u64()),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_in_the_order_of_its_times() {
        for seed in 0..50 {
            let plan = Plan::draw(seed);
            assert_eq!(plan, Plan::draw(seed));
            assert!(plan.events.is_sorted_by_key(|(at, _)| *at) && plan.events.len() > 3);
        }
    }

    #[test]
    fn every_kind_of_fault_is_drawn() {
        let all: Vec<Event> = (0..100).flat_map(|seed| Plan::draw(seed).events).map(|(_, event)| event).collect();
        let kinds: std::collections::HashSet<_> = all.iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 12);
    }
}
