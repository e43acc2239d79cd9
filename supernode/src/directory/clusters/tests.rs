//! Clusters that retire, one rule after the other.

use flotilla_api::codec;

use super::{
    super::{
        Command,
        machine::Claimed,
        testing::{Map, apply, claim, cluster, home, name, register, uuid, with_clusters},
    },
    *,
};

fn retire(state: &mut Map, name: &str, on: bool) -> Answer {
    apply(state, Command::Retire { cluster: cluster(name), on })
}

fn forget(state: &mut Map, name: &str, since: u64) -> Answer {
    apply(state, Command::Forget { cluster: cluster(name), since })
}

fn stage(state: &Map, name: &str) -> Option<Stage> {
    row(state, &cluster(name)).expect("a map never fails").map(|row| row.stage)
}

fn documents(state: &Map) -> Vec<Document> {
    let rows = state.rows.iter().filter(|((family, _), _)| *family == DOCUMENTS);
    rows.map(|(_, bytes)| codec::decode(bytes).expect("it was encoded")).collect()
}

fn granted(answer: &Answer) -> Option<&Claimed> {
    match answer {
        Answer::Claimed(claimed) => claimed[0].as_ref().ok().filter(|claimed| claimed.granted),
        _ => None,
    }
}

#[test]
fn a_cluster_that_retires_keeps_its_homes_and_gets_none() {
    let mut state = with_clusters();
    assert!(granted(&claim(&mut state, "k", "a")).is_some());
    assert_eq!(retire(&mut state, "a", true), Answer::Done);
    let since = state.index();
    assert_eq!(claim(&mut state, "other", "a"), Answer::Claimed(vec![Err(Refusal::Retiring)]));
    assert_eq!(claim(&mut state, "k", "b"), Answer::Claimed(vec![Ok(Claimed { home: home("a", 1), granted: false })]));
    assert!(granted(&claim(&mut state, "other", "b")).is_some());
    let refresh = |key| Command::Refresh { name: name(key), cluster: cluster("a"), passed: Epoch(1) };
    assert_eq!(apply(&mut state, refresh("k")), Answer::Home(home("a", 3)), "what it has, it may renew");
    assert_eq!(apply(&mut state, refresh("free")), Answer::Refused(Refusal::Retiring));
    assert_eq!(retire(&mut state, "a", true), Answer::Done);
    assert_eq!(stage(&state, "a"), Some(Stage::Retiring { since }), "it retires since the first time");
    assert_eq!(register(&mut state, "a"), Answer::Done);
    let document = Document::Cluster { name: cluster("a"), uuid: uuid("a"), retiring: true };
    assert!(documents(&state).contains(&document), "whoever makes the directory anew hears of it");
    assert_eq!(retire(&mut state, "a", false), Answer::Done);
    assert!(granted(&claim(&mut state, "again", "a")).is_some());
    assert_eq!(retire(&mut state, "x", true), Answer::Refused(Refusal::UnknownCluster));
}

#[test]
fn what_was_counted_before_a_cluster_took_keys_again_ends_nothing() {
    let mut state = with_clusters();
    assert_eq!(forget(&mut state, "a", 0), Answer::Refused(Refusal::Passed), "it does not retire");
    retire(&mut state, "a", true);
    let counted = state.index();
    retire(&mut state, "a", false);
    claim(&mut state, "k", "a");
    retire(&mut state, "a", true);
    assert_eq!(forget(&mut state, "a", counted), Answer::Refused(Refusal::Passed));
    let since = state.index() - 1;
    assert_eq!(forget(&mut state, "a", since), Answer::Done, "whoever counts answers for what it counted");
}

