//! Samples, their steps and their sums.

use std::{sync::Arc, time::Duration};

use flotilla_env::clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Figures, Reading, STEP_FIRST, Sample, Series, Step, Watch, busy, metric, scrape};
use crate::{
    dev::{Dev, Process, Resident},
    procfs,
};

/// Serves one page to everybody who asks, until the tasks are dropped; gives its base address.
pub(in crate::load) async fn serve(page: &str) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head: Vec<u8> = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && matches!(socket.read_buf(&mut head).await, Ok(1..)) {}
            let _ = socket.write_all(answer.as_bytes()).await; // the client may have gone
        }
    });
    (base, tasks)
}

fn this_process(ops: &str) -> Process {
    let start_ticks = procfs::stat("self").expect("this process runs").start_ticks;
    let (name, role, cluster) = ("a-n1".to_owned(), "node".to_owned(), Some("a".to_owned()));
    Process { name, role, cluster, pid: std::process::id(), start_ticks, ops: ops.to_owned() }
}

fn sample(at_s: f64, cpu_cores: Option<f64>, rss_bytes: Option<u64>) -> Sample {
    let (queued, in_flight, cache_hit_share, lag_entries, leaders) = (None, None, None, None, Vec::new());
    let largest_rss_bytes = rss_bytes;
    Sample { at_s, cpu_cores, rss_bytes, largest_rss_bytes, queued, in_flight, cache_hit_share, lag_entries, leaders }
}

fn step(at_s: f64) -> Step {
    Step { sample: sample(at_s, Some(at_s), None), seconds: 1.0, lookups: 0.0 }
}

fn reading(at: Instant, cpu_ms: Option<u64>, hits: f64, misses: f64, queued: Option<f64>) -> Reading {
    let figures = Figures { hits: Some(hits), misses: Some(misses), queued, members: Vec::new() };
    let resident = Resident { largest_bytes: 30, sum_bytes: 50 };
    Reading {
        at,
        cpu: vec![cpu_ms.map(Duration::from_millis)],
        resident,
        figures: vec![Some(figures)],
        lag_entries: None,
        leaders: Vec::new(),
    }
}

#[test]
fn values_of_one_metric_are_added_up() {
    let page = "# TYPE x_total counter\nx_total{op=\"put\",code=\"}\"} 2\nx_total{op=\"get\"} 3 1700000000\n\
        x_total_more 7\nx_total 1.5\nx_total{op=\"list\"} NaN\nempty 0\n";
    assert_eq!(metric(page, "x_total"), Some(6.5));
    assert_eq!(metric(page, "empty"), Some(0.0));
    assert_eq!(metric(page, "x"), None);
    assert_eq!(metric("", "x_total"), None);
}

#[test]
fn a_step_tells_what_changed_and_what_is() {
    let start = clock::system().now();
    let (one, three) = (start + Duration::from_secs(1), start + Duration::from_secs(3));
    let last = reading(one, Some(1_000), 10.0, 10.0, Some(9.0));
    let now = reading(three, Some(4_000), 13.0, 11.0, Some(5.0));
    let seen = Step::between(start, &last, &now);
    let expect = Sample {
        largest_rss_bytes: Some(30),
        queued: Some(5.0),
        cache_hit_share: Some(0.75),
        ..sample(3.0, Some(1.5), Some(50))
    };
    assert_eq!(seen, Step { sample: expect, seconds: 2.0, lookups: 4.0 });
}

#[test]
fn what_nobody_tells_is_none() {
    let start = clock::system().now();
    let silent = || Reading { cpu: vec![None], figures: vec![None], ..reading(start, None, 0.0, 0.0, None) };
    let silent = || Reading { resident: Resident::default(), ..silent() };
    assert_eq!(Step::between(start, &silent(), &silent()).sample, sample(0.0, None, None));
    let idle = reading(start, None, 7.0, 7.0, None);
    assert_eq!(Step::between(start, &idle, &idle).sample.cache_hit_share, None);
}

#[test]
fn a_counter_that_began_again_is_counted_from_nothing() {
    let start = clock::system().now();
    let (last, now) = (reading(start, None, 90.0, 90.0, None), reading(start, None, 1.0, 3.0, None));
    assert_eq!(Step::between(start, &last, &now).sample.cache_hit_share, Some(0.25));
}

#[test]
fn processes_that_are_gone_do_not_hide_the_others() {
    let ms = |ms: u64| Some(Duration::from_millis(ms));
    assert_eq!(busy(&[ms(5), ms(9), None], &[ms(8), None, ms(4)]), ms(3));
    assert_eq!(busy(&[ms(5)], &[None]), None);
    assert_eq!(busy(&[], &[]), None);
}

#[test]
fn merged_steps_keep_means_and_peaks() {
    let old = Sample { queued: Some(3.0), cache_hit_share: Some(1.0), ..sample(1.0, Some(4.0), Some(70)) };
    let new = Sample { queued: None, cache_hit_share: Some(0.5), ..sample(3.0, Some(1.0), Some(50)) };
    let merged = Step { sample: old, seconds: 1.0, lookups: 30.0 };
    let merged = merged.merge(Step { sample: new, seconds: 2.0, lookups: 10.0 });
    let expect = Sample { queued: Some(3.0), cache_hit_share: Some(0.875), ..sample(3.0, Some(2.0), Some(70)) };
    assert_eq!(merged, Step { sample: expect, seconds: 3.0, lookups: 40.0 });
}

#[test]
fn the_list_stays_short_and_the_step_doubles() {
    let mut series = Series::new(4);
    let lengths: Vec<u64> = (1..=5).map(|at| series.push(step(f64::from(at))).as_secs()).collect();
    assert_eq!(lengths, [1, 1, 1, 1, 2]);
    let seen: Vec<_> = series.steps.iter().map(|step| (step.sample.at_s, step.sample.cpu_cores)).collect();
    assert_eq!(seen, [(2.0, Some(1.5)), (4.0, Some(3.5)), (5.0, Some(5.0))]);
    for max in [0, 1] {
        let mut series = Series::new(max);
        for at in 1..=9 {
            series.push(step(f64::from(at)));
            assert_eq!(series.steps.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_server_is_read_and_a_silent_one_is_given_up() {
    let page = "flotilla_cache_hits_total 3\n\
        flotilla_queue_depth{cluster=\"a\"} 2\nflotilla_queue_depth{cluster=\"b\"} 4\n";
    let (base, _server) = serve(page).await;
    let dev = Dev { processes: vec![this_process(&base), this_process("")] };
    let reading = Reading::take(&dev, &*clock::system()).await;
    assert_eq!(
        reading.figures,
        [Some(Figures { hits: Some(3.0), misses: None, queued: Some(6.0), members: Vec::new() }), None]
    );
    assert!(reading.cpu.iter().all(Option::is_some) && reading.resident.sum_bytes > 0);

    // It takes connections, as the system does for a stopped process, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let base = format!("http://{}", silent.local_addr().expect("it is bound"));
    assert_eq!(scrape(&base, Duration::from_millis(20)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_gives_a_sample_for_every_step() {
    let clock = clock::system();
    let dev = Arc::new(Dev { processes: vec![this_process("")] });
    let watch = Watch::start(dev, clock.clone(), clock.now(), 4);
    sleep(STEP_FIRST * 19 / 2).await;
    let seen = watch.stop();
    let times: Vec<f64> = seen.iter().map(|sample| sample.at_s.round()).collect();
    assert_eq!(times, [4.0, 7.0, 9.0]);
    assert!(seen.iter().all(|sample| sample.cpu_cores.is_some() && sample.rss_bytes.is_some()), "{seen:?}");
}
