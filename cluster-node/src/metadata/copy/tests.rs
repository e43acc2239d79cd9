//! Copy and move, rule by rule, on a map.

use flotilla_api::{NodeId, WriterId, codec};

use super::*;
use crate::metadata::{
    Command, SegmentAppend,
    commit::Body,
    keys::SegmentId,
    precondition::Etags,
    rows::{Etag, ReclaimRow, SEGMENT_CHUNKS_MAX},
    testing::{Cluster, chunk, commit, delete, inline, name},
};

fn target() -> FileName {
    FileName { bucket: "demo".parse().expect("a good name"), key: "copy".parse().expect("a good key") }
}

fn copy(moves: bool) -> Copy {
    Copy {
        from: name(),
        from_precondition: Precondition::Always,
        moves,
        to: target(),
        epoch: Epoch(7),
        precondition: Precondition::Always,
        now_ms: 6,
    }
}

fn make(cluster: &mut Cluster, copy: Copy) -> Answer {
    cluster.apply(Command::Copy(Box::new(copy)))
}

fn row(cluster: &Cluster, name: &FileName) -> Option<KeyRow> {
    cluster.state.rows.get(&(keys::FILES, keys::file(name))).map(|bytes| codec::decode(bytes).expect("it was encoded"))
}

fn references(cluster: &Cluster, id: u64) -> u32 {
    let bytes = &cluster.state.rows[&(keys::SEGMENTS, SegmentId(id).to_bytes())];
    codec::decode::<SegmentRow>(bytes).expect("it was encoded").references
}

fn tree(writer: WriterId) -> Body {
    Body::Tree { root: [9; 32], chunk_shift: 16, upload: None, tail: vec![chunk(writer, 1)] }
}

#[test]
fn copy_shares_the_segments_and_counts_them() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    cluster.apply(commit(writer, 4, tree(writer)));
    let answer = make(&mut cluster, copy(false));
    let version = Version { epoch: Epoch(7), index: 3 };
    assert_eq!(answer, Answer::Made { version, created: true, size: 3, etag: Etag::Root([9; 32]) });
    assert_eq!(references(&cluster, 2), 2);
    let (from, to) = (row(&cluster, &name()), row(&cluster, &target()));
    let (from, to) = (from.and_then(|row| row.file), to.and_then(|row| row.file));
    let (from, to) = (from.expect("the source stays"), to.expect("it was made"));
    assert_eq!((&to.content, &to.etag, to.modified_ms), (&from.content, &from.etag, 6));
    cluster.apply(delete(4));
    assert!(row(&cluster, &target()).is_some_and(|row| row.file.is_some()), "a copy outlives its source");
}

#[test]
fn move_hands_the_segments_over_and_leaves_a_tombstone() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    cluster.apply(commit(writer, 4, tree(writer)));
    assert!(matches!(make(&mut cluster, copy(true)), Answer::Made { created: true, .. }));
    assert_eq!(references(&cluster, 2), 1);
    let from = row(&cluster, &name()).expect("the home stays");
    assert_eq!((from.epoch, from.home, from.file), (Epoch(4), HomeState::Open, None));
    assert!(!cluster.state.rows.keys().any(|(family, _)| *family == keys::RECLAIM), "nothing was given up");
    assert_eq!(make(&mut cluster, copy(true)), Answer::Refused(Refusal::NotFound));
}

#[test]
fn replaced_target_waits_for_reclaim() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    cluster.apply(commit(writer, 4, tree(writer)));
    make(&mut cluster, copy(false));
    cluster.apply(commit(writer, 4, inline()));
    assert!(matches!(make(&mut cluster, copy(false)), Answer::Made { created: false, .. }));
    let queued = cluster.state.rows.iter().filter(|((family, _), _)| *family == keys::RECLAIM);
    let queued: Vec<ReclaimRow> = queued.map(|(_, bytes)| codec::decode(bytes).expect("it was encoded")).collect();
    assert_eq!(queued.len(), 2, "one reference of the replaced source, one of the replaced copy: {queued:?}");
    assert_eq!(references(&cluster, 2), 2, "counted down only when the queue is worked off");
}

