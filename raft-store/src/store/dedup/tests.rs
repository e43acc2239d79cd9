//! Kept results: found, dropped in log order, and told apart from ids that are too old.

use flotilla_kv::{Kv, MemKv};

use super::*;
use crate::store::overlay::Overlay;

fn id(name: &str, seen: Option<u64>) -> CommandId {
    CommandId { id: name.parse().unwrap(), seen }
}

fn kept(index: u64) -> Kept {
    Kept { index, answer: Bytes::from(index.to_string()) }
}

/// A store that keeps `limit` results, after commands `c1`, `c2`, ... at indexes 10, 20, ...
fn after(limit: u64, commands: u64, batch: u64) -> (MemKv, Dedup) {
    let kv = MemKv::inline(&[DEDUP]);
    let mut dedup = Dedup { limit, ..Dedup::load(&kv).unwrap() };
    let mut next = 1;
    while next <= commands {
        let mut state = Overlay::new(&kv);
        for number in next..=commands.min(next + batch - 1) {
            dedup.keep(&mut state, &id(&format!("c{number}"), None), &kept(number * 10)).unwrap();
        }
        next += batch;
        kv.write(state.into_batch()).unwrap();
    }
    (kv, dedup)
}

#[track_caller]
fn check(kv: &MemKv, dedup: &Dedup, id: &CommandId, expect: &Verdict) {
    assert_eq!(dedup.verdict(&Overlay::new(kv), id).unwrap(), *expect);
    let reloaded = Dedup { limit: dedup.limit, ..Dedup::load(kv).unwrap() };
    assert_eq!(reloaded.verdict(&Overlay::new(kv), id).unwrap(), *expect, "after a restart");
}

#[test]
fn kept_result_answers_its_id() {
    let (kv, dedup) = after(5, 5, 2);
    check(&kv, &dedup, &id("c1", Some(0)), &Verdict::Known(kept(10)));
    check(&kv, &dedup, &id("c5", None), &Verdict::Known(kept(50)));
    check(&kv, &dedup, &id("c6", Some(0)), &Verdict::New);
}

#[test]
fn id_older_than_the_oldest_kept_result_is_not_taken_for_a_new_one() {
    let (kv, dedup) = after(5, 8, 3); // c1 to c3 are dropped, the last of them at index 30
    check(&kv, &dedup, &id("c3", Some(29)), &Verdict::TooOld);
    check(&kv, &dedup, &id("c4", Some(29)), &Verdict::Known(kept(40)));
    check(&kv, &dedup, &id("other", Some(29)), &Verdict::TooOld);
    check(&kv, &dedup, &id("other", Some(30)), &Verdict::New);
    check(&kv, &dedup, &id("c3", None), &Verdict::New);
}

#[test]
fn results_take_the_same_rows_however_entries_were_batched() {
    let rows = |batch| after(100, 700, batch).0.scan(DEDUP, &[], None, 10_000).unwrap();
    let expect = rows(1);
    assert_eq!(expect.len(), 201, "two rows for each kept result, and the tally");
    assert_eq!(rows(7), expect);
    assert_eq!(rows(700), expect);
}

#[test]
fn rows_are_pinned() {
    let (kv, _) = after(1, 2, 1);
    let rows = kv.scan(DEDUP, &[], None, 10).unwrap();
    let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    let expect = [row(b"ic2", &[1, 20, 2, b'2', b'0']), row(b"s", &[1, 1, 10]), row(b"x\0\0\0\0\0\0\0\x14", b"c2")];
    assert_eq!(rows, expect);
}
