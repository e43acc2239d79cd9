//! A walk over all chunks that files name, which finds those with too few copies and those with a copy too many. Pure.
//!
//! What it finds is a hint: it is as old as the walk, and the rules look again.

use std::collections::HashSet;

use flotilla_api::{ChunkId, NodeId, codec};
use flotilla_kv::View;

use super::{balance::Moves, fleet::Fleet};
use crate::metadata::{
    keys,
    life::queues::Error,
    rows::{ChunkRef, ChunkRow, SegmentRow},
};

/// The most chunks that are kept per number of copies; those beyond are found by the next survey.
pub const KEPT_MAX: usize = 16_384;
/// Segments per page: at most 16,384 chunks, usually far fewer.
pub const PAGE: usize = 64;

/// A chunk with fewer or more copies than it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The chunk.
    pub chunk: ChunkRef,
    /// Who is named as a holder, whatever their state.
    pub holders: Vec<NodeId>,
    /// Where its next copy has to go; the best node if none.
    pub to: Option<NodeId>,
}

/// How many chunks stand how; a chunk that several segments name counts as often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All.
    pub chunks: u64,
    /// Those with fewer copies than wanted, of which one can be read.
    pub short: u64,
    /// Those of which no copy can be read now.
    pub missing: u64,
    /// Those with a copy too many, or one that does not count and never will.
    pub surplus: u64,
}

/// What a survey has found so far.
#[derive(Debug, Default)]
pub struct Survey {
    from: Vec<u8>,
    seen: HashSet<ChunkId>,
    /// Chunks with one copy less than wanted last, those with fewer before them.
    short: Vec<Vec<Found>>,
    surplus: Vec<Found>,
    /// What is still to be moved, and the chunks that were chosen for it.
    moves: Moves,
    moved: Vec<Found>,
    counts: Counts,
}

impl Survey {
    /// Begins a survey that passes by the chunks of `planned`, which tasks are about already, and looks for some to move.
    pub fn new(planned: HashSet<ChunkId>, moves: Moves) -> Self {
        Self { seen: planned, moves, ..Self::default() }
    }

    /// Walks over the next page; false at the end.
    ///
    /// # Errors
    /// [`Error`]; trying again does not help.
    pub fn page(&mut self, view: &dyn View, fleet: &Fleet, wanted: usize) -> Result<bool, Error> {
        let rows = view.scan(keys::SEGMENTS, &self.from, None, PAGE)?;
        let Some((last, _)) = rows.last() else { return Ok(false) };
        self.from = [last.as_slice(), &[0]].concat();
        let mut chunks: Vec<ChunkRef> = Vec::new();
        for (_, bytes) in &rows {
            chunks.extend(codec::decode::<SegmentRow>(bytes)?.chunks);
        }
        let ids: Vec<Vec<u8>> = chunks.iter().map(|chunk| chunk.id.to_bytes().to_vec()).collect();
        for (chunk, row) in chunks.into_iter().zip(view.get_many(keys::CHUNKS, &ids)?) {
            if let Some(row) = row {
                self.take(chunk, codec::decode(&row)?, fleet, wanted);
            }
        }
        Ok(rows.len() == PAGE)
    }

    fn take(&mut self, chunk: ChunkRef, row: ChunkRow, fleet: &Fleet, wanted: usize) {
        self.counts.chunks += 1;
        let holders = row.replicas;
        let counted = holders.iter().filter(|node| fleet.counts(chunk.id, **node)).count();
        let gives = holders.iter().any(|node| fleet.gives(chunk.id, *node));
        let useless = |node: &NodeId| fleet.is_useless(chunk.id, *node);
        // Of a chunk that is short a damaged copy goes as soon as another one gives: it may hold the only free place.
        let damaged = holders.iter().any(|node| fleet.is_corrupt(chunk.id, *node));
        if gives && (counted > wanted || (counted == wanted && holders.iter().any(useless)) || damaged) {
            self.counts.surplus += 1;
            if self.surplus.len() < KEPT_MAX {
                self.surplus.push(Found { chunk, holders: holders.clone(), to: None });
            }
        }
        if !gives {
            self.counts.missing += 1;
            return;
        }
        if counted >= wanted {
            if counted == holders.len() && counted == wanted && !self.seen.contains(&chunk.id) {
                let fits = |to, from| fleet.can_replace(&holders, from, to);
                if let to @ Some(_) = self.moves.take(chunk.length.into(), &holders, fits) {
                    self.seen.insert(chunk.id);
                    self.moved.push(Found { chunk, holders, to });
                }
            }
            return;
        }
        self.counts.short += 1;
        if self.short.len() <= counted {
            self.short.resize_with(counted + 1, Vec::new);
        }
        if self.short[counted].len() < KEPT_MAX && self.seen.insert(chunk.id) {
            self.short[counted].push(Found { chunk, holders, to: None });
        }
    }

