//! One change of a part of a file: a new version that writes the chunks it touches and keeps the others.

use std::ops::Range;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::{
    budget::DOWNLOAD_BYTES,
    download::{Memory, stream_range},
    fetch::Fetcher,
    manifest::Manifest,
    open_chunk::OpenChunk,
    trace::Trace,
    upload::{BodyError, Committed, Error, Request, Uploads},
};
use crate::metadata::{
    commit::Body as CommitBody,
    rows::{Content, FileRow, SEGMENT_CHUNKS_MAX, SEGMENTS_MAX, Tree},
};

/// Which parts of a tree stay when a range of its bytes is written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    /// Whole segments that stay at the front.
    front: usize,
    /// Stored chunks behind them that go into new segments, by their place in the tree.
    before: Range<usize>,
    /// Bytes that are read back in front of the new ones.
    prefix: Range<u64>,
    /// Bytes that are read back behind the new ones.
    suffix: Range<u64>,
    /// Stored chunks behind the new ones that go into new segments.
    behind: Range<usize>,
    /// Whole segments that stay at the back.
    back: usize,
}

/// Plans the change of `range` in a tree; the range begins at the tree's end or before it.
fn plan(tree: &Tree, range: &Range<u64>) -> Plan {
    let chunk_size = 1u64 << tree.chunk_shift;
    let ordinal = |at: u64| usize::try_from(at / chunk_size).expect("a manifest has at most 262,144 chunks");
    let per_segment = SEGMENT_CHUNKS_MAX;
    let count = ordinal(tree.length.div_ceil(chunk_size) * chunk_size);
    let first = ordinal(range.start);
    let after = ordinal(range.end.div_ceil(chunk_size) * chunk_size);
    let front = first / per_segment;
    let boundary = after.div_ceil(per_segment) * per_segment;
    let stays = (boundary < count).then(|| boundary / per_segment);
    Plan {
        front,
        before: front * per_segment..first,
        prefix: first as u64 * chunk_size..range.start,
        suffix: range.end..tree.length.min(after as u64 * chunk_size).max(range.end),
        behind: after.min(count)..boundary.min(count),
        back: stays.map_or(0, |segment| tree.segments.len() - segment),
    }
}

impl Uploads {
    /// Writes `length` bytes of a version anew, from `start` on, and makes the result current if that version still is.
    ///
    /// # Durability
    /// As [`Uploads::put`].
    ///
    /// # Errors
    /// As [`Uploads::put`]; [`crate::metadata::Refusal::Changed`] if there is another version by now.
    ///
    /// # Cancel safety
    /// As [`Uploads::put`].
    pub async fn patch<S>(
        &self,
        fetcher: &Fetcher,
        request: Request,
        base: FileRow,
        (start, length): (u64, u64),
        body: S,
    ) -> Result<Committed, Error>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static,
    {
        let end = start + length;
        let body = exactly(body, length);
        match &base.content {
            Content::Inline(bytes) => {
                let kept = |range: Range<u64>| {
                    let part = bytes.slice(range.start as usize..range.end as usize);
                    stream::iter((!part.is_empty()).then_some(Ok(part)))
                };
                let (prefix, suffix) = (kept(0..start), kept(end.min(base.size)..base.size));
                self.put(request, Box::pin(prefix.chain(body).chain(suffix))).await
            }
            Content::Trees(trees) => match trees.as_slice() {
                [tree] => self.patch_tree(fetcher, request, &base, tree, start..end, body).await,
                _ => Err(Error::Internal("a file of several trees can't be changed in part".into())),
            },
        }
    }

    async fn patch_tree<S>(
        &self,
        fetcher: &Fetcher,
        request: Request,
        base: &FileRow,
        tree: &Tree,
        range: Range<u64>,
        body: S,
    ) -> Result<Committed, Error>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send,
    {
        let metadata = &self.parts().metadata;
        let size = base.size.max(range.end);
        let chunk_size = 1u64 << tree.chunk_shift;
        let max_bytes = (SEGMENTS_MAX * SEGMENT_CHUNKS_MAX) as u64 * chunk_size;
        if size > max_bytes {
            return Err(Error::TooLarge { max_bytes });
        }
        let _held = self.parts().budget.acquire_to_change(DOWNLOAD_BYTES).await.ok_or(Error::Busy)?;
        let plan = plan(tree, &range);
        let trace = self.trace();
        let mut manifest = Manifest::new(self.clone(), trace.clone());
        for id in &tree.segments[..plan.front] {
            metadata.segment(*id)?.iter().for_each(|chunk| manifest.pass(chunk));
        }
        self.push_stored(&mut manifest, tree, plan.before.clone()).await?;
        let read = |range: Range<u64>| {
            let memory = Memory::held_by_caller();
            stream_range(metadata.clone(), fetcher.clone(), base.clone(), range, memory).map_err(Error::Read)
        };
        let bytes = read(plan.prefix).chain(body.map_err(Error::Body)).chain(read(plan.suffix));
        self.fill(&mut manifest, &trace, (chunk_size, size), Box::pin(bytes)).await?;
        self.push_stored(&mut manifest, tree, plan.behind.clone()).await?;
        for id in &tree.segments[tree.segments.len() - plan.back..] {
            metadata.segment(*id)?.iter().for_each(|chunk| manifest.pass(chunk));
        }
        let (root, body) = manifest.finish().await?;
        let CommitBody::Tree { upload, tail, .. } = body else {
            return Err(Error::Internal("a manifest ended as something else than a tree".into()));
        };
        let few = |count: usize| u32::try_from(count).expect("a manifest has at most 1,024 segments");
        let body = CommitBody::Patch { root, front: few(plan.front), upload, tail, back: few(plan.back) };
        flotilla_env::failpoint!("gateway.before_commit", |_| Err(Error::Metadata(
            flotilla_raft_store::Error::NoLeader.into()
        )));
        self.commit(request, size, root, body, &trace).await
    }