#[test]
fn a_forgotten_cluster_never_comes_back_and_its_name_is_free() {
    let mut state = with_clusters();
    retire(&mut state, "a", true);
    let since = state.index();
    assert_eq!(forget(&mut state, "a", since), Answer::Done);
    assert_eq!(stage(&state, "a"), None);
    let fenced = Document::Fenced { name: cluster("a"), uuid: uuid("a") };
    let kept = Document::Cluster { name: cluster("b"), uuid: uuid("b"), retiring: false };
    assert_eq!(documents(&state), [kept, fenced]);
    assert_eq!(register(&mut state, "a"), Answer::Refused(Refusal::Fenced), "its next report");
    let another = Command::Register { cluster: cluster("a"), uuid: uuid("another") };
    assert_eq!(apply(&mut state, another), Answer::Done);
    assert!(granted(&claim(&mut state, "k", "a")).is_some());
    assert_eq!(forget(&mut state, "x", 1), Answer::Refused(Refusal::UnknownCluster));
}

#[test]
fn a_lost_clusters_homes_are_dropped_and_no_others() {
    let mut state = with_clusters();
    claim(&mut state, "k", "a");
    claim(&mut state, "l", "a");
    claim(&mut state, "m", "b");
    let drop = |homes: &[(&str, u64)]| Command::Drop {
        cluster: cluster("a"),
        homes: homes.iter().map(|(key, epoch)| (name(key), Epoch(*epoch))).collect(),
    };
    assert_eq!(apply(&mut state, drop(&[("k", 1)])), Answer::Refused(Refusal::Passed), "it lives");
    assert_eq!(apply(&mut state, Command::Fence { cluster: cluster("a") }), Answer::Done);
    let since = state.index();
    assert_eq!(apply(&mut state, Command::Fence { cluster: cluster("a") }), Answer::Done);
    assert_eq!(register(&mut state, "a"), Answer::Refused(Refusal::Fenced));
    assert_eq!(retire(&mut state, "a", false), Answer::Refused(Refusal::Fenced), "for ever");
    let refresh = Command::Refresh { name: name("k"), cluster: cluster("a"), passed: Epoch(1) };
    assert_eq!(apply(&mut state, refresh), Answer::Refused(Refusal::Fenced));
    assert_eq!(apply(&mut state, drop(&[("k", 1), ("l", 9), ("m", 3), ("x", 4)])), Answer::Done);
    assert_eq!((state.home("k"), state.home("l"), state.home("m")), (None, Some(home("a", 2)), Some(home("b", 3))));
    assert_eq!(state.count(UNCONFIRMED), 2);
    assert!(granted(&claim(&mut state, "k", "b")).is_some(), "the key is free");
    assert_eq!(forget(&mut state, "a", since), Answer::Done);
}

#[test]
fn there_is_a_bound_on_clusters_that_are_refused_for_ever() {
    let mut state = Map::default();
    for n in 0..=FENCED_MAX as u128 {
        let uuid = Uuid::from_u128(n);
        assert_eq!(apply(&mut state, Command::Register { cluster: cluster("a"), uuid }), Answer::Done);
        retire(&mut state, "a", true);
        let since = state.index();
        let expect = if n < FENCED_MAX as u128 { Answer::Done } else { Answer::Refused(Refusal::TooMany) };
        assert_eq!(forget(&mut state, "a", since), expect, "{n}");
    }
    assert_eq!(stage(&state, "a").and_then(Stage::since), Some(state.index() - 1), "what was refused changed nothing");
}

#[test]
fn the_largest_drop_stays_within_the_row_bound() {
    let mut state = with_clusters();
    let mut homes = Vec::new();
    for n in 0..DROPPED_MAX {
        claim(&mut state, &format!("k{n}"), "a");
        homes.push((name(&format!("k{n}")), Epoch(n as u64 + 1)));
    }
    apply(&mut state, Command::Fence { cluster: cluster("a") });
    assert_eq!(apply(&mut state, Command::Drop { cluster: cluster("a"), homes }), Answer::Done);
    assert_eq!((state.count(HOMES), state.count(UNCONFIRMED)), (0, 0));
}
