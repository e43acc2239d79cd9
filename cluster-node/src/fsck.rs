//! A cluster's metadata against the disks of all its nodes: what is missing, extra, corrupt or short. Changes nothing.
//!
//! It runs beside everything else, so whatever looks wrong is looked at again before it is told: a chunk may have been committed,
//! or purged, between two looks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use flotilla_api::{
    ChunkId, ClusterName, NodeId, codec,
    fsck::{Finding, Line, Summary, What},
    peer::{Copy, Inspect, InspectRequest, InventoryRequest},
    route,
};
use flotilla_client::{Lane, PeerClient};
use futures::{SinkExt, channel::mpsc};

use crate::metadata::{
    self, Metadata, keys,
    life::queues::{self, Standing},
    rows::{ChunkRow, Content, KeyRow, SegmentRow},
};

/// Chunks per page when only existence and lengths are compared.
const PAGE: usize = 512;
/// Chunks per page when contents are read: at most 128 MiB per node with chunks of the default size.
const PAGE_VERIFY: usize = 16;
/// Ids per page of a node's inventory.
const INVENTORY_PAGE: u32 = 4096;
/// How long a node may take for a page.
const NODE_DEADLINE: Duration = Duration::from_secs(50);
/// The most findings that are kept until their keys are known; the rest is counted.
const FINDINGS_MAX: usize = 10_000;
/// The most keys told per finding.
const KEYS_MAX: usize = 4;
/// Rows per step when keys are looked for.
const ROWS: usize = 1024;

