//! Loads of other shapes than phases, and what is written beside the report.

use std::{future::pending, time::Duration};

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{PROFILE, Ran, args, run_with};
use crate::{
    Target,
    command::{EXIT_OK, EXIT_WRONG},
    load::{counts::Failure, engine::Engine, measure, plan::Plan, view::View},
    testing::{Fault, Server},
};

const COPIES: &str = "connections = 4\nprefill = 20\n[mix]\nput = 1\ncopy = 4\nreplace = 1\nget = 2\ndelete = 1\n\
    [sizes]\n\"1KB-9KB\" = 1\n[[phase]]\nname = \"p\"\nfor = \"1s\"\nrate = 200\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_checked_as_uploads_are() {
    for (fault, code) in [(Fault::None, EXIT_OK), (Fault::WrongCopies, EXIT_WRONG)] {
        let server = Server::start(fault).await;
        let ran = run_with(server.target(), COPIES, |_| {}, pending()).await.expect("a run");
        let Ran { report, text, .. } = ran;
        assert_eq!(report.corrupt > 0, fault == Fault::WrongCopies, "{text}");
        assert!(ran.code == code || (!report.valid && code == EXIT_OK), "{text}");
        assert!(report.operations.iter().any(|row| row.operation == "copy" && row.figures.ok > 40), "{text}");
        assert!(server.state.files.lock().expect("no test thread panics").is_empty(), "copies are removed too");
    }
}

/// A server that answers one request after the other, each in five milliseconds, bears less than 200 per second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_highest_rate_is_found() {
    let profile = "connections = 64\nprefill = 4\n[mix]\nget = 1\n[sizes]\n\"1KB\" = 1\n\
        [knee]\nfrom = 20\nto = 5000\nfor = \"1s\"\np99_ms = 100\nprecision_percent = 30\n";
    let server = Server::start(Fault::None).await;
    server.state.take_turns(Duration::from_millis(5));
    let ran = run_with(server.target(), profile, |_| {}, pending()).await.expect("a run");
    let knee = ran.report.knee.as_ref().expect("a search");
    let (borne, too_high) = (knee.highest_borne.expect("20 are borne"), knee.lowest_too_high.expect("5,000 are not"));
    assert!((40.0..220.0).contains(&borne) && too_high <= borne * 1.31, "{}", ran.text);
    assert!(ran.text.contains("borne with a p99 of at most 100 ms"), "{}", ran.text);
    let late = knee.trials.iter().any(|trial| trial.runner_late);
    assert!(ran.report.valid || late, "what the server could not bear is no fault of the runner: {}", ran.text);
    assert_eq!(ran.report.phases.len(), knee.trials.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_were_written_down_are_replayed() {
    let server = Server::start(Fault::None).await;
    let folder = TempDir::new().expect("a folder");
    let log = folder.path().join("requests.csv");
    let first = run_with(server.target(), PROFILE, |args| args.requests = Some(log.clone()), pending()).await;
    let first = first.expect("a run").report;
    let text = std::fs::read_to_string(&log).expect("written");
    let lists =
        first.operations.iter().filter(|row| row.operation == "list").map(|row| row.figures.started).sum::<u64>();
    assert_eq!(text.lines().count() as u64, 1 + first.total.started - lists, "a line for each that is of a file");

    let profile = format!("connections = 8\n[trace]\nfile = {:?}\n", log.display().to_string());
    let again = run_with(server.target(), &profile, |_| {}, pending()).await.expect("a run");
    let report = &again.report;
    assert_eq!((report.lost, report.corrupt, report.total.failed), (0, 0, 0), "{}", again.text);
    assert_eq!(report.total.started + report.skipped, first.total.started - lists, "{}", again.text);
    assert!(report.skipped < 30, "{}", again.text);
    let puts = |rows: &[crate::load::report::Row]| {
        let uploads = rows.iter().filter(|row| ["put", "replace"].contains(&row.operation.as_str()));
        uploads.map(|row| row.figures.bytes).sum::<u64>()
    };
    assert!(puts(&report.operations) * 10 > puts(&first.operations) * 9, "the files have the lengths that they had");
    assert!(server.state.files.lock().expect("no test thread panics").is_empty(), "all files are removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_are_written_for_other_tools() {
    let server = Server::start(Fault::FlipInGet(10)).await;
    let folder = TempDir::new().expect("a folder");
    let (junit, hlog) = (folder.path().join("junit.xml"), folder.path().join("run.hlog"));
    let profile =
        PROFILE.replace("range = 10", "").replace("\"0\" = 1", "") + "[thresholds]\nper_second_min = 1\np50_ms = 0\n";
    let change = |args: &mut crate::RunArgs| (args.junit, args.hlog) = (Some(junit.clone()), Some(hlog.clone()));
    let ran = run_with(server.target(), &profile, change, pending()).await.expect("a run");
    let xml = std::fs::read_to_string(&junit).expect("written");
    assert!(
        xml.contains("<failure message=\"1 files are corrupt\"") && xml.contains("name=\"nothing is lost\""),
        "{xml}"
    );
    assert!(xml.contains("threshold p50_ms 0") && xml.contains("p50_ms is "), "{xml}");
    let log = std::fs::read_to_string(&hlog).expect("written");
    let seconds = log.lines().filter(|line| !line.starts_with(['#', '"'])).count();
    assert_eq!(seconds, ran.report.series.len(), "{log}");
}

/// A server that takes connections and never answers must not hold a run for as long as its queue is.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_server_that_hangs_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let target = Target {
        api: vec![format!("http://{}", listener.local_addr().expect("it is bound"))],
        token: "t".to_owned(),
        dev_json: None,
    };
    let folder = TempDir::new().expect("a folder");
    let profile = "connections = 2\ntimeout = \"9s\"\n[mix]\nput = 1\n[sizes]\n\"1KB\" = 1\n\
        [[phase]]\nname = \"p\"\nfor = \"2s\"\nrate = 100\n";
    let plan = Plan::new(&args(&folder, profile), &target).expect("a plan");
    let engine = Engine::new(plan.run.clone(), None);
    let mut never = std::pin::pin!(pending());
    let found = measure::measure(&plan, &engine, &mut View::screen(2.0), &mut never).await;
    let count = |failure| found.stats.failures.get(&failure).map_or(0, |(count, _)| *count);
    assert!(
        count(Failure::Abandoned) > 150 && (2..20).contains(&count(Failure::Timeout)),
        "{:?}",
        found.stats.failures
    );
    assert!(found.seconds < 60.0 && found.stats.total.ok == 0, "{}", found.seconds);
}
