//! Commands from any node: found by the leader, applied once, and never said to be more than is known.

use std::sync::atomic::{AtomicBool, Ordering};

use flotilla_api::codec;

use super::{
    cluster::{Cluster, Fate, LONG, rows},
    counter::{Command, add, get},
};
use crate::{
    Error, Kind, Rpc, Settings,
    network::{
        messages::{Propose, Proposed},
        wire,
    },
    store::envelope,
};

/// What messages of the test's group say it is.
const GROUP: &str = "test 00000000-0000-0000-0000-000000000000";

#[tokio::test(start_paused = true)]
async fn proposal_on_any_node_reaches_the_leader() {
    let cluster = Cluster::start(3, Settings::default()).await;
    for (count, node) in [1, 2, 3].into_iter().enumerate() {
        let applied = cluster.propose(node, add("a", 1)).await.unwrap();
        assert_eq!(applied.answer, count as u64 + 1);
        assert!(!applied.replayed);
    }
    let leader = cluster.leader(&[1, 2, 3]).await;
    for node in [1, 2, 3] {
        cluster.level(node, leader).await;
        assert_eq!(cluster.rows(node), cluster.rows(leader));
    }
}

#[tokio::test(start_paused = true)]
async fn acked_commands_survive_the_leaders_crash() {
    let mut cluster = Cluster::start(3, Settings::default()).await;
    for _ in 0..3 {
        let leader = cluster.leader(&[1, 2, 3]).await;
        let before = get(&*cluster.nodes[&leader].kv, "a").unwrap_or(0);
        for node in (1..=3).cycle().take(30) {
            cluster.propose(node, add("a", 1)).await.unwrap();
        }
        cluster.crash(leader).await;
        let rest: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
        let started = tokio::time::Instant::now();
        let applied = cluster.propose(rest[0], add("a", 1)).await.unwrap();
        assert_eq!(applied.answer, before + 31, "every acked command counts, and none counts twice");
        let gap = started.elapsed();
        assert!(gap.as_millis() < 2500, "writes go on {gap:?} after the crash");
        cluster.boot(leader).await;
        cluster.level(leader, rest[0]).await;
        assert_eq!(cluster.rows(leader), cluster.rows(rest[0]));
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_id_answers_the_same_on_every_node_and_after_a_change_of_leader() {
    let mut cluster = Cluster::start(3, Settings::default()).await;
    let id = cluster.id(Some(0));
    let first = cluster.group(1).propose(id.clone(), add("a", 7), LONG).await.unwrap();
    for node in [1, 2, 3] {
        let again = cluster.group(node).propose(id.clone(), add("a", 7), LONG).await.unwrap();
        assert_eq!((again.answer, again.index, again.replayed), (first.answer, first.index, true));
    }
    let leader = cluster.leader(&[1, 2, 3]).await;
    cluster.crash(leader).await;
    let other = leader % 3 + 1;
    let again = cluster.group(other).propose(id, add("a", 7), LONG).await.unwrap();
    assert_eq!((again.answer, again.index, again.replayed), (first.answer, first.index, true));
    assert_eq!(get(&*cluster.nodes[&other].kv, "a"), Some(7));
}

#[tokio::test(start_paused = true)]
async fn lost_answer_is_asked_for_again_and_the_command_applied_once() {
    let cluster = Cluster::start(3, Settings::default()).await;
    cluster.propose(1, add("b", 1)).await.unwrap(); // a new leader takes nothing before it has a lease
    let leader = cluster.leader(&[1, 2, 3]).await;
    let lost = AtomicBool::new(false);
    cluster.net.rule(move |_, _, rpc| match rpc {
        Rpc::Propose if !lost.swap(true, Ordering::Relaxed) => Fate::LoseAnswer,
        _ => Fate::Deliver,
    });
    let follower = leader % 3 + 1;
    let applied = cluster.propose(follower, add("a", 1)).await.unwrap();
    assert!(applied.replayed);
    assert_eq!(get(&*cluster.nodes[&leader].kv, "a"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn command_that_may_have_been_taken_is_indeterminate_and_one_that_was_not_has_no_leader() {
    let cluster = Cluster::start(3, Settings::default()).await;
    cluster.propose(1, add("a", 1)).await.unwrap();
    let leader = cluster.leader(&[1, 2, 3]).await;
    let follower = leader % 3 + 1;
    let deadline = std::time::Duration::from_secs(1);
    let group = cluster.group(follower);

    cluster.net.rule(|_, _, rpc| if rpc == Rpc::Propose { Fate::LoseAnswer } else { Fate::Deliver });
    let error = group.propose(cluster.id(Some(0)), add("a", 1), deadline).await.unwrap_err();
    assert!(matches!(error, Error::Indeterminate), "{error}");
    assert_eq!(error.kind(), Kind::Indeterminate);
    assert_eq!(get(&*cluster.nodes[&leader].kv, "a"), Some(2), "it was taken");

    // The leader alone takes commands only as long as its lease, and this one comes later.
    cluster.net.isolate(leader);
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    let error = cluster.group(leader).propose(cluster.id(Some(0)), add("a", 1), deadline).await.unwrap_err();
    assert!(matches!(error, Error::NoLeader), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn follower_does_not_hand_a_proposal_on() {
    let cluster = Cluster::start(3, Settings::default()).await;
    let leader = cluster.leader(&[1, 2, 3]).await;
    let follower = leader % 3 + 1;
    let propose_in = |group: &str, to| {
        let envelope = envelope::seal(1, cluster.id(Some(0)), &add("a", 1));
        wire::request(group, to, &Propose { envelope, wait_ms: 1000 })
    };
    let propose = |to| propose_in(GROUP, to);
    let anew = propose_in("test 00000000-0000-0000-0000-000000000001", follower);
    let error = cluster.group(follower).handle(Rpc::Propose, anew).await.unwrap_err();
    assert!(matches!(error, Error::Peer(_)), "a group that was formed anew under the same name: {error}");
    let answer = cluster.group(follower).handle(Rpc::Propose, propose(follower)).await.unwrap();
    assert_eq!(codec::decode::<Proposed>(&answer).unwrap(), Proposed::NotTaken { leader: Some(leader) });
    assert_eq!(cluster.net.sent(leader, Rpc::Propose), 0);

    let error = cluster.group(follower).handle(Rpc::Propose, propose(leader)).await.unwrap_err();
    assert!(matches!(error, Error::Peer(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn command_of_a_newer_build_is_refused_before_it_enters_the_log() {
    let cluster = Cluster::start(1, Settings::default()).await;
    let envelope = envelope::seal(9, cluster.id(Some(0)), &add("a", 1));
    let body = wire::request(GROUP, 1, &Propose { envelope, wait_ms: 1000 });
    let error = cluster.group(1).handle(Rpc::Propose, body).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    cluster.propose(1, add("a", 1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn command_that_is_too_long_is_refused() {
    let cluster = Cluster::start(1, Settings::default()).await;
    let error = cluster.propose(1, add(&"x".repeat(crate::COMMAND_BYTES_MAX), 1)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn many_proposals_at_once_are_all_applied_once() {
    let cluster = Cluster::start(3, Settings::default()).await;
    let proposals = (0..300u64).map(|number| {
        let group = cluster.group(number % 3 + 1);
        let id = cluster.id(Some(group.applied_index()));
        async move { group.propose(id, Command::Add { name: "a".into(), number: 1 }, LONG).await.unwrap().answer }
    });
    let mut sums = futures::future::join_all(proposals).await;
    sums.sort_unstable();
    assert_eq!(sums, (1..=300).collect::<Vec<_>>());
    let leader = cluster.leader(&[1, 2, 3]).await;
    assert!(rows(&*cluster.nodes[&leader].kv).len() > 600);
}
