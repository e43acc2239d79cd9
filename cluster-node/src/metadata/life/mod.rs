//! The rules of what ends: the cluster clock, replaced versions, chunks that nothing names, homes without a file. Pure.
//!
//! Every rule is bounded in rows and says whether there is more to do; whoever proposes it comes again.

pub mod clock;
pub mod homes;
pub mod purge;
pub mod queues;
pub mod reclaim;

use flotilla_api::{ChunkId, Epoch, FileName, NodeId, WriterId};
use flotilla_raft_store::{Fault, Position, Txn};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A change of the life cycle. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Moves the cluster clock on, if it still stands at `from_ms`.
    Tick {
        /// Where the proposer saw it.
        from_ms: u64,
        /// Where it goes; at most [`clock::TICK_MAX_MS`] further.
        to_ms: u64,
    },
    /// Releases versions that were replaced or deleted at or before a time of the cluster clock.
    Reclaim {
        /// That time, in milliseconds.
        upto_ms: u64,
    },
    /// Ends uploads whose writer is retired.
    EndUploads {
        /// The uploads; at most [`reclaim::UPLOADS_MAX`] are looked at.
        uploads: Vec<u64>,
    },
    /// A live writer gives up chunks that it will never name.
    Release {
        /// The writer's node.
        node: NodeId,
        /// The writer.
        writer: WriterId,
        /// The upload that held some of them.
        upload: Option<u64>,
        /// The chunks and the nodes that may have a copy; at most [`purge::IDS_MAX`] are looked at.
        chunks: Vec<(ChunkId, Vec<NodeId>)>,
    },
    /// The first step of a purge: marks chunks that are garbage, so that their holders unlink them.
    Purge {
        /// The chunks; at most [`purge::IDS_MAX`] are looked at.
        ids: Vec<ChunkId>,
        /// A node that found copies on its disk which no metadata names.
        holder: Option<NodeId>,
    },
    /// The second step: a node has unlinked its copies, or is no member any more.
    Unlinked {
        /// The node.
        node: NodeId,
        /// The chunks, each with the place in the log at which the node was told; at most [`purge::IDS_MAX`] are looked at.
        ids: Vec<(ChunkId, u64)>,
    },
    /// Closes homes that lost their file at or before a time of the cluster clock and did not get another one.
    CloseIdle {
        /// That time, in milliseconds.
        upto_ms: u64,
    },
    /// Closes a home that was granted and never used.
    Close {
        /// The key.
        name: FileName,
        /// The epoch of the grant.
        epoch: Epoch,
    },
    /// The directory has let go of closed homes; their records are dropped in the order of their epochs.
    Released {
        /// The homes' epochs; at most [`homes::RELEASED_MAX`] are looked at.
        epochs: Vec<Epoch>,
    },
    /// All uploads of a live writer that began below a seq have ended: of the chunks below it, those that nothing names never are.
    Settle {
        /// The writer's node.
        node: NodeId,
        /// The writer.
        writer: WriterId,
        /// The seq.
        below: u64,
    },
    /// The directory is lost and made anew: no first commit is made any more under what it can have granted.
    RaiseFloor {
        /// Up to which epoch.
        upto: Epoch,
        /// The directory that is made anew, whose documents are taken over from then on.
        directory: Uuid,
    },
}

/// What a command of the life cycle did. Kept for retries: variants are only added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// How much was done, and whether there is more of the same.
    Done {
        /// Segments, uploads, chunks or homes that changed.
        count: u32,
        /// Whether the bound on rows ended the work.
        more: bool,
    },
    /// The home is closed: nothing can be committed under this epoch.
    Closed,
    /// The home has a file, or had one lately.
    InUse,
    /// The state is no longer what the proposer saw.
    Passed,
}

/// Applies a command.
pub fn apply(state: &mut dyn Txn, command: Command, at: Position) -> Result<Answer, Fault> {
    match command {
        Command::Tick { from_ms, to_ms } => clock::tick(state, from_ms, to_ms),
        Command::Reclaim { upto_ms } => reclaim::reclaim(state, upto_ms),
        Command::EndUploads { uploads } => reclaim::end_uploads(state, &uploads, at),
        Command::Release { node, writer, upload, chunks } => purge::release(state, node, writer, upload, chunks, at),
        Command::Purge { ids, holder } => purge::purge(state, &ids, holder, at),
        Command::Unlinked { node, ids } => purge::unlinked(state, node, &ids),
        Command::CloseIdle { upto_ms } => homes::close_idle(state, upto_ms),
        Command::Close { name, epoch } => homes::close(state, &name, epoch),
        Command::Released { epochs } => homes::released(state, &epochs),
        Command::Settle { node, writer, below } => purge::settle(state, node, writer, below),
        Command::RaiseFloor { upto, directory } => homes::raise_floor(state, upto, directory),
    }
}

fn done(count: usize, more: bool) -> Answer {
    Answer::Done { count: u32::try_from(count).unwrap_or(u32::MAX), more }
}

#[cfg(test)]
mod tests;
