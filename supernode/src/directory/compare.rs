//! The directory held against the clusters' own logs: what is wrong with one key, and pages of several sides as one sequence. Pure.

use std::collections::{BTreeMap, VecDeque, vec_deque};

use flotilla_api::{
    ClusterName, Epoch, FileName,
    directory::{Finding, What},
    peer::RecordState,
};

use super::pages::Held;

/// What all sides know of one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// The directory's home.
    pub held: Option<Held>,
    /// The clusters' records.
    pub records: Vec<(ClusterName, Epoch, RecordState)>,
}

/// What is found of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is in use, and all sides agree.
    Used,
    /// A claim that nobody has used yet, or a home that ends.
    Unused,
    /// Something is wrong.
    Wrong(Box<Finding>),
}

impl Sight {
    /// Judges a key. Sides are not looked at in the same moment, so what is wrong has to be looked at again.
    #[must_use]
    pub fn judge(&self, name: &FileName) -> Found {
        let mut open = self.records.iter().filter(|(_, _, state)| *state != RecordState::Closed);
        let first = open.next();
        if open.next().is_some() {
            let all = self.records.iter().filter(|(_, _, state)| *state != RecordState::Closed);
            let told: Vec<String> = all.map(|(cluster, epoch, _)| format!("'{cluster}' at epoch {epoch}")).collect();
            return self.wrong(name, What::Twice, format!("the key is open in {}", told.join(" and in ")));
        }
        match (first, &self.held) {
            (None, None) => Found::Unused,
            (Some((cluster, epoch, _)), None) => {
                let detail =
                    format!("cluster '{cluster}' has it open at epoch {epoch}, the directory has no home of it");
                self.wrong(name, What::Unknown, detail)
            }
            (Some((cluster, epoch, _)), Some(held)) => {
                if held.home.cluster == *cluster && held.home.epoch == *epoch {
                    return Found::Used;
                }
                let detail = format!(
                    "cluster '{cluster}' has it open at epoch {epoch}, the directory has it in '{}' at epoch {}",
                    held.home.cluster, held.home.epoch
                );
                self.wrong(name, What::Other, detail)
            }
            (None, Some(held)) => {
                let closed = |(cluster, epoch, _): &(ClusterName, Epoch, RecordState)| {
                    *cluster == held.home.cluster && *epoch == held.home.epoch
                };
                if held.unused || self.records.iter().any(closed) {
                    return Found::Unused;
                }
                let (cluster, epoch) = (&held.home.cluster, held.home.epoch);
                let detail = format!("the directory has it in '{cluster}' at epoch {epoch}, which has no record of it");
                self.wrong(name, What::Lost, detail)
            }
        }
    }

    fn wrong(&self, name: &FileName, what: What, detail: String) -> Found {
        let mut clusters: Vec<ClusterName> = self.records.iter().map(|(cluster, _, _)| cluster.clone()).collect();
        clusters.extend(self.held.iter().map(|held| held.home.cluster.clone()));
        clusters.sort();
        clusters.dedup();
        Found::Wrong(Box::new(Finding { what, key: Some(name.to_string()), clusters, detail }))
    }
}

/// One side's pages: what has come of them and is not compared yet.
#[derive(Debug)]
pub struct Side<T> {
    rows: VecDeque<(FileName, T)>,
    last: Option<FileName>,
    ended: bool,
}

impl<T> Default for Side<T> {
    fn default() -> Self {
        Self { rows: VecDeque::new(), last: None, ended: false }
    }
}

impl<T> Side<T> {
    /// Whether nothing can be compared before its next page has come.
    #[must_use]
    pub fn is_hungry(&self) -> bool {
        self.rows.is_empty() && !self.ended
    }

    /// Behind which key its next page begins.
    #[must_use]
    pub fn last(&self) -> Option<&FileName> {
        self.last.as_ref()
    }

    /// Takes a page; `ended` says that there is none behind it.
    pub fn fill(&mut self, page: Vec<(FileName, T)>, ended: bool) {
        if let Some((name, _)) = page.last() {
            self.last = Some(name.clone());
        }
        self.rows.extend(page);
        self.ended = ended;
    }

    /// Up to which key it is known; none for all.
    fn known_to(&self) -> Option<&FileName> {
        self.last.as_ref().filter(|_| !self.ended)
    }

    fn take_to(&mut self, end: Option<&FileName>) -> vec_deque::Drain<'_, (FileName, T)> {
        let count = match end {
            None => self.rows.len(),
            Some(end) => self.rows.partition_point(|(name, _)| name <= end),
        };
        self.rows.drain(..count)
    }
}

/// All sides of a comparison.
///
/// # Bounds
/// A page of each side.
#[derive(Debug, Default)]
pub struct Sides {
    /// The directory's.
    pub directory: Side<Held>,
    /// The clusters'.
    pub clusters: BTreeMap<ClusterName, Side<(Epoch, RecordState)>>,
}

impl Sides {
    /// Takes what is known of all sides; none is hungry. Empty only at the end.
    #[must_use]
    pub fn take(&mut self) -> BTreeMap<FileName, Sight> {
        let known = self.clusters.values().filter_map(Side::known_to).chain(self.directory.known_to());
        let end = known.min().cloned();
        let mut sights: BTreeMap<FileName, Sight> = BTreeMap::new();
        for (name, held) in self.directory.take_to(end.as_ref()) {
            sights.entry(name).or_default().held = Some(held);
        }
        for (cluster, side) in &mut self.clusters {
            for (name, (epoch, state)) in side.take_to(end.as_ref()) {
                sights.entry(name).or_default().records.push((cluster.clone(), epoch, state));
            }
        }
        sights
    }
}

#[cfg(test)]
mod tests;
