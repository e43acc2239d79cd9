//! A directory that was lost, made anew from its clusters: the steps in their order, for one operator who watches.
//!
//! What each step may do is decided in the log (`directory/rebuild.rs`), so that a second operator, a crash or a lost answer do no
//! harm: whoever begins again begins from the start.

use std::{sync::Arc, time::Duration};

use flotilla_api::{
    ClusterName, Epoch, FileName,
    directory::{Finding, Line, Step, Summary, What},
    peer::{Document, Documents, FenceRequest, HOME_RECORDS_MAX, HomesAnswer, RecordState},
};
use flotilla_env::Entropy;
use futures::{SinkExt, channel::mpsc};

use crate::{
    asked::{Asker, HEARD_WITHIN, Silent, Target},
    directory::{
        Answer as Applied, Command as Any, Directory, Refusal, read,
        rebuild::{ADOPTED_MAX, Answer, Clash, Command, DOCUMENTS_AT_ONCE_MAX, GRANTED_AHEAD_MAX},
    },
};

/// How often a step is proposed before the rebuild is given up; with the group's own patience about a minute.
const TRIES_MAX: usize = 10;
/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// One try to make the directory anew.
pub struct Rebuild {
    /// The directory.
    pub directory: Directory,
    /// The way to clusters.
    pub asker: Asker,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
    /// Clusters that are given up for ever.
    pub fence: Vec<ClusterName>,
    /// The try, random.
    pub run: u64,
    /// Where lines go.
    pub out: mpsc::Sender<Line>,
}

/// Why there is no summary.
enum Stop {
    /// Nobody listens any more.
    Gone,
    /// Something failed; whether the same command can succeed later.
    Failed(String, bool),
}

impl From<Silent> for Stop {
    fn from(silent: Silent) -> Self {
        Self::Failed(silent.to_string(), true)
    }
}

impl From<read::Error> for Stop {
    fn from(error: read::Error) -> Self {
        Self::Failed(error.to_string(), true)
    }
}

impl Rebuild {
    /// Proposes that this try begins.
    ///
    /// # Errors
    /// What the group says; [`Refusal::NotEmpty`] is an answer.
    pub async fn begin(&self) -> Result<Applied, read::Error> {
        let begin = Command::Begin { run: self.run, fence: self.fence.clone() };
        self.directory.propose(self.entropy.u128(), Any::Rebuild(begin)).await
    }

    /// Works, and ends with a summary or with why there is none.
    pub async fn run(mut self) {
        let line = match self.work().await {
            Ok(summary) => Line::Summary(summary),
            Err(Stop::Gone) => return,
            Err(Stop::Failed(detail, retryable)) => Line::Failed { detail, retryable },
        };
        let _ = self.out.send(line).await; // nobody listens any more
    }

    async fn work(&mut self) -> Result<Summary, Stop> {
        self.clear().await?;
        tokio::time::sleep(HEARD_WITHIN).await;
        let reporting = self.asker.clusters.reporting();
        if let Some(Target { name, .. }) = reporting.iter().find(|target| self.fence.contains(&target.name)) {
            let detail = format!(
                "cluster '{name}' reports, so it is not lost; stop its nodes for ever before it is given up, or leave --fence {name} out"
            );
            return Err(Stop::Failed(detail, true));
        }
        let highest = self.highest(&reporting).await?;
        let floor = self.floor(highest).await?;
        let documents = self.fence_all(&reporting, floor).await?;
        let foreign = self.take_over(documents, &reporting).await?;
        let targets = self.not_forgotten(&reporting).await?;
        let mut summary = Summary { findings: foreign, ..Summary::default() };
        for target in &targets {
            self.adopt(target, &mut summary).await?;
            summary.clusters.push(target.name.clone());
        }
        let summary = self.finish(summary).await?;
        if summary.findings == 0 {
            reporting.iter().for_each(|target| self.asker.clusters.settled(target.uuid));
            tracing::info!(homes = summary.homes, clusters = summary.clusters.len(), "the directory is made anew");
        }
        Ok(summary)
    }

    /// Takes away what an earlier try has left.
    async fn clear(&mut self) -> Result<(), Stop> {
        let mut cleared = 0;
        while self.step(Command::Clear { run: self.run }).await? == Answer::More {
            cleared += 1;
            self.tell(Step::Clear, None, cleared * ADOPTED_MAX as u64).await?;
        }
        Ok(())
    }

