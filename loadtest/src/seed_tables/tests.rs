//! The whole profile at a thousandth of its size, against a server in memory with and without planted faults.

use std::future::{Future, pending};

use serde_json::Value;

use crate::{
    Command, Error, RunArgs, Target,
    command::{EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG, run_until},
    procfs,
    testing::{Fault, Server, run_args},
};

/// Rows of the table: two for each of four sizes, the crowd, three of small uploads, one of small downloads.
const ROWS: usize = 15;

fn args() -> RunArgs {
    RunArgs { scale: 0.001, ..run_args("seed-tables") }
}

async fn run(args: RunArgs, target: Target, interrupt: impl Future<Output = ()> + Send) -> (Result<u8, Error>, String) {
    let mut out = Vec::new();
    let end = run_until(Command::Run(args), target, &mut out, interrupt).await;
    (end, String::from_utf8(out).expect("the report is text"))
}

async fn check(fault: Fault, code: u8, first_line: &str) {
    let server = Server::start(fault).await;
    let (end, text) = run(args(), server.target(), pending()).await;
    assert_eq!(end.expect("the server is there"), code, "{text}");
    assert_eq!(text.lines().next(), Some(first_line), "{text}");
    assert!(server.state.files.lock().expect("no test thread panics").is_empty(), "files were left");
}

#[tokio::test]
async fn every_row_is_measured_and_nothing_is_left_behind() {
    let server = Server::start(Fault::None).await;
    let dir = tempfile::tempdir().expect("a folder for the test");
    let dev = dir.path().join("dev.json");
    let ticks = procfs::stat("self").expect("this process runs").start_ticks;
    let process =
        serde_json::json!({"name": "a-n1", "pid": std::process::id(), "start_ticks": ticks, "ops": server.base()});
    std::fs::write(&dev, serde_json::json!({"schema": 1, "processes": [process]}).to_string()).expect("the disk works");
    let json = dir.path().join("report.json");
    let args = RunArgs { json: Some(json.clone()), repeat: 2, ..args() };
    let (end, text) = run(args, Target { dev_json: Some(dev), ..server.target() }, pending()).await;
    assert_eq!(end.expect("the server is there"), EXIT_OK, "{text}");
    assert!(text.starts_with("lost 0, corrupt 0, failed 0\n\nrev test-rev, seed 1, scale 0.001, "), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("| ")).count(), ROWS + 1, "{text}");
    assert!(text.contains("most memory since each server's start, MB: a-n1 "), "{text}");
    assert!(server.state.files.lock().expect("no test thread panics").is_empty(), "files were left");

    let report: Value = serde_json::from_slice(&std::fs::read(&json).expect("it was written")).expect("it is JSON");
    assert_eq!((&report["schema"], &report["closed_loop"]), (&Value::from(1), &Value::from(true)));
    let rows = report["rows"].as_array().expect("rows are a list");
    assert_eq!(rows.len(), ROWS);
    for row in rows {
        assert_eq!(row["samples"].as_array().map(Vec::len), Some(2), "{row}");
        assert!(row["figures"]["servers_mb"].as_f64().is_some_and(|mb| mb > 0.0), "{row}");
    }
}

#[tokio::test]
async fn flipped_bit_in_a_download_is_corrupt() {
    // The third GET belongs to the first measured download row.
    check(Fault::FlipInGet(3), EXIT_WRONG, "lost 0, corrupt 1, failed 0").await;
}

#[tokio::test]
async fn flipped_bit_in_a_small_download_is_corrupt() {
    // Behind all the bigger files: 16 downloads of four sizes with the warm-up, 10 of the crowd.
    check(Fault::FlipInGet(60), EXIT_WRONG, "lost 0, corrupt 1, failed 0").await;
}

#[tokio::test]
async fn forgotten_upload_is_lost_once() {
    check(Fault::ForgetPut(3), EXIT_WRONG, "lost 1, corrupt 0, failed 0").await;
}

#[tokio::test]
async fn upload_with_the_wrong_etag_is_corrupt() {
    // The first upload of the first row, one of those that are hashed.
    check(Fault::WrongEtagOfPut(2), EXIT_WRONG, "lost 0, corrupt 1, failed 0").await;
}

#[tokio::test]
async fn refused_upload_is_a_failure_and_not_a_finding() {
    check(Fault::RefusePut(3), EXIT_ERROR, "lost 0, corrupt 0, failed 1").await;
}

#[tokio::test]
async fn interrupted_run_prints_what_it_has_and_removes_its_files() {
    let server = Server::start(Fault::None).await;
    let state = server.state.clone();
    let interrupt = async move {
        // The warm-up, then ten files of the first row, then some of the second.
        for _ in 0..12 {
            state.put_seen.notified().await;
        }
    };
    let (end, text) = run(args(), server.target(), interrupt).await;
    assert_eq!(end.expect("the server is there"), EXIT_INTERRUPTED, "{text}");
    assert!(text.contains("interrupted: not all rows are there"), "{text}");
    assert!(text.contains("| upload 10 KB "), "{text}");
    assert!(!text.contains("64 connections"), "{text}");
    assert!(server.state.files.lock().expect("no test thread panics").is_empty(), "files were left");
}

#[tokio::test]
async fn deployment_that_is_not_there_is_an_error_at_once() {
    let server = Server::start(Fault::None).await;
    let target = server.target();
    drop(server);
    assert!(matches!(run(args(), target, pending()).await.0, Err(Error::Wire(_))));
}

#[tokio::test]
async fn unknown_profile_and_bad_scale_are_usage_errors() {
    let target = Target { api: vec!["http://127.0.0.1:1".to_owned()], token: String::new(), dev_json: None };
    let other = RunArgs { profile: "soap".to_owned(), ..args() };
    let error = run(other, target.clone(), pending()).await.0.expect_err("there is no such profile");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().starts_with("profile 'soap' does not exist; there are: seed-tables, smoke, "), "{error}");
    let shared = RunArgs { worker: vec!["true".to_owned()], ..args() };
    let error = run(shared, target.clone(), pending()).await.0.expect_err("the table has one runner");
    assert!(error.exit_code() == 2 && error.to_string().contains("--worker"), "{error}");
    for scale in [0.0, -1.0, f64::NAN, 11.0] {
        let error = run(RunArgs { scale, ..args() }, target.clone(), pending()).await.0.expect_err("the scale is bad");
        assert_eq!(error.exit_code(), 2, "{scale}");
    }
}
