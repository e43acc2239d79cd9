//! The life cycle's rules, one by one, on a map; with the rows that every command touches counted.

use std::collections::BTreeSet;

use bytes::Bytes;
use flotilla_api::codec;
use flotilla_kv::Family;
use flotilla_raft_store::Machine;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Answer, Command, clock::TICK_MAX_MS};
use crate::metadata::{
    Answer as Applied, Command as Any, Commit, Delete, FileMachine, Precondition, Refusal, SegmentAppend,
    bound::ROWS_MAX,
    commit::Body,
    keys::{self, SegmentId},
    rows::{ChunkRef, ChunkRow, Etag, GarbageRow, HomeState, KeyRow, ReclaimRow, SEGMENT_CHUNKS_MAX, SegmentRow},
    segments::PlacedChunk,
    testing::Map,
};
use flotilla_api::{ChunkId, Epoch, FileName, NodeId, WriterId};
use flotilla_raft_store::{Position, Txn};

/// A cluster with one live writer on node 1.
struct Cluster {
    state: Map,
    index: u64,
    writer: WriterId,
    next_seq: u64,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self { state: Map::default(), index: 0, writer: WriterId(0), next_seq: 1 };
        cluster.restart();
        cluster
    }

    fn any(&mut self, command: Any) -> Applied {
        self.index += 1;
        let at = Position { index: self.index, term: 1 };
        self.state.touched.set(0);
        let answer = FileMachine.apply(&mut self.state, command.clone(), at).expect("a map never fails");
        let touched = self.state.touched.get();
        assert!(touched <= ROWS_MAX, "{touched} rows touched by {command:?}");
        answer
    }

    fn life(&mut self, command: Command) -> Answer {
        match self.any(Any::Life(command)) {
            Applied::Life(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// The node's process starts again: its writer is retired.
    fn restart(&mut self) {
        let after = Some(self.writer).filter(|writer| writer.0 > 0);
        match self.any(Any::GrantWriter { node: NodeId(1), after }) {
            Applied::Writer(writer) => self.writer = writer,
            other => panic!("{other:?}"),
        }
    }

    fn chunks(&mut self, count: usize) -> Vec<PlacedChunk> {
        let writer = self.writer;
        let chunk = |seq| {
            let id = ChunkId { writer, seq };
            PlacedChunk { chunk: ChunkRef { id, length: 3, cv: [1; 32] }, replicas: vec![NodeId(1), NodeId(2)] }
        };
        let from = self.next_seq;
        self.next_seq += count as u64;
        (from..self.next_seq).map(chunk).collect()
    }

    fn commit_of(&self, key: &str, epoch: u64, upload: Option<u64>, tail: Vec<PlacedChunk>) -> Any {
        Any::Commit(Box::new(Commit {
            name: name(key),
            epoch: Epoch(epoch),
            precondition: Precondition::Always,
            node: NodeId(1),
            writer: self.writer,
            now_ms: 5,
            size: 3,
            etag: Etag::Root([9; 32]),
            media_type: None,
            body: Body::Tree { root: [0; 32], chunk_shift: 16, upload, tail },
        }))
    }

    /// Commits a file of `count` chunks and gives them.
    fn put(&mut self, key: &str, epoch: u64, count: usize) -> Vec<ChunkId> {
        let tail = self.chunks(count);
        let ids = tail.iter().map(|placed| placed.chunk.id).collect();
        let commit = self.commit_of(key, epoch, None, tail);
        assert!(matches!(self.any(commit), Applied::Committed { .. }));
        ids
    }

    fn inline(&self, key: &str, epoch: u64) -> Any {
        let Any::Commit(mut commit) = self.commit_of(key, epoch, None, Vec::new()) else { unreachable!() };
        commit.body = Body::Inline(Bytes::from_static(b"abc"));
        Any::Commit(commit)
    }

    fn append(&mut self, upload: Option<u64>) -> (Applied, Vec<ChunkId>) {
        let chunks = self.chunks(SEGMENT_CHUNKS_MAX);
        let ids = chunks.iter().map(|placed| placed.chunk.id).collect();
        (self.any(Any::AppendSegment(SegmentAppend { upload, node: NodeId(1), writer: self.writer, chunks })), ids)
    }

    fn delete(&mut self, key: &str, epoch: u64) {
        let delete = Delete { name: name(key), epoch: Epoch(epoch), precondition: Precondition::Always };
        assert!(matches!(self.any(Any::Delete(delete)), Applied::Deleted { .. }));
    }

    fn tick(&mut self, from_ms: u64, to_ms: u64) -> Answer {
        self.life(Command::Tick { from_ms, to_ms })
    }

    /// Reclaims until there is no more, and counts the commands.
    fn reclaim(&mut self, upto_ms: u64) -> (u32, usize) {
        let mut all = 0;
        for commands in 1..=10_000 {
            match self.life(Command::Reclaim { upto_ms }) {
                Answer::Done { count, more } => {
                    all += count;
                    if !more {
                        return (all, commands);
                    }
                    assert!(count > 0, "a command without progress would be proposed for ever");
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("no end");
    }

    /// The node has unlinked what it was told to.
    fn unlinked(&mut self, node: u64, ids: &[ChunkId]) -> Answer {
        match self.any(self.state.unlinked(node, ids)) {
            Applied::Life(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn rows<T: serde::de::DeserializeOwned>(&self, family: Family) -> Vec<(Vec<u8>, T)> {
        let of = self.state.rows.iter().filter(|((f, _), _)| *f == family);
        of.map(|((_, key), row)| (key.clone(), codec::decode(row).expect("it was encoded"))).collect()
    }

    fn count(&self, family: Family) -> usize {
        self.state.rows.keys().filter(|(f, _)| *f == family).count()
    }

    fn key(&self, key: &str) -> Option<KeyRow> {
        let row = self.state.rows.get(&(keys::FILES, keys::file(&name(key))))?;
        Some(codec::decode(row).expect("it was encoded"))
    }

    /// The nodes that are told to unlink, with their chunks.
    fn told(&self) -> BTreeSet<(NodeId, ChunkId)> {
        self.rows::<u64>(keys::UNLINKS).iter().filter_map(|(key, _)| keys::of_unlink(key)).collect()
    }
}

fn name(key: &str) -> FileName {
    FileName { bucket: "demo".parse().expect("a good name"), key: key.parse().expect("a good key") }
}

fn done(count: u32) -> Answer {
    Answer::Done { count, more: false }
}

#[test]
fn the_cluster_clock_moves_once_per_tick_and_never_far() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.tick(1, 1001), done(1));
    assert_eq!(cluster.tick(1, 1001), Answer::Passed, "the same tick again");
    assert_eq!(cluster.tick(1001, 1001), Answer::Passed);
    assert_eq!(cluster.tick(1001, 1002 + TICK_MAX_MS), Answer::Passed, "a leader that slept does not jump");
    assert_eq!(cluster.tick(1001, 1001 + TICK_MAX_MS), done(1));
}

#[test]
fn replaced_version_lingers_on_the_cluster_clock_and_then_its_chunks_are_garbage() {
    let mut cluster = Cluster::new();
    cluster.tick(1, 1000);
    let old = cluster.put("k", 4, 3);
    let new = cluster.put("k", 4, 2);
    assert_eq!(cluster.reclaim(999), (0, 1), "it was queued at 1000");
    assert_eq!((cluster.count(keys::SEGMENTS), cluster.count(keys::GARBAGE)), (2, 0));
    assert_eq!(cluster.reclaim(1000).0, 1);
    let garbage: Vec<ChunkId> = cluster.rows::<GarbageRow>(keys::GARBAGE).iter().map(|(key, _)| of_key(key)).collect();
    assert_eq!(garbage, old);
    let named: Vec<ChunkId> = cluster.rows::<ChunkRow>(keys::CHUNKS).iter().map(|(key, _)| of_key(key)).collect();
    assert_eq!(named, new);
    assert_eq!(cluster.count(keys::RECLAIM), 0);
}

fn of_key(key: &[u8]) -> ChunkId {
    ChunkId::from_bytes(key.try_into().expect("a chunk's key"))
}

#[test]
fn a_segment_or_chunk_with_another_reference_stays() {
    let mut cluster = Cluster::new();
    let ids = cluster.put("k", 4, 2);
    let (key, mut segment) = cluster.rows::<SegmentRow>(keys::SEGMENTS).remove(0);
    segment.references = 2;
    cluster.state.put(keys::SEGMENTS, key.clone(), codec::encode(&segment));
    let chunk_key = ids[0].to_bytes().to_vec();
    let mut chunk: ChunkRow = cluster.rows::<ChunkRow>(keys::CHUNKS).remove(0).1;
    chunk.references = 2;
    cluster.state.put(keys::CHUNKS, chunk_key, codec::encode(&chunk));
    cluster.delete("k", 4);
    cluster.reclaim(u64::MAX);
    assert_eq!(cluster.rows::<SegmentRow>(keys::SEGMENTS)[0].1.references, 1, "a copy still names it");
    assert_eq!(cluster.count(keys::GARBAGE), 0);
    let again = ReclaimRow { segments: vec![SegmentId(u64::from_be_bytes(key.try_into().expect("an index")))] };
    cluster.state.put(keys::RECLAIM, keys::queued(1, 99), codec::encode(&again));
    cluster.reclaim(u64::MAX);
    assert_eq!(cluster.count(keys::SEGMENTS), 0);
    assert_eq!(cluster.rows::<ChunkRow>(keys::CHUNKS)[0].1.references, 1, "another segment still names it");
    assert_eq!(cluster.count(keys::GARBAGE), 1);
}

#[test]
fn long_versions_and_many_small_ones_are_reclaimed_in_bounded_steps() {
    let mut cluster = Cluster::new();
    let mut upload = None;
    for _ in 0..3 {
        let (Applied::Appended { upload: id }, _) = cluster.append(upload) else { panic!("not appended") };
        upload = Some(id);
    }
    let tail = cluster.chunks(SEGMENT_CHUNKS_MAX);
    let commit = cluster.commit_of("long", 4, upload, tail);
    assert!(matches!(cluster.any(commit), Applied::Committed { .. }));
    cluster.delete("long", 4);
    let (segments, commands) = cluster.reclaim(u64::MAX);
    assert_eq!(segments, 4);
    assert!(commands >= 4, "a full segment nearly fills a command");
    assert_eq!(cluster.count(keys::GARBAGE), 4 * SEGMENT_CHUNKS_MAX);
    for n in 0..500 {
        let key = format!("small/{n}");
        cluster.put(&key, 4, 1);
        cluster.delete(&key, 4);
    }
    let (segments, commands) = cluster.reclaim(u64::MAX);
    assert_eq!(segments, 500);
    assert!((3..=10).contains(&commands), "{commands} commands for 500 small files");
}

#[test]
fn purge_marks_garbage_only_and_forgets_it_when_every_holder_has_unlinked_it() {
    let mut cluster = Cluster::new();
    let old = cluster.put("k", 4, 1)[0];
    let kept = cluster.put("k", 4, 1)[0];
    let settle = Command::Settle { node: NodeId(1), writer: old.writer, below: old.seq + 1 };
    assert_eq!(cluster.life(settle), done(1));
    let purge = |holder| Command::Purge { ids: vec![old, kept], holder };
    assert_eq!(cluster.life(purge(None)), done(0), "still named by a version that lingers");
    cluster.reclaim(u64::MAX);
    assert_eq!(cluster.unlinked(1, &[old]), done(0), "not told yet");
    assert_eq!(cluster.life(purge(None)), done(1));
    assert_eq!(cluster.told(), [(NodeId(1), old), (NodeId(2), old)].into());
    assert_eq!(cluster.life(purge(None)), done(0), "marked once");
    assert_eq!(cluster.life(purge(Some(NodeId(3)))), done(1), "a third node found a copy");
    assert_eq!(cluster.told().len(), 3);
    for node in [1, 3, 3, 2] {
        assert_eq!(cluster.count(keys::GARBAGE), 1);
        cluster.unlinked(node, &[old, kept]);
    }
    assert_eq!((cluster.count(keys::GARBAGE), cluster.count(keys::UNLINKS)), (0, 0));
    assert_eq!(cluster.count(keys::CHUNKS), 1);
}

#[test]
fn a_purged_chunk_is_remembered_while_a_commit_that_names_it_may_be_on_its_way() {
    let mut cluster = Cluster::new();
    let tail = cluster.chunks(1);
    let (node, writer, id) = (NodeId(1), cluster.writer, tail[0].chunk.id);
    let late = cluster.commit_of("k", 4, None, tail);
    let release = Command::Release { node, writer, upload: None, chunks: vec![(id, vec![NodeId(1), NodeId(2)])] };
    assert_eq!(cluster.life(release), done(1));
    let purge = || Command::Purge { ids: vec![id], holder: None };
    assert_eq!(cluster.life(purge()), done(1));
    cluster.unlinked(1, &[id]);
    cluster.unlinked(2, &[id]);
    assert_eq!((cluster.count(keys::GARBAGE), cluster.count(keys::UNLINKS)), (1, 0), "nobody holds it any more");
    assert_eq!(cluster.life(purge()), done(0), "and its writer may still have named it");
    assert_eq!(cluster.any(late.clone()), Applied::Refused(Refusal::ChunkGone));
    assert_eq!(cluster.life(Command::Settle { node, writer, below: id.seq + 1 }), done(1));
    assert_eq!(cluster.life(purge()), done(1));
    assert_eq!(cluster.count(keys::GARBAGE), 0);
    assert_eq!(cluster.any(late), Applied::Refused(Refusal::ChunkGone), "it is settled");
}

#[test]
fn nothing_may_name_a_chunk_that_is_garbage_or_an_unreferenced_one_of_another_writer() {
    let mut cluster = Cluster::new();
    let tail = cluster.chunks(2);
    let ids: Vec<_> = tail.iter().map(|placed| (placed.chunk.id, vec![NodeId(1)])).collect();
    let dead = cluster.writer;
    let (node, writer) = (NodeId(1), dead);
    let release = Command::Release { node, writer, upload: None, chunks: ids[..1].to_vec() };
    assert_eq!(cluster.life(release), done(1));
    let gone = Applied::Refused(Refusal::ChunkGone);
    let commit = cluster.commit_of("k", 4, None, tail.clone());
    assert_eq!(cluster.any(commit), gone, "one of the two is garbage");
    cluster.life(Command::Purge { ids: vec![ids[0].0], holder: None });
    let commit = cluster.commit_of("k", 4, None, tail[..1].to_vec());
    assert_eq!(cluster.any(commit), gone, "it is marked");
    cluster.restart();
    let commit = cluster.commit_of("k", 4, None, tail[1..].to_vec());
    assert_eq!(cluster.any(commit), gone, "its writer is retired");
    let mut chunks = cluster.chunks(SEGMENT_CHUNKS_MAX);
    chunks[7] = tail[1].clone();
    let append = SegmentAppend { upload: None, node: NodeId(1), writer: cluster.writer, chunks };
    assert_eq!(cluster.any(Any::AppendSegment(append)), gone);
    assert_eq!((cluster.count(keys::CHUNKS), cluster.count(keys::FILES)), (0, 0));
}

#[test]
fn only_a_retired_writers_unknown_chunk_is_purged_for_the_node_that_found_it() {
    let mut cluster = Cluster::new();
    let orphan = cluster.chunks(1)[0].chunk.id;
    let never = ChunkId { writer: WriterId(99), seq: 1 };
    let found = |holder| Command::Purge { ids: vec![orphan, never], holder };
    assert_eq!(cluster.life(found(Some(NodeId(2)))), done(0), "its writer lives and may still name it");
    cluster.restart();
    assert_eq!(cluster.life(found(None)), done(0), "nobody says that there is a copy");
    assert_eq!(cluster.life(found(Some(NodeId(2)))), done(1), "but a writer that was never granted is no retired one");
    assert_eq!(cluster.told(), [(NodeId(2), orphan)].into());
    cluster.unlinked(2, &[orphan]);
    assert_eq!((cluster.count(keys::GARBAGE), cluster.count(keys::UNLINKS)), (0, 0));
}

#[test]
fn what_a_living_writer_has_settled_is_named_no_more_and_its_copies_go() {
    let mut cluster = Cluster::new();
    let (node, writer) = (NodeId(1), cluster.writer);
    let tail = cluster.chunks(3);
    let (late, next) = (tail[1].chunk.id, tail[2].chunk.id);
    let commit = cluster.commit_of("k", 4, None, tail[..1].to_vec());
    assert!(matches!(cluster.any(commit), Applied::Committed { .. }));
    let settle = |below| Command::Settle { node, writer, below };
    assert_eq!(cluster.life(Command::Settle { node: NodeId(2), writer, below: 9 }), Answer::Passed, "another node's");
    assert_eq!(cluster.life(settle(next.seq)), done(1));
    assert_eq!(cluster.life(settle(late.seq)), Answer::Passed, "it never goes back");
    let commit = cluster.commit_of("l", 4, None, tail[1..].to_vec());
    assert_eq!(cluster.any(commit), Applied::Refused(Refusal::ChunkGone), "one of them was settled");
    let ids = vec![tail[0].chunk.id, late, next];
    let found = || Command::Purge { ids: ids.clone(), holder: Some(NodeId(3)) };
    assert_eq!(cluster.life(found()), done(1));
    assert_eq!(cluster.told(), [(NodeId(3), late)].into(), "neither the named one nor one that may be named");
    cluster.unlinked(3, &[late]);
    assert_eq!((cluster.count(keys::GARBAGE), cluster.count(keys::UNLINKS)), (0, 0));
    let commit = cluster.commit_of("l", 5, None, tail[1..2].to_vec());
    assert_eq!(cluster.any(commit), Applied::Refused(Refusal::ChunkGone), "also when it is forgotten");
    assert_eq!(cluster.life(found()), done(1), "a copy that comes late goes as well");
    cluster.restart();
    assert_eq!(cluster.count(keys::SETTLED), 0, "a retired writer needs no row");
}

#[test]
fn a_chunk_of_a_retired_writer_that_something_names_is_never_purged() {
    let mut cluster = Cluster::new();
    let named = cluster.put("k", 4, 1)[0];
    let (_, appended) = cluster.append(None);
    cluster.restart();
    let ids = vec![named, appended[0]];
    for holder in [None, Some(NodeId(1)), Some(NodeId(3))] {
        assert_eq!(cluster.life(Command::Purge { ids: ids.clone(), holder }), done(0));
    }
    let (node, writer) = (NodeId(1), named.writer);
    let release = Command::Release { node, writer, upload: None, chunks: vec![(named, vec![NodeId(1)])] };
    assert_eq!(cluster.life(release), Answer::Passed, "a retired writer releases nothing");
}

#[test]
fn a_live_writer_releases_an_upload_and_never_what_is_named() {
    let mut cluster = Cluster::new();
    let named = cluster.put("k", 4, 1)[0];
    let (Applied::Appended { upload }, appended) = cluster.append(None) else { panic!("not appended") };
    let begun = cluster.chunks(1)[0].chunk.id;
    let chunks = [named, appended[0], begun].map(|id| (id, vec![NodeId(1)])).to_vec();
    let (node, writer) = (NodeId(1), cluster.writer);
    let release = Command::Release { node, writer, upload: Some(upload), chunks };
    assert_eq!(cluster.life(release), done(1), "only the chunk that no segment names");
    assert_eq!(cluster.count(keys::UPLOADS), 0);
    assert_eq!(cluster.reclaim(0).0, 1, "nobody reads an upload, so it does not linger");
    assert_eq!(cluster.count(keys::GARBAGE), 1 + SEGMENT_CHUNKS_MAX);
    assert_eq!(cluster.count(keys::CHUNKS), 1);
}

#[test]
fn uploads_of_retired_writers_are_ended_and_no_others() {
    let mut cluster = Cluster::new();
    let (Applied::Appended { upload: dead }, _) = cluster.append(None) else { panic!("not appended") };
    assert_eq!(cluster.life(Command::EndUploads { uploads: vec![dead] }), done(0));
    cluster.restart();
    let (Applied::Appended { upload: live }, _) = cluster.append(None) else { panic!("not appended") };
    assert_eq!(cluster.life(Command::EndUploads { uploads: vec![dead, live, 9999] }), done(1));
    assert_eq!(cluster.count(keys::UPLOADS), 1);
    cluster.reclaim(0);
    assert_eq!(cluster.count(keys::SEGMENTS), 1);
}

#[test]
fn the_largest_commands_stay_within_the_row_bound() {
    let mut cluster = Cluster::new();
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.extend(cluster.put(&format!("k{n}"), 4 + n, SEGMENT_CHUNKS_MAX));
        cluster.delete(&format!("k{n}"), 4 + n);
    }
    cluster.reclaim(u64::MAX);
    let lost = cluster.chunks(600);
    let chunks = lost.iter().map(|placed| (placed.chunk.id, (1..=20).map(NodeId).collect())).collect();
    let (node, writer) = (NodeId(1), cluster.writer);
    cluster.life(Command::Release { node, writer, upload: None, chunks });
    ids.extend(lost.iter().map(|placed| placed.chunk.id));
    // `any` asserts the bound; every command must get somewhere, whatever it is given.
    let purge = |ids: Vec<ChunkId>| Command::Purge { ids, holder: Some(NodeId(9)) };
    assert!(matches!(cluster.life(purge(ids.clone())), Answer::Done { count: 1.., more: true }));
    assert!(matches!(cluster.life(purge(ids[1024..].to_vec())), Answer::Done { count: 1.., more: true }));
    let all = ids.clone();
    assert!(matches!(cluster.unlinked(1, &all), Answer::Done { count: 1.., more: true }));
    let uploads = (0..5000).collect();
    cluster.life(Command::EndUploads { uploads });
    for n in 0..600 {
        let put = cluster.inline(&format!("idle/{n}"), 1000 + n);
        cluster.any(put);
        cluster.delete(&format!("idle/{n}"), 1000 + n);
    }
    assert!(matches!(cluster.life(Command::CloseIdle { upto_ms: u64::MAX }), Answer::Done { count: 1.., more: true }));
    while let Answer::Done { more: true, .. } = cluster.life(Command::CloseIdle { upto_ms: u64::MAX }) {}
    let epochs: Vec<Epoch> =
        cluster.rows::<super::super::rows::ClosedRow>(keys::CLOSED).iter().map(|(k, _)| epoch(k)).collect();
    assert_eq!(epochs.len(), 604);
    for page in epochs.chunks(super::homes::RELEASED_MAX) {
        cluster.life(Command::Released { epochs: page.to_vec() });
    }
    cluster.life(Command::Released { epochs });
    assert_eq!(cluster.count(keys::CLOSED), 0);
}

fn epoch(key: &[u8]) -> Epoch {
    Epoch(u64::from_be_bytes(key.try_into().expect("an epoch's key")))
}

#[test]
fn a_home_without_a_file_is_closed_and_its_old_epoch_never_commits_again() {
    let mut cluster = Cluster::new();
    let put = |cluster: &mut Cluster, epoch| {
        let commit = cluster.inline("k", epoch);
        cluster.any(commit)
    };
    put(&mut cluster, 4);
    cluster.delete("k", 4);
    assert_eq!(cluster.life(Command::CloseIdle { upto_ms: 0 }), done(0), "not idle for long enough");
    assert_eq!(cluster.life(Command::CloseIdle { upto_ms: 1 }), done(1));
    assert_eq!(cluster.key("k").map(|row| row.home), Some(HomeState::Closed));
    assert_eq!(put(&mut cluster, 4), Applied::Refused(Refusal::WrongHome));
    assert_eq!(cluster.life(Command::Released { epochs: vec![Epoch(4)] }), done(1));
    assert_eq!(cluster.key("k"), None);
    assert_eq!(put(&mut cluster, 4), Applied::Refused(Refusal::BelowFloor), "the record is gone, the floor stands");
    assert!(matches!(put(&mut cluster, 5), Applied::Committed { created: true, .. }));
}

#[test]
fn a_home_that_got_a_file_again_is_not_closed() {
    let mut cluster = Cluster::new();
    for _ in 0..2 {
        let commit = cluster.inline("k", 4);
        cluster.any(commit);
        if cluster.count(keys::IDLE) == 0 {
            cluster.delete("k", 4);
        }
    }
    assert_eq!(cluster.life(Command::CloseIdle { upto_ms: 1 }), done(0));
    assert_eq!(cluster.count(keys::IDLE), 0);
    assert!(cluster.key("k").is_some_and(|row| row.home == HomeState::Open && row.file.is_some()));
}

#[test]
fn a_closed_home_can_be_granted_anew_before_its_record_is_dropped() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.life(Command::Close { name: name("k"), epoch: Epoch(4) }), Answer::Closed);
    let commit = cluster.inline("k", 4);
    assert_eq!(cluster.any(commit), Applied::Refused(Refusal::WrongHome));
    let commit = cluster.inline("k", 6);
    assert!(matches!(cluster.any(commit), Applied::Committed { created: true, .. }));
    cluster.life(Command::Released { epochs: vec![Epoch(4)] });
    let row = cluster.key("k").expect("the new home's record stays");
    assert_eq!((row.epoch, row.home), (Epoch(6), HomeState::Open));
    assert_eq!(cluster.life(Command::Close { name: name("k"), epoch: Epoch(6) }), Answer::InUse);
    assert_eq!(cluster.life(Command::Close { name: name("k"), epoch: Epoch(5) }), Answer::Closed, "passed long ago");
}

#[test]
fn records_are_dropped_in_the_order_of_their_epochs() {
    let mut cluster = Cluster::new();
    for epoch in [4, 5, 6] {
        cluster.life(Command::Close { name: name(&format!("k{epoch}")), epoch: Epoch(epoch) });
    }
    assert_eq!(cluster.life(Command::Released { epochs: vec![Epoch(5), Epoch(6)] }), done(0), "4 is not released");
    let late = cluster.inline("late", 4);
    assert!(matches!(cluster.any(late), Applied::Committed { .. }), "the floor is still below 4");
    assert_eq!(cluster.life(Command::Released { epochs: vec![Epoch(4)] }), done(3));
    assert_eq!(cluster.count(keys::FILES), 1);
    let late = cluster.inline("k6", 6);
    assert_eq!(cluster.any(late), Applied::Refused(Refusal::BelowFloor));
}

fn raise(upto: u64) -> Command {
    Command::RaiseFloor { upto: Epoch(upto), directory: Uuid::from_u128(8) }
}

#[test]
fn what_a_lost_directory_granted_is_not_committed_behind_the_fence_and_is_without_it() {
    for fenced in [true, false] {
        let mut cluster = Cluster::new();
        let open = cluster.inline("open", 4);
        cluster.any(open);
        if fenced {
            assert_eq!(cluster.life(raise(1000)), done(0));
        }
        let late = cluster.inline("late", 5);
        let answer = cluster.any(late);
        match fenced {
            true => assert_eq!(answer, Applied::Refused(Refusal::BelowFloor), "claimed before, committed late"),
            false => assert!(matches!(answer, Applied::Committed { .. }), "this is what would be a second home"),
        }
        let again = cluster.inline("open", 4);
        assert!(matches!(cluster.any(again), Applied::Committed { created: false, .. }), "what is open stays open");
        let fresh = cluster.inline("fresh", 1001);
        assert!(matches!(cluster.any(fresh), Applied::Committed { created: true, .. }));
    }
}

#[test]
fn the_floor_never_sinks_and_homes_under_it_end_as_others_do() {
    let mut cluster = Cluster::new();
    let open = cluster.inline("k", 4);
    cluster.any(open);
    cluster.life(raise(1000));
    cluster.life(raise(10));
    cluster.delete("k", 4);
    assert_eq!(cluster.life(Command::CloseIdle { upto_ms: 1 }), done(1));
    assert_eq!(cluster.life(Command::Released { epochs: vec![Epoch(4)] }), done(1));
    for (epoch, refused) in [(4, true), (1000, true), (1001, false)] {
        let commit = cluster.inline("k", epoch);
        assert_eq!(cluster.any(commit) == Applied::Refused(Refusal::BelowFloor), refused, "{epoch}");
    }
    assert_eq!(cluster.life(Command::Close { name: name("claimed"), epoch: Epoch(900) }), Answer::Closed);
    assert_eq!(cluster.key("claimed"), None, "no record is needed under the floor");
}

#[test]
fn stored_shapes_are_pinned_by_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let id = ChunkId { writer: WriterId(7), seq: 1 };
    assert_eq!(hex(&codec::encode(&GarbageRow { marked: true, holders: vec![NodeId(1), NodeId(2)] })), "0101020102");
    assert_eq!(hex(&keys::unlink(NodeId(2), id)), "000000000000000200000000000000070000000000000001");
    assert_eq!(hex(&keys::queued(300, 5)), "000000000000012c0000000000000005");
    let closed = super::super::rows::ClosedRow { name: name("k"), released: true };
    assert_eq!(hex(&codec::encode(&closed)), "010464656d6f016b01");
    let purge = Any::Life(Command::Purge { ids: vec![id], holder: Some(NodeId(3)) });
    assert_eq!(hex(&codec::encode(&purge))[..4], *"0107");
    assert_eq!(hex(&codec::encode(&raise(300))), format!("010aac0210{}08", "00".repeat(15)));
    assert_eq!(hex(&codec::encode(&Command::Purge { ids: vec![id], holder: Some(NodeId(3)) })), "01040107010103");
}

proptest! {
    /// Whatever happens in whatever order: a chunk that a version names is never marked, a marked one is never named, and every
    /// chunk that was named and is not any more is garbage or purged.
    #[test]
    fn named_and_garbage_never_meet(steps in prop::collection::vec((0u8..10, 0u64..3, 1u64..4), 1..80)) {
        let mut cluster = Cluster::new();
        let mut epochs = [1u64, 2, 3];
        for (kind, which, node) in steps {
            let key = format!("k{which}");
            let epoch = epochs[which as usize];
            let known: Vec<ChunkId> =
                (1..=cluster.writer.0).flat_map(|w| (1..cluster.next_seq).map(move |seq| ChunkId { writer: WriterId(w), seq })).collect();
            match kind {
                0..=2 => { let tail = cluster.chunks(2); let commit = cluster.commit_of(&key, epoch, None, tail); cluster.any(commit); }
                3 => {
                    let delete = Delete { name: name(&key), epoch: Epoch(epoch), precondition: Precondition::Always };
                    cluster.any(Any::Delete(delete));
                }
                4 => cluster.restart(),
                5 => { cluster.life(Command::Reclaim { upto_ms: u64::MAX }); }
                6 => { cluster.life(Command::Purge { ids: known, holder: None }); }
                7 => { cluster.life(Command::Purge { ids: known, holder: Some(NodeId(node)) }); }
                8 => { cluster.unlinked(node, &known); }
                _ => {
                    cluster.life(Command::CloseIdle { upto_ms: u64::MAX });
                    cluster.life(Command::Released { epochs: vec![Epoch(epoch)] });
                    epochs[which as usize] += 3;
                }
            }
            let named: BTreeSet<ChunkId> = cluster.rows::<ChunkRow>(keys::CHUNKS).iter().map(|(k, _)| of_key(k)).collect();
            let garbage: BTreeSet<ChunkId> = cluster.rows::<GarbageRow>(keys::GARBAGE).iter().map(|(k, _)| of_key(k)).collect();
            prop_assert!(named.is_disjoint(&garbage));
            prop_assert!(cluster.told().iter().all(|(_, id)| garbage.contains(id)));
            let segments: BTreeSet<ChunkId> =
                cluster.rows::<SegmentRow>(keys::SEGMENTS).iter().flat_map(|(_, s)| s.chunks.iter().map(|c| c.id).collect::<Vec<_>>()).collect();
            prop_assert_eq!(segments, named, "every chunk of a segment has its row, and no other");
        }
    }
}
