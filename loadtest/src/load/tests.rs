//! Whole runs against a server in memory, good and bad, with small profiles.

mod shapes;

use std::{future::pending, time::Duration};

use tempfile::TempDir;

use super::report::Report;
use crate::{
    CompareArgs, Error, RunArgs, Target,
    command::{Command, EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, EXIT_WRONG, run_until},
    testing::{Fault, Server, run_args},
};

const PROFILE: &str = r#"
connections = 8
prefill = 40
timeout = "5s"
[mix]
put = 20
replace = 10
get = 40
range = 10
head = 10
list = 5
delete = 5
[sizes]
"0" = 1
"1KB-50KB" = 20
[[phase]]
name = "only"
for = "1500ms"
rate = 200
"#;

struct Ran {
    code: u8,
    text: String,
    report: Report,
    reports: TempDir,
}

pub(super) fn args(dir: &TempDir, profile: &str) -> RunArgs {
    let path = dir.path().join("small.toml");
    std::fs::write(&path, profile).expect("written");
    RunArgs {
        reports: Some(dir.path().join("reports")),
        json: Some(dir.path().join("report.json")),
        ..run_args(&path.display().to_string())
    }
}

async fn run_with(
    target: Target,
    profile: &str,
    change: impl FnOnce(&mut RunArgs),
    interrupt: impl Future<Output = ()> + Send,
) -> Result<Ran, Error> {
    let reports = TempDir::new().expect("a folder");
    let mut args = args(&reports, profile);
    change(&mut args);
    let mut out = Vec::new();
    let code = run_until(Command::Run(args), target, &mut out, interrupt).await?;
    let json = std::fs::read(reports.path().join("report.json")).expect("written");
    let report = serde_json::from_slice(&json).expect("a report is read as it was written");
    Ok(Ran { code, text: String::from_utf8(out).expect("text"), report, reports })
}

