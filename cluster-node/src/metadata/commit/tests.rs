//! Changes of a part of a tree: what stays, what is counted, what is given up.

use flotilla_api::ChunkId;

use super::*;
use crate::metadata::{
    Command, SegmentAppend,
    keys::SegmentId,
    rows::{ChunkRef, ChunkRow, ReclaimRow, SEGMENT_CHUNKS_MAX, SegmentRow},
    testing::{Cluster, chunk, commit},
};

/// A file of three segments, two of them full: chunks 0 to 255, 1000 to 1255, and 2000.
fn three_segments(cluster: &mut Cluster) -> WriterId {
    let writer = cluster.writer(1);
    let upload =
        [0, 1000].into_iter().fold(None, |upload, from| Some(append(cluster, writer, upload, full(writer, from))));
    let body = Body::Tree { root: [9; 32], chunk_shift: 10, upload, tail: vec![chunk(writer, 2000)] };
    assert!(matches!(cluster.apply(commit(writer, 4, body)), Answer::Committed { .. }));
    writer
}

fn full(writer: WriterId, from: u64) -> Vec<PlacedChunk> {
    (from..from + SEGMENT_CHUNKS_MAX as u64).map(|seq| chunk(writer, seq)).collect()
}

fn append(cluster: &mut Cluster, writer: WriterId, upload: Option<u64>, chunks: Vec<PlacedChunk>) -> u64 {
    let append = SegmentAppend { upload, node: NodeId(1), writer, chunks };
    match cluster.apply(Command::AppendSegment(append)) {
        Answer::Appended { upload } => upload,
        other => panic!("{other:?}"),
    }
}

fn stored(writer: WriterId, seq: u64) -> PlacedChunk {
    PlacedChunk { replicas: Vec::new(), ..chunk(writer, seq) }
}

fn current(cluster: &Cluster) -> FileRow {
    cluster.key().and_then(|row| row.file).expect("it is there")
}

fn segments(cluster: &Cluster) -> Vec<u64> {
    match current(cluster).content {
        Content::Trees(trees) => trees[0].segments.iter().map(|id| id.0).collect(),
        Content::Inline(_) => panic!("inline"),
    }
}

fn patch(cluster: &mut Cluster, writer: WriterId, (front, back): (u32, u32), tail: Vec<PlacedChunk>) -> Answer {
    let body = Body::Patch { root: [7; 32], front, upload: None, tail, back };
    let Command::Commit(plain) = commit(writer, 4, body) else { panic!("no commit") };
    let precondition = Precondition::Version(current(cluster).version);
    cluster.apply(Command::Commit(Box::new(Commit { precondition, etag: Etag::Root([7; 32]), ..*plain })))
}

fn references(cluster: &Cluster, writer: WriterId, seq: u64) -> u32 {
    let key = ChunkId { writer, seq }.to_bytes().to_vec();
    let row: ChunkRow = get(&cluster.state, keys::CHUNKS, &key).expect("a map").expect("it is there");
    row.references
}

fn queued(cluster: &Cluster) -> Vec<Vec<SegmentId>> {
    let rows = cluster.state.rows.iter().filter(|((family, _), _)| *family == keys::RECLAIM);
    rows.map(|(_, bytes)| flotilla_api::codec::decode::<ReclaimRow>(bytes).expect("it was encoded").segments).collect()
}

#[test]
fn segments_that_stay_pass_to_the_new_version_untouched() {
    let mut cluster = Cluster::default();
    let writer = three_segments(&mut cluster);
    assert_eq!(segments(&cluster), [2, 3, 4]);
    let mut middle: Vec<PlacedChunk> =
        (1000..1000 + SEGMENT_CHUNKS_MAX as u64).map(|seq| stored(writer, seq)).collect();
    middle[17] = chunk(writer, 5000);
    cluster.state.touched.set(0);
    let answer = patch(&mut cluster, writer, (1, 1), middle);
    assert!(matches!(answer, Answer::Made { created: false, etag: Etag::Root([7, ..]), .. }), "{answer:?}");
    assert!(cluster.state.touched.get() <= 1024, "touched {} rows", cluster.state.touched.get());
    assert_eq!(segments(&cluster), [2, 5, 4]);
    assert_eq!(queued(&cluster), [[SegmentId(3)]], "only what was replaced is given up");
    for segment in [2, 4, 5] {
        let row: SegmentRow =
            get(&cluster.state, keys::SEGMENTS, &SegmentId(segment).to_bytes()).expect("a map").expect("it is there");
        assert_eq!(row.references, 1);
    }
    for (seq, count) in [(0, 1), (1000, 2), (1017, 1), (5000, 1), (1255, 2), (2000, 1)] {
        assert_eq!(references(&cluster, writer, seq), count, "chunk {seq}");
    }
}

#[test]
fn append_gives_up_nothing_but_the_last_segment() {
    let mut cluster = Cluster::default();
    let writer = three_segments(&mut cluster);
    let tail = vec![stored(writer, 2000), chunk(writer, 5000)];
    assert!(matches!(patch(&mut cluster, writer, (2, 0), tail), Answer::Made { .. }));
    assert_eq!(segments(&cluster), [2, 3, 5]);
    assert_eq!(queued(&cluster), [[SegmentId(4)]]);
    assert!(matches!(patch(&mut cluster, writer, (3, 0), vec![chunk(writer, 6000)]), Answer::Made { .. }));
    assert_eq!((segments(&cluster), queued(&cluster).len()), (vec![2, 3, 5, 6], 1), "nothing was replaced");
}

#[test]
fn refused_patches_change_nothing() {
    let mut cluster = Cluster::default();
    let writer = three_segments(&mut cluster);
    let other = WriterId(99);
    let long = PlacedChunk { chunk: ChunkRef { length: 4, ..chunk(writer, 0).chunk }, replicas: Vec::new() };
    for (kept, tail, gone) in [
        ((1, 1), vec![stored(other, 1)], true),
        ((1, 1), vec![long], true),
        ((2, 2), vec![chunk(writer, 5000)], false),
        ((u32::MAX, 1), vec![chunk(writer, 5000)], false),
    ] {
        let before = cluster.state.rows.clone();
        let answer = patch(&mut cluster, writer, kept, tail);
        let expected = matches!(answer, Answer::Refused(Refusal::ChunkGone)) == gone;
        assert!(expected && matches!(answer, Answer::Refused(_)), "{kept:?}: {answer:?}");
        assert_eq!(cluster.state.rows, before, "{kept:?}");
    }
    let body = Body::Patch { root: [7; 32], front: 0, upload: None, tail: vec![chunk(writer, 5000)], back: 0 };
    assert!(
        matches!(cluster.apply(commit(writer, 4, body)), Answer::Refused(Refusal::Invalid(_))),
        "of no known version"
    );
}
