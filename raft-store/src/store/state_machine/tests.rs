//! What applying does, entry by entry and over restarts.

use std::{path::PathBuf, sync::Mutex};

use bytes::Bytes;
use flotilla_api::CommandId;
use flotilla_env::disk::MemDisk;
use flotilla_kv::MemKv;
use futures::stream;

use super::*;
use crate::{
    store::{RESULTS_KEPT, lock, rules::Typed, types::Proposal, types::log_id},
    tests::{
        cluster::{family_names, rows},
        counter::{Command, Counter, add, get},
    },
};

fn open(kv: Arc<dyn Kv>) -> StateMachine {
    let snapshots = Snapshots::open(Arc::new(MemDisk::new()), PathBuf::from("/snapshots"), 1 << 20).unwrap();
    let shared = Applied {
        index: watch::Sender::new(0),
        catching_up: watch::Sender::new(false),
        installs: AtomicU64::new(0),
        on_panic: Box::new(|| {}),
    };
    StateMachine::open(kv, Arc::new(Typed(Arc::new(Counter))), snapshots, Arc::new(shared)).unwrap()
}

fn memory() -> (Arc<MemKv>, StateMachine) {
    let kv = Arc::new(MemKv::inline(&family_names()));
    (kv.clone(), open(kv))
}

fn entry_of(version: u8, index: u64, id: &str, seen: Option<u64>, command: &Command) -> Entry {
    let id = CommandId { id: id.parse().unwrap(), seen };
    let payload = EntryPayload::Normal(Proposal(envelope::seal(version, id, command)));
    Entry { log_id: log_id(1, index), payload }
}

fn entry(index: u64, id: &str, command: &Command) -> Entry {
    entry_of(1, index, id, Some(0), command)
}

async fn apply(machine: &mut StateMachine, entries: impl IntoIterator<Item = Entry>) -> io::Result<()> {
    let items: Vec<_> = entries.into_iter().map(|entry| Ok((entry, None))).collect();
    machine.apply(stream::iter(items)).await
}

/// Gives what an entry would come to, without applying it.
fn outcome(machine: &mut StateMachine, kv: &MemKv, entry: &Entry) -> Result<Outcome, StoreError> {
    machine.apply_entry(&mut Overlay::new(kv), entry)
}

#[tokio::test]
async fn later_entries_of_a_batch_see_the_earlier_ones() {
    let (kv, mut machine) = memory();
    apply(&mut machine, (1..=9).map(|index| entry(index, &format!("c{index}"), &add("a", 1)))).await.unwrap();
    assert_eq!(get(&*kv, "a"), Some(9));
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(1, 9)));
}

#[tokio::test]
async fn repeated_id_is_not_applied_again_and_has_the_first_answer() {
    let (kv, mut machine) = memory();
    let entries = [entry(1, "x", &add("a", 5)), entry(2, "y", &add("a", 1)), entry(3, "x", &add("a", 5))];
    apply(&mut machine, entries).await.unwrap();
    assert_eq!(get(&*kv, "a"), Some(6));
    let again = outcome(&mut machine, &kv, &entry(4, "x", &add("a", 5))).unwrap();
    let answer = Bytes::from(flotilla_api::codec::encode(&5u64));
    assert_eq!(again, Outcome::Applied { index: 1, replayed: true, answer });
}

#[tokio::test]
async fn state_does_not_depend_on_how_entries_were_batched() {
    let commands: Vec<Entry> = (1..=600)
        .map(|index| entry(index, &format!("c{}", index % 400), &add(&format!("k{}", index % 7), index)))
        .collect();
    let (at_once, mut machine) = memory();
    apply(&mut machine, commands.clone()).await.unwrap();
    let (one_by_one, mut machine) = memory();
    for command in commands {
        apply(&mut machine, [command]).await.unwrap();
    }
    assert_eq!(rows(&*at_once), rows(&*one_by_one));
}