/// Why a comparison could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata could not be read.
    #[error(transparent)]
    Metadata(#[from] metadata::read::Error),
    /// A page of the metadata could not be read.
    #[error(transparent)]
    Queue(#[from] queues::Error),
    /// Nobody listens any more.
    #[error("the asker has gone")]
    Gone,
}

/// One comparison.
pub struct Fsck {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// Its metadata.
    pub metadata: Metadata,
    /// The way to its nodes.
    pub peers: PeerClient,
    /// Read contents too.
    pub verify: bool,
    /// Where lines go.
    pub out: mpsc::Sender<Line>,
}

/// A copy that looks wrong.
struct Suspect {
    what: What,
    chunk: ChunkId,
    node: NodeId,
    file: String,
    detail: String,
}

impl Fsck {
    /// Compares, and ends with a summary or with why there is none.
    pub async fn run(mut self) {
        let line = match self.compare().await {
            Ok(summary) => Line::Summary(summary),
            Err(Error::Gone) => return,
            Err(error) => Line::Failed { detail: error.to_string() },
        };
        let _ = self.out.send(line).await; // nobody listens any more
    }

    async fn compare(&mut self) -> Result<Summary, Error> {
        self.metadata.barrier().await?;
        let members = self.metadata.group().status().members;
        let members: BTreeMap<NodeId, String> = members.into_iter().map(|(id, member)| (id, member.peer)).collect();
        let mut summary = Summary {
            cluster: self.cluster.clone(),
            chunks: 0,
            copies: 0,
            in_flight: 0,
            purging: 0,
            findings: 0,
            silent: Vec::new(),
        };
        let mut silent = BTreeSet::new();
        let suspects = self.metadata_to_disks(&members, &mut summary, &mut silent).await?;
        self.tell_with_keys(suspects, &mut summary).await?;
        for (node, peer) in &members {
            if !silent.contains(node) && !self.disk_to_metadata(*node, peer, &mut summary).await? {
                silent.insert(*node);
            }
        }
        summary.silent = silent.into_iter().collect();
        Ok(summary)
    }

    /// Asks for every copy that the metadata names.
    async fn metadata_to_disks(
        &mut self,
        members: &BTreeMap<NodeId, String>,
        summary: &mut Summary,
        silent: &mut BTreeSet<NodeId>,
    ) -> Result<Vec<Suspect>, Error> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let limit = if self.verify { PAGE_VERIFY } else { PAGE };
            let page = self.metadata.with_view(move |view| queues::named(view, after, limit)).await??;
            let Some((last, _)) = page.last() else { return Ok(found) };
            after = Some(*last);
            summary.chunks += page.len() as u64;
            let mut by_node: BTreeMap<NodeId, Vec<(ChunkId, u32)>> = BTreeMap::new();
            for (id, row) in &page {
                row.replicas.iter().for_each(|node| by_node.entry(*node).or_default().push((*id, row.length)));
            }
            let mut suspects = Vec::new();
            let asked = by_node.iter().map(|(node, chunks)| self.ask(members, silent, *node, chunks));
            for ((node, chunks), copies) in by_node.iter().zip(futures::future::join_all(asked).await) {
                let Some(copies) = copies else {
                    silent.insert(*node);
                    continue;
                };
                summary.copies += chunks.len() as u64;
                suspects.extend(
                    chunks.iter().zip(copies).filter_map(|((id, length), copy)| suspect(*node, *id, *length, copy)),
                );
            }
            found.extend(self.still_named(suspects).await?);
            summary.findings += found.len().saturating_sub(FINDINGS_MAX) as u64;
            found.truncate(FINDINGS_MAX);
            self.tell(Line::Progress { copies: summary.copies }).await?;
        }
    }

    /// Gives how copies look to their node; a node that is no member has none, one that does not answer gives nothing.
    async fn ask(
        &self,
        members: &BTreeMap<NodeId, String>,
        silent: &BTreeSet<NodeId>,
        node: NodeId,
        chunks: &[(ChunkId, u32)],
    ) -> Option<Vec<Copy>> {
        let Some(peer) = members.get(&node) else { return Some(vec![Copy::Missing; chunks.len()]) };
        if silent.contains(&node) {
            return None;
        }
        let ids = chunks.iter().map(|(id, _)| *id).collect();
        self.inspect(peer, ids, self.verify).await
    }

    async fn inspect(&self, peer: &str, ids: Vec<ChunkId>, verify: bool) -> Option<Vec<Copy>> {
        let count = ids.len();
        let depth = if verify { Inspect::Contents } else { Inspect::Place };
        let request = InspectRequest { ids, depth };
        let asked = self.peers.post(Lane::Control, peer, route::PEER_INSPECT, &request, NODE_DEADLINE).await;
        let answer: Option<Vec<Copy>> =
            asked.inspect_err(|error| tracing::warn!(%peer, %error, "node does not say how its copies look")).ok();
        answer.filter(|copies| copies.len() == count)
    }

    /// Keeps what the metadata still names on that node.
    async fn still_named(&self, suspects: Vec<Suspect>) -> Result<Vec<Suspect>, Error> {
        if suspects.is_empty() {
            return Ok(suspects);
        }
        self.metadata.barrier().await?;
        let mut kept = Vec::new();
        for suspect in suspects {
            let standing = self.standing(suspect.node, suspect.chunk).await?;
            if matches!(standing, Standing::Named(ChunkRow { .. })) {
                kept.push(suspect);
            }
        }
        Ok(kept)
    }

    async fn standing(&self, node: NodeId, id: ChunkId) -> Result<Standing, Error> {
        let mut standings = self.metadata.with_view(move |view| queues::standings(view, node, &[id])).await??;
        Ok(standings.pop().expect("one was asked for"))
    }

    /// Tells findings with the files that need the chunks.
    async fn tell_with_keys(&mut self, suspects: Vec<Suspect>, summary: &mut Summary) -> Result<(), Error> {
        if suspects.is_empty() {
            return Ok(());
        }
        let wanted: BTreeSet<ChunkId> = suspects.iter().map(|suspect| suspect.chunk).collect();
        let keys = keys_of(&self.metadata, wanted).await?;
        for suspect in suspects {
            let names = keys.get(&suspect.chunk).cloned().unwrap_or_default();
            self.tell_finding(suspect, names, summary).await?;
        }
        Ok(())
    }

    /// Asks for every copy that a disk has. False if the node does not answer.
    async fn disk_to_metadata(&mut self, node: NodeId, peer: &str, summary: &mut Summary) -> Result<bool, Error> {
        let mut after = None;
        loop {
            let request = InventoryRequest { after, limit: INVENTORY_PAGE };
            let asked = self.peers.post(Lane::Control, peer, route::PEER_INVENTORY, &request, NODE_DEADLINE).await;
            let page: Vec<ChunkId> = match asked {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%peer, %error, "node does not list its copies");
                    return Ok(false);
                }
            };
            let Some(last) = page.last() else { return Ok(true) };
            after = Some(*last);
            let ids = page.clone();
            let standings = self.metadata.with_view(move |view| queues::standings(view, node, &ids)).await??;
            let mut unnamed = Vec::new();
            for (id, standing) in page.into_iter().zip(standings) {
                match standing {
                    Standing::Named(_) => {}
                    Standing::InFlight => summary.in_flight += 1,
                    Standing::Garbage { .. } | Standing::Dropped | Standing::GivenUp => summary.purging += 1,
                    Standing::Surplus | Standing::Orphan | Standing::Foreign => unnamed.push(id),
                }
            }
            if !self.tell_extra(node, peer, unnamed, summary).await? {
                return Ok(false);
            }
            self.tell(Line::Progress { copies: summary.copies }).await?;
        }
    }

    /// Looks again at copies that no metadata names, and tells those that are still there.
    async fn tell_extra(
        &mut self,
        node: NodeId,
        peer: &str,
        unnamed: Vec<ChunkId>,
        summary: &mut Summary,
    ) -> Result<bool, Error> {
        for ids in unnamed.chunks(PAGE) {
            self.metadata.barrier().await?;
            let Some(copies) = self.inspect(peer, ids.to_vec(), false).await else { return Ok(false) };
            for (id, copy) in ids.iter().zip(copies) {
                let detail = match self.standing(node, *id).await? {
                    Standing::Named(_) => continue,
                    Standing::InFlight => {
                        summary.in_flight += 1;
                        continue;
                    }
                    Standing::Garbage { .. } | Standing::Dropped | Standing::GivenUp => {
                        summary.purging += 1;
                        continue;
                    }
                    Standing::Surplus => "the chunk is named, but not on this node",
                    Standing::Orphan => "nothing names it, and its writer is retired",
                    Standing::Foreign => "no such writer was ever granted",
                };
                let file = match copy {
                    Copy::Missing => continue,
                    Copy::Whole { file, .. } | Copy::Short { file, .. } | Copy::Corrupt { file, .. } => file,
                };
                let suspect = Suspect { what: What::Extra, chunk: *id, node, file, detail: detail.to_owned() };
                self.tell_finding(suspect, Vec::new(), summary).await?;
            }
        }
        Ok(true)
    }

    async fn tell_finding(&mut self, from: Suspect, keys: Vec<String>, summary: &mut Summary) -> Result<(), Error> {
        let Suspect { what, chunk, node, file, detail } = from;
        summary.findings += 1;
        let (cluster, chunk) = (self.cluster.clone(), chunk.to_string());
        self.tell(Line::Finding(Finding { what, cluster, chunk, node, file, keys, detail })).await
    }

    async fn tell(&mut self, line: Line) -> Result<(), Error> {
        self.out.send(line).await.map_err(|_| Error::Gone)
    }
}

