//! The list of all failpoints: `cargo xtask tidy` holds it against the places in the sources.

/// What a place takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A crash and waits.
    Pass,
    /// These, and a return: the error of that place, or what its line says.
    Return,
    /// A return alone, which is a planted fault: a check finds it, or shows what makes up for it.
    Planted,
}

/// A failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: Use,
    /// Where it stands.
    pub place: &'static str,
}

impl Point {
    /// Gives the tasks that make sense there.
    #[must_use]
    pub fn actions(&self) -> &'static [&'static str] {
        match self.takes {
            Use::Pass => &["panic", "sleep"],
            Use::Return => &["panic", "sleep", "return"],
            Use::Planted => &["return"],
        }
    }
}

const fn pass(name: &'static str, place: &'static str) -> Point {
    Point { name, takes: Use::Pass, place }
}

const fn fail(name: &'static str, place: &'static str) -> Point {
    Point { name, takes: Use::Return, place }
}

const fn planted(name: &'static str, place: &'static str) -> Point {
    Point { name, takes: Use::Planted, place }
}

/// All failpoints, by area.
pub const POINTS: &[Point] = &[
    fail("raft.before_vote", "before a vote is written"),
    fail("raft.vote_written", "a vote is written and not synced"),
    fail("raft.after_vote", "a vote is synced, before anybody is told"),
    fail("raft.before_append", "before entries are written to the log"),
    fail("raft.append_written", "entries are written to the log, before their sync is asked for"),
    pass("raft.after_append", "entries are synced, before Raft is told"),
    fail("raft.before_truncate", "before conflicting entries are removed from the log"),
    fail("raft.after_truncate", "conflicting entries are removed, unsynced, before what is known of the log follows"),
    fail("raft.before_purge", "before the mark of a purge of the log"),
    fail("raft.purge_marked", "the mark of a purge of the log is synced, before entries go"),
    fail("raft.after_purge", "purged entries are gone"),
    fail("raft.before_apply", "before a batch of entries is applied"),
    fail("raft.after_apply", "a batch is applied, before anybody is answered"),
    planted("raft.read_index", "a leader answers reads without asking a quorum whether it still leads"),
    fail("snapshot.before_build", "before the applied state is synced for a snapshot"),
    fail("snapshot.machine_synced", "the applied state is synced, before a snapshot's parts are written"),
    fail("snapshot.part_written", "a part of a snapshot is written and synced"),
    fail("snapshot.before_seal", "all parts are synced, before the manifest that makes a snapshot whole"),
    fail("snapshot.after_build", "a snapshot is current, before older ones are removed"),
    fail("snapshot.before_send", "before a piece of a snapshot is sent"),
    fail("snapshot.after_send", "all pieces are sent, before the receiver is asked to install"),
    fail("snapshot.before_receive", "before a piece of a snapshot is written at the receiver"),
    fail("snapshot.part_received", "a part has arrived whole and is synced, before it is checked"),
    fail("snapshot.before_install", "before the mark of an installation"),
    fail("snapshot.install_marked", "the mark of an installation is synced, before the first row goes"),
    fail("snapshot.install_loading", "rows of one part are written, before their sync"),
    fail("snapshot.install_loaded", "all rows are there, before the mark is removed"),
    fail("snapshot.after_install", "an installation is synced, before older snapshots are removed"),
    fail("kv.before_sync", "before a sync of the database that a group shares; return: as a failed sync"),
    fail("kv.after_sync", "the database is synced, before anybody is told; return: as a failed sync"),
    fail("identity.before_rename", "an identity is written and synced under another name"),
    fail("identity.after_write", "an identity is durable, before anybody is told"),
    pass("formation.proposed", "the first member has written the proposed uuid down"),
    pass("formation.probed", "every member has said that its folder is empty"),
    pass("formation.assigned", "every other member has the uuid, before the first one's own identity"),
    fail("formation.before_init", "all have an identity, before Raft is initialised"),
    fail("membership.before_step", "before the leader's rules change a member or a voter"),
    fail("chunks.before_create", "before a chunk's file is made"),
    fail("chunks.before_write", "before bytes of a chunk are written"),
    fail("chunks.before_sync", "a chunk is written, before its sync"),
    fail("chunks.before_rename", "a chunk is synced, before it gets its name"),
    fail("chunks.before_dir_sync", "a chunk has its name, before the sync of the folder"),
    fail("chunks.after_dir_sync", "names of chunks are synced, before anybody is told"),
    fail("chunks.before_unlink", "before a chunk's file is removed"),
    planted("chunks.dir_sync", "syncs of folders are left out and acked"),
    fail("volumes.before_append", "before records are written to a volume"),
    fail("volumes.appended", "records are written to a volume, before their sync"),
    fail("volumes.before_index", "records are synced, before the index knows them"),
    fail("volumes.after_index", "records are in the index, before anybody is told"),
    fail("volumes.before_free", "a volume's live records lie elsewhere, before its row says that it is free"),
    fail("volumes.after_free", "a volume is durably free, before it can be taken"),
    fail("volumes.before_refill", "before a free volume is written over"),
    fail("gateway.after_claim", "the key's home is known, before the body is read"),
    fail("gateway.placed", "the leader has named nodes for chunks"),
    fail("gateway.before_segment", "before a full segment is proposed"),
    fail("gateway.after_segment", "a segment is appended, before the gateway takes note"),
    fail("gateway.before_commit", "all chunks have their copies, before the commit is proposed"),
    fail("gateway.after_commit", "the commit is answered, before the client is told; return: outcome not known"),
    fail("gateway.before_delete", "before a delete is proposed"),
    fail("replica.before_write", "a node was asked for a copy, before it takes a byte"),
    fail("replica.before_ack", "a node's copy is synced, before it says so"),
    fail("metadata.before_propose", "before any command of a cluster is proposed"),
    fail("metadata.after_propose", "a command is answered, before its proposer knows; return: outcome not known"),
    pass("metadata.tombstone", "on every node, before the tombstone of a delete is applied"),
    fail("upload.before_release", "before the log hears of a failed upload's chunks"),
    fail("purge.before_mark", "before the leader has garbage marked"),
    fail("purge.marked", "garbage is marked, before the leader goes on"),
    fail("purge.before_unlink", "before a node unlinks what it was told to"),
    fail("purge.unlinked", "chunks are unlinked, before the log is told"),
    planted(
        "purge.recheck",
        "marks and names of chunks are decided without a look at each other; for all nodes, without a chance",
    ),
    fail("repair.plan", "before the leader plans repair; return: it plans nothing"),
    fail("repair.leased", "a task is leased, before its first copy"),
    fail("repair.pulled", "a copy is pulled and proven, before its sync"),
    fail("repair.before_add", "copies are synced, before the log is told"),
    fail("repair.before_end", "a task is done with, before the log is told"),
    fail("repair.before_drop", "enough copies are verified, before another one is dropped"),
    fail("repair.drop_own", "before a node looks at copies that are too many; return: it drops none"),
    planted("repair.trust_holders", "a pulled copy is not held against its hash"),
    planted("rebuild.no_fence", "a rebuild's fence leaves the floor as it is; for all nodes, without a chance"),
    planted("homes.any_epoch", "a change is applied whatever the log says of its key's home"),
    fail("homes.before_claim", "before a node claims a free key"),
    fail("homes.before_settle", "before a cluster closes a claim that was never used"),
    fail("homes.before_close", "before the leader closes homes that are idle"),
    fail("homes.before_release", "homes are closed, before the directory is told"),
    fail("homes.released", "the directory has let go of homes, before their records are dropped"),
    fail("documents.before_push", "a supernode has a cluster's report, before documents go with the answer"),
    fail("drain.before_propose", "before a drain begins or ends"),
    fail("drain.before_answer", "before a node says whether it holds no chunk"),
    planted("directory.miss_unread", "a supernode says without a read index that a key has no home"),
    planted("directory.list_unread", "a supernode lists the homes that it has applied, without a read index"),
    planted("admission.open", "every request goes on at once, to any cluster that takes it: no limit and no queue"),
    planted("route.most_loaded", "a new key goes to the cluster with the worst score"),
    planted("route.evenly", "a new key goes to any cluster that takes it, by chance, however busy it is"),
    planted("admission.forget", "a request that has waited is never answered"),
    planted("steal.twice", "a stolen request is let through at both clusters"),
    pass("claims.batched", "claims were collected, before they are proposed"),
    pass("supernode.queued", "a request has come, before it is let through or waits"),
    pass("supernode.granted", "a request is let through, before its key is claimed"),
    pass("supernode.stolen", "a request is let through by a cluster that took it from another one's queue"),
    fail("supernode.after_claim", "a key is claimed, before the request goes on"),
    fail("supernode.before_forward", "before a request is sent to a gateway"),
    pass("supernode.ticket_used", "it is written that a ticket was used, before its request goes on"),
    planted("tickets.forget", "a new leader of the supernodes lets tickets of before wait for ever"),
    planted(
        "tickets.any_order",
        "the last ticket of a principal has its turn first; for all supernodes, without a chance",
    ),
    pass("supernode.answered", "the gateway has answered, before the client hears of it"),
];
