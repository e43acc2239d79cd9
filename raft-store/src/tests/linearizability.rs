//! Reads: never older than what was acked before they began, on whatever node; refused rather than stale.

use std::{
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use super::{
    cluster::{Cluster, Fate, LONG},
    counter::{add, get},
};
use crate::{Error, Rpc, Settings};

#[tokio::test(start_paused = true)]
async fn read_on_every_node_sees_what_was_acked_before() {
    let cluster = Cluster::start(3, Settings::default()).await;
    for count in 1..=20u64 {
        cluster.propose(count % 3 + 1, add("a", 1)).await.unwrap();
        for node in [1, 2, 3] {
            let group = cluster.group(node);
            group.read(LONG).await.unwrap();
            assert_eq!(get(&*group.consistent_view().unwrap(), "a"), Some(count), "on node {node}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn old_leader_that_is_cut_off_refuses_reads() {
    let cluster = Cluster::start(3, Settings::default()).await;
    cluster.propose(1, add("a", 1)).await.unwrap();
    let old = cluster.leader(&[1, 2, 3]).await;
    let rest: Vec<u64> = (1..=3).filter(|node| *node != old).collect();
    cluster.net.isolate(old);
    let new = cluster.leader(&rest).await;
    cluster.propose(new, add("a", 1)).await.unwrap();

    let error = cluster.group(old).read(Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(error, Error::NoLeader), "{error}");
    for node in rest {
        cluster.group(node).read(LONG).await.unwrap();
        assert_eq!(get(&*cluster.nodes[&node].kv, "a"), Some(2));
    }
    cluster.net.heal();
    cluster.group(old).read(LONG).await.unwrap();
    assert_eq!(get(&*cluster.nodes[&old].kv, "a"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn reads_that_wait_together_share_one_question() {
    let cluster = Cluster::start(3, Settings::default()).await;
    let leader = cluster.leader(&[1, 2, 3]).await;
    let group = cluster.group(leader % 3 + 1);
    let before = cluster.net.sent(leader, Rpc::ReadIndex);
    let reads = (0..500).map(|_| group.read(LONG));
    for read in futures::future::join_all(reads).await {
        read.unwrap();
    }
    let questions = cluster.net.sent(leader, Rpc::ReadIndex) - before;
    assert!(questions <= 3, "{questions} questions for 500 reads");
}

#[tokio::test(start_paused = true)]
async fn read_does_not_join_a_question_that_is_under_way() {
    let cluster = Cluster::start(3, Settings::default()).await;
    let leader = cluster.leader(&[1, 2, 3]).await;
    let follower = leader % 3 + 1;
    // The first question is answered at once, with an index from before the write, but its answer arrives after it.
    let first = Arc::new(AtomicBool::new(true));
    let delay = first.clone();
    cluster.net.rule(move |_, _, rpc| match rpc {
        Rpc::ReadIndex if delay.swap(false, Ordering::Relaxed) => Fate::LateAnswer,
        _ => Fate::Deliver,
    });
    let group = cluster.group(follower);
    let early = tokio::spawn({
        let group = group.clone();
        async move { group.read(LONG).await.unwrap() }
    });
    while first.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    // Until the leader has confirmed itself to a quorum, the question's index is not fixed.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let written = cluster.propose(leader, add("a", 1)).await.unwrap();
    let late = group.read(LONG).await.unwrap();
    assert!(late.0 >= written.index);
    assert_eq!(get(&*group.consistent_view().unwrap(), "a"), Some(1));
    early.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn read_waits_for_entries_that_its_node_has_not_applied() {
    let cluster = Cluster::start(3, Settings::default()).await;
    let leader = cluster.leader(&[1, 2, 3]).await;
    let follower = leader % 3 + 1;
    cluster.net.rule(move |_, to, rpc| match rpc {
        Rpc::Append | Rpc::Heartbeat if to == follower => Fate::LoseRequest,
        Rpc::PreVote | Rpc::Vote => Fate::LoseRequest,
        _ => Fate::Deliver,
    });
    let written = cluster.propose(leader, add("a", 1)).await.unwrap();
    let error = cluster.group(follower).read(Duration::from_millis(400)).await.unwrap_err();
    assert!(matches!(error, Error::Behind { wanted, .. } if wanted >= written.index), "{error}");
    cluster.net.heal();
    cluster.group(follower).read(LONG).await.unwrap();
    assert_eq!(get(&*cluster.nodes[&follower].kv, "a"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn restarted_node_serves_nothing_older_than_before() {
    let mut cluster = Cluster::start(3, Settings::default()).await;
    for count in 1..=5u64 {
        cluster.propose(1, add("a", 1)).await.unwrap();
        let leader = cluster.leader(&[1, 2, 3]).await;
        let follower = leader % 3 + 1;
        cluster.group(follower).read(LONG).await.unwrap();
        cluster.crash(follower).await;
        cluster.boot(follower).await;
        let group = cluster.group(follower);
        group.wait_recovered(LONG).await.unwrap();
        assert_eq!(get(&*group.consistent_view().unwrap(), "a"), Some(count));
    }
}