/// Compares how a copy looks with what the metadata says of it.
fn suspect(node: NodeId, chunk: ChunkId, wanted: u32, copy: Copy) -> Option<Suspect> {
    let (what, file, detail) = match copy {
        Copy::Whole { length, .. } if length == u64::from(wanted) => return None,
        Copy::Whole { length, file, .. } => (What::Short, file, format!("it has {length} of {wanted} bytes")),
        Copy::Missing => (What::Missing, String::new(), "it is not there".to_owned()),
        Copy::Short { why, file } => (What::Short, file, why),
        Copy::Corrupt { why, file } => (What::Corrupt, file, why),
    };
    Some(Suspect { what, chunk, node, file, detail })
}

/// Finds the files that need some chunks: first the segments that name them, then the versions that name those.
async fn keys_of(metadata: &Metadata, wanted: BTreeSet<ChunkId>) -> Result<HashMap<ChunkId, Vec<String>>, Error> {
    let mut segments: HashMap<u64, Vec<ChunkId>> = HashMap::new();
    let mut from = Vec::new();
    loop {
        let at = from.clone();
        let rows = metadata.with_view(move |view| view.scan(keys::SEGMENTS, &at, None, ROWS)).await?;
        let rows = rows.map_err(queues::Error::from)?;
        let Some((last, _)) = rows.last() else { break };
        from = behind(last);
        for (key, bytes) in rows {
            let row: SegmentRow = codec::decode(&bytes).map_err(queues::Error::from)?;
            let named: Vec<ChunkId> =
                row.chunks.iter().map(|chunk| chunk.id).filter(|id| wanted.contains(id)).collect();
            if let Some(id) = key.first_chunk().filter(|_| !named.is_empty()) {
                segments.insert(u64::from_be_bytes(*id), named);
            }
        }
    }
    let mut names: HashMap<ChunkId, Vec<String>> = HashMap::new();
    let mut from = Vec::new();
    loop {
        let at = from.clone();
        let rows = metadata.with_view(move |view| view.scan(keys::FILES, &at, None, ROWS)).await?;
        let rows = rows.map_err(queues::Error::from)?;
        let Some((last, _)) = rows.last() else { return Ok(names) };
        from = behind(last);
        for (key, bytes) in rows {
            let row: KeyRow = codec::decode(&bytes).map_err(queues::Error::from)?;
            let Some(Content::Trees(trees)) = row.file.map(|file| file.content) else { continue };
            let of = trees.iter().flat_map(|tree| &tree.segments).filter_map(|id| segments.get(&id.0));
            for chunk in of.flatten() {
                let known = names.entry(*chunk).or_default();
                if known.len() < KEYS_MAX {
                    known.push(shown(&key));
                }
            }
        }
    }
}

fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Shows a row's key as `bucket/key`.
fn shown(row: &[u8]) -> String {
    let mut parts = row.splitn(2, |byte| *byte == 0).map(String::from_utf8_lossy);
    let (bucket, key) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{bucket}/{key}")
}

#[cfg(test)]
mod tests {
    use flotilla_api::{FileName, WriterId};

    use super::*;

    #[test]
    fn a_copy_that_differs_from_the_metadata_is_named_for_what_it_is() {
        let id = ChunkId { writer: WriterId(1), seq: 2 };
        let check = |copy, expect| assert_eq!(suspect(NodeId(1), id, 10, copy).map(|found| found.what), expect);
        let whole = |length| Copy::Whole { length, cv: [0; 32], file: "/f".into() };
        check(whole(10), None);
        check(whole(9), Some(What::Short));
        check(Copy::Missing, Some(What::Missing));
        check(Copy::Short { why: String::new(), file: String::new() }, Some(What::Short));
        check(Copy::Corrupt { why: String::new(), file: String::new() }, Some(What::Corrupt));
    }

    #[test]
    fn a_rows_key_is_shown_as_bucket_and_key() {
        let name = FileName { bucket: "demo".parse().expect("good"), key: "a/b".parse().expect("good") };
        assert_eq!(shown(&name.to_row()), "demo/a/b");
    }
}
