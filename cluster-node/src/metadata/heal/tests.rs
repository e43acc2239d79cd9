//! Tasks, leases and replica sets: one by one, and in any order against disks of a model.

use std::collections::BTreeSet;

use flotilla_api::{ChunkId, NodeId, WriterId, codec};
use proptest::prelude::*;

use super::{Answer, Command, Lease, Surplus, TaskId, Work, replicas, tasks};
use crate::metadata::{
    Answer as Applied, Command as Any,
    bound::ROWS_MAX,
    keys, life,
    rows::{ChunkRef, ChunkRow, GarbageRow, TaskRow},
    testing::Cluster,
};

const ONE: ChunkId = ChunkId { writer: WriterId(1), seq: 1 };

fn ids(count: u64) -> Vec<ChunkId> {
    (1..=count).map(|seq| ChunkId { writer: WriterId(1), seq }).collect()
}

fn heal(cluster: &mut Cluster, command: Command) -> Answer {
    cluster.state.touched.set(0);
    let answer = cluster.apply(Any::Heal(command.clone()));
    let touched = cluster.state.touched.get();
    assert!(touched <= ROWS_MAX, "{touched} rows touched by {command:?}");
    match answer {
        Applied::Heal(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn count(answer: Answer) -> u32 {
    match answer {
        Answer::Done { count, .. } => count,
        other => panic!("{other:?}"),
    }
}

fn with_chunk(cluster: &mut Cluster, id: ChunkId, nodes: &[u64]) {
    let replicas = nodes.iter().copied().map(NodeId).collect();
    cluster.set(keys::CHUNKS, &id.to_bytes(), &ChunkRow { references: 1, length: 3, replicas });
}

fn nodes_of(cluster: &Cluster, id: ChunkId) -> Vec<u64> {
    let row = &cluster.state.rows[&(keys::CHUNKS, id.to_bytes().to_vec())];
    let row: ChunkRow = codec::decode(row).expect("it was encoded");
    row.replicas.iter().map(|node| node.0).collect()
}

fn tick(cluster: &mut Cluster, by_ms: u64) {
    let from_ms = life::clock::now(&cluster.state).expect("a map never fails");
    cluster.apply(Any::Life(life::Command::Tick { from_ms, to_ms: from_ms + by_ms }));
}

fn unlinked(cluster: &mut Cluster, node: u64, id: ChunkId) {
    cluster.apply(cluster.state.unlinked(node, &[id]));
}

fn refs(ids: &[ChunkId]) -> Vec<ChunkRef> {
    ids.iter().map(|id| ChunkRef { id: *id, length: 3, cv: [1; 32] }).collect()
}

/// Plans copies on a node and gives the task.
fn plan(cluster: &mut Cluster, to: u64, chunks: Vec<ChunkId>) -> TaskId {
    let planned = heal(cluster, Command::Plan { work: vec![Work::Copy { to: NodeId(to), chunks: refs(&chunks) }] });
    assert_eq!(planned, Answer::Done { count: 1, more: false });
    TaskId(cluster.index, 0)
}

fn take(cluster: &mut Cluster, task: TaskId, node: u64) -> Option<Lease> {
    match heal(cluster, Command::Take { task, node: NodeId(node), lasts_ms: 10_000 }) {
        Answer::Leased(lease) => Some(lease),
        _ => None,
    }
}

#[test]
fn a_lease_holds_until_another_one_was_given() {
    let mut cluster = Cluster::default();
    with_chunk(&mut cluster, ONE, &[1, 2]);
    let task = plan(&mut cluster, 3, vec![ONE]);
    assert_eq!(take(&mut cluster, task, 2), None, "it is node 3's");
    let old = take(&mut cluster, task, 3).expect("it is free");
    assert_eq!(heal(&mut cluster, Command::Forget { task }), Answer::Passed, "it is leased");
    tick(&mut cluster, 9_999);
    assert_eq!(count(heal(&mut cluster, Command::Keep { lease: old, lasts_ms: 10_000 })), 1);
    tick(&mut cluster, 9_999);
    assert_eq!(heal(&mut cluster, Command::Forget { task }), Answer::Passed, "it was kept");
    let new = take(&mut cluster, task, 3).expect("node 3 has started again");
    for late in [
        Command::AddReplicas { lease: old, ids: vec![ONE] },
        Command::Keep { lease: old, lasts_ms: 1 },
        Command::End { lease: old },
    ] {
        assert_eq!(heal(&mut cluster, late), Answer::Passed);
    }
    assert_eq!(nodes_of(&cluster, ONE), [1, 2]);
    assert_eq!(count(heal(&mut cluster, Command::AddReplicas { lease: new, ids: vec![ONE] })), 1);
    assert_eq!(nodes_of(&cluster, ONE), [1, 2, 3]);
    assert_eq!(heal(&mut cluster, Command::End { lease: new }), Answer::Passed, "all of it was done, so it has ended");
    assert_eq!(tasks::standing(&cluster.state).expect("a map never fails"), 0);
}

#[test]
fn tasks_are_bounded_and_forgotten_ones_make_room() {
    let mut cluster = Cluster::default();
    let work = |chunks: Vec<ChunkId>| Work::Copy { to: NodeId(3), chunks: refs(&chunks) };
    let odd = vec![work(Vec::new()), work(ids(tasks::CHUNKS_MAX as u64 + 1))];
    assert_eq!(heal(&mut cluster, Command::Plan { work: odd }), Answer::Done { count: 0, more: false });
    let many = vec![work(ids(tasks::CHUNKS_MAX as u64)); tasks::PLANS_MAX + 1];
    let full = tasks::TASKS_MAX as usize / tasks::PLANS_MAX;
    for _ in 0..full {
        assert_eq!(heal(&mut cluster, Command::Plan { work: many.clone() }), Answer::Done { count: 64, more: true });
    }
    assert_eq!(heal(&mut cluster, Command::Plan { work: many }), Answer::Done { count: 0, more: true });
    let one = TaskId(cluster.index - 1, 5);
    assert_eq!(count(heal(&mut cluster, Command::Forget { task: one })), 1);
    assert_eq!(count(heal(&mut cluster, Command::Plan { work: vec![work(ids(1)); 2] })), 1);
}

#[test]
fn copies_are_noted_once_and_only_where_they_stay() {
    let mut cluster = Cluster::default();
    let all = ids(4);
    let [plain, there, told, gone] = all[..] else { unreachable!("there are four") };
    with_chunk(&mut cluster, plain, &[1]);
    with_chunk(&mut cluster, there, &[1, 3]);
    with_chunk(&mut cluster, told, &[1, 2, 3]);
    let verified = vec![NodeId(1), NodeId(2)];
    let drop = Command::DropReplicas { node: NodeId(3), why: Surplus::Many { keep: 2 }, ids: vec![(told, verified)] };
    assert_eq!(count(heal(&mut cluster, drop)), 1);
    let task = plan(&mut cluster, 3, all.clone());
    let lease = take(&mut cluster, task, 3).expect("it is free");
    let add = Command::AddReplicas { lease, ids: all };
    assert_eq!(count(heal(&mut cluster, add.clone())), 1, "only the plain one is news");
    assert_eq!((nodes_of(&cluster, plain), nodes_of(&cluster, told)), (vec![1, 3], vec![1, 2]));
    assert!(!cluster.state.rows.contains_key(&(keys::CHUNKS, gone.to_bytes().to_vec())), "a purged chunk stays so");
    let row: TaskRow = codec::decode(&cluster.state.rows[&(keys::TASKS, task.to_bytes())]).expect("it was encoded");
    assert_eq!(row.work, Work::Copy { to: NodeId(3), chunks: refs(&[told]) }, "what is to be unlinked has to wait");
    // It may have been dropped again meanwhile, and its copy be gone: the same lease can't note it a second time.
    with_chunk(&mut cluster, plain, &[1]);
    assert_eq!(count(heal(&mut cluster, add.clone())), 0);
    unlinked(&mut cluster, 3, told);
    assert_eq!(count(heal(&mut cluster, add)), 1);
}

#[test]
fn a_copy_from_before_the_last_drop_does_not_count() {
    let mut cluster = Cluster::default();
    with_chunk(&mut cluster, ONE, &[1, 2, 3]);
    // Planned by mistake: node 3 finds its copy, which is dropped and unlinked before it says so.
    let task = plan(&mut cluster, 3, vec![ONE]);
    let lease = take(&mut cluster, task, 3).expect("it is free");
    let verified = vec![NodeId(1), NodeId(2)];
    let drop = Command::DropReplicas { node: NodeId(3), why: Surplus::Many { keep: 2 }, ids: vec![(ONE, verified)] };
    assert_eq!(count(heal(&mut cluster, drop)), 1);
    unlinked(&mut cluster, 3, ONE);
    assert_eq!(count(heal(&mut cluster, Command::AddReplicas { lease, ids: vec![ONE] })), 0);
    assert_eq!(nodes_of(&cluster, ONE), [1, 2]);
    // The copy that the old lease left behind is dropped like any other, and once.
    let verified = vec![NodeId(1), NodeId(2)];
    let stray = Command::DropReplicas { node: NodeId(3), why: Surplus::Many { keep: 2 }, ids: vec![(ONE, verified)] };
    assert_eq!(count(heal(&mut cluster, stray.clone())), 1);
    assert_eq!(count(heal(&mut cluster, stray)), 0);
    unlinked(&mut cluster, 3, ONE);
    let again = plan(&mut cluster, 3, vec![ONE]);
    let lease = take(&mut cluster, again, 3).expect("it is free");
    assert_eq!(count(heal(&mut cluster, Command::AddReplicas { lease, ids: vec![ONE] })), 1);
}

#[test]
fn a_late_word_about_an_unlinked_copy_ends_no_later_drop() {
    let mut cluster = Cluster::default();
    let drop = |cluster: &mut Cluster| {
        with_chunk(cluster, ONE, &[1, 2, 3]);
        let ids = vec![(ONE, vec![NodeId(1), NodeId(2)])];
        heal(cluster, Command::DropReplicas { node: NodeId(3), why: Surplus::Many { keep: 2 }, ids });
        cluster.state.unlinked(3, &[ONE])
    };
    let told = (keys::UNLINKS, keys::unlink(NodeId(3), ONE));
    let first = drop(&mut cluster);
    cluster.apply(first.clone());
    assert!(!cluster.state.rows.contains_key(&told));
    let second = drop(&mut cluster);
    cluster.apply(first);
    assert!(cluster.state.rows.contains_key(&told), "the node has another copy to unlink");
    cluster.apply(second);
    assert!(!cluster.state.rows.contains_key(&told));
}

#[test]
fn copies_are_dropped_only_if_enough_verified_ones_are_left() {
    let cases: [(&[u64], Surplus, &[u64], bool); 12] = [
        (&[1, 2, 3], Surplus::Many { keep: 2 }, &[1, 2], true),
        (&[1, 2, 3], Surplus::Many { keep: 2 }, &[1, 2, 3], true),
        (&[1, 2, 3], Surplus::Many { keep: 2 }, &[1, 3], false),
        (&[1, 2, 3], Surplus::Many { keep: 2 }, &[1, 4], false),
        (&[1, 3], Surplus::Many { keep: 2 }, &[1, 3], false),
        (&[3], Surplus::Many { keep: 0 }, &[3], false),
        (&[1, 3], Surplus::Corrupt, &[1], true),
        (&[1, 3], Surplus::Corrupt, &[], false),
        // A copy that is not named: surplus it is dropped like any other; of a corrupt one nothing is known.
        (&[1, 2], Surplus::Many { keep: 2 }, &[1, 2], true),
        (&[1, 2], Surplus::Many { keep: 2 }, &[1], true),
        (&[1, 2], Surplus::Many { keep: 2 }, &[], false),
        (&[1, 2], Surplus::Corrupt, &[1, 2], false),
    ];
    for (holders, why, verified, dropped) in cases {
        let mut cluster = Cluster::default();
        with_chunk(&mut cluster, ONE, holders);
        let verified = verified.iter().copied().map(NodeId).collect();
        let drop = Command::DropReplicas { node: NodeId(3), why, ids: vec![(ONE, verified)] };
        let case = format!("{holders:?} {drop:?}");
        assert_eq!(count(heal(&mut cluster, drop)), u32::from(dropped), "{case}");
        assert_eq!(nodes_of(&cluster, ONE).contains(&3), holders.contains(&3) && !dropped, "{case}");
        assert_eq!(cluster.state.rows.contains_key(&(keys::UNLINKS, keys::unlink(NodeId(3), ONE))), dropped, "{case}");
    }
}

#[test]
fn a_chunk_that_nobody_holds_leaves_no_row() {
    let mut cluster = Cluster::default();
    with_chunk(&mut cluster, ONE, &[1, 2]);
    let drop = Command::DropReplicas { node: NodeId(2), why: Surplus::Corrupt, ids: vec![(ONE, vec![NodeId(1)])] };
    assert_eq!(count(heal(&mut cluster, drop)), 1);
    // Its writer is retired, it loses its last reference, and both nodes say that their copies are gone.
    cluster.set(keys::SYSTEM, keys::NEXT_WRITER, &(ONE.writer.0 + 1));
    cluster.state.rows.remove(&(keys::CHUNKS, ONE.to_bytes().to_vec()));
    cluster.set(keys::GARBAGE, &ONE.to_bytes(), &GarbageRow { marked: false, holders: vec![NodeId(1)] });
    cluster.apply(Any::Life(life::Command::Purge { ids: vec![ONE], holder: None }));
    for node in [1, 2] {
        unlinked(&mut cluster, node, ONE);
    }
    cluster.state.rows.remove(&(keys::SYSTEM, keys::NEXT_WRITER.to_vec()));
    assert!(cluster.state.rows.is_empty(), "{:?}", cluster.state.rows.keys());
}

#[test]
fn long_commands_stay_within_the_bound() {
    let mut cluster = Cluster::default();
    let all = ids(replicas::IDS_MAX as u64 + 1);
    all.iter().for_each(|id| with_chunk(&mut cluster, *id, &[1, 2, 3]));
    let verified = vec![NodeId(1), NodeId(2)];
    let ids = all.iter().map(|id| (*id, verified.clone())).collect();
    let drop = Command::DropReplicas { node: NodeId(3), why: Surplus::Many { keep: 2 }, ids };
    assert_eq!(heal(&mut cluster, drop), Answer::Done { count: replicas::IDS_MAX as u32, more: true });
}

/// What may happen to one chunk whose copies are moved about.
#[derive(Debug, Clone)]
enum Step {
    Plan(u64),
    Take(u64),
    /// The node of the newest lease makes its copy, as far as its state allows.
    Copy(u64),
    /// Some lease of the past is used, perhaps late and perhaps again.
    Add(prop::sample::Index),
    Drop(u64),
    Unlink(u64),
    /// A node says that it has unlinked the chunk, perhaps late and perhaps again.
    Unlinked(prop::sample::Index),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1..=4_u64;
    prop_oneof![
        node.clone().prop_map(Step::Plan),
        node.clone().prop_map(Step::Take),
        node.clone().prop_map(Step::Copy),
        any::<prop::sample::Index>().prop_map(Step::Add),
        node.clone().prop_map(Step::Drop),
        node.prop_map(Step::Unlink),
        any::<prop::sample::Index>().prop_map(Step::Unlinked),
        Just(Step::Tick),
    ]
}

proptest! {
    /// Invariant: whoever is named as a holder has a copy, and never fewer than one are named.
    #[test]
    fn named_holders_have_copies(steps in prop::collection::vec(step(), 1..120)) {
        let mut cluster = Cluster::default();
        with_chunk(&mut cluster, ONE, &[1, 2]);
        let mut disks = BTreeSet::from([1, 2]);
        // Leases with whether the copy was made under them, and what nodes say of what they unlinked.
        let (mut planned, mut leases, mut said) = (Vec::new(), Vec::<(Lease, bool)>::new(), Vec::new());
        for step in steps {
            match step {
                Step::Plan(node) => planned.push((node, plan(&mut cluster, node, vec![ONE]))),
                Step::Take(node) => {
                    let free = planned.iter().filter(|(to, _)| *to == node).map(|(_, task)| *task).collect::<Vec<_>>();
                    let lease = free.into_iter().find_map(|task| take(&mut cluster, task, node));
                    leases.extend(lease.map(|lease| (lease, false)));
                }
                Step::Copy(node) => {
                    // A node works on what its own state shows as leased to it, and not while it has to unlink the chunk.
                    let told = cluster.state.rows.contains_key(&(keys::UNLINKS, keys::unlink(NodeId(node), ONE)));
                    let held = |lease: &Lease| tasks::held(&cluster.state, *lease).expect("a map never fails").is_some();
                    let mine = leases.iter_mut().rev().find(|(lease, _)| lease.node.0 == node && held(lease));
                    if let Some((_, made)) = mine.filter(|_| !told) {
                        *made = true;
                        disks.insert(node);
                    }
                }
                Step::Add(which) => {
                    let made: Vec<Lease> = leases.iter().filter(|(_, made)| *made).map(|(lease, _)| *lease).collect();
                    if !made.is_empty() {
                        heal(&mut cluster, Command::AddReplicas { lease: *which.get(&made), ids: vec![ONE] });
                    }
                }
                Step::Drop(node) => {
                    let verified = nodes_of(&cluster, ONE).into_iter().map(NodeId).collect();
                    let why = Surplus::Many { keep: 2 };
                    heal(&mut cluster, Command::DropReplicas { node: NodeId(node), why, ids: vec![(ONE, verified)] });
                }
                Step::Unlink(node) => {
                    if cluster.state.rows.contains_key(&(keys::UNLINKS, keys::unlink(NodeId(node), ONE))) {
                        disks.remove(&node);
                        said.push(cluster.state.unlinked(node, &[ONE]));
                    }
                }
                Step::Unlinked(which) => {
                    if !said.is_empty() {
                        cluster.apply(which.get(&said).clone());
                    }
                }
                Step::Tick => tick(&mut cluster, 11_000),
            }
            let named = nodes_of(&cluster, ONE);
            prop_assert!(named.len() >= 2 && named.iter().all(|node| disks.contains(node)), "{named:?} {disks:?}");
        }
    }
}
