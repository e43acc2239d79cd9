//! How the database is opened: its families, its memory, and every RocksDB setting with its reason.
//!
//! It must not know what the families hold.

use std::path::PathBuf;

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, Options as RocksOptions, WriteBufferManager,
};

use crate::Family;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// All WAL files together; beyond it the family that pins the oldest one is flushed, which bounds the replay at a start.
const WAL_BYTES_MAX: u64 = 128 << 20;
/// WAL files kept for reuse: overwriting old blocks spares the sync the file system's own metadata.
const WAL_RECYCLED_MAX: usize = 4;
/// Flushes and compactions: one thread each, since a node may have two cores.
const BACKGROUND_JOBS: i32 = 2;
/// Open table files: 16 GiB of state at 64 MiB a table.
const OPEN_FILES_MAX: i32 = 256;
/// Written back early in steps of this size, so that a sync at the end has little left to do.
const WRITEBACK_STEP_BYTES: u64 = 1 << 20;
/// Memtables of a family: one is filled and two are flushed before a writer has to wait for the disk.
const MEMTABLES_PER_FAMILY: i32 = 3;
/// Bits of the bloom filter per key: one false positive in a hundred.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Table files of a log before those that overlap are merged; what was purged ends there.
const LOG_MERGE_FILES: i32 = 4;
/// Table files of a log that slow writes down, and that stop them: out of reach, as a log must not wait for a merge.
const LOG_SLOWDOWN_FILES: i32 = 1000;
const LOG_STOP_FILES: i32 = 2000;
/// The list of live tables is rewritten beyond this size.
const MANIFEST_BYTES_MAX: usize = 16 * MIB;
/// RocksDB's own message files: how many, and how big one gets.
const MESSAGE_FILES_MAX: usize = 4;
const MESSAGE_FILE_BYTES_MAX: usize = 4 * MIB;
/// The unit of a memtable's memory; small, since a dozen families that are hardly written each hold one.
const ARENA_BLOCK_BYTES: usize = 256 * KIB;

/// What a family is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    /// Appended in the order of its keys, purged from the front with [`crate::Kv::drop_range`], seldom read.
    Log,
    /// Read and overwritten at random.
    State,
}

/// A family that the process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilySpec {
    /// Its name.
    pub name: Family,
    /// What it is used for.
    pub kind: FamilyKind,
}

impl FamilySpec {
    /// Names a family of kind [`FamilyKind::Log`].
    #[must_use]
    pub const fn log(name: Family) -> Self {
        Self { name, kind: FamilyKind::Log }
    }

    /// Names a family of kind [`FamilyKind::State`].
    #[must_use]
    pub const fn state(name: Family) -> Self {
        Self { name, kind: FamilyKind::State }
    }
}

/// How much memory the database may take.
///
/// # Bounds
/// Memtables are charged to the cache, so the larger of the first two is what the database takes; for the time of a flush it may
/// be exceeded by one memtable per family that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Blocks read from tables, with their indexes and filters.
    pub cache_bytes: usize,
    /// Memtables of all families together; beyond it the oldest is flushed.
    pub memtables_bytes: usize,
    /// One memtable; a full one is flushed.
    pub family_memtable_bytes: usize,
}

impl Default for MemoryBudget {
    /// Fits a node of 256 MiB in all.
    fn default() -> Self {
        Self { cache_bytes: 64 * MIB, memtables_bytes: 64 * MIB, family_memtable_bytes: 16 * MIB }
    }
}

/// What [`crate::RocksKv::open`] opens.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder; made when it is missing.
    pub dir: PathBuf,
    /// The families of the process; made when they are missing.
    pub families: Vec<FamilySpec>,
    /// How much memory the database may take.
    pub memory: MemoryBudget,
}

impl Options {
    /// Names a folder and its families, with the default memory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, families: &[FamilySpec]) -> Self {
        Self { dir: dir.into(), families: families.to_vec(), memory: MemoryBudget::default() }
    }
}

