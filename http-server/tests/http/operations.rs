//! Alive, ready, metrics.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use flotilla_api::Code;
use flotilla_env::clock;
use flotilla_http_server::{
    Metrics, Operations, Readiness, Reason, RequestMetrics, install_metrics,
    operations::{Health, READY_WITHIN, SHOWN_EVERY, op},
    telemetry::{OPS_MAX, Observation},
};
use http::{Method, StatusCode};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio_util::sync::CancellationToken;

use crate::common::{ask, authenticator, edge, get, problem};

struct Fixed(Vec<Reason>);

#[async_trait]
impl Readiness for Fixed {
    async fn reasons(&self) -> Vec<Reason> {
        self.0.clone()
    }
}

struct Stuck;

#[async_trait]
impl Readiness for Stuck {
    async fn reasons(&self) -> Vec<Reason> {
        std::future::pending().await
    }
}

fn metrics() -> Metrics {
    install_metrics(&CancellationToken::new()).expect("the recorder is ours")
}

fn router(readiness: impl Readiness + 'static) -> Router {
    let operations =
        Operations::new("a-n1", "node", clock::system(), Arc::new(readiness), metrics(), CancellationToken::new());
    edge().wrap(operations.scrapers(authenticator()).router())
}

#[tokio::test]
async fn the_operations_listener_has_three_routes_to_read_and_no_other() {
    let router = router(Fixed(vec![]));
    let source = include_str!("../../../api/src/route.rs");
    let texts = source.lines().filter_map(|line| line.split_once("= \"")?.1.strip_suffix("\";"));
    let routes: Vec<_> = texts.filter(|text| text.starts_with('/')).collect();
    assert!(routes.len() > 15, "the source has another form");
    for route in routes {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            for (name, value) in [("x", ""), ("authorization", "Bearer bad"), ("authorization", "Bearer good")] {
                let request = Request::builder().method(method).uri(route).header(name, value);
                let response = ask(&router, request.body(Body::empty()).expect("a good request")).await;
                let known = ["/healthz", "/readyz"].contains(&route) || (route == "/metrics" && value == "Bearer good");
                let open = known && ["GET", "HEAD"].contains(&method);
                assert_eq!(response.status().is_success(), open, "{method} {route} {value}: {}", response.status());
            }
        }
    }
}

#[tokio::test]
async fn healthz_names_the_process() {
    let response = get(&router(Stuck), "/healthz").await;
    assert_eq!(response.status().as_u16(), 200);
    let health: Health = serde_json::from_slice(response.body()).expect("the answer");
    assert_eq!((&*health.name, &*health.role, health.pid), ("a-n1", "node", std::process::id()));
    assert!(!health.rev.is_empty());
}

