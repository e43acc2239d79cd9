//! Run and check against a store in memory, whose faults must be found and whose correct work must not be accused.

use std::{
    collections::BTreeMap,
    future::pending,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_api::RequestId;
use flotilla_env::{clock, entropy};

use super::{
    CheckArgs, LedgerArgs, StoreError,
    check::compare,
    file,
    line::Line,
    oracle::{Listed, Read},
    run::write,
    store::{Answer, Page, Store},
};
use crate::{
    Command, LedgerCommand, Target,
    command::{EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG, run_until},
    testing::{Fault, Server},
};

/// How long a request takes on the paused clock; without it no time would pass.
const LATENCY: Duration = Duration::from_millis(3);
/// A page of the fake, small enough that lists have many.
const PAGE: usize = 7;

/// A store in memory, with every content that a key ever had.
#[derive(Default)]
struct Fake {
    files: Mutex<BTreeMap<String, Vec<Option<Bytes>>>>,
    /// Every so many changes is not answered; every other one of those takes effect.
    unknown_every: Option<u64>,
    changes: Mutex<u64>,
}

impl Fake {
    fn change(&self, key: &str, content: Option<Bytes>) -> Answer {
        let mut changes = self.changes.lock().expect("no test thread panics");
        *changes += 1;
        let unknown = self.unknown_every.is_some_and(|every| changes.is_multiple_of(every));
        let dropped = self.unknown_every.is_some_and(|every| unknown && changes.is_multiple_of(2 * every));
        let mut files = self.files.lock().expect("no test thread panics");
        let states = files.entry(key.to_owned()).or_default();
        let status = match (&content, states.last().cloned().flatten()) {
            (None, None) => 404,
            (None, Some(_)) => 204,
            (Some(_), None) => 201,
            (Some(_), Some(_)) => 200,
        };
        if !dropped {
            states.push(content);
        }
        Answer { status: (!unknown).then_some(status), ..Answer::default() }
    }

    fn now(&self) -> BTreeMap<String, Bytes> {
        let files = self.files.lock().expect("no test thread panics");
        files.iter().filter_map(|(key, states)| Some((key.clone(), states.last()?.clone()?))).collect()
    }
}

fn etag(content: &Bytes) -> String {
    blake3::hash(content).to_hex().to_string()
}

#[async_trait]
impl Store for Fake {
    async fn put(&self, key: &str, content: Bytes, _: &RequestId) -> Answer {
        tokio::time::sleep(LATENCY).await;
        self.change(key, Some(content))
    }

    async fn delete(&self, key: &str, _: &RequestId) -> Answer {
        tokio::time::sleep(LATENCY).await;
        self.change(key, None)
    }

    async fn get(&self, key: &str) -> Result<Read, StoreError> {
        let file = self.now().remove(key);
        Ok(file.map_or(Read::Absent, |content| Read::File { etag: etag(&content), content }))
    }

    async fn list(&self, prefix: &str, cursor: Option<String>) -> Result<Page, StoreError> {
        let files = self.now();
        let after = |key: &str| cursor.as_ref().is_none_or(|cursor| key > cursor.as_str());
        let mut matching = files.into_iter().filter(|(key, _)| key.starts_with(prefix) && after(key));
        let listed = |(key, content): (String, Bytes)| {
            let listed = Listed { size: content.len() as u64, etag: etag(&content) };
            (key, listed)
        };
        let files: Vec<_> = matching.by_ref().take(PAGE).map(listed).collect();
        let more = matching.next().is_some();
        Ok(Page { next: files.last().filter(|_| more).map(|(key, _)| key.clone()), files })
    }
}

async fn run(store: &Arc<Fake>, path: &Path, seed: u64, seconds: u64) -> (u8, String) {
    let args = LedgerArgs { file: path.to_owned(), clients: 4, seconds, seed, bucket: "demo".to_owned() };
    let mut out = Vec::new();
    let random = entropy::seeded(seed);
    let end = write(&args, store.clone(), &*random, clock::system(), &mut out, pending()).await;
    (end.expect("the ledger can be written"), String::from_utf8(out).expect("the summary is text"))
}

async fn check(store: &Fake, path: &Path) -> (u8, String) {
    let args = CheckArgs { file: path.to_owned(), bucket: "demo".to_owned() };
    let mut out = Vec::new();
    let end = compare(&args, store, &mut out, pending()).await;
    (end.expect("the ledger can be read"), String::from_utf8(out).expect("the report is text"))
}

async fn written() -> (Arc<Fake>, tempfile::TempDir, std::path::PathBuf) {
    let store = Arc::new(Fake { unknown_every: Some(10), ..Fake::default() });
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("ledger");
    let (code, summary) = run(&store, &path, 1, 1).await;
    assert_eq!(code, EXIT_OK);
    assert!(!summary.starts_with("acked 0 ") && !summary.contains("unknown 0,"), "{summary}");
    (store, dir, path)
}

async fn expect(store: &Fake, path: &Path, line: &str) {
    let (code, report) = check(store, path).await;
    assert_eq!(code, EXIT_WRONG, "{report}");
    let findings: Vec<_> = report.lines().filter(|line| line.chars().next().is_some_and(char::is_uppercase)).collect();
    assert_eq!(findings, [line]);
}

/// Says whether the outcome of a key's last change is known.
fn is_settled(path: &Path, key: &str) -> bool {
    let mut last = None;
    file::read(path, |line: Line| {
        if line.key == key {
            last = Some(line);
        }
    })
    .expect("the ledger can be read");
    last.is_some_and(|line| line.status.is_some())
}

#[tokio::test(start_paused = true)]
async fn correct_store_with_unknown_outcomes_is_not_accused() {
    let (store, _dir, path) = written().await;
    let (code, report) = check(&store, &path).await;
    assert_eq!(code, EXIT_OK, "{report}");
    assert!(report.starts_with("lost 0, stale 0, resurrected 0, corrupt 0, unreadable 0; "), "{report}");
}

#[tokio::test(start_paused = true)]
async fn later_run_in_the_same_ledger_is_checked_together_with_the_first() {
    let (store, _dir, path) = written().await;
    assert_eq!(run(&store, &path, 2, 1).await.0, EXIT_OK);
    assert_eq!(check(&store, &path).await.0, EXIT_OK);
    // The key comes from the first run: its order in the ledger must still count.
    let mut first = None;
    file::read(&path, |line: Line| first = first.take().or(Some(line.key))).expect("the ledger can be read");
    let first = first.expect("the ledger has lines");
    let run = first.split("/c").next().expect("a key has a run").to_owned();
    let key = settled(&store, &path, |states| matches!(states, [.., Some(_)]), &run);
    store.files.lock().expect("no test thread panics").get_mut(&key).expect("it is there").push(None);
    expect(&store, &path, &format!("LOST {key}")).await;
}

#[tokio::test(start_paused = true)]
async fn lost_file_is_found() {
    let (store, _dir, path) = written().await;
    let key = settled(&store, &path, |states| matches!(states, [.., Some(_)]), "");
    store.files.lock().expect("no test thread panics").get_mut(&key).expect("it is there").push(None);
    expect(&store, &path, &format!("LOST {key}")).await;
}

#[tokio::test(start_paused = true)]
async fn old_version_is_found() {
    let (store, _dir, path) = written().await;
    let replaced = |states: &[Option<Bytes>]| matches!(states, [.., Some(old), Some(new)] if old != new);
    let key = settled(&store, &path, replaced, "");
    plant_old(&store, &key);
    expect(&store, &path, &format!("STALE {key}")).await;
}

#[tokio::test(start_paused = true)]
async fn deleted_file_that_is_back_is_found() {
    let (store, _dir, path) = written().await;
    let key = settled(&store, &path, |states| matches!(states, [.., Some(_), None]), "");
    plant_old(&store, &key);
    expect(&store, &path, &format!("RESURRECTED {key}")).await;
}

#[tokio::test(start_paused = true)]
async fn flipped_byte_is_found() {
    let (store, _dir, path) = written().await;
    let key = settled(&store, &path, |states| matches!(states, [.., Some(file)] if !file.is_empty()), "");
    let mut bytes = store.now()[&key].to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    store.files.lock().expect("no test thread panics").get_mut(&key).expect("it is there").push(Some(bytes.into()));
    expect(&store, &path, &format!("CORRUPT {key}")).await;
}

#[tokio::test(start_paused = true)]
async fn interrupted_run_leaves_open_requests_in_the_ledger_as_unknown() {
    let store = Arc::new(Fake::default());
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("ledger");
    let args = LedgerArgs { file: path.clone(), clients: 4, seconds: 60, seed: 1, bucket: "demo".to_owned() };
    let mut out = Vec::new();
    let interrupt = tokio::time::sleep(LATENCY * 20 + LATENCY / 2);
    let end = write(&args, store.clone(), &*entropy::seeded(1), clock::system(), &mut out, interrupt).await;
    assert_eq!(end.expect("the ledger can be written"), EXIT_INTERRUPTED);
    let text = String::from_utf8(out).expect("the summary is text");
    assert!(text.contains("unknown 4,"), "{text}");
    let (code, report) = check(&store, &path).await;
    assert_eq!(code, EXIT_OK, "{report}");
    assert!(report.contains(" 4 unknown,"), "{report}");
}

/// Gives a key of a run whose states are as wanted and about which nothing is unknown.
fn settled(store: &Fake, path: &Path, wanted: impl Fn(&[Option<Bytes>]) -> bool, run: &str) -> String {
    let files = store.files.lock().expect("no test thread panics");
    let mut keys = files.iter().filter(|(_, states)| wanted(states)).map(|(key, _)| key.clone());
    keys.find(|key| key.starts_with(run) && is_settled(path, key)).expect("the run made such a key")
}

/// Brings back what a key held before its last change.
fn plant_old(store: &Fake, key: &str) {
    let mut files = store.files.lock().expect("no test thread panics");
    let states = files.get_mut(key).expect("it is there");
    let old = states[states.len() - 2].clone();
    states.push(old);
}

#[tokio::test]
async fn ledger_runs_and_checks_through_the_sdk() {
    let server = Server::start(Fault::None).await;
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("ledger");
    let args = LedgerArgs { file: path.clone(), clients: 2, seconds: 3600, seed: 1, bucket: "demo".to_owned() };
    let state = server.state.clone();
    let interrupt = async move {
        for _ in 0..40 {
            state.put_seen.notified().await;
        }
    };
    let mut out = Vec::new();
    let run = Command::Ledger(LedgerCommand::Run(args));
    let end = run_until(run, server.target(), &mut out, interrupt).await;
    assert_eq!(end.expect("the server is there"), EXIT_INTERRUPTED);

    let args = CheckArgs { file: path, bucket: "demo".to_owned() };
    let check = || Command::Ledger(LedgerCommand::Check(args.clone()));
    let mut out = Vec::new();
    let end = run_until(check(), server.target(), &mut out, pending()).await;
    assert_eq!(end.expect("the server is there"), EXIT_OK, "{}", String::from_utf8_lossy(&out));

    server.state.files.lock().expect("no test thread panics").clear();
    let mut out = Vec::new();
    let end = run_until(check(), server.target(), &mut out, pending()).await;
    assert_eq!(end.expect("the server is there"), EXIT_WRONG);
    assert!(out.starts_with(b"LOST ledger/1-"));
}

#[tokio::test]
async fn wrong_token_ends_the_run_instead_of_failing_until_its_end() {
    let server = Server::start(Fault::None).await;
    let dir = tempfile::tempdir().expect("a folder for the test");
    let file = dir.path().join("ledger");
    let args = LedgerArgs { file, clients: 2, seconds: 3600, seed: 1, bucket: "demo".to_owned() };
    let target = Target { token: "wrong".to_owned(), ..server.target() };
    let run = Command::Ledger(LedgerCommand::Run(args));
    let error = run_until(run, target, &mut Vec::new(), pending()).await.expect_err("no change can succeed");
    assert_eq!(error.exit_code(), 1);
}