/// RocksDB's settings for one database; all of its families share one cache and one memory account.
pub(crate) struct Settings {
    memory: MemoryBudget,
    pub(crate) cache: Cache,
}

impl Settings {
    pub(crate) fn new(memory: MemoryBudget) -> Self {
        Self { memory, cache: Cache::new_lru_cache(memory.cache_bytes) }
    }

    pub(crate) fn database(&self) -> RocksOptions {
        let mut set = RocksOptions::default();
        set.create_if_missing(true);
        set.create_missing_column_families(true);

        // The WAL is written once per group, by flush_wal(true). After a crash it is replayed up to its first damaged record:
        // the tail was never acked, while refusing to start over it would turn every torn write into a dead disk. Whole files
        // that were synced and are missing or short are an error (track_and_verify). The replayed rows are flushed into new,
        // synced tables before the database opens (avoid_flush_during_recovery stays false): after a failed sync the page
        // cache may show a WAL that the disk doesn't have, so nothing read from one is trusted until it is written again.
        set.set_manual_wal_flush(true);
        set.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        set.set_track_and_verify_wals_in_manifest(true);
        set.set_recycle_log_file_num(WAL_RECYCLED_MAX);
        set.set_max_total_wal_size(WAL_BYTES_MAX);
        set.set_wal_bytes_per_sync(WRITEBACK_STEP_BYTES);
        set.set_bytes_per_sync(WRITEBACK_STEP_BYTES);

        set.set_max_background_jobs(BACKGROUND_JOBS);
        set.set_max_open_files(OPEN_FILES_MAX);
        set.set_max_manifest_file_size(MANIFEST_BYTES_MAX);
        // No stalls at the limit: it is a soft one, and a Raft append that waits for a flush would cost the leader its lease.
        set.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
            self.memory.memtables_bytes,
            false,
            self.cache.clone(),
        ));

        set.set_log_level(LogLevel::Warn);
        set.set_keep_log_file_num(MESSAGE_FILES_MAX);
        set.set_max_log_file_size(MESSAGE_FILE_BYTES_MAX);
        set.set_stats_dump_period_sec(0);
        set.set_stats_persist_period_sec(0);
        set.set_skip_stats_update_on_db_open(true); // else an open reads the properties of every table
        set
    }

    pub(crate) fn family(&self, kind: FamilyKind) -> RocksOptions {
        let mut set = RocksOptions::default();
        set.set_write_buffer_size(self.memory.family_memtable_bytes);
        set.set_arena_block_size(ARENA_BLOCK_BYTES.min(self.memory.family_memtable_bytes));
        set.set_max_write_buffer_number(MEMTABLES_PER_FAMILY);
        let mut table = self.table();
        match kind {
            FamilyKind::Log => {
                // Tables of appended keys don't overlap, so RocksDB moves them below level 0 without reading them, and there a
                // purge unlinks them whole. With compactions off they would stay on level 0, which delete_file_in_range
                // leaves out: a purged log would never shrink. Only a table that holds a purge's tombstone is merged.
                set.set_level_zero_file_num_compaction_trigger(LOG_MERGE_FILES);
                set.set_level_zero_slowdown_writes_trigger(LOG_SLOWDOWN_FILES);
                set.set_level_zero_stop_writes_trigger(LOG_STOP_FILES);
                // Entries live for minutes and are read once or never; the same codec on all levels keeps moves possible.
                set.set_compression_type(DBCompressionType::None);
            }
            FamilyKind::State => {
                set.set_compression_type(DBCompressionType::Lz4);
                table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
            }
        }
        set.set_block_based_table_factory(&table);
        set
    }

    /// A family that another release left behind: readable, never rewritten.
    pub(crate) fn unknown_family(&self) -> RocksOptions {
        let mut set = RocksOptions::default();
        set.set_disable_auto_compactions(true);
        set.set_block_based_table_factory(&self.table());
        set
    }

    fn table(&self) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        // Indexes and filters count against the cache too, else memory would grow with the data.
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table
    }
}
