//! The rules of supernodes, one by one, on a map.

use super::{
    super::{
        machine::Command as Any,
        rows::COUNT,
        testing::{Map, apply as apply_any},
    },
    *,
};
use crate::directory::rows::REVISION;

fn card(id: u64) -> Supernode {
    Supernode { id: NodeId(id), name: format!("s{id}"), peer: "h:1".to_owned(), public: "http://h:2".to_owned() }
}

fn member(state: &mut Map, command: Command) -> Answer {
    apply_any(state, Any::Members(command))
}

fn start_of(state: &mut Map, id: u64, after: Option<u64>) -> Answer {
    member(state, Command::Start { card: card(id), after })
}

fn documents(state: &Map) -> (Vec<Document>, u64) {
    let rows = state.scan(DOCUMENTS, &[], None, usize::MAX).expect("a map");
    let rows = rows.iter().map(|(_, row)| flotilla_api::codec::decode(row).expect("it was encoded")).collect();
    (rows, get(state, SYSTEM, REVISION).expect("a map").unwrap_or(0))
}

#[test]
fn a_disk_keeps_its_id_and_none_is_given_twice() {
    let mut state = Map::default();
    let mut join = |disk: u128, floor| member(&mut state, Command::Join { disk: Uuid::from_u128(disk), floor });
    let given = [(1, 2), (2, 2), (1, 9), (3, 7)].map(|(disk, floor)| join(disk, floor));
    assert_eq!(given, [2, 3, 2, 7].map(|id| Answer::Member(NodeId(id))));
    for disk in 4..=JOINED_MAX as u128 {
        assert!(matches!(join(disk, 1), Answer::Member(_)));
    }
    assert_eq!(join(99, 1), Answer::Refused(Refusal::TooMany));
    assert_eq!(join(1, 1), Answer::Member(NodeId(2)), "who has an id is given it at any time");
    start_of(&mut state, 1, None);
    assert_eq!(member(&mut state, Command::Remove { id: NodeId(2) }), Answer::Done);
    let again = member(&mut state, Command::Join { disk: Uuid::from_u128(1), floor: 1 });
    assert!(matches!(again, Answer::Member(id) if id > NodeId(7)), "{again:?}");
}

#[test]
fn every_start_has_a_number_and_the_last_one_is_known() {
    let mut state = Map::default();
    assert_eq!(start_of(&mut state, 1, None), Answer::Started(1));
    assert_eq!(start_of(&mut state, 2, None), Answer::Started(2));
    assert_eq!(start_of(&mut state, 1, Some(1)), Answer::Started(3));
    for after in [None, Some(1), Some(2)] {
        assert_eq!(start_of(&mut state, 1, after), Answer::Refused(Refusal::Started), "{after:?}");
    }
    let row: MemberRow = get(&state, MEMBERS, &member_key(NodeId(1))).expect("a map").expect("it was started");
    assert_eq!(row, MemberRow { start: Some(3), leaves: false });
}

#[test]
fn of_orders_to_leave_that_are_given_at_once_one_is_refused() {
    let mut state = Map::default();
    let remove = |state: &mut Map, id| member(state, Command::Remove { id: NodeId(id) });
    start_of(&mut state, 1, None);
    assert_eq!(remove(&mut state, 1), Answer::Refused(Refusal::LastSupernode));
    start_of(&mut state, 2, None);
    // Both were given when the other one stayed; the first one also a second time.
    for _ in 0..2 {
        assert_eq!(remove(&mut state, 1), Answer::Done);
    }
    assert_eq!(remove(&mut state, 2), Answer::Refused(Refusal::LastSupernode));
    assert_eq!(start_of(&mut state, 2, Some(2)), Answer::Started(3), "it stays");
    start_of(&mut state, 3, None);
    assert_eq!(remove(&mut state, 2), Answer::Done);
}

#[test]
fn documents_name_the_supernodes_that_were_started_until_they_are_forgotten() {
    let mut state = Map::default();
    start_of(&mut state, 1, None);
    start_of(&mut state, 2, None);
    let all = vec![Document::Supernode(card(1)), Document::Supernode(card(2))];
    assert_eq!(documents(&state), (all.clone(), 2));
    start_of(&mut state, 1, Some(1));
    assert_eq!(documents(&state), (all, 2), "the same place once more");
    assert_eq!(member(&mut state, Command::Remove { id: NodeId(2) }), Answer::Done);
    assert_eq!(start_of(&mut state, 2, Some(2)), Answer::Refused(Refusal::Leaves));
    assert_eq!(documents(&state).1, 2);
    for _ in 0..2 {
        assert_eq!(member(&mut state, Command::Forget { id: NodeId(2) }), Answer::Done);
        assert_eq!(documents(&state), (vec![Document::Supernode(card(1))], 3));
    }
    assert_eq!(start_of(&mut state, 2, Some(2)), Answer::Refused(Refusal::Started), "it is as if it had never been");
    assert_eq!(get::<u64>(&state, SYSTEM, COUNT).expect("a map"), None, "they are not clients'");
}
