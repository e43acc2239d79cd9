//! The metadata rules, one by one, on a map.

use bytes::Bytes;
use flotilla_api::{ChunkId, Epoch, Version, codec, peer::Document};
use proptest::prelude::*;

use super::*;
use crate::metadata::{
    commit::Body,
    keys::SegmentId,
    machine::{Answer, Command, Refusal},
    rows::{
        ChunkRef, ChunkRow, Content, Etag, FileRow, HomeState, INLINE_MAX, KeyRow, ReclaimRow, SEGMENT_CHUNKS_MAX,
        SegmentRow,
    },
    testing::{Cluster, chunk, commit, delete, inline, name},
};

#[test]
fn first_commit_creates_the_home_and_later_ones_replace() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    let version = |index| Version { epoch: Epoch(4), index };
    assert_eq!(cluster.apply(commit(writer, 4, inline())), Answer::Committed { version: version(2), created: true });
    assert_eq!(cluster.apply(commit(writer, 4, inline())), Answer::Committed { version: version(3), created: false });
    let row = cluster.key().expect("it is there");
    assert_eq!((row.epoch, row.home, row.file.map(|f| f.version)), (Epoch(4), HomeState::Open, Some(version(3))));
}

#[test]
fn commit_of_a_retired_writer_is_refused_inline_ones_too() {
    let mut cluster = Cluster::default();
    let dead = cluster.writer(1);
    let live = cluster.writer(1);
    assert_ne!(dead, live, "a writer id is never reused");
    let before = cluster.state.rows.clone();
    assert_eq!(cluster.apply(commit(dead, 4, inline())), Answer::Refused(Refusal::ChunkGone));
    let body = Body::Tree { root: [0; 32], chunk_shift: 16, upload: None, tail: vec![chunk(dead, 1)] };
    assert_eq!(cluster.apply(commit(dead, 4, body)), Answer::Refused(Refusal::ChunkGone));
    assert_eq!(cluster.state.rows, before, "a refused commit changes nothing");
    assert!(matches!(cluster.apply(commit(live, 4, inline())), Answer::Committed { .. }));
}

#[test]
fn commit_is_refused_unless_this_log_says_that_the_home_is_open_at_that_epoch() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    cluster.apply(commit(writer, 4, inline()));
    for epoch in [3, 5] {
        assert_eq!(cluster.apply(commit(writer, epoch, inline())), Answer::Refused(Refusal::WrongHome));
        assert_eq!(cluster.apply(delete(epoch)), Answer::Refused(Refusal::WrongHome));
    }
    for (home, refusal) in [(HomeState::Sealed, Refusal::Sealed), (HomeState::Closed, Refusal::WrongHome)] {
        let row = KeyRow { home, ..cluster.key().expect("it is there") };
        cluster.set(keys::FILES, &keys::file(&name()), &row);
        assert_eq!(cluster.apply(commit(writer, 4, inline())), Answer::Refused(refusal.clone()));
        assert_eq!(cluster.apply(delete(4)), Answer::Refused(refusal));
    }
}

#[test]
fn first_commit_below_the_sealed_floor_is_refused() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    cluster.set(keys::SYSTEM, keys::SEALED_FLOOR, &Epoch(4));
    assert_eq!(cluster.apply(commit(writer, 4, inline())), Answer::Refused(Refusal::BelowFloor));
    assert!(matches!(cluster.apply(commit(writer, 5, inline())), Answer::Committed { created: true, .. }));
}

#[test]
fn delete_leaves_a_tombstone_that_keeps_the_home() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    assert_eq!(cluster.apply(delete(4)), Answer::Refused(Refusal::NotFound));
    cluster.apply(commit(writer, 4, inline()));
    assert!(matches!(cluster.apply(delete(4)), Answer::Deleted { .. }));
    assert_eq!(cluster.apply(delete(4)), Answer::Refused(Refusal::NotFound));
    let row = cluster.key().expect("the home stays");
    assert_eq!((row.epoch, row.file), (Epoch(4), None));
    assert!(matches!(cluster.apply(commit(writer, 4, inline())), Answer::Committed { created: true, .. }));
}

#[test]
fn replaced_and_deleted_segments_wait_for_reclaim() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    let body = |seq| Body::Tree { root: [0; 32], chunk_shift: 16, upload: None, tail: vec![chunk(writer, seq)] };
    cluster.apply(commit(writer, 4, body(1)));
    cluster.apply(commit(writer, 4, body(2)));
    cluster.apply(delete(4));
    let queued: Vec<ReclaimRow> = cluster
        .state
        .rows
        .iter()
        .filter(|((family, _), _)| *family == keys::RECLAIM)
        .map(|(_, row)| codec::decode(row).expect("it was encoded"))
        .collect();
    assert_eq!(queued.iter().map(|row| row.segments.clone()).collect::<Vec<_>>(), [[SegmentId(2)], [SegmentId(3)]]);
}

#[test]
fn long_manifest_is_appended_segment_by_segment_within_the_row_bound() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    let full = |from: u64| (from..from + SEGMENT_CHUNKS_MAX as u64).map(|seq| chunk(writer, seq)).collect::<Vec<_>>();
    let append = |upload, chunks| Command::AppendSegment(SegmentAppend { upload, node: NodeId(1), writer, chunks });
    let Answer::Appended { upload } = cluster.apply(append(None, full(0))) else { panic!("not appended") };
    cluster.state.touched.set(0);
    assert_eq!(cluster.apply(append(Some(upload), full(1000))), Answer::Appended { upload });
    assert!(cluster.state.touched.get() <= 1024, "touched {} rows", cluster.state.touched.get());
    let body = Body::Tree { root: [0; 32], chunk_shift: 16, upload: Some(upload), tail: full(2000) };
    cluster.state.touched.set(0);
    assert!(matches!(cluster.apply(commit(writer, 4, body.clone())), Answer::Committed { .. }));
    assert!(cluster.state.touched.get() <= 1024, "touched {} rows", cluster.state.touched.get());
    let Some(Content::Trees(trees)) = cluster.key().and_then(|row| row.file).map(|file| file.content) else {
        panic!("no tree")
    };
    assert_eq!(trees[0].segments, [SegmentId(2), SegmentId(3), SegmentId(4)]);
    assert_eq!(cluster.apply(commit(writer, 4, body)), Answer::Refused(Refusal::ChunkGone), "an upload ends once");
    let short = vec![chunk(writer, 5000)];
    assert!(matches!(cluster.apply(append(None, short)), Answer::Refused(Refusal::Invalid(_))));
}

