//! The directory read as a whole: homes page by page, and how many each cluster has.

use std::collections::BTreeMap;

use flotilla_api::{ClusterName, Epoch, FileName, peer::Home};
use flotilla_kv::View;

use super::{
    read::{Directory, Error, clusters, decode, whole},
    rows::{ClusterRow, HOMES, HomeRow, UNCONFIRMED, epoch_key},
};

/// Rows per read of the database.
const ROWS_STEP: usize = 1024;

/// A key's home with what is known of its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The home.
    pub home: Home,
    /// Whether its cluster has not yet said that it uses it.
    pub unused: bool,
}

/// How many homes each cluster has, in one consistent view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// The clusters as they stood then.
    pub clusters: Vec<(ClusterName, ClusterRow)>,
    /// Their homes; of a cluster that is not here there are none.
    pub homes: BTreeMap<ClusterName, u64>,
}

/// Homes of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomesPage {
    /// The keys and the epochs of their grants.
    pub homes: Vec<(FileName, Epoch)>,
    /// The last key that was looked at, if there may be more.
    pub last: Option<FileName>,
}

impl Directory {
    /// Reads at most `limit` homes behind `after`, in the order of [`FileName::to_row`], as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub async fn page(&self, after: Option<FileName>, limit: usize) -> Result<Vec<(FileName, Held)>, Error> {
        self.apart(move |view| page(view, after.as_ref(), limit)).await
    }

    /// Reads the homes of these keys, as applied here.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub fn homes_of(&self, names: &[FileName]) -> Result<Vec<(FileName, Held)>, Error> {
        let view = self.group().consistent_view()?;
        let keys: Vec<Vec<u8>> = names.iter().map(FileName::to_row).collect();
        let mut homes = Vec::new();
        for (name, row) in names.iter().zip(view.get_many(HOMES, &keys)?) {
            if let Some(bytes) = row {
                let HomeRow { home } = decode(HOMES, &bytes)?;
                homes.push((name.clone(), home));
            }
        }
        held(&*view, homes)
    }

    /// Counts the homes of all clusters.
    ///
    /// # Bounds
    /// Reads all homes: one to two seconds for a million.
    ///
    /// # Errors
    /// As [`Directory::applied_home`]; [`Error::Rebuilding`] while homes that are adopted later would not be counted.
    pub async fn tally(&self) -> Result<Tally, Error> {
        self.apart(tally).await
    }

    /// Reads homes of one cluster, at most `limit`, among those behind `after`.
    ///
    /// # Errors
    /// As [`Directory::applied_home`].
    pub async fn homes_in(
        &self,
        cluster: &ClusterName,
        after: Option<FileName>,
        limit: usize,
    ) -> Result<HomesPage, Error> {
        let page = self.page(after, limit).await?;
        let last = page.last().map(|(name, _)| name.clone()).filter(|_| page.len() == limit);
        let own = page.into_iter().filter(|(_, held)| held.home.cluster == *cluster);
        Ok(HomesPage { homes: own.map(|(name, held)| (name, held.home.epoch)).collect(), last })
    }

    /// Reads away from the tasks of requests: many rows that are on the disk alone take their time.
    async fn apart<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let group = self.group().clone();
        let done = flotilla_env::blocking::spawn(move || read(&*group.consistent_view()?)).await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

fn page(view: &dyn View, after: Option<&FileName>, limit: usize) -> Result<Vec<(FileName, Held)>, Error> {
    let mut from = after.map_or_else(Vec::new, FileName::to_row);
    if after.is_some() {
        from.push(0);
    }
    let mut homes = Vec::new();
    for (key, bytes) in view.scan(HOMES, &from, None, limit)? {
        let HomeRow { home } = decode(HOMES, &bytes)?;
        homes.push((name_of(&key)?, home));
    }
    held(view, homes)
}

fn tally(view: &dyn View) -> Result<Tally, Error> {
    whole(view)?;
    let mut tally = Tally { clusters: clusters(view)?, homes: BTreeMap::new() };
    let mut from = Vec::new();
    loop {
        let rows = view.scan(HOMES, &from, None, ROWS_STEP)?;
        for (_, bytes) in &rows {
            let HomeRow { home } = decode(HOMES, bytes)?;
            *tally.homes.entry(home.cluster).or_default() += 1;
        }
        match rows.into_iter().nth(ROWS_STEP - 1) {
            Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
            None => return Ok(tally),
        }
    }
}

fn held(view: &dyn View, homes: Vec<(FileName, Home)>) -> Result<Vec<(FileName, Held)>, Error> {
    let keys: Vec<Vec<u8>> = homes.iter().map(|(_, home)| epoch_key(home.epoch)).collect();
    let unconfirmed = view.get_many(UNCONFIRMED, &keys)?;
    let each = homes.into_iter().zip(unconfirmed);
    Ok(each.map(|((name, home), row)| (name, Held { home, unused: row.is_some() })).collect())
}

fn name_of(key: &[u8]) -> Result<FileName, Error> {
    FileName::from_row(key).ok_or_else(|| Error::Corrupt { family: HOMES, what: "a key is no file's name".to_owned() })
}
