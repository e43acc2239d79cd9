//! The overlay against a plain map.

use std::collections::BTreeMap;

use flotilla_kv::{Kv, MemKv};
use proptest::{collection::vec, prelude::*};

use super::*;

const FAMILY: Family = "rows";

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Scan(u8, Option<u8>, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..24u8;
    prop_oneof![
        (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        key.clone().prop_map(Step::Delete),
        (key.clone(), proptest::option::of(key), 0..9usize).prop_map(|(from, to, limit)| Step::Scan(from, to, limit)),
    ]
}

proptest! {
    #[test]
    fn reads_see_stored_rows_and_earlier_writes(stored in vec((0..24u8, any::<u8>()), 0..24), steps in vec(step(), 0..60)) {
        let kv = MemKv::inline(&[FAMILY]);
        let mut model = BTreeMap::new();
        let mut batch = Batch::default();
        for (key, value) in stored {
            batch.put(FAMILY, [key], [value]);
            model.insert(vec![key], vec![value]);
        }
        kv.write(batch).unwrap();
        let mut overlay = Overlay::new(&kv);
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    overlay.put(FAMILY, vec![key], vec![value]);
                    model.insert(vec![key], vec![value]);
                }
                Step::Delete(key) => {
                    overlay.delete(FAMILY, vec![key]);
                    model.remove(&vec![key]);
                }
                Step::Scan(from, to, limit) => {
                    let to = to.map(|to| vec![to]);
                    let inside = |key: &Vec<u8>| *key >= vec![from] && to.as_ref().is_none_or(|to| key < to);
                    let expect: Vec<Row> =
                        model.iter().filter(|(key, _)| inside(key)).take(limit).map(|(k, v)| (k.clone(), v.clone())).collect();
                    prop_assert_eq!(overlay.scan(FAMILY, &[from], to.as_deref(), limit).unwrap(), expect);
                    prop_assert_eq!(overlay.get(FAMILY, &[from]).unwrap(), model.get(&vec![from]).cloned());
                }
            }
        }
        kv.write(overlay.into_batch()).unwrap();
        let expect: Vec<Row> = model.into_iter().collect();
        prop_assert_eq!(kv.scan(FAMILY, &[], None, 100).unwrap(), expect);
    }
}