    /// Looks for the highest epoch that any cluster knows.
    async fn highest(&mut self, targets: &[Target]) -> Result<Epoch, Stop> {
        let mut highest = Epoch(0);
        for target in targets {
            let (mut after, mut homes) = (None, 0);
            loop {
                let HomesAnswer { records, floor } = self.asker.page(target, after.take()).await?;
                highest = records.iter().map(|record| record.epoch).chain([floor, highest]).max().unwrap_or(highest);
                homes += records.len() as u64;
                self.tell(Step::Epochs, Some(&target.name), homes).await?;
                match records.last().filter(|_| records.len() >= HOME_RECORDS_MAX) {
                    Some(last) => after = Some(last.name.clone()),
                    None => break,
                }
            }
        }
        Ok(highest)
    }

    /// Has the log say up to which epoch clusters are fenced, before the first of them is.
    async fn floor(&self, highest: Epoch) -> Result<Epoch, Stop> {
        let upto = highest.0.checked_add(GRANTED_AHEAD_MAX).map(Epoch);
        let upto = upto.ok_or_else(|| Stop::Failed("the clusters' epochs are at their end".to_owned(), false))?;
        match self.step(Command::Floor { run: self.run, upto }).await? {
            Answer::Floor(floor) => Ok(floor),
            other => Err(unexpected(&other)),
        }
    }

    /// Fences all clusters, and gives the newest documents that any of them has.
    async fn fence_all(&mut self, targets: &[Target], upto: Epoch) -> Result<Documents, Stop> {
        let mut newest = Documents::default();
        let request = FenceRequest { directory: self.directory.uuid(), upto };
        for target in targets {
            let documents = self.asker.fence(target, &request).await?.documents;
            if documents.revision > newest.revision {
                newest = documents;
            }
            self.tell(Step::Fence, Some(&target.name), 0).await?;
        }
        Ok(newest)
    }

    /// Takes over documents, and the clusters that report; gives how many have the name of another one.
    async fn take_over(&mut self, newest: Documents, reporting: &[Target]) -> Result<u64, Stop> {
        let Documents { revision, mut entries, .. } = newest;
        // Behind the documents, which know more of a cluster than its own report.
        let reported = reporting.iter().map(|Target { name, uuid }| (name.clone(), *uuid));
        entries.extend(reported.map(|(name, uuid)| Document::Cluster { name, uuid, retiring: false }));
        let mut findings = 0;
        for documents in entries.chunks(DOCUMENTS_AT_ONCE_MAX) {
            let documents = documents.to_vec();
            match self.step(Command::Documents { run: self.run, revision, documents }).await? {
                Answer::Taken { foreign, full } => {
                    for name in foreign {
                        findings += 1;
                        let detail = format!("another cluster is called '{name}' here, or in the documents");
                        self.finding(Finding { what: What::Foreign, key: None, clusters: vec![name], detail }).await?;
                    }
                    if full {
                        return Err(Stop::Failed(
                            "there are more documents or clusters than there may be".into(),
                            false,
                        ));
                    }
                }
                other => return Err(unexpected(&other)),
            }
            self.tell(Step::Documents, None, 0).await?;
        }
        Ok(findings)
    }

    /// Leaves clusters out that the documents say are refused for ever: their nodes may still run.
    async fn not_forgotten(&self, targets: &[Target]) -> Result<Vec<Target>, Stop> {
        self.directory.barrier().await?;
        let mut standing = Vec::new();
        for target in targets {
            match self.directory.is_fenced(target.uuid)? {
                true => self.asker.clusters.settled(target.uuid),
                false => standing.push(target.clone()),
            }
        }
        Ok(standing)
    }

