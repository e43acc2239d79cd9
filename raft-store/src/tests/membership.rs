//! Formation, learners, voters and hand-over of leadership.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flotilla_api::NodeId;

use super::{
    cluster::{Cluster, Fate, LONG, member},
    counter::{add, get},
};
use crate::{Error, Kind, Rpc, Settings, store::lock};

fn ids(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

#[tokio::test(start_paused = true)]
async fn formation_can_be_repeated_and_changes_nothing() {
    let mut cluster = Cluster::start(3, Settings::default()).await;
    cluster.propose(1, add("a", 1)).await.unwrap();
    for node in [1, 2] {
        let others: BTreeMap<_, _> = [(NodeId(node), member(node))].into();
        cluster.group(node).form(others).await.unwrap();
        assert_eq!(cluster.group(node).status().voters, ids([1, 2, 3]));
        assert!(cluster.group(node).is_formed());
    }
    cluster.add_node(9).await;
    assert!(!cluster.group(9).is_formed());
    let error = cluster.group(9).form([(NodeId(1), member(1))].into()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn restarted_node_knows_its_group_at_once() {
    let mut cluster = Cluster::start(3, Settings::default()).await;
    let before = cluster.group(2).status();
    cluster.crash(2).await;
    cluster.boot(2).await;
    let group = cluster.group(2);
    assert!(group.is_formed());
    let status = group.watch().borrow().clone();
    assert_eq!((status.voters, status.term), (before.voters, before.term));
}

#[tokio::test(start_paused = true)]
async fn learner_follows_and_can_be_made_a_voter() {
    let mut cluster = Cluster::start(3, Settings::default()).await;
    cluster.propose(1, add("a", 1)).await.unwrap();
    cluster.add_node(4).await;
    let leader = cluster.leader(&[1, 2, 3]).await;
    let group = cluster.group(leader);
    group.add_learner(NodeId(4), member(4)).await.unwrap();
    cluster.group(4).wait_applied(group.applied_index(), LONG).await.unwrap();
    cluster.group(4).read(LONG).await.unwrap();
    assert_eq!(get(&*cluster.nodes[&4].kv, "a"), Some(1));
    assert_eq!(group.status().learners, ids([4]));

    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    group.set_voters(ids([leader, others[0], 4])).await.unwrap();
    let status = cluster.wait(4, |status| status.voters.contains(&NodeId(4)) && status.voters.len() == 3).await;
    assert_eq!(status.voters, ids([leader, others[0], 4]));
    assert_eq!(status.learners, ids([others[1]]));
    assert_eq!(status.members.len(), 4);

    group.remove_learner(NodeId(others[1])).await.unwrap();
    cluster.wait(4, |status| status.members.len() == 3).await;
    let error = group.remove_learner(NodeId(4)).await.unwrap_err();
    assert!(matches!(error, Error::Membership(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn change_on_a_follower_names_the_leader() {
    let cluster = Cluster::start(3, Settings::default()).await;
    let leader = cluster.leader(&[1, 2, 3]).await;
    let follower = cluster.group(leader % 3 + 1);
    let error = follower.add_learner(NodeId(4), member(4)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotLeader { hint: Some(NodeId(leader)) });
    let error = follower.transfer_leader(None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotLeader { hint: Some(NodeId(leader)) });
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over_without_a_pause() {
    let cluster = Cluster::start(3, Settings::default()).await;
    cluster.propose(1, add("a", 1)).await.unwrap();
    let old = cluster.leader(&[1, 2, 3]).await;
    let wanted = old % 3 + 1;
    let started = tokio::time::Instant::now();
    cluster.group(old).transfer_leader(Some(NodeId(wanted))).await.unwrap();
    cluster.wait(old, |status| status.leader == Some(NodeId(wanted))).await;
    assert!(started.elapsed() < Settings::default().election_min, "no election timeout had to pass");
    cluster.propose(old, add("a", 1)).await.unwrap();

    cluster.group(wanted).transfer_leader(None).await.unwrap();
    cluster.wait(wanted, |status| status.leader.is_some_and(|leader| leader != NodeId(wanted))).await;
}

#[tokio::test(start_paused = true)]
async fn leader_knows_how_long_ago_it_heard_of_a_member() {
    let mut cluster = Cluster::start(3, Settings::default()).await;
    let leader = cluster.leader(&[1, 2, 3]).await;
    let (up, down) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let group = cluster.group(leader);
    let lately = |id: u64| group.heard(NodeId(id)).is_some_and(|ago| ago < Duration::from_millis(500));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(lately(up) && lately(down));
    cluster.crash(down).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(lately(up));
    let silent_for = group.heard(NodeId(down)).expect("it was heard before");
    assert!(silent_for >= Duration::from_secs(4), "{silent_for:?}");
    assert_eq!(cluster.group(up).heard(NodeId(leader)), None, "only a leader hears");
}

#[tokio::test(start_paused = true)]
async fn member_that_refuses_entries_is_asked_again_after_a_wait() {
    let cluster = Cluster::start(3, Settings::default()).await;
    cluster.propose(1, add("a", 1)).await.unwrap();
    let leader = cluster.leader(&[1, 2, 3]).await;
    let refuser = leader % 3 + 1;
    cluster.level(refuser, leader).await;
    let sent = || cluster.net.sent(refuser, Rpc::Append);

    cluster.net.rule(move |_, to, rpc| match rpc {
        Rpc::Append if to == refuser => Fate::Refuse,
        _ => Fate::Deliver,
    });
    let before = sent();
    for _ in 0..10 {
        cluster.propose(leader, add("a", 1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // After 50, 100, 200 and 400 ms (`RETRY_AFTER`). An error that openraft does not wait after is tried eleven times at once.
    let asked = sent() - before;
    assert!((2..=8).contains(&asked), "{asked} times within a second");

    cluster.net.heal();
    cluster.level(refuser, leader).await;
    assert_eq!(cluster.rows(refuser), cluster.rows(leader));
}

#[tokio::test(start_paused = true)]
async fn asked_for_end_is_not_fatal() {
    let cluster = Cluster::start(1, Settings::default()).await;
    let group = cluster.group(1);
    group.shutdown().await;
    let error = group.propose(cluster.id(None), add("a", 1), LONG).await.unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    assert!(matches!(group.read(LONG).await, Err(Error::Stopped)));
    assert!(lock(&cluster.nodes[&1].fatal).is_empty());
}
