//! The directory's rules, one by one, on a map.

use flotilla_api::peer::Supernode;

use super::{
    super::{
        rows::{ClusterRow, MemberRow, RebuildRow, Stage},
        testing::{Map, apply, claim, cluster, home, name, uuid, with_clusters},
    },
    *,
};

fn claimed(by: &str, epoch: u64, granted: bool) -> Answer {
    Answer::Claimed(vec![Ok(Claimed { home: home(by, epoch), granted })])
}

#[test]
fn the_first_claim_in_the_log_wins() {
    let mut state = with_clusters();
    assert_eq!(claim(&mut state, "k", "a"), claimed("a", 1, true));
    assert_eq!(claim(&mut state, "k", "b"), claimed("a", 1, false));
    assert_eq!(claim(&mut state, "k", "a"), claimed("a", 1, false));
    assert_eq!(claim(&mut state, "other", "b"), claimed("b", 2, true));
    assert_eq!(claim(&mut state, "third", "unknown"), Answer::Claimed(vec![Err(Refusal::UnknownCluster)]));
}

#[test]
fn claims_of_one_command_are_made_one_after_the_other() {
    let mut state = with_clusters();
    let claim = |key: &str, by| Claim { name: name(key), cluster: cluster(by) };
    let claims = vec![claim("k", "b"), claim("k", "a"), claim("l", "unknown"), claim("l", "a")];
    let Answer::Claimed(answers) = apply(&mut state, Command::Claim { claims }) else { panic!("not claimed") };
    let found = |by, epoch, granted| Ok(Claimed { home: home(by, epoch), granted });
    let expect = [found("b", 1, true), found("b", 1, false), Err(Refusal::UnknownCluster), found("a", 2, true)];
    assert_eq!(answers, expect);
    let many = (0..=CLAIMS_MAX).map(|n| claim(&format!("many/{n}"), "a")).collect();
    let Answer::Claimed(answers) = apply(&mut state, Command::Claim { claims: many }) else { panic!("not claimed") };
    assert_eq!(answers.len(), CLAIMS_MAX, "what is beyond the bound is not made");
}

#[test]
fn an_epoch_is_granted_once_also_after_a_release() {
    let mut state = with_clusters();
    claim(&mut state, "k", "a");
    let release = |epoch| Command::Release { name: name("k"), epoch: Epoch(epoch) };
    assert_eq!(apply(&mut state, release(7)), Answer::Refused(Refusal::Passed));
    assert_eq!(apply(&mut state, release(1)), Answer::Done);
    assert_eq!(apply(&mut state, release(1)), Answer::Refused(Refusal::Passed));
    assert_eq!(claim(&mut state, "k", "b"), claimed("b", 2, true));
}

#[test]
fn a_refresh_changes_only_the_home_that_it_saw() {
    let mut state = with_clusters();
    claim(&mut state, "k", "a");
    let refresh = |by: &str, passed| Command::Refresh { name: name("k"), cluster: cluster(by), passed: Epoch(passed) };
    assert_eq!(apply(&mut state, refresh("b", 1)), Answer::Home(home("a", 1)));
    assert_eq!(apply(&mut state, refresh("a", 1)), Answer::Home(home("a", 2)));
    assert_eq!(apply(&mut state, refresh("a", 1)), Answer::Home(home("a", 2)));
}

#[test]
fn a_claim_waits_for_its_clusters_word_until_it_is_confirmed_renewed_or_released() {
    let mut state = with_clusters();
    let waiting = |state: &Map| state.count(UNCONFIRMED);
    for key in ["k", "l", "m"] {
        claim(&mut state, key, "a");
        claim(&mut state, key, "a");
    }
    assert_eq!(waiting(&state), 3, "a claim that granted nothing does not wait");
    assert_eq!(apply(&mut state, Command::Confirm { epochs: vec![Epoch(1), Epoch(99)] }), Answer::Done);
    assert_eq!(waiting(&state), 2);
    let refresh = Command::Refresh { name: name("l"), cluster: cluster("a"), passed: Epoch(2) };
    assert_eq!(apply(&mut state, refresh), Answer::Home(home("a", 4)));
    assert_eq!(waiting(&state), 2, "the fresh epoch waits instead of the passed one");
    assert_eq!(apply(&mut state, Command::Release { name: name("m"), epoch: Epoch(3) }), Answer::Done);
    assert_eq!(waiting(&state), 1);
}

