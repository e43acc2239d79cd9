//! Pins every stored format by its bytes: a change here is a change of the disk format.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flotilla_api::CommandId;
use openraft::EntryPayload;

use super::*;
use crate::store::envelope;

fn members() -> BTreeMap<u64, Member> {
    let member = |id: u64| (id, Member { name: format!("n{id}"), peer: format!("h:{id}") });
    [1, 2].into_iter().map(member).collect()
}

fn membership(voters: Vec<BTreeSet<u64>>) -> Membership {
    Membership::new(voters, members()).unwrap()
}

const MEMBERS: &[u8] = b"\x02\x01\x02n1\x03h:1\x02\x02n2\x03h:2";

#[track_caller]
fn check_entry(entry: &Entry, expect: &[u8]) {
    assert_eq!(encode_entry(entry), expect);
    assert_eq!(&decode_entry(expect).unwrap(), entry);
}

#[test]
fn entries_are_pinned() {
    let entry = |payload| Entry { log_id: log_id(3, 300), payload };
    check_entry(&entry(EntryPayload::Blank), &[1, 3, 0xac, 0x02, 0]);
    let command = EntryPayload::Normal(Proposal(Bytes::from_static(b"abc")));
    check_entry(&entry(command), &[1, 3, 0xac, 0x02, 1, 3, b'a', b'b', b'c']);
    let config = EntryPayload::Membership(membership(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])]));
    check_entry(&entry(config), &[&[1, 3, 0xac, 0x02, 2, 2, 1, 1, 2, 1, 2][..], MEMBERS].concat());
}

#[test]
fn votes_are_pinned() {
    for (vote, expect) in [(Vote::new(7, 2), [1, 7, 2, 0]), (Vote::new_committed(7, 2), [1, 7, 2, 1])] {
        assert_eq!(encode_vote(&vote), expect);
        assert_eq!(decode_vote(&expect).unwrap(), vote);
    }
}

#[test]
fn log_ids_and_memberships_are_pinned() {
    assert_eq!(encode_log_id(&log_id(2, 9)), [1, 2, 9]);
    assert_eq!(decode_log_id(&[1, 2, 9]).unwrap(), log_id(2, 9));

    let stored = StoredMembership::new(Some(log_id(2, 9)), membership(vec![BTreeSet::from([1])]));
    let expect = [&[1, 1, 2, 9, 1, 1, 1][..], MEMBERS].concat();
    assert_eq!(encode_membership(&stored), expect);
    assert_eq!(decode_membership(&expect).unwrap(), stored);

    let none = StoredMembership::default();
    assert_eq!(encode_membership(&none), [1, 0, 0, 0]);
    assert_eq!(decode_membership(&[1, 0, 0, 0]).unwrap(), none);
}

#[test]
fn envelopes_are_pinned() {
    let id = CommandId { id: "req-1".parse().unwrap(), seen: Some(5) };
    let sealed = envelope::seal(4, id.clone(), &("x", 9u8));
    assert_eq!(&sealed[..], b"\x01\x04\x05req-1\x01\x05\x01x\x09");
    let (head, command) = envelope::split(&sealed).unwrap();
    assert_eq!(head, envelope::Head { version: 4, id });
    assert_eq!(envelope::open::<(String, u8)>(command).unwrap(), ("x".to_owned(), 9));
}

#[test]
fn damaged_values_are_errors() {
    assert!(decode_entry(&[]).is_err());
    assert!(decode_entry(&[2, 3, 3, 0]).is_err(), "another version");
    assert!(decode_entry(&[1, 3, 3, 9]).is_err(), "an unknown payload");
    assert!(decode_membership(&[1, 0, 1, 1, 7, 0]).is_err(), "a voter that is no member");
    assert!(envelope::split(&[1, 1, 9]).is_err());
}
