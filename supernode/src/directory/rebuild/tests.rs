//! The steps in which a directory is made anew, and the one that must not be left out.

use std::collections::BTreeMap;

use flotilla_api::{
    NodeId,
    peer::{Principal, Supernode},
};
use proptest::prelude::*;

use super::{
    super::{
        Command as Any,
        machine::Claimed,
        testing::{Map, apply, claim, cluster, home, name, register, uuid, with_clusters},
    },
    *,
};

const RUN: u64 = 7;
const FLOOR: u64 = 1000;

fn step(state: &mut Map, command: Command) -> Applied {
    apply(state, Any::Rebuild(command))
}

fn begin(state: &mut Map, run: u64, fence: &[&str]) -> Applied {
    step(state, Command::Begin { run, fence: fence.iter().map(|name| cluster(name)).collect() })
}

fn floor(state: &mut Map, upto: u64) -> Applied {
    step(state, Command::Floor { run: RUN, upto: Epoch(upto) })
}

fn adopt(state: &mut Map, by: &str, homes: &[(&str, u64)], last: bool) -> Applied {
    let homes = homes.iter().map(|(key, epoch)| (name(key), Epoch(*epoch))).collect();
    step(state, Command::Adopt { run: RUN, cluster: cluster(by), uuid: uuid(by), homes, last })
}

fn take_over(state: &mut Map, documents: Vec<Document>) -> Applied {
    step(state, Command::Documents { run: RUN, revision: 40, documents })
}

fn of_cluster(name: &str) -> Document {
    Document::Cluster { name: cluster(name), uuid: uuid(name), retiring: false }
}

fn adopted() -> Applied {
    Applied::Rebuild(Answer::Adopted { clashes: Vec::new() })
}

fn finish(state: &mut Map) -> Applied {
    step(state, Command::Finish { run: RUN })
}

fn done() -> Applied {
    Applied::Rebuild(Answer::Done)
}

fn blocked(missing: &[&str], findings: u64) -> Applied {
    Applied::Rebuild(Answer::Blocked { missing: missing.iter().map(|name| cluster(name)).collect(), findings })
}

/// A directory that was lost and is being made anew from `a` and `b`.
fn begun() -> Map {
    let mut state = Map::default();
    assert_eq!(begin(&mut state, RUN, &[]), done());
    assert_eq!(floor(&mut state, FLOOR), Applied::Rebuild(Answer::Floor(Epoch(FLOOR))));
    let taken = Applied::Rebuild(Answer::Taken { foreign: Vec::new(), full: false });
    assert_eq!(take_over(&mut state, vec![of_cluster("a"), of_cluster("b")]), taken);
    state
}

fn number(state: &Map, key: &[u8]) -> u64 {
    get(state, SYSTEM, key).expect("a map never fails").unwrap_or(0)
}

#[test]
fn a_directory_is_made_anew_and_grants_above_everything() {
    let mut state = begun();
    assert_eq!(claim(&mut state, "k", "a"), Applied::Claimed(vec![Err(Refusal::Rebuilding)]));
    assert_eq!(adopt(&mut state, "a", &[("k", 3), ("l", 9)], false), adopted());
    assert_eq!(adopt(&mut state, "a", &[], true), adopted());
    let hit = Applied::Claimed(vec![Ok(Claimed { home: home("a", 3), granted: false })]);
    assert_eq!(claim(&mut state, "k", "b"), hit, "what is adopted is known");
    assert_eq!(finish(&mut state), blocked(&["b"], 0));
    assert_eq!(adopt(&mut state, "b", &[("m", 5)], true), adopted());
    assert_eq!(finish(&mut state), done());
    assert_eq!((state.home("k"), state.home("m")), (Some(home("a", 3)), Some(home("b", 5))));
    assert!(number(&state, REVISION) > 40, "clusters take over what is newer than what they have");
    let answer = claim(&mut state, "new", "b");
    assert_eq!(answer, Applied::Claimed(vec![Ok(Claimed { home: home("b", FLOOR + 1), granted: true })]));
    assert_eq!(finish(&mut state), Applied::Refused(Refusal::Passed), "it is over");
}

#[test]
fn nothing_ends_or_begins_while_the_directory_is_made_anew() {
    let mut state = begun();
    adopt(&mut state, "a", &[("k", 3)], false);
    let refused = Applied::Refused(Refusal::Rebuilding);
    let (release, refresh) = (
        Any::Release { name: name("k"), epoch: Epoch(3) },
        Any::Refresh { name: name("k"), cluster: cluster("a"), passed: Epoch(3) },
    );
    assert_eq!(apply(&mut state, release.clone()), refused, "its record must outlast its home here");
    assert_eq!(apply(&mut state, refresh), refused);
    assert_eq!(register(&mut state, "c"), refused, "it would be missing at the end");
    assert_eq!(register(&mut state, "a"), Applied::Done);
    assert_eq!(apply(&mut state, Any::Fence { cluster: cluster("a") }), refused);
    adopt(&mut state, "a", &[], true);
    adopt(&mut state, "b", &[], true);
    assert_eq!(finish(&mut state), done());
    assert_eq!(apply(&mut state, release), Applied::Done);
    assert_eq!(state.home("k"), None);
}