    /// Takes stored chunks, all of one segment, into the new part.
    async fn push_stored(&self, manifest: &mut Manifest, tree: &Tree, places: Range<usize>) -> Result<(), Error> {
        let Some(id) = tree.segments.get(places.start / SEGMENT_CHUNKS_MAX).filter(|_| !places.is_empty()) else {
            return Ok(());
        };
        let first = places.start / SEGMENT_CHUNKS_MAX * SEGMENT_CHUNKS_MAX;
        let chunks = self.parts().metadata.segment(*id)?;
        for place in places {
            let chunk = chunks.get(place - first).copied();
            manifest.push_stored(chunk.ok_or_else(|| Error::Internal("a segment is too short".into()))?).await?;
        }
        Ok(())
    }

    /// Cuts bytes into chunks of a file that has `size` bytes in the end.
    async fn fill<S>(
        &self,
        manifest: &mut Manifest,
        trace: &Trace,
        (chunk_size, size): (u64, u64),
        mut bytes: S,
    ) -> Result<(), Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + Unpin,
    {
        let mut open: Option<OpenChunk> = None;
        while let Some(frame) = bytes.next().await {
            let mut frame = frame?;
            while !frame.is_empty() {
                let mut chunk = match open.take() {
                    Some(chunk) => chunk,
                    None => {
                        let offset = manifest.length();
                        OpenChunk::begin(self, trace, offset, (size - offset).min(chunk_size)).await?
                    }
                };
                let room = usize::try_from(chunk_size - chunk.length()).unwrap_or(usize::MAX);
                chunk.write(frame.split_to(frame.len().min(room))).await?;
                match chunk.length() == chunk_size {
                    true => manifest.push(chunk).await?,
                    false => open = Some(chunk),
                }
            }
        }
        match open {
            Some(chunk) => manifest.push(chunk).await,
            None => Ok(()),
        }
    }
}

/// Passes a body on and fails it where it has more or fewer bytes than announced: what is kept behind it would move.
fn exactly<S>(body: S, length: u64) -> impl Stream<Item = Result<Bytes, BodyError>> + Send
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
{
    stream::unfold(Some((body, length)), |state| async move {
        let (mut body, left) = state?;
        match body.next().await {
            None if left == 0 => None,
            None => Some((Err("the body has fewer bytes than announced".into()), None)),
            Some(Err(error)) => Some((Err(error), None)),
            Some(Ok(bytes)) => match left.checked_sub(bytes.len() as u64) {
                Some(left) => Some((Ok(bytes), Some((body, left)))),
                None => Some((Err("the body has more bytes than announced".into()), None)),
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::keys::SegmentId;

    fn tree(chunks: u64, last: u64) -> Tree {
        let segments = (0..chunks.div_ceil(SEGMENT_CHUNKS_MAX as u64)).map(SegmentId).collect();
        Tree { length: (chunks - 1) * 1024 + last, root: [0; 32], chunk_shift: 10, segments }
    }

    #[test]
    fn every_byte_and_chunk_is_kept_read_back_or_new_exactly_once() {
        for (chunks, last) in [(1, 1), (1, 1024), (2, 7), (256, 1024), (257, 5), (700, 1024), (1024, 9)] {
            let tree = tree(chunks, last);
            for start in [0, 1, 1023, 1024, 5000, 256 * 1024, 300 * 1024 + 1, tree.length - 1, tree.length] {
                for length in [1, 1023, 1024, 1025, 70_000, 256 * 1024, 600 * 1024] {
                    if start > tree.length {
                        continue;
                    }
                    check(&tree, start..start + length);
                }
            }
        }
    }

    fn check(tree: &Tree, range: Range<u64>) {
        let plan = plan(tree, &range);
        let what = format!("{} bytes, {range:?}: {plan:?}", tree.length);
        let size = tree.length.max(range.end);
        let count = tree.length.div_ceil(1024) as usize;
        assert_eq!(plan.before.start, plan.front * SEGMENT_CHUNKS_MAX, "{what}");
        assert_eq!(plan.before.end as u64 * 1024, plan.prefix.start, "{what}");
        assert_eq!((plan.prefix.end, plan.suffix.start), (range.start, range.end), "{what}");
        assert!(plan.prefix.end - plan.prefix.start < 1024 && plan.suffix.end - plan.suffix.start < 1024, "{what}");
        // What is written ends where a chunk ends, or the file.
        assert!(plan.suffix.end.is_multiple_of(1024) || plan.suffix.end == size, "{what}");
        if plan.suffix.end < tree.length {
            assert_eq!(plan.behind.start as u64 * 1024, plan.suffix.end, "{what}");
            let kept = plan.behind.end + plan.back * SEGMENT_CHUNKS_MAX;
            assert!(kept >= count && kept - count < SEGMENT_CHUNKS_MAX, "{what}");
            assert!(plan.back == 0 || plan.behind.end.is_multiple_of(SEGMENT_CHUNKS_MAX), "{what}");
        } else {
            assert_eq!((plan.behind.len(), plan.back), (0, 0), "{what}");
        }
    }

    #[tokio::test]
    async fn body_of_another_length_fails() {
        for (length, fails) in [(5, true), (6, false), (7, true)] {
            let body = stream::iter([Ok(Bytes::from_static(b"abc")), Ok(Bytes::from_static(b"def"))]);
            let passed: Result<Vec<Bytes>, _> = Box::pin(exactly(body, length)).try_collect().await;
            assert_eq!(passed.is_err(), fails, "{length}");
        }
    }
}
