//! One process's listeners together: public, peer, operations, and the order in which they end.
//!
//! It must not know what is served.

use std::{io, sync::Arc};

use axum::Router;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    credentials::{self, Guard},
    edge::Edge,
    listener::{Limits, Over, serve_with},
    operations::{self, Operations},
    peers::{self, PeerAuth},
    problem,
};

/// Connections of the operations listener: a scraper, probes and some people.
pub const OPERATIONS_CONNECTIONS_MAX: usize = 256;

/// How much longer than clients the processes of the fleet may rest in mid-body: whoever waits for a client gives up on it
/// first, so that the right one is told.
const PEER_BODY_PATIENCE: u32 = 2;
/// How much longer they may take no bytes: a slow client of another process shows here only when that one's buffers run empty,
/// which are megabytes. A process that died is noticed by its connections' end.
const PEER_WRITE_PATIENCE: u32 = 10;

/// One listener with what it serves.
#[derive(Debug)]
pub struct Site {
    /// Where it listens.
    pub listener: TcpListener,
    /// What it serves.
    pub router: Router,
    /// Its bounds.
    pub limits: Limits,
}

impl Site {
    /// Makes the public site: every route and fallback behind credentials.
    #[must_use]
    pub fn public(listener: TcpListener, routes: Router, guard: Guard, edge: &Edge, limits: Limits) -> Self {
        let router = public(routes, guard, edge, limits);
        Self { listener, router, limits: limits.within_files() }
    }

    /// Makes the peer site: every route and fallback behind signatures. `limits` are those of the public site.
    #[must_use]
    pub fn peer(listener: TcpListener, routes: Router, auth: Arc<PeerAuth>, edge: &Edge, limits: Limits) -> Self {
        let router = peer(routes, auth, edge, limits);
        let limits = Limits {
            connections: Limits::default().connections,
            body_stall: limits.body_stall * PEER_BODY_PATIENCE,
            write_stall: limits.write_stall * PEER_WRITE_PATIENCE,
            ..limits
        };
        Self { listener, router, limits: limits.within_files() }
    }

    /// Makes the operations site, whose connections are its own, however many clients there are.
    #[must_use]
    pub fn operations(listener: TcpListener, operations: Operations, edge: &Edge) -> OperationsSite {
        let edge = Edge { op: operations::op, ..edge.quiet() };
        let limits = Limits { connections: OPERATIONS_CONNECTIONS_MAX, ..Limits::default() };
        let site = Self { listener, router: edge.wrap(operations.clone().router()), limits };
        OperationsSite { site, operations }
    }

    fn spawn(self, stop: CancellationToken, over: Over) -> AbortOnDropHandle<io::Result<()>> {
        AbortOnDropHandle::new(tokio::spawn(serve_with(self.listener, self.router, self.limits, stop, over)))
    }
}

/// The site of probes and scrapers, with what it answers from: metrics show readiness, too, and nobody asks for that.
pub struct OperationsSite {
    site: Site,
    operations: Operations,
}

/// Makes what the public site serves, for whoever calls it without a listener.
pub fn public(routes: Router, guard: Guard, edge: &Edge, limits: Limits) -> Router {
    let edge = Edge { body_idle: limits.body_stall, ..edge.clone() };
    edge.wrap(credentials::require(problem::with_fallbacks(routes), guard))
}

/// Makes what the peer site serves, for whoever calls it without a listener. `limits` are those of the public site.
pub fn peer(routes: Router, auth: Arc<PeerAuth>, edge: &Edge, limits: Limits) -> Router {
    let edge = Edge { body_idle: limits.body_stall * PEER_BODY_PATIENCE, ..edge.quiet() };
    edge.wrap(peers::require(problem::with_fallbacks(routes), auth))
}

/// The sites of one process.
pub struct Sites {
    /// For clients.
    pub public: Site,
    /// For other processes of the fleet.
    pub peer: Site,
    /// For probes and scrapers.
    pub operations: OperationsSite,
}

/// Serves all sites until `stop`, then ends them one after the other. Meanwhile the metrics show readiness.
///
/// Public requests end first, then `forwarded` is waited for: what peers brought for their own clients. Both may need this
/// process's part of a quorum, and to be seen as alive, so peers are served until then; probes are answered to the last. All of it
/// takes the public site's drain time, and a moment more.
///
/// # Errors
/// The first error of a listener; the others are stopped then.
///
/// # Cancel safety
/// Dropping the future closes everything at once.
pub async fn run(sites: Sites, forwarded: impl Future<Output = ()>, stop: CancellationToken) -> io::Result<()> {
    let first = stop.child_token();
    let [clients, second, third] = [(); 3].map(|()| CancellationToken::new());
    let over = Over::default();
    let OperationsSite { site: probed, operations } = sites.operations;
    // Ends with the sites. A task of its own, as theirs are: whoever runs the sites may be busy with other ends of the process.
    let _shows = AbortOnDropHandle::new(tokio::spawn(operations.show_readiness()));
    let phase = async |site: Site, until: &CancellationToken, next: Option<&CancellationToken>| {
        let result =
            site.spawn(until.clone(), over.clone()).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        match next {
            Some(next) if result.is_ok() => next.cancel(),
            _ => [&first, &clients, &second, &third].into_iter().for_each(CancellationToken::cancel),
        }
        result
    };
    let between = async {
        clients.cancelled().await;
        let until = over.get().copied().unwrap_or_else(Instant::now);
        // Over its time it is cut, as clients are.
        let _ended = tokio::select! {
            ended = tokio::time::timeout_at(until, forwarded) => ended,
            () = second.cancelled() => Ok(()),
        };
        second.cancel();
    };
    let (public, (), peer, operations) = futures::join!(
        phase(sites.public, &first, Some(&clients)),
        between,
        phase(sites.peer, &second, Some(&third)),
        phase(probed, &third, None),
    );
    public.and(peer).and(operations)
}