#[test]
fn a_cluster_that_retires_is_not_forgotten_for_homes_that_are_not_adopted_yet() {
    let mut state = begun();
    assert_eq!(apply(&mut state, Any::Retire { cluster: cluster("b"), on: true }), Applied::Done);
    let counted = state.index();
    let forget = |since| Any::Forget { cluster: cluster("b"), since };
    assert_eq!(apply(&mut state, forget(counted)), Applied::Refused(Refusal::Rebuilding), "there is none of it yet");
    adopt(&mut state, "a", &[], true);
    adopt(&mut state, "b", &[("k", 3)], true);
    assert_eq!(finish(&mut state), done());
    let ended = state.index();
    assert_eq!(apply(&mut state, forget(counted)), Applied::Refused(Refusal::Passed), "counted before it had homes");
    let row = clusters::row(&state, &cluster("b")).expect("a map never fails").expect("it is there");
    assert_eq!((row.stage, row.adopted), (Stage::Retiring { since: ended }, true));
    assert_eq!(state.home("k"), Some(home("b", 3)));
}

#[test]
fn a_directory_with_homes_was_not_lost() {
    let mut state = with_clusters();
    claim(&mut state, "k", "a");
    assert_eq!(begin(&mut state, RUN, &[]), Applied::Refused(Refusal::NotEmpty));
    assert!(!is_under_way(&state).expect("a map never fails"));
}

#[test]
fn homes_are_not_taken_before_the_floor_is_known() {
    let mut state = with_clusters();
    begin(&mut state, RUN, &[]);
    assert_eq!(adopt(&mut state, "a", &[("k", 3)], true), Applied::Refused(Refusal::Passed));
    assert_eq!(finish(&mut state), blocked(&["a", "b"], 0));
    floor(&mut state, FLOOR);
    assert_eq!(adopt(&mut state, "a", &[("k", 3)], true), adopted());
}

#[test]
fn of_a_key_that_is_there_twice_the_later_grant_wins_and_a_person_decides() {
    for order in [["a", "b"], ["b", "a"]] {
        let mut state = begun();
        let epoch = |by| if by == "a" { 8 } else { 5 };
        adopt(&mut state, order[0], &[("k", epoch(order[0]))], true);
        let clash = Clash { name: name("k"), kept: home("a", 8), lost: home("b", 5) };
        let found = Applied::Rebuild(Answer::Adopted { clashes: vec![clash] });
        assert_eq!(adopt(&mut state, order[1], &[("k", epoch(order[1]))], true), found);
        assert_eq!(state.home("k"), Some(home("a", 8)), "{order:?}");
        assert_eq!(finish(&mut state), blocked(&[], 1));
    }
}

#[test]
fn a_page_that_is_told_twice_is_no_finding() {
    let mut state = begun();
    for _ in 0..2 {
        assert_eq!(adopt(&mut state, "a", &[("k", 3)], false), adopted());
    }
    assert_eq!(adopt(&mut state, "a", &[("k", 4)], false), adopted(), "renewed in between");
    assert_eq!(state.home("k"), Some(home("a", 4)));
}

#[test]
fn a_clear_that_comes_late_takes_nothing_away() {
    let mut state = begun();
    let clear = |state: &mut Map| step(state, Command::Clear { run: RUN });
    assert_eq!(clear(&mut state), done());
    adopt(&mut state, "a", &[("k", 3)], true);
    assert_eq!(clear(&mut state), done(), "it was proposed again, and both were applied");
    adopt(&mut state, "b", &[], true);
    assert_eq!(finish(&mut state), done());
    assert_eq!(state.home("k"), Some(home("a", 3)));
}

