//! A leader and runners in one process, over pipes in memory.

use std::{
    future::{Future, pending},
    sync::atomic::Ordering,
    time::Duration,
};

use tokio::{io::duplex, task::JoinSet, time::sleep};

use super::{
    follow, lead,
    lead::Ends,
    message::{Input, Reply},
};
use crate::{
    Error, RunArgs, Target,
    load::{found::Found, plan::Plan, tests::args, view::View},
    testing::{Fault, Server},
};

const PROFILE: &str = r#"
connections = 8
prefill = 41
[mix]
put = 20
get = 80
[sizes]
"1KB-20KB" = 1
[[phase]]
name = "only"
for = "2s"
rate = 200
"#;

/// Runs the profile in three shares; the connection of runner `cut` breaks a second after the start.
async fn run(target: &Target, cut: Option<usize>, interrupt: impl Future<Output = ()>) -> Result<Option<Found>, Error> {
    let folder = tempfile::TempDir::new().expect("a folder");
    let args = RunArgs { worker: vec![String::new(); 3], ..args(&folder, PROFILE) };
    let plan = Plan::new(&args, target).expect("a plan");
    let task = plan.task(&args, target);
    let mut runners = JoinSet::new();
    let ends = (0..3).map(|number| {
        let ((leaders, theirs), (their_output, leaders_input)) = (duplex(1 << 16), duplex(1 << 16));
        runners.spawn(async move {
            let gone =
                async { if cut == Some(number) { sleep(Duration::from_secs(3)).await } else { pending().await } };
            tokio::select! {
                ended = follow(theirs, their_output, pending()) => drop(ended),
                () = gone => {}
            }
        });
        let (input, output) = (Box::new(leaders_input), Box::new(leaders));
        Ends { name: format!("runner {}", number + 1), command: "here".to_owned(), input, output, child: None }
    });
    let ends = ends.collect();
    let mut interrupt = std::pin::pin!(interrupt);
    let led = lead(&plan, &task, ends, &mut View::screen(2.0), &mut interrupt).await;
    while runners.join_next().await.is_some() {}
    Ok(led?.map(|led| led.found))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_runners_are_one_load() {
    let server = Server::start(Fault::None).await;
    let found = run(&server.target(), None, pending()).await.expect("they run").expect("nobody stops them");
    assert_eq!((found.lost, found.corrupt, found.unreadable, found.left_files), (0, 0, 0, 0));
    let requests = found.stats.total.ok + found.stats.total.failed;
    assert!((300..500).contains(&requests) && found.stats.total.failed == 0, "{requests}");
    assert_eq!(found.workers.iter().map(|row| row.requests).sum::<u64>(), requests);
    assert!(
        found.workers.iter().all(|row| row.requests > 60 && row.clock_ahead_ms.abs() < 100.0),
        "{:?}",
        found.workers
    );
    assert_eq!(found.stats.series.steps().iter().map(|step| step.ok).sum::<u64>(), requests, "no second is missing");
    assert!(found.checked_files >= 41 && found.connections == 8);
    assert!(server.state.files.lock().expect("no test thread panics").is_empty(), "all files are removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_of_them_finds_is_found() {
    let server = Server::start(Fault::ForgetPut(50)).await;
    let found = run(&server.target(), None, pending()).await.expect("they run").expect("nobody stops them");
    assert_eq!((found.lost, found.corrupt), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_goes_away_makes_the_run_invalid() {
    let server = Server::start(Fault::None).await;
    let found = run(&server.target(), Some(1), pending()).await.expect("they run").expect("nobody stops them");
    assert!(
        found.invalid_because.iter().any(|why| why.starts_with("runner 2 did not report")),
        "{:?}",
        found.invalid_because
    );
    assert!(found.workers.len() == 3 && found.stats.total.ok > 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_load_gives_what_there_is_and_leaves_nothing() {
    let server = Server::start(Fault::None).await;
    let found = run(&server.target(), None, sleep(Duration::from_millis(2200)))
        .await
        .expect("they run")
        .expect("the load began");
    assert!(found.interrupted && found.stats.total.ok > 20, "{}", found.stats.total.ok);
    assert!(server.state.files.lock().expect("no test thread panics").is_empty(), "all files are removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_begin_is_told() {
    let server = Server::start(Fault::None).await;
    server.state.refuse_all.store(true, Ordering::SeqCst);
    let error = run(&server.target(), None, pending()).await.expect_err("no file can be made").to_string();
    assert!(error.contains("runner") && error.contains("503"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_is_stopped_before_it_begins_leaves_nothing() {
    let server = Server::start(Fault::None).await;
    server.state.take_turns(Duration::from_millis(20));
    let led = run(&server.target(), None, sleep(Duration::from_millis(300))).await.expect("nothing fails");
    assert!(led.is_none(), "41 files take 800 ms");
    assert!(server.state.files.lock().expect("no test thread panics").is_empty(), "what was made is removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_word_is_a_greeting_however_threads_are_run() {
    for _ in 0..300 {
        let ((leaders, theirs), (their_output, leaders_input)) = (duplex(1 << 16), duplex(1 << 16));
        // Not a task of its own: as in a process, the runner's tasks are other threads'.
        let heard = async {
            let first = Input::<Reply>::new(leaders_input).next().await.expect("a message");
            drop(leaders);
            first
        };
        let (_, first) = tokio::join!(follow(theirs, their_output, pending()), heard);
        assert!(matches!(first, Some(Reply::Hello { .. })), "{first:?}");
    }
}
