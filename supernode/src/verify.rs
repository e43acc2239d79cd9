//! The directory held against its clusters' own logs, key by key, beside everything else. Changes nothing.
//!
//! Sides are read in different moments, so what looks wrong is looked at again: clusters, directory, clusters. A home that its
//! cluster has open before and after the directory was read was open all the while, for an epoch is never opened twice; and a
//! record that is missing both times had been dropped, or not been made, before the directory was read. What is told then is true.

use std::collections::BTreeMap;

use flotilla_api::{
    ClusterName, Epoch, FileName,
    directory::{Finding, Line, Step, Summary, What},
    peer::{HOME_RECORDS_MAX, HomesAnswer, RecordState},
};
use futures::{SinkExt, channel::mpsc};

use crate::{
    asked::{Asker, HEARD_WITHIN, Silent, Target},
    directory::{
        Directory,
        compare::{Found, Side, Sides, Sight},
        read,
        rows::Stage,
    },
};

/// Keys that are looked at again together.
const AGAIN_MAX: usize = 128;
/// How often keys are looked at again that change in between, before nothing is said of them.
const LOOKS_MAX: usize = 3;

/// One comparison.
pub struct Verify {
    /// The directory.
    pub directory: Directory,
    /// The way to clusters.
    pub asker: Asker,
    /// Where lines go.
    pub out: mpsc::Sender<Line>,
}

/// What clusters say of a key.
type Records = BTreeMap<FileName, Vec<(ClusterName, Epoch, RecordState)>>;

enum Stop {
    Gone,
    Failed(String),
}

impl From<Silent> for Stop {
    fn from(silent: Silent) -> Self {
        Self::Failed(silent.to_string())
    }
}

impl From<read::Error> for Stop {
    fn from(error: read::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Verify {
    /// Compares, and ends with a summary or with why there is none.
    pub async fn run(mut self) {
        let line = match self.compare().await {
            Ok(summary) => Line::Summary(summary),
            Err(Stop::Gone) => return,
            Err(Stop::Failed(detail)) => Line::Failed { detail, retryable: true },
        };
        let _ = self.out.send(line).await; // nobody listens any more
    }

    async fn compare(&mut self) -> Result<Summary, Stop> {
        // A directory that was emptied knows no cluster, so without this wait there would be nothing that differs.
        tokio::time::sleep(HEARD_WITHIN).await;
        let mut targets = Vec::new();
        for (name, row) in self.directory.fresh_clusters().await? {
            match row.stage {
                Stage::Active | Stage::Retiring { .. } => targets.push(Target { name, uuid: row.uuid }),
                Stage::Fenced { .. } => {}
            }
        }
        let mut summary =
            Summary { clusters: targets.iter().map(|target| target.name.clone()).collect(), ..Summary::default() };
        for Target { name, .. } in self.asker.clusters.strangers() {
            let detail = format!("cluster '{name}' reports with homes that are of another directory");
            self.finding(Finding { what: What::Missing, key: None, clusters: vec![name], detail }, &mut summary)
                .await?;
        }
        let mut sides = Sides::default();
        sides.clusters.extend(targets.iter().map(|target| (target.name.clone(), Side::default())));
        let (mut suspects, mut looked_at) = (Vec::new(), 0);
        loop {
            self.fill(&mut sides, &targets).await?;
            let sights = sides.take();
            if sights.is_empty() {
                break;
            }
            looked_at += sights.len() as u64;
            for (name, sight) in sights {
                match sight.judge(&name) {
                    Found::Used => summary.homes += 1,
                    Found::Unused => summary.unused += u64::from(sight.held.is_some()),
                    Found::Wrong(_) => suspects.push(name),
                }
                if suspects.len() >= AGAIN_MAX {
                    self.look_again(std::mem::take(&mut suspects), &targets, &mut summary).await?;
                }
            }
            self.tell(looked_at).await?;
        }
        self.look_again(suspects, &targets, &mut summary).await?;
        Ok(summary)
    }

    async fn fill(&self, sides: &mut Sides, targets: &[Target]) -> Result<(), Stop> {
        if sides.directory.is_hungry() {
            let page = self.directory.page(sides.directory.last().cloned(), HOME_RECORDS_MAX).await?;
            let ended = page.len() < HOME_RECORDS_MAX;
            sides.directory.fill(page, ended);
        }
        for target in targets {
            let Some(side) = sides.clusters.get_mut(&target.name).filter(|side| side.is_hungry()) else { continue };
            let HomesAnswer { records, floor: _ } = self.asker.page(target, side.last().cloned()).await?;
            let ended = records.len() < HOME_RECORDS_MAX;
            side.fill(records.into_iter().map(|record| (record.name, (record.epoch, record.state))).collect(), ended);
        }
        Ok(())
    }

    /// Tells of those that look wrong again, in a way that can't be by chance.
    async fn look_again(
        &mut self,
        mut names: Vec<FileName>,
        targets: &[Target],
        summary: &mut Summary,
    ) -> Result<(), Stop> {
        for _ in 0..LOOKS_MAX {
            if names.is_empty() {
                return Ok(());
            }
            let before = self.records(&names, targets).await?;
            self.directory.barrier().await?;
            let mut held: BTreeMap<FileName, _> = self.directory.homes_of(&names)?.into_iter().collect();
            let mut after = self.records(&names, targets).await?;
            let mut changing = Vec::new();
            for name in names {
                if before.get(&name) != after.get(&name) {
                    changing.push(name);
                    continue;
                }
                let sight = Sight { held: held.remove(&name), records: after.remove(&name).unwrap_or_default() };
                match sight.judge(&name) {
                    Found::Used => summary.homes += 1,
                    Found::Unused => summary.unused += u64::from(sight.held.is_some()),
                    Found::Wrong(finding) => self.finding(*finding, summary).await?,
                }
            }
            names = changing;
        }
        summary.changing += names.len() as u64;
        Ok(())
    }

    async fn records(&self, names: &[FileName], targets: &[Target]) -> Result<Records, Stop> {
        let mut records = Records::new();
        for target in targets {
            for record in self.asker.named(target, names).await?.records {
                let of = (target.name.clone(), record.epoch, record.state);
                records.entry(record.name).or_default().push(of);
            }
        }
        Ok(records)
    }

    async fn tell(&mut self, homes: u64) -> Result<(), Stop> {
        let line = Line::Progress { step: Step::Compare, cluster: None, homes };
        self.out.send(line).await.map_err(|_| Stop::Gone)
    }

    async fn finding(&mut self, finding: Finding, summary: &mut Summary) -> Result<(), Stop> {
        summary.findings += 1;
        self.out.send(Line::Finding(finding)).await.map_err(|_| Stop::Gone)
    }
}

#[cfg(test)]
mod tests;
