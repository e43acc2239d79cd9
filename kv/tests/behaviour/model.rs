//! Random operations, compared with a sorted map.

use std::collections::BTreeMap;

use flotilla_kv::{Batch, Family, Row, View};
use proptest::{collection::vec, prelude::*};

use crate::stores::{LOG, Mem, Rocks, STATE, Store, sync};

type Model = BTreeMap<Family, BTreeMap<Vec<u8>, Vec<u8>>>;

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<Write>),
    DropRange(Family, Vec<u8>, Vec<u8>),
    Read(Read),
    /// The reads see the state of before the writes.
    Snapshot(Vec<Write>, Vec<Read>),
    SyncAndRestart,
}

#[derive(Debug, Clone)]
enum Write {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

#[derive(Debug, Clone)]
enum Read {
    Get(Family, Vec<u8>),
    GetMany(Family, Vec<Vec<u8>>),
    Scan(Family, Vec<u8>, Option<Vec<u8>>, usize),
    Last(Family),
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(LOG), Just(STATE)]
}

/// Few and short keys, so that they meet: 40 in all, the empty one among them.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..=3)
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (family(), key(), vec(any::<u8>(), 0..4)).prop_map(|(family, key, value)| Write::Put(family, key, value)),
        2 => (family(), key()).prop_map(|(family, key)| Write::Delete(family, key)),
        1 => (family(), key(), key()).prop_map(|(family, from, to)| Write::DeleteRange(family, from, to)),
    ]
}

fn read() -> impl Strategy<Value = Read> {
    prop_oneof![
        (family(), key()).prop_map(|(family, key)| Read::Get(family, key)),
        (family(), vec(key(), 0..4)).prop_map(|(family, keys)| Read::GetMany(family, keys)),
        (family(), key(), proptest::option::of(key()), 0..20_usize)
            .prop_map(|(family, from, to, limit)| Read::Scan(family, from, to, limit)),
        family().prop_map(Read::Last),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => vec(write(), 0..6).prop_map(Step::Write),
        1 => (family(), key(), key()).prop_map(|(family, from, to)| Step::DropRange(family, from, to)),
        10 => read().prop_map(Step::Read),
        2 => (vec(write(), 0..6), vec(read(), 1..4)).prop_map(|(writes, reads)| Step::Snapshot(writes, reads)),
        1 => Just(Step::SyncAndRestart),
    ]
}

fn model_write(model: &mut Model, writes: &[Write]) -> Batch {
    let mut batch = Batch::default();
    for write in writes {
        match write.clone() {
            Write::Put(family, key, value) => {
                batch.put(family, key.clone(), value.clone());
                model.entry(family).or_default().insert(key, value);
            }
            Write::Delete(family, key) => {
                batch.delete(family, key.clone());
                model.entry(family).or_default().remove(&key);
            }
            Write::DeleteRange(family, from, to) => {
                batch.delete_range(family, from.clone(), to.clone());
                model.entry(family).or_default().retain(|key, _| !(from <= *key && *key < to));
            }
        }
    }
    batch
}

fn check_read(view: &dyn View, model: &Model, read: &Read) -> Result<(), TestCaseError> {
    let empty = BTreeMap::new();
    let rows_of = |family: &Family| model.get(family).unwrap_or(&empty);
    let row = |(key, value): (&Vec<u8>, &Vec<u8>)| -> Row { (key.clone(), value.clone()) };
    match read {
        Read::Get(family, key) => {
            prop_assert_eq!(view.get(family, key).expect("a good read"), rows_of(family).get(key).cloned());
        }
        Read::GetMany(family, keys) => {
            let wanted: Vec<_> = keys.iter().map(|key| rows_of(family).get(key).cloned()).collect();
            prop_assert_eq!(view.get_many(family, keys).expect("a good read"), wanted);
        }
        Read::Scan(family, from, to, limit) => {
            let inside = |key: &[u8]| from.as_slice() <= key && to.as_ref().is_none_or(|to| key < to.as_slice());
            let wanted: Vec<Row> =
                rows_of(family).iter().filter(|(key, _)| inside(key)).take(*limit).map(row).collect();
            prop_assert_eq!(view.scan(family, from, to.as_deref(), *limit).expect("a good read"), wanted);
        }
        Read::Last(family) => {
            prop_assert_eq!(view.last(family).expect("a good read"), rows_of(family).last_key_value().map(row));
        }
    }
    Ok(())
}

fn check<S: Store>(mut store: S, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Write(writes) => store.kv().write(model_write(&mut model, writes)).expect("a good write"),
            Step::DropRange(family, from, to) => {
                store.kv().drop_range(family, from, to).expect("a good purge");
                model_write(&mut model, &[Write::DeleteRange(family, from.clone(), to.clone())]);
            }
            Step::Read(read) => check_read(store.kv(), &model, read)?,
            Step::Snapshot(writes, reads) => {
                let (snapshot, before) = (store.kv().snapshot(), model.clone());
                store.kv().write(model_write(&mut model, writes)).expect("a good write");
                for read in reads {
                    check_read(&*snapshot, &before, read)?;
                }
            }
            Step::SyncAndRestart => {
                sync(store.kv()).expect("a good sync");
                store = store.restart();
            }
        }
    }
    for family in [LOG, STATE] {
        check_read(store.kv(), &model, &Read::Scan(family, Vec::new(), None, usize::MAX))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]
    #[test]
    fn memory_agrees_with_a_sorted_map(steps in vec(step(), 1..80)) {
        check(Mem::new(), &steps)?;
    }
}

proptest! {
    // Each case makes a database on disk.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]
    #[test]
    fn rocksdb_agrees_with_a_sorted_map(steps in vec(step(), 1..80)) {
        check(Rocks::new(), &steps)?;
    }
}