    /// Ends the survey: chunks that are short, fewest copies first, those with a copy too many, and how many of each there are.
    /// Only if nothing is short or too many, those that should move are given as short.
    pub fn finish(self) -> (Vec<Found>, Vec<Found>, Counts) {
        let short: Vec<Found> = self.short.into_iter().flatten().collect();
        let whole = self.counts.short + self.counts.surplus == 0;
        (if whole { self.moved } else { short }, self.surplus, self.counts)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flotilla_api::WriterId;
    use flotilla_kv::{Batch, Kv as _, MemKv};

    use super::*;
    use crate::repair::balance::Load;
    use crate::{board::Known, placement::Candidate};

    fn fleet(up: &[u64], corrupt: Vec<(ChunkId, NodeId)>) -> Fleet {
        fleet_with(up, corrupt, &[])
    }

    fn fleet_with(up: &[u64], corrupt: Vec<(ChunkId, NodeId)>, draining: &[u64]) -> Fleet {
        let known = |id: &u64| Known {
            candidate: Candidate { node: NodeId(*id), zone: None, stats: Default::default(), reserved_bytes: 0 },
            silent_for: Duration::ZERO,
        };
        let led_for = Duration::from_secs(99);
        let draining = draining.iter().copied().map(NodeId).collect();
        Fleet::new(
            (1..=4).map(NodeId),
            up.iter().map(known).collect(),
            led_for,
            Duration::from_secs(9),
            corrupt,
            draining,
        )
    }

    fn chunk(seq: u64) -> ChunkRef {
        ChunkRef { id: ChunkId { writer: WriterId(1), seq }, length: 3, cv: [1; 32] }
    }

    /// Every chunk with its holders, in segments of two.
    fn store(chunks: &[(u64, &[u64])]) -> MemKv {
        let kv = MemKv::inline(keys::FAMILIES);
        let mut batch = Batch::default();
        for (number, pair) in (1_u64..).zip(chunks.chunks(2)) {
            let row = SegmentRow { references: 1, chunks: pair.iter().map(|(seq, _)| chunk(*seq)).collect() };
            batch.put(keys::SEGMENTS, number.to_be_bytes(), codec::encode(&row));
        }
        for (seq, holders) in chunks {
            let replicas = holders.iter().copied().map(NodeId).collect();
            let row = ChunkRow { references: 1, length: 3, replicas };
            batch.put(keys::CHUNKS, chunk(*seq).id.to_bytes(), codec::encode(&row));
        }
        kv.write(batch).expect("in memory");
        kv
    }

    fn walk(kv: &MemKv, fleet: &Fleet, wanted: usize, planned: &[u64]) -> (Vec<u64>, Vec<u64>, Counts) {
        walk_with(kv, fleet, wanted, planned, Moves::default())
    }

    fn walk_with(
        kv: &MemKv,
        fleet: &Fleet,
        wanted: usize,
        planned: &[u64],
        moves: Moves,
    ) -> (Vec<u64>, Vec<u64>, Counts) {
        let mut survey = Survey::new(planned.iter().map(|seq| chunk(*seq).id).collect(), moves);
        while survey.page(kv, fleet, wanted).expect("in memory") {}
        let (short, surplus, counts) = survey.finish();
        let short = short.into_iter().map(|found| found.chunk.id.seq).collect();
        (short, surplus.into_iter().map(|found| found.chunk.id.seq).collect(), counts)
    }

    #[test]
    fn chunks_with_the_fewest_copies_come_first() {
        let kv = store(&[(1, &[1, 2, 3]), (2, &[1, 2, 4]), (3, &[1, 4]), (4, &[4]), (5, &[2, 3]), (6, &[1])]);
        let (short, surplus, counts) = walk(&kv, &fleet(&[1, 2, 3], Vec::new()), 3, &[]);
        assert_eq!((short, surplus), (vec![3, 6, 2, 5], vec![]));
        assert_eq!(counts, Counts { chunks: 6, short: 4, missing: 1, surplus: 0 });
        let (short, ..) = walk(&kv, &fleet(&[1, 2, 3], Vec::new()), 3, &[6, 5]);
        assert_eq!(short, [3, 2], "tasks are about the others");
    }

    #[test]
    fn a_copy_too_many_is_one_beyond_those_that_count() {
        // Node 9 is no member, node 4 is down.
        let kv = store(&[(1, &[1, 2, 3]), (2, &[1, 2, 4]), (3, &[1, 2, 9]), (4, &[1, 9]), (5, &[1, 2, 3])]);
        let damaged = vec![(chunk(5).id, NodeId(3))];
        let (short, surplus, _) = walk(&kv, &fleet(&[1, 2, 3], damaged), 2, &[]);
        assert_eq!((short, surplus), (vec![4], vec![1, 3, 5]), "what node 4 has may count again");
    }

    #[test]
    fn a_draining_node_gives_and_does_not_count() {
        let kv = store(&[(1, &[1, 2]), (2, &[2, 3]), (3, &[1, 2, 3]), (4, &[3])]);
        let (short, surplus, counts) = walk(&kv, &fleet_with(&[1, 2, 3], Vec::new(), &[3]), 2, &[]);
        assert_eq!((short, surplus), (vec![4, 2], vec![3]));
        assert_eq!(counts.missing, 0, "node 3 gives");
    }

    #[test]
    fn chunks_move_to_an_empty_node_only_when_nothing_else_is_to_be_done() {
        let load = |node, used| Load { node: NodeId(node), used, free: 1 << 30 };
        let moves = || Moves::new(&[load(1, 1 << 30), load(2, 1 << 30), load(3, 0)]);
        let all: &[(u64, &[u64])] = &[(1, &[1, 2]), (2, &[1, 3]), (3, &[2]), (4, &[1, 2])];
        let up = fleet(&[1, 2, 3], Vec::new());
        let (short, ..) = walk_with(&store(all), &up, 2, &[], moves());
        assert_eq!(short, [3], "a copy is missing");
        let whole: &[(u64, &[u64])] = &[(1, &[1, 2]), (2, &[1, 3]), (4, &[1, 2]), (4, &[1, 2])];
        let (moved, _, counts) = walk_with(&store(whole), &up, 2, &[], moves());
        assert_eq!((moved, counts.short), (vec![1, 4], 0), "each once, and none that is there");
        let (moved, ..) = walk_with(&store(whole), &up, 2, &[4], moves());
        assert_eq!(moved, [1], "a task is about the other");
    }

    #[test]
    fn a_damaged_copy_goes_also_while_the_chunk_is_short() {
        let kv = store(&[(1, &[1, 2])]);
        let (short, surplus, _) = walk(&kv, &fleet(&[1, 2], vec![(chunk(1).id, NodeId(2))]), 2, &[]);
        assert_eq!((short, surplus), (vec![1], vec![1]));
        let both = vec![(chunk(1).id, NodeId(1)), (chunk(1).id, NodeId(2))];
        let (short, surplus, counts) = walk(&kv, &fleet(&[1, 2], both), 2, &[]);
        assert_eq!((short, surplus, counts.missing), (vec![], vec![], 1), "nothing is thrown away of what is left");
    }
}