async fn run(fault: Fault) -> Ran {
    let server = Server::start(fault).await;
    // The faulty server spoils the end of a file, which a part of it or an empty one may not have; a file that it forgot is back
    // once it is replaced, and nobody misses it once it is deleted.
    let whole = ["range = 10", "\"0\" = 1", "replace = 10", "delete = 5"]
        .iter()
        .fold(PROFILE.to_owned(), |profile, line| profile.replace(line, ""));
    let profile = if fault == Fault::None { PROFILE } else { &whole };
    let ran = run_with(server.target(), profile, |_| {}, pending()).await.expect("a run");
    assert!(server.state.files.lock().expect("no test thread panics").is_empty(), "the files of the run are removed");
    ran
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_server_gets_a_good_report_in_all_forms() {
    let Ran { code, text, report, reports } = run(Fault::None).await;
    assert!(text.starts_with("lost 0, corrupt 0; read back "), "{text}");
    assert_eq!((report.lost, report.corrupt, report.total.failed, report.unreadable), (0, 0, 0, 0), "{text}");
    assert!(code == EXIT_OK || !report.valid, "{code}: {text}");
    assert!((250..350).contains(&report.total.started), "{text}");
    assert!(report.checked_files > 40 && report.checked_bytes > 0);
    let names: Vec<_> = report.operations.iter().map(|row| row.operation.as_str()).collect();
    assert!(["put", "replace", "get", "range", "head", "list", "delete"].iter().all(|name| names.contains(name)));
    let files: Vec<_> = std::fs::read_dir(reports.path().join("reports")).expect("a folder").collect();
    assert_eq!(files.len(), 3, "a page, JSON and CSV");
    for file in files {
        let path = file.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.contains("waiting"), "{}", path.display());
        assert!(!text.contains("@REPORT@"), "the page has its report");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_flips_a_bit_is_found() {
    let Ran { code, text, report, .. } = run(Fault::FlipInGet(10)).await;
    assert_eq!((code, report.lost, report.corrupt), (EXIT_WRONG, 0, 1), "{text}");
    assert!(text.contains("wrong, e.g.") && text.contains("is wrong (loadtest/1-"), "it is named: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_short_is_found() {
    let Ran { code, text, report, .. } = run(Fault::CutInGet(10)).await;
    assert_eq!((code, report.lost, report.corrupt), (EXIT_WRONG, 0, 1), "{text}");
    assert!(text.contains("short, e.g.") && text.contains("content ended after"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_an_acked_file_is_found() {
    let Ran { code, text, report, .. } = run(Fault::ForgetPut(30)).await;
    assert_eq!((code, report.lost, report.corrupt), (EXIT_WRONG, 1, 0), "{text}");
    assert!(text.starts_with("lost 1, corrupt 0"), "{text}");
    assert!(text.contains("x lost, e.g."), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_a_failure_and_no_finding() {
    let Ran { text, report, .. } = run(Fault::RefusePut(45)).await;
    assert_eq!((report.lost, report.corrupt, report.total.failed), (0, 0, 1), "{text}");
    assert!(text.contains("1 x busy, e.g."), "{text}");
}

/// A server that stands still for a second shows in what users felt, whoever measures in a closed loop sees nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standstill_is_seen_by_an_open_loop_and_hidden_by_a_closed_one() {
    let profile = "connections = 4\nprefill = 10\n[mix]\nget = 1\n[sizes]\n\"1KB\" = 1\n\
        [[phase]]\nname = \"p\"\nfor = \"5s\"\nrate = 100\n";
    let mut p99 = Vec::new();
    for closed in [false, true] {
        let server = Server::start(Fault::None).await;
        let state = server.state.clone();
        let freeze = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let _held = state.frozen.write().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        let ran = run_with(server.target(), profile, |args| args.closed = closed, pending()).await.expect("a run");
        freeze.await.expect("no panic");
        assert!(ran.report.longest_gap.expect("a gap").seconds > 0.7, "{}", ran.text);
        p99.push(ran.report.total.latency_ms.expect("requests").p99);
    }
    assert!(p99[0] > 700.0, "a fifth of all arrivals fell into the standstill: {p99:?}");
    assert!(p99[1] < p99[0] / 2.0, "four requests of thousands: {p99:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_run_leaves_a_valid_partial_report_and_no_files() {
    let server = Server::start(Fault::None).await;
    let profile = PROFILE.replace("1500ms", "60s");
    let soon = tokio::time::sleep(Duration::from_millis(1200));
    let ran = run_with(server.target(), &profile, |_| {}, soon).await.expect("a report");
    assert_eq!((ran.code, ran.report.interrupted), (EXIT_INTERRUPTED, true));
    assert!(ran.report.seconds < 30.0 && ran.report.total.ok > 10, "{}", ran.text);
    assert!(server.state.files.lock().expect("no test thread panics").is_empty());
}

#[tokio::test]
async fn thresholds_decide_the_exit_code() {
    let server = Server::start(Fault::None).await;
    let profile = format!("{PROFILE}[thresholds]\nper_second_min = 1000000\n");
    let ran = run_with(server.target(), &profile, |_| {}, pending()).await.expect("a run");
    assert_eq!(ran.code, EXIT_ERROR);
    assert!(ran.text.contains("per_second_min 1000000") && ran.text.contains("FAILED"), "{}", ran.text);
}

#[tokio::test]
async fn what_can_not_be_run_is_refused_before_anything_is_sent() {
    let server = Server::start(Fault::None).await;
    let refused = async |profile: &str, change: &dyn Fn(&mut RunArgs)| {
        let ran = run_with(server.target(), profile, |args| change(args), pending()).await;
        ran.err().expect("it is refused").to_string()
    };
    assert!(refused(PROFILE, &|args| args.profile = "spik".to_owned()).await.contains("smoke, spike, burst"));
    assert!(refused("[mix]\nget = 1\n", &|_| {}).await.contains("either [[phase]]"));
    assert!(refused(PROFILE, &|args| args.scale = 0.0).await.contains("--scale"));
    let shared = refused(PROFILE, &|args| {
        (args.worker, args.requests) = (vec!["true".to_owned()], Some("requests.csv".into()));
    });
    assert!(shared.await.contains("--requests needs a single runner"));
    let missing = refused(PROFILE, &|args| args.worker = vec!["true".to_owned()]).await;
    assert!(missing.contains("runner 1") && missing.contains("flotilla loadtest worker"), "{missing}");
    let fault = refused(PROFILE, &|args| args.at = vec!["1s".to_owned(), "kill a-n1".to_owned()]).await;
    assert!(fault.contains("can't be done"), "{fault}");
    assert!(server.state.files.lock().expect("no test thread panics").is_empty());
}

fn compare_args(dir: &TempDir, a: &str, b: &str) -> CompareArgs {
    let path = dir.path().join("duel.toml");
    std::fs::write(&path, PROFILE.replace("1500ms", "300ms")).expect("written");
    CompareArgs {
        a: a.to_owned(),
        b: b.to_owned(),
        profile: path.display().to_string(),
        rounds: 3,
        pids_a: vec![std::process::id()],
        pids_b: vec![std::process::id()],
        scale: 1.0,
        seed: 1,
        bucket: "demo".to_owned(),
        json: None,
        force: false,
        fail_if_worse: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_no_better_than_itself() {
    let (server, dir) = (Server::start(Fault::None).await, TempDir::new().expect("a folder"));
    let args = compare_args(&dir, "flotilla", "flotilla");
    let mut out = Vec::new();
    run_until(Command::Compare(args), server.target(), &mut out, pending()).await.expect("a comparison");
    let text = String::from_utf8(out).expect("text");
    let rate = text.lines().find(|line| line.starts_with("requests per second")).expect("a line");
    assert!(rate.ends_with("alike, as far as this shows"), "{text}");
    assert!(text.contains("3 rounds") && text.contains("server CPU per request"), "{text}");
    assert!(text.contains("lost or corrupt in all rounds: 0"), "{text}");
}

#[tokio::test]
async fn reports_of_different_seeds_are_compared_only_by_force() {
    let dir = TempDir::new().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut report = empty_report();
    report.total.per_second = 5.0;
    std::fs::write(path("a.json"), super::files::json(&report)).expect("written");
    std::fs::write(path("b.json"), super::files::json(&Report { seed: 2, ..report })).expect("written");
    let none = || Target { api: Vec::new(), token: String::new(), dev_json: None };
    let compare = async |force| {
        let args = CompareArgs { force, ..compare_args(&dir, &path("a.json"), &path("b.json")) };
        let mut out = Vec::new();
        run_until(Command::Compare(args), none(), &mut out, pending())
            .await
            .map(|_| String::from_utf8(out).expect("text"))
    };
    let refused = compare(false).await.expect_err("the seeds differ").to_string();
    assert!(refused.contains("seeds: 1 and 2") && refused.contains("--force"), "{refused}");
    assert!(compare(true).await.expect("a comparison").contains("requests per second"));
}

/// A report of nothing, for tests of what is made of reports.
pub(super) fn empty_report() -> Report {
    let figures = super::counts::Counts::default().figures(1.0);
    let machine = super::machine::Machine { cpus: 2, memory_bytes: 1, system: "Linux".to_owned(), processor: None };
    let json = serde_json::json!({
        "schema": 1, "kind": "load", "profile": "p", "description": "", "rev": "r", "started": "", "seed": 1, "open_loop": true,
        "machine": machine, "load_1min": null, "target": {"kind": "flotilla", "addresses": []}, "valid": true,
        "invalid_because": [], "interrupted": false, "lost": 0, "corrupt": 0, "unknown": 0, "checked_files": 0,
        "checked_bytes": 0, "unreadable": 0, "left_files": 0, "seconds": 1.0, "phases": [], "total": figures,
        "operations": [], "errors": [], "longest_gap": null, "faults": [], "series": [], "servers": [],
        "runner": super::report::RunnerCost::default(), "server_totals": super::report::ServerCost::default(),
        "thresholds": [],
    });
    serde_json::from_value(json).expect("it has all fields")
}
