//! What `Kv` promises, sentence by sentence.

use std::sync::mpsc::sync_channel;

use flotilla_kv::{Batch, Error, Kv, MemKv, Row, View};

use crate::stores::{LOG, Mem, Rocks, STATE, Store, keys, put, sync};

/// Runs each check over every implementation.
macro_rules! over_every_store {
    ($($check:ident)*) => {
        mod mem {
            $(#[test] fn $check() { super::$check(super::Mem::new()) })*
        }
        mod mem_inline {
            $(#[test] fn $check() { super::$check(super::Mem::inline()) })*
        }
        mod rocks {
            $(#[test] fn $check() { super::$check(super::Rocks::new()) })*
        }
    };
}

over_every_store! {
    a_written_value_is_read_at_once
    many_values_come_in_the_order_of_their_keys_asked
    a_removed_range_ends_before_its_end
    an_empty_or_reversed_range_removes_nothing
    a_scan_keeps_its_bounds_order_and_limit
    the_last_row_is_that_of_its_family
    writes_of_a_batch_follow_each_other
    a_batch_with_an_unknown_family_changes_nothing
    a_snapshot_does_not_see_later_writes
    a_dropped_range_is_gone_and_its_end_stays
    synced_writes_survive_a_restart
    answers_come_in_the_order_of_the_calls
    waiting_syncs_can_be_awaited
}

fn row(key: &[u8], value: &[u8]) -> Row {
    (key.to_vec(), value.to_vec())
}

fn a_written_value_is_read_at_once(store: impl Store) {
    let kv = store.kv();
    assert_eq!(kv.get(STATE, b"a").expect("a good read"), None);
    put(kv, STATE, &[(b"a", b"1"), (b"", b"of the empty key")]);
    put(kv, STATE, &[(b"a", b"2")]);
    assert_eq!(kv.get(STATE, b"a").expect("a good read"), Some(b"2".to_vec()));
    assert_eq!(kv.get(STATE, b"").expect("a good read"), Some(b"of the empty key".to_vec()));
    assert_eq!(kv.get(LOG, b"a").expect("a good read"), None, "families are apart");
    kv.write(Batch::default()).expect("an empty batch is fine");
    assert!(matches!(kv.get("other", b"a"), Err(Error::Engine(_))));
}

fn many_values_come_in_the_order_of_their_keys_asked(store: impl Store) {
    let kv = store.kv();
    put(kv, STATE, &[(b"a", b"1"), (b"b", b""), (b"c", b"3")]);
    let wanted = [b"c".to_vec(), b"x".to_vec(), b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
    let found = [Some(b"3".to_vec()), None, Some(b"1".to_vec()), Some(Vec::new()), Some(b"3".to_vec())];
    assert_eq!(kv.get_many(STATE, &wanted).expect("a good read"), found);
    assert!(kv.get_many(STATE, &[]).expect("a good read").is_empty());
    let snapshot = kv.snapshot();
    put(kv, STATE, &[(b"x", b"later")]);
    assert_eq!(snapshot.get_many(STATE, &wanted).expect("a good read"), found);
}

fn a_removed_range_ends_before_its_end(store: impl Store) {
    let kv = store.kv();
    put(kv, STATE, &[(b"a", b""), (b"b", b""), (b"b\0", b""), (b"c", b""), (b"d", b"")]);
    put(kv, LOG, &[(b"b", b"")]);
    let mut batch = Batch::default();
    batch.delete_range(STATE, *b"b", *b"c").delete(STATE, *b"d").delete(STATE, *b"not there");
    kv.write(batch).expect("a good write");
    assert_eq!(keys(kv, STATE), [b"a", b"c"]);
    assert_eq!(keys(kv, LOG), [b"b"]);
}

fn an_empty_or_reversed_range_removes_nothing(store: impl Store) {
    let kv = store.kv();
    put(kv, STATE, &[(b"a", b""), (b"b", b""), (b"c", b"")]);
    let mut batch = Batch::default();
    batch.delete_range(STATE, *b"b", *b"b").delete_range(STATE, *b"c", *b"a").put(STATE, *b"d", *b"");
    kv.write(batch).expect("a good write");
    kv.drop_range(STATE, b"b", b"b").expect("a good purge");
    kv.drop_range(STATE, b"c", b"a").expect("a good purge");
    assert_eq!(keys(kv, STATE), [b"a", b"b", b"c", b"d"]);
    sync(kv).expect("the database is not poisoned");
}

fn a_scan_keeps_its_bounds_order_and_limit(store: impl Store) {
    let kv = store.kv();
    put(kv, STATE, &[(b"d", b"4"), (b"a", b"1"), (b"c", b"3"), (b"b", b"2"), (b"\xff\xff", b"5")]);
    put(kv, LOG, &[(b"bb", b"of another family")]);
    let scan = |from: &[u8], to: Option<&[u8]>, limit| kv.scan(STATE, from, to, limit).expect("a good read");
    assert_eq!(scan(b"b", Some(b"d"), 10), [row(b"b", b"2"), row(b"c", b"3")]);
    assert_eq!(scan(b"aa", Some(b"bb"), 10), [row(b"b", b"2")]);
    assert_eq!(scan(b"b", None, 2), [row(b"b", b"2"), row(b"c", b"3")]);
    assert_eq!(scan(b"d", None, 10), [row(b"d", b"4"), row(b"\xff\xff", b"5")]);
    assert_eq!(scan(b"", None, usize::MAX).len(), 5);
    for nothing in [scan(b"b", Some(b"b"), 10), scan(b"d", Some(b"a"), 10), scan(b"", None, 0), scan(b"", Some(b""), 9)]
    {
        assert!(nothing.is_empty());
    }
}

fn the_last_row_is_that_of_its_family(store: impl Store) {
    let kv = store.kv();
    assert_eq!(kv.last(LOG).expect("a good read"), None);
    put(kv, LOG, &[(b"a", b"1"), (b"b", b"2")]);
    put(kv, STATE, &[(b"z", b"9")]);
    assert_eq!(kv.last(LOG).expect("a good read"), Some(row(b"b", b"2")));
    let mut batch = Batch::default();
    batch.delete_range(LOG, *b"b", *b"c");
    kv.write(batch).expect("a good write");
    assert_eq!(kv.last(LOG).expect("a good read"), Some(row(b"a", b"1")));
}

fn writes_of_a_batch_follow_each_other(store: impl Store) {
    let kv = store.kv();
    put(kv, STATE, &[(b"a", b"old"), (b"b", b"old")]);
    let mut batch = Batch::default();
    batch.put(STATE, *b"a", *b"lost").delete_range(STATE, *b"a", *b"z").put(STATE, *b"b", *b"new");
    batch.put(LOG, *b"l", *b"1").delete(LOG, *b"l");
    kv.write(batch).expect("a good write");
    assert_eq!(kv.scan(STATE, b"", None, 10).expect("a good read"), [row(b"b", b"new")]);
    assert!(keys(kv, LOG).is_empty());
}

fn a_batch_with_an_unknown_family_changes_nothing(store: impl Store) {
    let kv = store.kv();
    let mut batch = Batch::default();
    batch.put(STATE, *b"a", *b"1").put("other", *b"b", *b"2");
    assert!(matches!(kv.write(batch), Err(Error::Engine(_))));
    assert!(keys(kv, STATE).is_empty());
    put(kv, STATE, &[(b"a", b"1")]); // and the database is not poisoned
}

fn a_snapshot_does_not_see_later_writes(store: impl Store) {
    let kv = store.kv();
    put(kv, STATE, &[(b"a", b"1"), (b"b", b"2")]);
    put(kv, LOG, &[(b"l", b"1")]);
    let snapshot = kv.snapshot();
    let mut batch = Batch::default();
    batch.put(STATE, *b"a", *b"new").delete(STATE, *b"b").put(STATE, *b"c", *b"3").put(LOG, *b"m", *b"2");
    kv.write(batch).expect("a good write");
    assert_eq!(snapshot.scan(STATE, b"", None, 10).expect("a good read"), [row(b"a", b"1"), row(b"b", b"2")]);
    assert_eq!(snapshot.get(STATE, b"a").expect("a good read"), Some(b"1".to_vec()));
    assert_eq!(snapshot.last(LOG).expect("a good read"), Some(row(b"l", b"1")));
    assert_eq!(kv.snapshot().get(STATE, b"a").expect("a good read"), Some(b"new".to_vec()));
}

fn a_dropped_range_is_gone_and_its_end_stays(store: impl Store) {
    let kv = store.kv();
    let entry = |index: u64| index.to_be_bytes();
    for index in 0..10 {
        put(kv, LOG, &[(&entry(index), b"entry")]);
    }
    kv.drop_range(LOG, &entry(0), &entry(7)).expect("a good purge");
    assert_eq!(keys(kv, LOG), [entry(7), entry(8), entry(9)]);
}

fn synced_writes_survive_a_restart(store: impl Store) {
    put(store.kv(), STATE, &[(b"a", b"1")]);
    put(store.kv(), LOG, &[(b"l", b"1")]);
    sync(store.kv()).expect("a good sync");
    let store = store.restart();
    assert_eq!(keys(store.kv(), STATE), [b"a"]);
    assert_eq!(keys(store.kv(), LOG), [b"l"]);
}

fn answers_come_in_the_order_of_the_calls(store: impl Store) {
    let kv = store.kv();
    let (send, answers) = sync_channel(200);
    for number in 0..200_u8 {
        put(kv, STATE, &[(&[number], b"")]);
        let send = send.clone();
        kv.sync_then(Box::new(move |result| {
            result.expect("a good sync");
            send.send(number).expect("the test still listens");
        }));
    }
    drop(send);
    assert_eq!(answers.iter().collect::<Vec<u8>>(), (0..200).collect::<Vec<u8>>());
    assert!((1..=200).contains(&kv.syncs()));
}

fn waiting_syncs_can_be_awaited(store: impl Store) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(flotilla_kv::sync(store.kv())).expect("a good sync");
    assert_eq!(store.kv().syncs(), 1);
}

/// Holds the sync thread in an answer while a hundred others ask.
fn waiting_requests_share_one_sync(store: impl Store) {
    let kv = store.kv();
    let (held, is_held) = sync_channel(1);
    let (release, released) = sync_channel::<()>(1);
    kv.sync_then(Box::new(move |_| {
        held.send(()).expect("the test still listens");
        released.recv().expect("the test lets go");
    }));
    is_held.recv().expect("the first sync is over");
    let (send, answers) = sync_channel(100);
    for number in 0..100_u8 {
        put(kv, STATE, &[(&[number], b"")]);
        let send = send.clone();
        kv.sync_then(Box::new(move |result| send.send(result).expect("the test still listens")));
    }
    drop(send);
    release.send(()).expect("the sync thread waits");
    assert_eq!(answers.iter().filter(Result::is_ok).count(), 100);
    assert_eq!(kv.syncs(), 2);
    let store = store.restart();
    assert_eq!(keys(store.kv(), STATE).len(), 100);
}

#[test]
fn waiting_requests_share_one_sync_in_memory() {
    waiting_requests_share_one_sync(Mem::new());
}

#[test]
fn waiting_requests_share_one_sync_on_disk() {
    waiting_requests_share_one_sync(Rocks::new());
}

#[test]
fn a_crash_in_memory_keeps_what_was_synced_and_any_prefix_of_the_rest() {
    let kv = MemKv::new(&[STATE]);
    put(&kv, STATE, &[(b"a", b"1"), (b"b", b"1")]);
    sync(&kv).expect("a good sync");
    put(&kv, STATE, &[(b"a", b"2")]);
    put(&kv, STATE, &[(b"c", b"3"), (b"d", b"4")]);
    assert_eq!(keys(&kv.crash(), STATE), [b"a", b"b"]);
    assert_eq!(kv.crash().get(STATE, b"a").expect("a good read"), Some(b"1".to_vec()));
    assert_eq!(kv.crash_keeping(1).get(STATE, b"a").expect("a good read"), Some(b"2".to_vec()));
    assert_eq!(keys(&kv.crash_keeping(1), STATE), [b"a", b"b"]);
    assert_eq!(keys(&kv.crash_keeping(9), STATE), [b"a", b"b", b"c", b"d"]);
    assert_eq!(keys(&kv, STATE).len(), 4, "the old handle is as it was");
    let crashed = kv.crash();
    put(&crashed, STATE, &[(b"z", b"9")]);
    assert_eq!(keys(&crashed.crash(), STATE), [b"a", b"b"], "a crashed database crashes again");
}

#[test]
fn a_dropped_range_in_memory_is_gone_after_a_crash_too() {
    let kv = MemKv::new(&[LOG]);
    put(&kv, LOG, &[(b"a", b"1"), (b"b", b"2")]);
    sync(&kv).expect("a good sync");
    kv.drop_range(LOG, b"a", b"b").expect("a good purge");
    assert_eq!(keys(&kv.crash(), LOG), [b"b"]);
}

fn a_failed_sync_shuts_the_database(kv: &MemKv) {
    put(kv, STATE, &[(b"a", b"1")]);
    sync(kv).expect("a good sync");
    put(kv, STATE, &[(b"b", b"2")]);
    kv.fail_next_sync();
    assert!(matches!(sync(kv), Err(Error::Sync(_))));
    assert!(matches!(sync(kv), Err(Error::Poisoned)));
    let mut batch = Batch::default();
    batch.put(STATE, *b"c", *b"3");
    assert!(matches!(kv.write(batch), Err(Error::Poisoned)));
    assert!(matches!(kv.drop_range(STATE, b"a", b"b"), Err(Error::Poisoned)));
    assert_eq!(kv.get(STATE, b"b").expect("reads go on"), Some(b"2".to_vec()));
    assert_eq!(keys(&kv.crash(), STATE), [b"a"], "nothing after the failure became durable");
}

#[test]
fn a_failed_sync_shuts_the_database_in_memory() {
    a_failed_sync_shuts_the_database(&MemKv::new(&[STATE]));
    a_failed_sync_shuts_the_database(&MemKv::inline(&[STATE]));
}