#[test]
fn a_cluster_of_the_same_name_with_another_identity_is_refused() {
    let mut state = with_clusters();
    let register = |uuid| Command::Register { cluster: cluster("a"), uuid };
    assert_eq!(apply(&mut state, register(uuid("a"))), Answer::Done);
    assert_eq!(apply(&mut state, register(uuid("b"))), Answer::Refused(Refusal::ForeignCluster));
}

#[test]
fn a_document_raises_the_revision_only_when_it_changes() {
    let mut state = Map::default();
    let bucket = |name: &str| Command::PutDocument(Document::Bucket { name: name.parse().expect("a good name") });
    for (name, revision) in [("one", 1), ("one", 1), ("two", 2)] {
        assert_eq!(apply(&mut state, bucket(name)), Answer::Done);
        assert_eq!(get::<u64>(&state, SYSTEM, REVISION).expect("a map"), Some(revision));
    }
}

#[test]
fn stored_shapes_are_pinned_by_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let row = HomeRow { home: Home { cluster: cluster("a"), epoch: Epoch(300) } };
    assert_eq!(hex(&codec::encode(&row)), "010161ac02");
    let command = Command::Claim { claims: vec![Claim { name: name("k"), cluster: cluster("a") }] };
    assert_eq!(hex(&codec::encode(&command)), "0100010464656d6f016b0161");
    let member = MemberRow { start: Some(300), leaves: true };
    assert_eq!(hex(&codec::encode(&member)), "0101ac0201");
    let (s2, peer, public) = ("s2".to_owned(), "h:1".to_owned(), "http://h:2".to_owned());
    let card = Supernode { id: NodeId(2), name: s2, peer, public };
    let start = Command::Members(members::Command::Start { card: card.clone(), after: Some(300) });
    assert_eq!(hex(&codec::encode(&start)), "0109010202733203683a310a687474703a2f2f683a3201ac02");
    let document = Document::Supernode(card);
    assert_eq!(hex(&codec::encode(&document)), "010202027332".to_owned() + "03683a310a687474703a2f2f683a32");
    let row = ClusterRow { uuid: Uuid::from_u128(7), stage: Stage::Retiring { since: 300 }, adopted: true };
    let uuid = format!("{}07", "00".repeat(15));
    assert_eq!(hex(&codec::encode(&row)), format!("0110{uuid}01ac0201"));
    let document = Document::Cluster { name: cluster("a"), uuid: Uuid::from_u128(7), retiring: true };
    assert_eq!(hex(&codec::encode(&document)), format!("0103016110{uuid}01"));
    let document = Document::Fenced { name: cluster("a"), uuid: Uuid::from_u128(7) };
    assert_eq!(hex(&codec::encode(&document)), format!("0104016110{uuid}"));
    let row = RebuildRow {
        run: 300,
        fenced: [cluster("a")].into(),
        adopted: [cluster("b")].into(),
        floor: Epoch(4),
        highest: Epoch(3),
        revision: 2,
        findings: 1,
    };
    assert_eq!(hex(&codec::encode(&row)), "01ac0201016101016204030201");
    let begin = rebuild::Command::Begin { run: 300, fence: vec![cluster("a")] };
    assert_eq!(hex(&codec::encode(&Command::Rebuild(begin))), "010e00ac02010161");
    assert_eq!(hex(&codec::encode(&Command::Retire { cluster: cluster("a"), on: true })), "010a016101");
    let step = |command| hex(&codec::encode(&Command::Rebuild(command)));
    assert_eq!(step(rebuild::Command::Floor { run: 300, upto: Epoch(300) }), "010e02ac02ac02");
    let documents = vec![Document::Bucket { name: "demo".parse().expect("a good name") }];
    assert_eq!(step(rebuild::Command::Documents { run: 300, revision: 7, documents }), "010e03ac020701000464656d6f");
    let (a, id, homes) = (cluster("a"), Uuid::from_u128(7), vec![(name("k"), Epoch(300))]);
    let adopt = rebuild::Command::Adopt { run: 300, cluster: a.clone(), uuid: id, homes: homes.clone(), last: true };
    assert_eq!(step(adopt), format!("010e04ac02016110{uuid}010464656d6f016bac0201"));
    assert_eq!(step(rebuild::Command::Finish { run: 300 }), "010e05ac02");
    assert_eq!(hex(&codec::encode(&Command::Drop { cluster: a.clone(), homes })), "010c0161010464656d6f016bac02");
    assert_eq!(hex(&codec::encode(&Command::Forget { cluster: a, since: 300 })), "010d0161ac02");
    assert_eq!(hex(&codec::encode(&Answer::Refused(Refusal::NotEmpty))), "01020c");
    let clear = Command::Ticket(tickets::Change::Clear { upto: 300 });
    assert_eq!(hex(&codec::encode(&clear)), "010f04ac02");
}

