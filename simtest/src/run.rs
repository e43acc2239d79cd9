//! One run from its plan to what it found.

use std::time::Duration;

use flotilla_env::{blocking, failpoint};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    clients::{History, Outcome},
    invariants::{
        Violation, Violations, acked_is_durable, applied_alike::Sums, bounded, failed_sync, healed, index_rebuilt,
        linearizable, membership, memory_returned, not_done, one_home,
    },
    note,
    plan::{Plan, Plant},
    settle::{latest, settle},
    trace::Trace,
    world::World,
};

/// How long a cluster may take to form.
const FORMS_WITHIN: Duration = Duration::from_secs(30);
/// How long orders may take in a cluster that was healed.
const ORDERED_WITHIN: Duration = Duration::from_secs(180);
/// Between two looks at who leads and votes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The hash of the trace.
    pub hash: String,
    /// Its lines.
    pub lines: u64,
    /// How many operations were done, not done and unknown.
    pub ops: [usize; 3],
    /// How many positions of the log were compared.
    pub positions: usize,
    /// How long the run took in its own time.
    pub virtual_ms: u128,
    /// What did not hold.
    pub violations: Vec<Violation>,
}

/// Runs a plan on this thread. Once per process, for the same plan to give the same trace.
///
/// # Panics
/// If the system gives no runtime.
#[must_use]
pub fn run(plan: &Plan, print: bool) -> Report {
    let mut rng = StdRng::seed_from_u64(plan.seed.rotate_left(7));
    blocking::simulate(move || Duration::from_micros(rng.random_range(0..300)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input and output");
    LocalSet::new().block_on(&runtime, story(plan, print))
}

async fn story(plan: &Plan, print: bool) -> Report {
    let (trace, violations, history) = (Trace::new(print), Violations::default(), History::default());
    let sums = Sums::new(violations.clone(), trace.clone());
    let point = match plan.plant {
        Some(Plant::NoReadIndex) => Some("raft.read_index=return"),
        Some(Plant::AnyEpoch) => Some("homes.any_epoch=return"),
        _ => None,
    };
    if let Some(point) = point {
        failpoint::set(point).expect("there is such a point");
    }
    let mut world = World::new(plan.clone(), trace.clone(), &|node| sums.of(node));
    world.boot_all().await;
    if tokio::time::timeout(FORMS_WITHIN, formed(&world)).await.is_err() {
        violations.add("run", "the cluster did not form");
    }
    note!(trace, "formed");

    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for number in 1..=plan.clients {
        clients.spawn(world.client(number, &history).work(begun + plan.load));
    }
    let asking = AbortOnDropHandle::new(tokio::spawn(world.ask_about_claims()));
    let (operator, orders) = world.operator();
    let operator = tokio::task::spawn_local(operator.work(orders));
    let mut leaders = membership::Leaders::default();
    for (at, event) in &plan.events {
        pass(&world, begun + *at, &mut leaders, &violations).await;
        failed_sync::check(&world, &violations);
        world.apply(event).await;
    }
    pass(&world, begun + plan.load, &mut leaders, &violations).await;
    world.end_orders();
    failed_sync::check(&world, &violations);
    acked_is_durable::check(&world, &violations).await;
    while clients.join_next().await.is_some() {}
    world.heal().await;
    if tokio::time::timeout(ORDERED_WITHIN, operator).await.is_err() {
        violations.add("membership", "an order is not carried out");
    }
    let settled = settle(&world).await;
    match plan.plant {
        Some(Plant::Unlink) => world.unlink_one().await,
        Some(Plant::HeldBody) => world.client(8, &history).hold_a_body().await,
        _ => {}
    }
    note!(trace, "settled: {}", settled.is_ok());
    world.client(0, &history).read_all().await;
    drop(asking);

    match &settled {
        Ok(audit) => healed::check(&world, audit, &violations).await,
        Err(why) => violations.add("healed", format!("the cluster does not come to rest: {why}")),
    }
    match latest(&world) {
        Ok(audit) => one_home::check(&audit, world.directory(), &violations),
        Err(why) => violations.add("one_home", why),
    }
    acked_is_durable::check(&world, &violations).await;
    index_rebuilt::check(&world, &violations).await;
    bounded::check(&world, &violations);
    membership::check(&world, &violations);
    memory_returned::check(&world, &violations);
    let ops = history.ops();
    linearizable::check(&ops, &violations);
    not_done::check(&ops, &violations);
    let count = |is: fn(&Outcome) -> bool| ops.iter().filter(|op| is(&op.outcome)).count();
    Report {
        hash: trace.hash(),
        lines: trace.lines(),
        ops: [
            count(|outcome| matches!(outcome, Outcome::Done(_) | Outcome::Absent)),
            count(|outcome| matches!(outcome, Outcome::Not)),
            count(|outcome| matches!(outcome, Outcome::Unknown)),
        ],
        positions: sums.positions(),
        virtual_ms: trace.elapsed().as_millis(),
        violations: violations.all(),
    }
}

/// Lets time pass until `end`, and looks at the members meanwhile.
async fn pass(world: &World, end: Instant, leaders: &mut membership::Leaders, violations: &Violations) {
    loop {
        leaders.look(world, violations);
        let next = end.min(Instant::now() + LOOK_EVERY);
        sleep_until(next).await;
        if next == end {
            return;
        }
    }
}

/// Waits until all nodes see a leader.
async fn formed(world: &World) {
    let sees =
        |host: &crate::host::Host| host.node().and_then(|node| node.status()).is_some_and(|s| s.leader.is_some());
    while !world.members().all(sees) {
        sleep(Duration::from_millis(50)).await;
    }
}
