//! A writer in a process of its own, killed without warning, and what its folder holds afterwards.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use flotilla_kv::{Batch, Error, Kv, Options, RocksKv, View};
use tempfile::TempDir;

use crate::stores::{FAMILIES, LOG, STATE, open_small, sync};

const DIR: &str = "FLOTILLA_KV_TEST_DIR";
/// Acks between two kills: with 2 KiB a row and memtables of 64 KiB, some dozens of WAL files are made and reused.
const ACKS_PER_LIFE: u64 = 600;
const LIVES: u64 = 4;

/// Runs in the child: appends rows for ever and prints the number of each once it is synced.
#[test]
#[ignore = "the child of the other tests, useless by itself"]
fn child() {
    let Some(dir) = env::var_os(DIR) else { return };
    let kv = open_small(Path::new(&dir));
    let mut next = kv.last(LOG).expect("a good read").map_or(0, |(key, _)| number(&key) + 1);
    loop {
        let mut batch = Batch::default();
        let (key, value) = (next.to_be_bytes(), vec![next as u8; 2048]);
        batch.put(LOG, key, value.clone()).put(STATE, key, value).put(STATE, *b"applied", key);
        kv.write(batch).expect("a good write");
        // Some rows are left to the sync of the next, so that a kill finds written and unsynced ones.
        if next.is_multiple_of(3) {
            sync(&*kv).expect("a good sync");
            writeln!(io::stdout(), "synced {next}").expect("the parent listens");
        }
        next += 1;
    }
}

fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().expect("keys of eight bytes"))
}

fn spawn(dir: &Path) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "kill::child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child")
}

/// Reads the child's acks until one reaches `enough`.
fn await_ack(child: &mut Child, enough: u64) -> u64 {
    let lines = BufReader::new(child.stdout.as_mut().expect("a pipe")).lines();
    lines
        .filter_map(|line| line.expect("a line").strip_prefix("synced ")?.parse().ok())
        .find(|acked| *acked >= enough)
        .expect("the child ended by itself")
}

fn kill(mut child: Child) {
    child.kill().expect("a child");
    child.wait().expect("a child");
}

#[test]
fn synced_rows_survive_kills_and_no_row_is_missing_before_another() {
    let dir = TempDir::new().expect("a folder");
    let mut acked = 0;
    for _ in 0..LIVES {
        let mut child = spawn(dir.path());
        acked = await_ack(&mut child, acked + ACKS_PER_LIFE);
        kill(child);

        let kv = open_small(dir.path());
        let log = kv.scan(LOG, &[], None, usize::MAX).expect("a good read");
        assert!(log.iter().map(|(key, _)| number(key)).eq(0..log.len() as u64), "a row is missing before another");
        assert!(log.len() as u64 > acked, "{acked} was acked and only {} rows are there", log.len());
        assert!(log.iter().all(|(key, value)| *value == vec![number(key) as u8; 2048]));
        // The families share one WAL, so they are of one moment.
        let applied = kv.get(STATE, b"applied").expect("a good read").expect("a row");
        assert_eq!(number(&applied) + 1, log.len() as u64);
        assert_eq!(kv.scan(STATE, &[], Some(b"applied"), usize::MAX).expect("a good read"), log);
    }
}

#[test]
fn a_folder_that_another_process_has_open_is_locked() {
    let dir = TempDir::new().expect("a folder");
    let mut child = spawn(dir.path());
    await_ack(&mut child, 0);
    let second = RocksKv::open(Options::new(dir.path(), &FAMILIES));
    kill(child);
    assert!(matches!(second, Err(Error::Locked)));
    RocksKv::open(Options::new(dir.path(), &FAMILIES)).expect("a dead process holds nothing");
}