/// What a claim costs does not depend on how many keys there are: counted in rows here, measured in time by the bench `flat`.
#[test]
fn directory_is_flat() {
    let mut state = with_clusters();
    let mut filled = 0;
    let touched = |state: &mut Map, command: Command| {
        apply(state, command);
        state.touched.get()
    };
    let costs = [1_000, 10_000, 100_000].map(|keys| {
        while filled < keys {
            let claims = (filled..keys).take(CLAIMS_MAX);
            let claims: Vec<Claim> =
                claims.map(|n| Claim { name: name(&format!("k{n}")), cluster: cluster("a") }).collect();
            filled += claims.len();
            apply(&mut state, Command::Claim { claims });
        }
        let one = |key: String| Command::Claim { claims: vec![Claim { name: name(&key), cluster: cluster("b") }] };
        let (granted, lost) =
            (touched(&mut state, one(format!("new{keys}"))), touched(&mut state, one("k7".to_owned())));
        state.touched.set(0);
        let page = state.scan(HOMES, &name("k5").to_row(), None, 512).expect("a map never fails");
        (granted, lost, page.len(), state.touched.get())
    });
    assert_eq!(costs, [costs[0]; 3]);
}

#[test]
fn a_name_has_one_key_at_a_time_and_root_keeps_its_own() {
    let mut state = Map::default();
    let principal = |name: &str, byte, root| Principal {
        name: name.parse().expect("a good name"),
        key_hash: [byte; 32],
        root,
        created_ms: 1,
    };
    let root = Document::Principal(principal("root", 0, true));
    let add = |byte| Command::AddPrincipal(principal("ci", byte, false));
    let remove = |name: &str| Command::RemovePrincipal { name: name.parse().expect("a good name") };
    let revision = |state: &Map| get::<u64>(state, SYSTEM, REVISION).expect("a map").unwrap_or(0);
    let found = |byte| Command::FoundRoot(principal("root", byte, true));
    assert_eq!(apply(&mut state, found(0)), Answer::Done);
    assert_eq!(apply(&mut state, found(9)), Answer::Refused(Refusal::Taken), "another supernode's file");
    assert_eq!((apply(&mut state, found(0)), revision(&state)), (Answer::Done, 1), "every start says it again");
    assert_eq!(apply(&mut state, Command::PutDocument(root)), Answer::Done);
    assert_eq!(apply(&mut state, add(1)), Answer::Done);
    assert_eq!((apply(&mut state, add(1)), revision(&state)), (Answer::Done, 2), "the same key once more");
    assert_eq!(apply(&mut state, add(2)), Answer::Refused(Refusal::Taken));
    assert_eq!(apply(&mut state, remove("root")), Answer::Refused(Refusal::Root));
    assert_eq!(apply(&mut state, remove("nobody")), Answer::Refused(Refusal::NoPrincipal));
    assert_eq!(revision(&state), 2, "what was refused changed nothing");
    assert_eq!((apply(&mut state, remove("ci")), revision(&state)), (Answer::Done, 3));
    assert_eq!(apply(&mut state, add(2)), Answer::Done, "the name is free again");
    assert_eq!(get::<u64>(&state, SYSTEM, COUNT).expect("a map"), Some(2));
}
