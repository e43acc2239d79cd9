//! A database whose failure ends the process, whoever of those that share it meets it first.

use std::sync::Arc;

use flotilla_kv::{Batch, Error, Family, Kv, Row, SyncDone, View};

use crate::Fatal;

/// Passes everything on, and raises the first write or sync that fails.
pub(crate) struct Watched {
    kv: Arc<dyn Kv>,
    fatal: Fatal,
}

impl Watched {
    pub(crate) fn new(kv: Arc<dyn Kv>, fatal: Fatal) -> Self {
        Self { kv, fatal }
    }
}

/// Nothing that is written later is sure to last. One that is closed has not failed.
fn raise(fatal: &Fatal, result: &Result<(), Error>) {
    if let Err(error) = result
        && !matches!(error, Error::Closed)
    {
        fatal.raise(format!("the database failed: {error}"));
    }
}

impl View for Watched {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.kv.get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.kv.get_many(family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        self.kv.scan(family, from, to, limit)
    }

    fn last(&self, family: Family) -> Result<Option<Row>, Error> {
        self.kv.last(family)
    }
}

impl Kv for Watched {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        let result = self.kv.write(batch);
        raise(&self.fatal, &result);
        result
    }

    fn sync_then(&self, done: SyncDone) {
        let fatal = self.fatal.clone();
        self.kv.sync_then(Box::new(move |result| {
            raise(&fatal, &result);
            done(result);
        }));
    }

    fn drop_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<(), Error> {
        let result = self.kv.drop_range(family, from, to);
        raise(&self.fatal, &result);
        result
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        self.kv.snapshot()
    }

    fn syncs(&self) -> u64 {
        self.kv.syncs()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flotilla_kv::MemKv;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_sync_that_fails_is_raised_whoever_asked_for_it() {
        let (kv, fatal) = (Arc::new(MemKv::inline(&["rows"])), Fatal::default());
        let watched = Watched::new(kv.clone(), fatal.clone());
        flotilla_kv::sync(&watched).await.expect("nothing is wrong yet");
        assert!(timeout(Duration::from_millis(10), fatal.wait()).await.is_err(), "nothing has failed");
        kv.fail_next_sync();
        flotilla_kv::sync(&watched).await.expect_err("it was made to fail");
        let why = timeout(Duration::from_secs(5), fatal.wait()).await.expect("it is raised");
        assert!(why.starts_with("the database failed: "), "{why}");
    }
}