    /// Takes over the homes of a cluster.
    async fn adopt(&mut self, target: &Target, summary: &mut Summary) -> Result<(), Stop> {
        let (mut after, mut homes) = (None, 0);
        loop {
            let HomesAnswer { records, floor: _ } = self.asker.page(target, after.take()).await?;
            after = records.last().filter(|_| records.len() >= HOME_RECORDS_MAX).map(|record| record.name.clone());
            let open = records.into_iter().filter(|record| record.state != RecordState::Closed);
            let open: Vec<(FileName, Epoch)> = open.map(|record| (record.name, record.epoch)).collect();
            homes += open.len() as u64;
            for part in open.chunks(ADOPTED_MAX) {
                self.adopt_some(target, part.to_vec(), false, summary).await?;
            }
            self.tell(Step::Adopt, Some(&target.name), homes).await?;
            if after.is_none() {
                break;
            }
        }
        summary.homes += homes;
        self.adopt_some(target, Vec::new(), true, summary).await
    }

    async fn adopt_some(
        &mut self,
        target: &Target,
        homes: Vec<(FileName, Epoch)>,
        last: bool,
        summary: &mut Summary,
    ) -> Result<(), Stop> {
        let Target { name: cluster, uuid } = target.clone();
        match self.step(Command::Adopt { run: self.run, cluster, uuid, homes, last }).await? {
            Answer::Adopted { clashes } => {
                for Clash { name, kept, lost } in clashes {
                    summary.findings += 1;
                    let detail = format!(
                        "the key is open in '{}' at epoch {}, which would keep it, and in '{}' at epoch {}",
                        kept.cluster, kept.epoch, lost.cluster, lost.epoch
                    );
                    let clusters = vec![kept.cluster, lost.cluster];
                    self.finding(Finding { what: What::Twice, key: Some(name.to_string()), clusters, detail }).await?;
                }
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn finish(&mut self, mut summary: Summary) -> Result<Summary, Stop> {
        match self.step(Command::Finish { run: self.run }).await {
            Ok(Answer::Done) => {}
            Ok(Answer::Blocked { missing, findings }) => {
                // Found again by a step that was proposed twice, it is no other one.
                summary.findings = summary.findings.max(findings);
                for name in missing {
                    summary.findings += 1;
                    let detail = format!(
                        "cluster '{name}' is known and does not report; start it, or give it up for ever with --fence {name}"
                    );
                    self.finding(Finding { what: What::Missing, key: None, clusters: vec![name], detail }).await?;
                }
            }
            Ok(other) => return Err(unexpected(&other)),
            // The answer of an earlier proposal may have been lost.
            Err(stop) => {
                self.directory.barrier().await?;
                if self.directory.rebuild()?.is_some() {
                    return Err(stop);
                }
            }
        }
        Ok(summary)
    }

    async fn step(&self, command: Command) -> Result<Answer, Stop> {
        let mut why = String::new();
        for _ in 0..TRIES_MAX {
            let proposed = self.directory.propose(self.entropy.u128(), Any::Rebuild(command.clone())).await;
            match proposed {
                Ok(Applied::Rebuild(answer)) => return Ok(answer),
                Ok(Applied::Refused(refusal)) => return Err(refused(&refusal)),
                Ok(other) => {
                    return Err(Stop::Failed(format!("the directory answered another command: {other:?}"), false));
                }
                Err(error) => why = error.to_string(),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        Err(Stop::Failed(why, true))
    }

    async fn tell(&mut self, step: Step, cluster: Option<&ClusterName>, homes: u64) -> Result<(), Stop> {
        let line = Line::Progress { step, cluster: cluster.cloned(), homes };
        self.out.send(line).await.map_err(|_| Stop::Gone)
    }

    async fn finding(&mut self, finding: Finding) -> Result<(), Stop> {
        self.out.send(Line::Finding(finding)).await.map_err(|_| Stop::Gone)
    }
}

fn refused(refusal: &Refusal) -> Stop {
    // What these refuse for good is one step of one try: another one begins with what stands by then.
    let again = |why: &str| Stop::Failed(why.to_owned(), true);
    if *refusal == Refusal::Passed {
        again("another try was begun, or has ended, meanwhile")
    } else if [Refusal::ForeignCluster, Refusal::UnknownCluster].contains(refusal) {
        again("a cluster's name belongs to another one by now")
    } else {
        Stop::Failed(format!("the directory refused a step: {refusal:?}"), refusal.passes())
    }
}

fn unexpected(answer: &Answer) -> Stop {
    Stop::Failed(format!("the directory answered another step: {answer:?}"), false)
}

#[cfg(test)]
mod tests;