#[test]
fn preconditions_of_both_ends_are_decided_in_apply() {
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    cluster.apply(commit(writer, 4, inline()));
    let held = Etag::Root([9; 32]);
    let asks = |matches, differs| Precondition::Etags { matches, differs };
    let other = || asks(Some(Etags::These(vec![Etag::Root([1; 32])])), None);
    let absent = || asks(None, Some(Etags::Any));
    for moves in [false, true] {
        let refusals = [
            (Copy { from_precondition: other(), ..copy(moves) }, Refusal::SourceChanged(held.clone())),
            (Copy { precondition: asks(Some(Etags::Any), None), ..copy(moves) }, Refusal::PreconditionFailed(None)),
            (Copy { from: target(), to: name(), epoch: Epoch(4), ..copy(moves) }, Refusal::NotFound),
        ];
        for (copy, refusal) in refusals {
            let before = cluster.state.rows.clone();
            assert_eq!(make(&mut cluster, copy), Answer::Refused(refusal));
            assert_eq!(cluster.state.rows, before, "a refused copy changes nothing");
        }
    }
    assert!(matches!(make(&mut cluster, Copy { precondition: absent(), ..copy(false) }), Answer::Made { .. }));
    let again = make(&mut cluster, Copy { precondition: absent(), ..copy(true) });
    assert_eq!(again, Answer::Refused(Refusal::PreconditionFailed(Some(held))));
    let itself = Copy { to: name(), epoch: Epoch(4), ..copy(true) };
    assert!(matches!(make(&mut cluster, itself), Answer::Refused(Refusal::Invalid(_))));
    assert!(row(&cluster, &name()).is_some_and(|row| row.file.is_some()), "a refused move leaves its source");
}

#[test]
fn homes_of_both_ends_are_asked() {
    for (home, moves, allowed) in [
        (HomeState::Open, true, true),
        (HomeState::Sealed, false, true),
        (HomeState::Sealed, true, false),
        (HomeState::Closed, false, false),
    ] {
        let mut cluster = Cluster::default();
        let writer = cluster.writer(1);
        cluster.apply(commit(writer, 4, inline()));
        let sealed = KeyRow { home, ..cluster.key().expect("it is there") };
        cluster.set(keys::FILES, &keys::file(&name()), &sealed);
        let answer = make(&mut cluster, copy(moves));
        assert_eq!(matches!(answer, Answer::Made { .. }), allowed, "{home:?} {moves}: {answer:?}");
    }
    let mut cluster = Cluster::default();
    let writer = cluster.writer(1);
    cluster.apply(commit(writer, 4, inline()));
    make(&mut cluster, copy(false));
    assert_eq!(make(&mut cluster, Copy { epoch: Epoch(8), ..copy(false) }), Answer::Refused(Refusal::WrongHome));
}

#[test]
fn longest_copy_stays_within_the_row_bound_and_a_longer_one_is_refused() {
    for (segments, allowed) in [(COPY_SEGMENTS_MAX, true), (COPY_SEGMENTS_MAX + 1, false)] {
        let mut cluster = Cluster::default();
        let writer = cluster.writer(1);
        let mut upload = None;
        for segment in 1..segments as u64 {
            let from = segment * 1000;
            let chunks = (from..from + SEGMENT_CHUNKS_MAX as u64).map(|seq| chunk(writer, seq)).collect();
            let append = SegmentAppend { upload, node: NodeId(1), writer, chunks };
            let Answer::Appended { upload: id } = cluster.apply(Command::AppendSegment(append)) else {
                panic!("refused")
            };
            upload = Some(id);
        }
        let body = Body::Tree { root: [9; 32], chunk_shift: 16, upload, tail: vec![chunk(writer, 1)] };
        cluster.apply(commit(writer, 4, body));
        cluster.state.touched.set(0);
        let answer = make(&mut cluster, copy(false));
        assert_eq!(matches!(answer, Answer::Made { .. }), allowed, "{segments}: {answer:?}");
        assert!(cluster.state.touched.get() <= 1024, "touched {} rows", cluster.state.touched.get());
        cluster.state.touched.set(0);
        assert!(matches!(make(&mut cluster, copy(true)), Answer::Made { .. }), "a move has no such bound");
        assert!(cluster.state.touched.get() <= 16, "touched {} rows", cluster.state.touched.get());
    }
}
