//! The operations routes: alive, ready, metrics. They answer while everything else drains. Readiness is shown in the metrics, too.
//!
//! It must not know what readiness means for a node or a supernode; [`Readiness`] does.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use flotilla_api::route::{HEALTHZ, METRICS, READYZ};
use flotilla_env::Clock;
use http::{Method, StatusCode, header};
use metrics::gauge;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    credentials::{self, Authenticator},
    problem,
    telemetry::Metrics,
};

/// How long readiness may take in all; a read index that needs longer means that there is no quorum to speak of.
pub const READY_WITHIN: Duration = Duration::from_secs(1);
/// How often readiness is looked at for the metrics: three times per scrape at the usual 15 s, and a read index each is no load.
pub const SHOWN_EVERY: Duration = Duration::from_secs(5);

/// Why a process is not ready. The set is closed: one more needs a record, as the last one has (docs/adr/0012).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No read index was confirmed in time.
    NoQuorum,
    /// No space can be reserved.
    DiskFull,
    /// The last sync failed.
    DiskFailed,
    /// A snapshot is being installed.
    CatchingUp,
    /// The process is stopping.
    HandingOver,
    /// The cluster's lease ran out.
    Lease,
    /// A start has heard of no cluster that gets new files.
    NoCluster,
}

impl Reason {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::NoQuorum,
        Self::DiskFull,
        Self::DiskFailed,
        Self::CatchingUp,
        Self::HandingOver,
        Self::Lease,
        Self::NoCluster,
    ];

    /// Its pinned name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoQuorum => "no_quorum",
            Self::DiskFull => "disk_full",
            Self::DiskFailed => "disk_failed",
            Self::CatchingUp => "catching_up",
            Self::HandingOver => "handing_over",
            Self::Lease => "lease",
            Self::NoCluster => "no_cluster",
        }
    }
}

/// Tells whether a process can do its work, without writing anything.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// Gives everything that keeps the process from its work; nothing when it is ready. Cut off after [`READY_WITHIN`].
    async fn reasons(&self) -> Vec<Reason>;
}

/// The answer of `/healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The process's name, for example `a-n1`.
    pub name: String,
    /// `node` or `supernode`.
    pub role: String,
    /// The process id.
    pub pid: u32,
    /// The revision of the binary.
    pub rev: String,
    /// Time since the start, in milliseconds.
    pub uptime_ms: u64,
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether the process can do its work.
    pub ready: bool,
    /// Why not, sorted; left out when ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// What the operations routes answer from.
#[derive(Clone)]
pub struct Operations {
    name: String,
    role: &'static str,
    started: Instant,
    clock: Arc<dyn Clock>,
    readiness: Arc<dyn Readiness>,
    metrics: Metrics,
    scrapers: Option<Arc<dyn Authenticator>>,
    stop: CancellationToken,
}

impl Operations {
    /// Makes the answers of a process that starts now, and is not ready any more once `stop` was raised. Metrics are served to
    /// loopback alone.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        role: &'static str,
        clock: Arc<dyn Clock>,
        readiness: Arc<dyn Readiness>,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        // The wall clock, for people: two starts have two values.
        #[allow(clippy::cast_precision_loss)] // gauges are floats; milliseconds of our time stay below 2^53
        gauge!("flotilla_start_time_seconds").set(clock.wall_ms() as f64 / 1000.0);
        Self { name: name.into(), role, started: clock.now(), clock, readiness, metrics, scrapers: None, stop }
    }

    /// Serves metrics also to callers from elsewhere that have a credential.
    #[must_use]
    pub fn scrapers(self, authenticator: Arc<dyn Authenticator>) -> Self {
        Self { scrapers: Some(authenticator), ..self }
    }

    /// Shows in the metrics what keeps the process from its work, until it stops: looked at every [`SHOWN_EVERY`], so that no
    /// scrape waits for a quorum.
    pub async fn show_readiness(self) {
        let shown = Reason::ALL.map(|reason| (reason, gauge!("flotilla_not_ready", "reason" => reason.as_str())));
        let show = |reasons: &[Reason]| {
            for (reason, gauge) in &shown {
                gauge.set(if reasons.contains(reason) { 1.0 } else { 0.0 });
            }
        };
        let mut ticks = tokio::time::interval(SHOWN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stop.run_until_cancelled(ticks.tick()).await.is_some() {
            show(&self.reasons().await);
        }
        // What else there is to say of a process that ends, nobody scrapes any more.
        show(&[Reason::HandingOver]);
    }

    /// Gives what keeps the process from its work, sorted, each reason once.
    async fn reasons(&self) -> Vec<Reason> {
        let asked = tokio::time::timeout(READY_WITHIN, self.readiness.reasons()).await;
        let mut reasons = asked.unwrap_or_else(|_elapsed| vec![Reason::NoQuorum]);
        // No new requests come in: whoever routes them should know before connections are refused.
        reasons.extend(self.stop.is_cancelled().then_some(Reason::HandingOver));
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }

    /// Gives the routes.
    pub fn router(self) -> Router {
        let routes = Router::new()
            .route(HEALTHZ, get(healthz))
            .route(READYZ, get(readyz))
            .route(METRICS, get(metrics))
            .with_state(Arc::new(self));
        problem::with_fallbacks(routes)
    }
}

/// Names the operations of this router for the metrics.
#[must_use]
pub fn op(_method: &Method, route: Option<&str>) -> &'static str {
    match route {
        Some(HEALTHZ) => "healthz",
        Some(READYZ) => "readyz",
        Some(METRICS) => "metrics",
        _ => "other",
    }
}

async fn healthz(State(operations): State<Arc<Operations>>) -> Json<Health> {
    let uptime = operations.clock.now().saturating_duration_since(operations.started);
    Json(Health {
        name: operations.name.clone(),
        role: operations.role.to_owned(),
        pid: std::process::id(),
        rev: crate::REV.to_owned(),
        uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
    })
}

async fn readyz(State(operations): State<Arc<Operations>>) -> (StatusCode, Json<Ready>) {
    let reasons = operations.reasons().await;
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, reasons }))
}

async fn metrics(State(operations): State<Arc<Operations>>, request: Request) -> Response {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if !from.is_some_and(|ConnectInfo(from)| from.ip().to_canonical().is_loopback()) {
        let scrapers = operations.scrapers.as_deref().unwrap_or(&Nobody);
        if let Err(error) = credentials::caller(request.headers(), scrapers) {
            return credentials::refuse(error);
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], operations.metrics.render()).into_response()
}

struct Nobody;

impl Authenticator for Nobody {
    fn authenticate(&self, _token: &str) -> Option<credentials::Caller> {
        None
    }
}