#[test]
fn a_missing_cluster_keeps_a_rebuild_from_its_end_unless_it_is_given_up_for_ever() {
    let mut state = begun();
    adopt(&mut state, "a", &[("k", 3)], true);
    adopt(&mut state, "b", &[("m", 4)], false);
    assert_eq!(finish(&mut state), blocked(&["b"], 0));
    assert_eq!(begin(&mut state, RUN, &["b"]), done(), "the same try once more changes nothing");
    assert_eq!(finish(&mut state), blocked(&["b"], 0));

    assert_eq!(begin(&mut state, RUN + 1, &["b"]), done());
    assert_eq!(finish(&mut state), Applied::Refused(Refusal::Passed), "a step of the try before");
    let mut row: RebuildRow = get(&state, SYSTEM, REBUILD).expect("a map never fails").expect("it goes on");
    assert_eq!((row.floor, row.adopted.len()), (Epoch(FLOOR), 0), "what was fenced stays so, all else begins anew");
    row.run = RUN;
    put(&mut state, SYSTEM, REBUILD.to_vec(), &row);
    assert_eq!(step(&mut state, Command::Clear { run: RUN }), done());
    assert_eq!((state.home("k"), state.home("m")), (None, None));
    assert_eq!(adopt(&mut state, "b", &[("m", 4)], true), Applied::Refused(Refusal::Fenced));
    adopt(&mut state, "a", &[("k", 3)], true);
    assert_eq!(finish(&mut state), done());
    assert_eq!(register(&mut state, "b"), Applied::Refused(Refusal::Fenced), "for ever");
    assert_eq!(state.home("m"), None, "its keys are free");
}

#[test]
fn what_was_decided_here_since_then_stays_and_the_rest_is_taken_over() {
    let mut state = with_clusters();
    let principal = |name: &str, byte, root| {
        let name = name.parse().expect("a good name");
        Principal { name, key_hash: [byte; 32], root, created_ms: 1 }
    };
    let held = |state: &Map, document: &Document| -> Option<Document> {
        state.rows.get(&(DOCUMENTS, document_key(document))).map(|bytes| codec::decode(bytes).expect("it was encoded"))
    };
    apply(&mut state, Any::FoundRoot(principal("root", 1, true)));
    begin(&mut state, RUN, &[]);
    let old_root = Document::Principal(principal("root", 9, true));
    let ci = Document::Principal(principal("ci", 2, false));
    let retiring = Document::Cluster { name: cluster("c"), uuid: uuid("c"), retiring: true };
    let foreign = Document::Cluster { name: cluster("b"), uuid: uuid("another"), retiring: false };
    let (peer, public) = ("h:1".to_owned(), "http://h:2".to_owned());
    let lost = Document::Supernode(Supernode { id: NodeId(2), name: "s2".to_owned(), peer, public });
    let documents = vec![old_root.clone(), ci.clone(), retiring.clone(), foreign, lost.clone()];
    let taken = Applied::Rebuild(Answer::Taken { foreign: vec![cluster("b")], full: false });
    assert_eq!(take_over(&mut state, documents), taken);
    assert_eq!(held(&state, &old_root), Some(Document::Principal(principal("root", 1, true))));
    assert_eq!(held(&state, &ci), Some(ci));
    assert_eq!(held(&state, &retiring), Some(retiring));
    assert_eq!(held(&state, &lost), None, "it was a member of the lost group");
    let stage = clusters::row(&state, &cluster("c")).expect("a map never fails").expect("it is registered").stage;
    assert!(matches!(stage, Stage::Retiring { .. }));
    let remove = Any::RemovePrincipal { name: "ci".parse().expect("a good name") };
    assert_eq!(apply(&mut state, remove), Applied::Refused(Refusal::Rebuilding), "it would come back");
    floor(&mut state, FLOOR);
    for name in ["a", "b", "c"] {
        adopt(&mut state, name, &[], true);
    }
    assert_eq!(finish(&mut state), blocked(&[], 1), "two clusters have one name");
}

#[test]
fn a_forgotten_cluster_that_still_runs_is_not_taken_over_nor_in_the_way_of_another_one() {
    let mut state = begun();
    let forgotten = Document::Fenced { name: cluster("a"), uuid: uuid("old") };
    let reported = Document::Cluster { name: cluster("a"), uuid: uuid("old"), retiring: false };
    let taken = Applied::Rebuild(Answer::Taken { foreign: Vec::new(), full: false });
    assert_eq!(take_over(&mut state, vec![forgotten, reported]), taken);
    adopt(&mut state, "a", &[("k", 3)], true);
    adopt(&mut state, "b", &[], true);
    assert_eq!(finish(&mut state), done());
}