#[test]
fn upload_of_another_writer_is_not_taken() {
    let mut cluster = Cluster::default();
    let dead = cluster.writer(1);
    let chunks = (0..SEGMENT_CHUNKS_MAX as u64).map(|seq| chunk(dead, seq)).collect();
    let append = SegmentAppend { upload: None, node: NodeId(1), writer: dead, chunks };
    let Answer::Appended { upload } = cluster.apply(Command::AppendSegment(append)) else { panic!("not appended") };
    let live = cluster.writer(1);
    let body = Body::Tree { root: [0; 32], chunk_shift: 16, upload: Some(upload), tail: vec![] };
    assert_eq!(cluster.apply(commit(live, 4, body)), Answer::Refused(Refusal::ChunkGone));
}

#[test]
fn only_newer_documents_are_taken_over() {
    let mut cluster = Cluster::default();
    let documents = |revision| Documents {
        directory: Uuid::from_u128(7),
        revision,
        entries: vec![Document::Bucket { name: format!("rev{revision}").parse().expect("a good name") }],
    };
    for revision in [2, 1, 3, 2] {
        cluster.apply(Command::PutDocuments(documents(revision)));
    }
    cluster.apply(Command::PutDocuments(Documents { directory: Uuid::from_u128(8), ..documents(4) }));
    let held: Documents = get(&cluster.state, keys::SYSTEM, keys::DOCUMENTS).expect("a map").expect("there");
    assert_eq!(held, documents(3));
}

#[test]
fn another_directorys_documents_are_taken_over_only_if_it_was_made_from_this_cluster() {
    let mut cluster = Cluster::default();
    let documents =
        |directory, revision| Documents { directory: Uuid::from_u128(directory), revision, entries: Vec::new() };
    let held = |cluster: &Cluster| -> Documents {
        get(&cluster.state, keys::SYSTEM, keys::DOCUMENTS).expect("a map").expect("there")
    };
    cluster.apply(Command::PutDocuments(documents(7, 3)));
    cluster.apply(Command::PutDocuments(documents(8, 9)));
    assert_eq!(held(&cluster), documents(7, 3));
    let directory = Uuid::from_u128(8);
    cluster.apply(Command::Life(life::Command::RaiseFloor { upto: Epoch(100), directory }));
    cluster.apply(Command::PutDocuments(documents(9, 9)));
    cluster.apply(Command::PutDocuments(documents(8, 3)));
    assert_eq!(held(&cluster), documents(7, 3), "they have to be newer, so that nodes notice");
    cluster.apply(Command::PutDocuments(documents(8, 9)));
    assert_eq!(held(&cluster), documents(8, 9));
    cluster.apply(Command::PutDocuments(documents(7, 20)));
    assert_eq!(held(&cluster), documents(8, 9), "the lost directory is over");
}

#[test]
fn stored_shapes_are_pinned_by_bytes() {
    let row = KeyRow {
        epoch: Epoch(4),
        home: HomeState::Open,
        file: Some(FileRow {
            version: Version { epoch: Epoch(4), index: 300 },
            size: 3,
            etag: Etag::Root([9; 32]),
            modified_ms: 5,
            media_type: Some("t/x".to_owned()),
            content: Content::Inline(Bytes::from_static(b"abc")),
        }),
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let root = "09".repeat(32);
    assert_eq!(hex(&codec::encode(&row)), format!("0104000104ac020300{root}050103742f780003616263"));
    let command = commit(WriterId(7), 4, inline());
    assert_eq!(hex(&codec::encode(&command)), format!("01010464656d6f03612f6204000107050300{root}000003616263"));
    let id = ChunkId { writer: WriterId(7), seq: 1 };
    let segment = SegmentRow { references: 1, chunks: vec![ChunkRef { id, length: 300, cv: [1; 32] }] };
    assert_eq!(hex(&codec::encode(&segment)), format!("0101010701ac02{}", "01".repeat(32)));
    let chunk = ChunkRow { references: 1, length: 300, replicas: vec![NodeId(1), NodeId(2)] };
    assert_eq!(hex(&codec::encode(&chunk)), "0101ac02020102");
}

proptest! {
    /// Apply is pure: the same commands at the same places make the same state, whatever came of them.
    #[test]
    fn same_log_makes_the_same_state(steps in prop::collection::vec((0u8..4, 1u64..4, 1u64..4), 1..40)) {
        let run = || {
            let mut cluster = Cluster::default();
            let answers: Vec<Answer> = steps.iter().map(|(kind, writer, epoch)| cluster.apply(match kind {
                0 => Command::GrantWriter { node: NodeId(1), after: cluster.writer_of(1) },
                1 => commit(WriterId(*writer), *epoch, inline()),
                2 => delete(*epoch),
                _ => commit(WriterId(*writer), *epoch, Body::Inline(Bytes::from(vec![0; INLINE_MAX]))),
            })).collect();
            (cluster.state.rows, answers)
        };
        prop_assert_eq!(run(), run());
    }
}
