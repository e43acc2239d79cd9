//! Families of sorted rows that are cheap to clone.
//!
//! It must not know of syncs and crashes.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use crate::{Batch, Error, Family, Op, Row, View};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// One state of all families. A clone shares its rows until one of the two is written.
#[derive(Clone)]
pub(super) struct Tree {
    families: BTreeMap<Family, Arc<Rows>>,
}

impl Tree {
    pub(super) fn new(families: &[Family]) -> Self {
        Self { families: families.iter().map(|family| (*family, Arc::default())).collect() }
    }

    /// Refuses a batch that names a family which isn't there, so that [`Tree::apply`] can't end half-way.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), Error> {
        for op in batch.ops() {
            let (Op::Put(family, ..) | Op::Delete(family, ..) | Op::DeleteRange(family, ..)) = op;
            self.rows(family)?;
        }
        Ok(())
    }

    /// Applies a batch that [`Tree::check`] took.
    pub(super) fn apply(&mut self, batch: &Batch) {
        for op in batch.ops() {
            match op {
                Op::Put(family, key, value) => {
                    self.rows_mut(family).insert(key.clone(), value.clone());
                }
                Op::Delete(family, key) => {
                    self.rows_mut(family).remove(key);
                }
                Op::DeleteRange(family, from, to) if from < to => {
                    let rows = self.rows_mut(family);
                    let gone: Vec<Vec<u8>> = rows.range(from.clone()..to.clone()).map(|(key, _)| key.clone()).collect();
                    for key in gone {
                        rows.remove(&key);
                    }
                }
                Op::DeleteRange(..) => {} // reversed, so empty
            }
        }
    }

    fn rows(&self, family: Family) -> Result<&Rows, Error> {
        let rows = self.families.get(family).ok_or_else(|| Error::Engine(format!("no family '{family}'").into()))?;
        Ok(rows)
    }

    fn rows_mut(&mut self, family: Family) -> &mut Rows {
        Arc::make_mut(self.families.get_mut(family).expect("the batch was checked"))
    }
}

impl View for Tree {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.rows(family)?.get(key).cloned())
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        let rows = self.rows(family)?;
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new()); // a map's range panics on a reversed one
        }
        let range = rows.range::<[u8], _>((Included(from), to.map_or(Unbounded, Excluded)));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, family: Family) -> Result<Option<Row>, Error> {
        Ok(self.rows(family)?.last_key_value().map(|(key, value)| (key.clone(), value.clone())))
    }
}