#[test]
fn the_largest_steps_stay_within_the_row_bound() {
    let mut state = begun();
    let homes: Vec<_> = (0..ADOPTED_MAX + 1).map(|n| (name(&format!("k{n}")), Epoch(n as u64 + 1))).collect();
    let many = Command::Adopt { run: RUN, cluster: cluster("a"), uuid: uuid("a"), homes, last: true };
    assert_eq!(step(&mut state, many), adopted());
    assert_eq!(state.count(HOMES), ADOPTED_MAX, "what is beyond the bound is not taken");
    let bucket = |n: usize| Document::Bucket { name: format!("bucket-{n}").parse().expect("a good name") };
    take_over(&mut state, (0..DOCUMENTS_AT_ONCE_MAX).map(bucket).collect());
    let many = (0..CLUSTERS_MAX).map(|n| of_cluster(&format!("c{n}"))).collect();
    let Applied::Rebuild(Answer::Taken { full: true, .. }) = take_over(&mut state, many) else {
        panic!("there are more clusters than there may be")
    };
    assert_eq!(begin(&mut state, RUN + 1, &[]), done());
    assert_eq!(step(&mut state, Command::Clear { run: RUN + 1 }), Applied::Rebuild(Answer::More));
    assert_eq!(step(&mut state, Command::Clear { run: RUN + 1 }), done());
    assert_eq!(state.count(HOMES), 0);
}

/// A cluster's own rule for first commits, as far as it matters here: the floor refuses those of claims that it has passed.
#[derive(Default)]
struct Log {
    floor: u64,
    open: BTreeMap<&'static str, u64>,
}

impl Log {
    fn commits(&mut self, key: &'static str, epoch: u64) -> bool {
        let allowed = epoch > self.floor;
        if allowed {
            self.open.insert(key, epoch);
        }
        allowed
    }
}

/// A claim that the lost directory granted to `a` is committed after `a`'s homes were read; `b` gets the key from the new one. Gives
/// how many clusters have it open.
fn committed_late(fenced: bool) -> usize {
    let mut lost = with_clusters();
    let Applied::Claimed(claimed) = claim(&mut lost, "k", "a") else { panic!("not claimed") };
    let late = claimed[0].as_ref().expect("granted").home.epoch.0;

    let (mut a, mut b) = (Log::default(), Log::default());
    let mut state = Map::default();
    begin(&mut state, RUN, &[]);
    let upto = GRANTED_AHEAD_MAX;
    floor(&mut state, upto);
    if fenced {
        (a.floor, b.floor) = (upto, upto);
    }
    take_over(&mut state, vec![of_cluster("a"), of_cluster("b")]);
    assert!(a.open.is_empty(), "it is not committed when the homes are read");
    adopt(&mut state, "a", &[], true);
    adopt(&mut state, "b", &[], true);
    assert_eq!(finish(&mut state), done());
    let Applied::Claimed(claimed) = claim(&mut state, "k", "b") else { panic!("not claimed") };
    assert!(
        b.commits("k", claimed[0].as_ref().expect("granted").home.epoch.0),
        "what is granted now is above the floor"
    );
    a.commits("k", late);
    a.open.len() + b.open.len()
}

#[test]
fn a_claim_of_the_lost_directory_makes_no_second_home_behind_the_fence_and_does_without_it() {
    assert_eq!(committed_late(true), 1);
    assert_eq!(committed_late(false), 2, "the fence is what keeps it out");
}

proptest! {
    /// Whatever the clusters have open, in whatever order it comes: the highest epoch of each key stands, every key that two
    /// clusters have is found, and what is granted afterwards is above everything.
    #[test]
    fn the_highest_epochs_stand_and_no_clash_is_missed(
        pages in prop::collection::vec((0usize..2, prop::collection::vec((0usize..6, 1u64..500), 0..5)), 1..12)
    ) {
        const KEYS: [&str; 6] = ["k", "l", "m", "n", "o", "p"];
        let mut state = begun();
        let mut open: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for (by, homes) in &pages {
            let by = ["a", "b"][*by];
            // An epoch is granted once.
            let homes: Vec<_> = homes.iter().map(|(key, epoch)| (KEYS[*key], 2 * epoch + u64::from(by == "a"))).collect();
            for (key, epoch) in &homes {
                let held = open.entry(*key).or_default().entry(by).or_default();
                *held = (*held).max(*epoch);
            }
            adopt(&mut state, by, &homes, false);
        }
        adopt(&mut state, "a", &[], true);
        adopt(&mut state, "b", &[], true);
        let twice = open.values().any(|by| by.len() > 1);
        for (key, by) in &open {
            let (by, epoch) = by.iter().max_by_key(|(_, epoch)| **epoch).expect("it is open somewhere");
            prop_assert_eq!(state.home(key), Some(home(by, *epoch)));
        }
        prop_assert_eq!(finish(&mut state) == done(), !twice);
        if !twice {
            let Applied::Claimed(claimed) = claim(&mut state, "new", "a") else { panic!("not claimed") };
            let granted = claimed[0].as_ref().expect("granted").home.epoch.0;
            prop_assert!(granted > FLOOR && open.values().flat_map(BTreeMap::values).all(|epoch| granted > *epoch));
        }
    }
}