#[tokio::test]
async fn old_id_whose_result_may_be_gone_is_indeterminate() {
    let (kv, mut machine) = memory();
    let last = RESULTS_KEPT + 10;
    let fresh = |index| entry_of(1, index, &format!("c{index}"), Some(index - 1), &add("a", 1));
    apply(&mut machine, (1..=last).map(fresh)).await.unwrap();
    assert_eq!(get(&*kv, "a"), Some(last));
    let mut old = |seen| outcome(&mut machine, &kv, &entry_of(1, last + 1, "unknown", seen, &add("a", 1))).unwrap();
    assert_eq!(old(Some(9)), Outcome::Indeterminate);
    assert!(matches!(old(Some(10)), Outcome::Applied { replayed: false, .. }));
    assert!(matches!(old(None), Outcome::Applied { replayed: false, .. }));
    let kept = outcome(&mut machine, &kv, &entry_of(1, last + 1, "c11", Some(0), &add("a", 1))).unwrap();
    assert!(matches!(kept, Outcome::Applied { replayed: true, index: 11, .. }));
}

#[tokio::test]
async fn command_of_a_newer_build_stops_the_node_and_changes_nothing() {
    let (kv, mut machine) = memory();
    let entries = [entry(1, "x", &add("a", 1)), entry_of(2, 2, "y", Some(0), &add("a", 1))];
    let error = apply(&mut machine, entries).await.unwrap_err();
    assert!(error.to_string().contains("command version 2"), "{error}");
    assert_eq!(get(&*kv, "a"), None, "the batch is written whole or not at all");
}

#[tokio::test]
async fn applied_position_and_state_are_one_prefix_after_a_crash() {
    let (kv, mut machine) = memory();
    for index in 1..=6 {
        apply(&mut machine, [entry(index, &format!("c{index}"), &add("a", 1))]).await.unwrap();
    }
    for kept in 0..=6 {
        let kv = Arc::new(kv.crash_keeping(kept));
        let mut machine = open(kv.clone());
        let applied = machine.applied_state().await.unwrap().0.map_or(0, |id| id.index());
        assert_eq!(applied, kept as u64);
        assert_eq!(get(&*kv, "a").unwrap_or(0), applied);
    }
}

#[tokio::test]
async fn membership_is_kept_with_its_position() {
    let (kv, mut machine) = memory();
    let config = crate::store::types::Membership::new_with_defaults(vec![[1].into()], [2]);
    let membership = Entry { log_id: log_id(1, 1), payload: EntryPayload::Membership(config.clone()) };
    apply(&mut machine, [membership, entry(2, "x", &add("a", 1))]).await.unwrap();
    let expect = StoredMembership::new(Some(log_id(1, 1)), config);
    assert_eq!(machine.applied_state().await.unwrap(), (Some(log_id(1, 2)), expect.clone()));
    assert_eq!(open(kv).applied_state().await.unwrap(), (Some(log_id(1, 2)), expect));
}

#[tokio::test]
async fn entry_that_comes_twice_is_refused() {
    let (kv, mut machine) = memory();
    apply(&mut machine, [entry(1, "x", &add("a", 1))]).await.unwrap();
    apply(&mut machine, [entry(1, "y", &add("a", 1))]).await.unwrap_err();
    assert_eq!(get(&*kv, "a"), Some(1));
}

#[tokio::test]
async fn panic_of_the_machine_is_told() {
    let (_, mut machine) = memory();
    let told = Arc::new(Mutex::new(0));
    let seen = told.clone();
    machine.shared = Arc::new(Applied {
        index: watch::Sender::new(0),
        catching_up: watch::Sender::new(false),
        installs: AtomicU64::new(0),
        on_panic: Box::new(move || *lock(&seen) += 1),
    });
    let applied = tokio::spawn(async move { apply(&mut machine, [entry(1, "x", &Command::Panic)]).await }).await;
    assert!(applied.unwrap_err().is_panic());
    assert_eq!(*lock(&told), 1);
}
