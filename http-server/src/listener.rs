//! The accept loop and one connection's life: limits, timeouts, graceful end.
//!
//! axum's own loop has no timer and so no header timeout. It must not know routes or callers.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::{
    bodies::IDLE_DEFAULT,
    framing::{OnWire, Suspicion},
    wire::Wire,
};

/// Connections the kernel holds for us while all slots are taken or the loop is busy: as many as it holds for anybody unless it
/// is told otherwise. Those of a spike come within a second, and who finds no room here is not even refused.
const BACKLOG: u32 = 4096;

/// Bytes of an answer that the kernel takes before they can be sent: enough to fill a fast link between two wake-ups, few enough
/// that a client's progress shows within seconds instead of only after megabytes.
const UNSENT_BYTES_MAX: u32 = 256 << 10;

/// The pause after a failed accept: long enough for a file descriptor to come free, short enough that no client notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the accept backlog.
    pub connections: usize,
    /// How long a new connection may take for the head of its first request, and any later head from its first byte on.
    pub header_read: Duration,
    /// How long a connection may rest between requests.
    pub idle: Duration,
    /// The longest head, in bytes; over it the answer is 431.
    pub head_bytes: usize,
    /// How long a request's body is waited for without [`PROGRESS_BYTES`](crate::bodies::PROGRESS_BYTES) of it coming.
    pub body_stall: Duration,
    /// How long an answer waits for its client without so many bytes of it being taken.
    pub write_stall: Duration,
    /// How long running requests have after the stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Thousands of resting clients fit; at 16 KiB each they stay under 128 MiB.
            connections: 8192,
            // A head is one packet or two; a client that needs longer holds the slot on purpose.
            header_read: Duration::from_secs(10),
            // Longer than the pools of clients and of load balancers in front, which are at 60 s: they close first, so that no
            // request meets a connection that is being closed.
            idle: Duration::from_secs(75),
            // A key of 1,024 bytes is 3 KiB encoded; a capability and cookies fit several times.
            head_bytes: 32 << 10,
            // A client that stops for longer has to send again, or ask again with Range.
            body_stall: IDLE_DEFAULT,
            write_stall: IDLE_DEFAULT,
            // Below the 30 s that Kubernetes gives a pod.
            drain: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// Lowers the number of connections to a share of the files that this process may open.
    ///
    /// A process without a file left can't write its log: connections must not be what takes the last one. A quarter each for
    /// clients and peers leaves another for connections to others, and the last for the database and chunks.
    #[must_use]
    pub fn within_files(self) -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let share = usize::try_from(files / 4).unwrap_or(usize::MAX).max(1);
        Self { connections: self.connections.min(share), ..self }
    }
}

/// Why a listener can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can be reached from other machines, and there are no secrets.
    #[error(
        "refusing to listen on {0}, which other machines can reach, without secrets; create the secrets first or listen on 127.0.0.1"
    )]
    Exposed(SocketAddr),
    /// The system refused.
    #[error("listening on {addr}")]
    Io {
        /// The address.
        addr: SocketAddr,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// Listens on an address.
///
/// # Errors
/// [`BindError`]; the settings must change, or the process that holds the address must go.
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind(addr: SocketAddr, secured: bool) -> Result<TcpListener, BindError> {
    if !secured && !addr.ip().to_canonical().is_loopback() {
        return Err(BindError::Exposed(addr));
    }
    let listen = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restarted process must not wait for its old connections' last state.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| BindError::Io { addr, source })
}

/// Where connections come from: a socket, or a test.
pub trait Accept: Send {
    /// A connection's bytes.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection.
    ///
    /// # Cancel safety
    /// A dropped future loses no connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, remote) = TcpListener::accept(self).await?;
        // Small answers must not wait for the acknowledgement of earlier ones; a socket that refuses is already dead.
        let _ = stream.set_nodelay(true);
        flotilla_env::net::unpace_loopback(&stream, remote);
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        Ok((stream, remote))
    }
}

/// When running requests of several listeners have to be over: a drain time after the first of them stopped.
pub(crate) type Over = Arc<OnceLock<Instant>>;

/// What a listener's running requests get at least, however long those of the one before it took.
const DRAIN_MIN: Duration = Duration::from_secs(1);

/// Serves a router until `stop`, then lets running requests end within the drain time and closes the rest.
///
/// Every request carries `ConnectInfo<SocketAddr>` with the caller's address.
///
/// # Errors
/// Only if the listener itself is unusable; failed accepts (no file descriptors left, a connection aborted) are survived.
///
/// # Cancel safety
/// Dropping the future closes the listener and all its connections.
pub async fn serve<A: Accept>(listener: A, router: Router, limits: Limits, stop: CancellationToken) -> io::Result<()> {
    serve_with(listener, router, limits, stop, Over::default()).await
}

/// As [`serve`], as one of several listeners that share their drain time.
pub(crate) async fn serve_with<A: Accept>(
    mut listener: A,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    over: Over,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let kill = CancellationToken::new();
    let _kill_when_dropped = kill.clone().drop_guard();
    let end = End { stop, kill };
    let mut failing = false;
    while let Some(slot) = end.stop.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await {
        let slot = slot.expect("nobody closes the semaphore");
        let Some(accepted) = end.stop.run_until_cancelled(listener.accept()).await else { break };
        match accepted {
            Ok((stream, remote)) => {
                failing = false;
                connections.spawn(connection(stream, remote, router.clone(), limits, end.clone(), slot));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "accept fails");
                }
                failing = true;
                end.stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let now = Instant::now();
    let until = (*over.get_or_init(|| now + limits.drain)).max(now + DRAIN_MIN.min(limits.drain));
    if tokio::time::timeout_at(until, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "drain time is over, closing connections");
        end.kill.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// The two ends of a connection: after the request that runs, and now.
#[derive(Debug, Clone)]
struct End {
    stop: CancellationToken,
    kill: CancellationToken,
}

async fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    remote: SocketAddr,
    router: Router,
    limits: Limits,
    end: End,
    _slot: OwnedSemaphorePermit,
) {
    let suspicion = Arc::new(Suspicion::default());
    let stream = TokioIo::new(Wire::new(stream, &limits, Arc::clone(&suspicion)));
    let requests = AtomicU64::new(0);
    let service = service_fn(move |request: Request<Incoming>| {
        let number = requests.fetch_add(1, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(remote));
        request.extensions_mut().insert(OnWire { suspicious: suspicion.of(number) });
        router.clone().oneshot(request)
    });
    // The number of headers stays hyper's 100: any other number costs an allocation per request.
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        // Heads are the wire's to time: hyper counts the rest before one as a part of it.
        .header_read_timeout(limits.idle.max(limits.header_read))
        .max_header_size(limits.head_bytes)
        .keep_alive(true)
        .serve_connection(stream, service);
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = &mut serving => result,
        () = end.kill.cancelled() => return,
        () = end.stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                result = &mut serving => result,
                () = end.kill.cancelled() => return,
            }
        }
    };
    if let Err(error) = result {
        // Clients cause all of these: broken heads, timeouts, resets.
        tracing::debug!(%error, %remote, "connection ended");
    }
}
