//! The writes of one batch of entries, seen by its later reads, written to the database all at once.

use std::collections::BTreeMap;

use flotilla_kv::{Batch, Family, Row, View};

use crate::machine::{Fault, Txn};

/// A transaction over the applied state.
pub(crate) struct Overlay<'a> {
    base: &'a dyn View,
    /// `None` marks a removed key.
    writes: BTreeMap<Family, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    rows: usize,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(base: &'a dyn View) -> Self {
        Self { base, writes: BTreeMap::new(), rows: 0 }
    }

    /// How many writes were made, those of one key counted each time.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Gives the writes as one batch.
    pub(crate) fn into_batch(self) -> Batch {
        let mut batch = Batch::default();
        for (family, rows) in self.writes {
            for (key, value) in rows {
                match value {
                    Some(value) => batch.put(family, key, value),
                    None => batch.delete(family, key),
                };
            }
        }
        batch
    }

    fn set(&mut self, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.rows += 1;
        self.writes.entry(family).or_default().insert(key, value);
    }
}

impl Txn for Overlay<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        match self.writes.get(family).and_then(|rows| rows.get(key)) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.base.get(family, key)?),
        }
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Fault> {
        let Some(writes) = self.writes.get(family) else {
            return Ok(self.base.scan(family, from, to, limit)?);
        };
        let mut out = Vec::new();
        let mut from = from.to_vec();
        while out.len() < limit && to.is_none_or(|to| from.as_slice() < to) {
            let wanted = limit - out.len();
            let stored = self.base.scan(family, &from, to, wanted)?;
            // Behind a full page there may be stored rows that were not read, so the writes behind it have to wait.
            let next = if stored.len() < wanted { None } else { stored.last().map(|(key, _)| after(key)) };
            let until = next.as_deref().or(to);
            let written =
                writes.range(from.clone()..).take_while(|(key, _)| until.is_none_or(|until| key.as_slice() < until));
            let mut page: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
            for (key, value) in written {
                match value {
                    Some(value) => page.insert(key.clone(), value.clone()),
                    None => page.remove(key),
                };
            }
            out.extend(page.into_iter().take(wanted));
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(out)
    }

    fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.set(family, key, Some(value));
    }

    fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.set(family, key, None);
    }
}

/// The smallest key behind `key`.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

#[cfg(test)]
mod tests;