#[tokio::test]
async fn readyz_tells_every_reason_by_its_pinned_name() {
    let ready = get(&router(Fixed(vec![])), "/readyz").await;
    assert_eq!((ready.status().as_u16(), ready.body().as_ref()), (200, &br#"{"ready":true}"#[..]));

    use Reason::{CatchingUp, DiskFailed, DiskFull, HandingOver, Lease, NoCluster, NoQuorum};
    let all = vec![NoCluster, Lease, HandingOver, CatchingUp, DiskFailed, DiskFull, NoQuorum, Lease];
    let not = get(&router(Fixed(all)), "/readyz").await;
    assert_eq!(not.status().as_u16(), 503);
    let names = r#"["no_quorum","disk_full","disk_failed","catching_up","handing_over","lease","no_cluster"]"#;
    assert_eq!(not.body().as_ref(), format!(r#"{{"ready":false,"reasons":{names}}}"#).as_bytes());
}

#[tokio::test(start_paused = true)]
async fn readiness_that_does_not_answer_is_no_quorum() {
    let router = router(Stuck);
    let asked = tokio::time::timeout(READY_WITHIN + READY_WITHIN / 2, get(&router, "/readyz")).await;
    let response = asked.expect("readiness is bounded");
    assert_eq!(response.status().as_u16(), 503);
    assert_eq!(response.body().as_ref(), br#"{"ready":false,"reasons":["no_quorum"]}"#);
}

#[test]
fn reasons_have_one_name_each_in_answers_and_metrics() {
    for reason in Reason::ALL {
        assert_eq!(serde_json::to_value(reason).expect("a text"), reason.as_str());
    }
    assert!(Reason::ALL.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn metrics_show_what_keeps_a_process_from_its_work_until_it_ends() {
    // Of its own, since other tests of this process show readiness, too.
    let (metrics, recorder) = (metrics(), PrometheusBuilder::new().build_recorder());
    let _ours = metrics::set_default_local_recorder(&recorder);
    let stop = CancellationToken::new();
    let fixed = Arc::new(Fixed(vec![Reason::DiskFailed, Reason::NoQuorum]));
    let operations = Operations::new("a-n1", "node", clock::system(), fixed, metrics, stop.clone());
    let render = || recorder.handle().render();
    let shown = || {
        let text = render();
        let set =
            text.lines().filter_map(|line| line.strip_prefix("flotilla_not_ready{reason=\"")?.strip_suffix("\"} 1"));
        let mut set: Vec<String> = set.map(str::to_owned).collect();
        set.sort_unstable();
        set
    };
    let shows = tokio::spawn(operations.show_readiness());
    tokio::time::sleep(SHOWN_EVERY * 2).await;
    assert_eq!(shown(), ["disk_failed", "no_quorum"]);
    let all = render().lines().filter(|line| line.starts_with("flotilla_not_ready{")).count();
    assert_eq!(all, Reason::ALL.len(), "the others are there, as 0");
    stop.cancel();
    shows.await.expect("it ends with the process");
    assert_eq!(shown(), ["handing_over"]);
    let started = render().lines().any(|line| line.starts_with("flotilla_start_time_seconds 1"));
    assert!(started, "the start is shown in seconds since 1970");
}

#[tokio::test]
async fn metrics_need_a_token_off_loopback_only() {
    let router = router(Stuck);
    let scrape = async |from: Option<&str>, token: Option<&str>| {
        let mut request = Request::get("/metrics");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let mut request = request.body(Body::empty()).expect("valid request");
        if let Some(from) = from {
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(from.parse().expect("an address")));
        }
        ask(&router, request).await
    };
    for from in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(scrape(Some(from), None).await.status().as_u16(), 200, "{from}");
    }
    for from in [Some("192.0.2.1:1"), None] {
        let refused = scrape(from, None).await;
        assert_eq!((refused.status().as_u16(), problem(&refused).code), (401, Code::Unauthenticated));
        assert_eq!(scrape(from, Some("Bearer good")).await.status().as_u16(), 200);
    }
}

#[tokio::test]
async fn requests_are_measured_with_fixed_buckets_and_bounded_labels() {
    let (first, second) = (metrics(), metrics());
    let requests = RequestMetrics::default();
    let seen = |op, status| Observation {
        op,
        status: Some(StatusCode::from_u16(status).expect("a status")),
        elapsed: std::time::Duration::from_millis(3),
        received: 10,
        sent: 20,
    };
    requests.observe(seen("measured", 200));
    requests.observe(seen("measured", 200));
    requests.observe(seen("measured", 418));
    requests.observe(Observation { status: None, ..seen("measured", 200) });
    metrics::histogram!("flotilla_queue_wait_seconds", "cluster" => "a").record(70.0);
    metrics::histogram!("flotilla_other_seconds").record(1.0);
    let text = first.render();
    for line in [
        r#"flotilla_requests_total{op="measured",code="200"} 2"#,
        r#"flotilla_requests_total{op="measured",code="other"} 1"#,
        r#"flotilla_requests_total{op="measured",code="gone"} 1"#,
        r#"flotilla_request_seconds_bucket{op="measured",le="0.0025"} 0"#,
        r#"flotilla_request_seconds_bucket{op="measured",le="0.005"} 4"#,
        r#"flotilla_body_bytes_total{op="measured",dir="in"} 40"#,
        r#"flotilla_body_bytes_total{op="measured",dir="out"} 80"#,
        r#"flotilla_queue_wait_seconds_bucket{cluster="a",le="60"} 0"#,
        r#"flotilla_other_seconds_bucket{le="1"} 1"#,
        &format!(r#"flotilla_build_info{{rev="{}"}} 1"#, flotilla_http_server::REV),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    for metric in ["process_resident_memory_bytes", "process_open_fds", "process_threads", "process_cpu_seconds_total"]
    {
        assert!(text.contains(&format!("\n{metric} ")), "{metric} is not in\n{text}");
    }
    assert!(second.render().contains(r#"op="measured""#), "both handles are of one recorder");

    for at in 0..OPS_MAX * 2 {
        requests.observe(seen(format!("op{at}").leak(), 200));
    }
    let series = first.render().lines().filter(|line| line.starts_with("flotilla_request_seconds_count")).count();
    assert!(series <= OPS_MAX + 1 + 4, "{series} series"); // the ones of the other tests in this process
}

#[test]
fn every_operations_route_is_named() {
    let names: Vec<_> =
        ["/healthz", "/readyz", "/metrics", "/x"].map(|route| op(&Method::GET, Some(route))).into_iter().collect();
    assert_eq!(names, ["healthz", "readyz", "metrics", "other"]);
    assert_eq!(op(&Method::GET, None), "other");
}
