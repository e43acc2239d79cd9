//! The report as a page that grows while the run goes on, at an address of this machine.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{
    Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, REFRESH},
};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use super::{
    files,
    report::Report,
    series::{Series, Step},
    times::Times,
};
use crate::Error;

/// How often a browser asks again, in seconds.
const REFRESH_S: &str = "2";
/// Visitors at once; others wait.
const VISITORS_MAX: usize = 16;
/// How long a visitor may take to say what he wants.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A page that is being served; ends when it is dropped.
pub(super) struct Page {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    _server: JoinSet<()>,
}

struct State {
    report: Report,
    series: Series,
    latency: Times,
}

impl Page {
    /// Serves a report that has just begun.
    ///
    /// # Errors
    /// [`Error::Listen`]: the address is taken or not of this machine.
    pub(super) async fn serve(address: SocketAddr, report: Report) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;
        let state = Arc::new(Mutex::new(State { report, series: Series::default(), latency: Times::default() }));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, state.clone()));
        Ok(Self { state, address, _server: server })
    }

    /// Gives the address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a second.
    pub(super) fn add(&self, step: &Step, latency: &Times) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.series.push(step.clone());
        state.latency.add(latency);
        let State { report, .. } = &mut *state;
        report.seconds = step.at_s + 1.0;
        report.total.started += step.ok + step.failed;
        report.total.ok += step.ok;
        report.total.failed += step.failed;
        report.total.bytes += step.bytes;
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let (mut visitors, places) = (JoinSet::new(), Arc::new(Semaphore::new(VISITORS_MAX)));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        // What fails here is one visitor's connection, or there are too many files open; neither lasts.
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while visitors.try_join_next().is_some() {}
        let state = state.clone();
        visitors.spawn(async move {
            let service = service_fn(|_| {
                let answer = answer(&state);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false);
            drop(http.serve_connection(TokioIo::new(socket), service).await);
            drop(place);
        });
    }
}

fn answer(state: &Mutex<State>) -> Response<Full<Bytes>> {
    let report = {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.report()
    };
    let answer = Response::builder()
        .header(CONTENT_TYPE, "text/html; charset=utf-8")
        .header(CACHE_CONTROL, "no-store")
        .header(REFRESH, REFRESH_S);
    answer.body(Full::from(files::html(&report))).expect("the parts are valid")
}

impl State {
    /// Gives the report of the time till now.
    fn report(&self) -> Report {
        let mut report = self.report.clone();
        let seconds = report.seconds.max(1.0);
        report.running = true;
        report.total.per_second = report.total.ok as f64 / seconds;
        report.total.mb_per_second = report.total.bytes as f64 / 1e6 / seconds;
        report.total.latency_ms = self.latency.latencies();
        report.total.curve = self.latency.curve();
        report.series = self.series.steps().to_vec();
        report
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::Page;
    use crate::load::{series::Step, tests::empty_report, times::Times};

    #[tokio::test]
    async fn a_visitor_sees_what_was_counted_till_then() {
        let page = Page::serve(([127, 0, 0, 1], 0).into(), empty_report()).await.expect("a free port");
        let mut times = Times::default();
        times.record(std::time::Duration::from_millis(7));
        for second in 0..3_u32 {
            page.add(&Step { at_s: f64::from(second), ok: 41, ..Step::default() }, &times);
        }
        let mut socket = TcpStream::connect(page.address()).await.expect("it listens");
        socket.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("sent");
        let mut text = String::new();
        socket.read_to_string(&mut text).await.expect("the answer ends");
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("refresh: 2"), "{}", &text[..300]);
        assert!(text.contains("\"ok\":123") && text.contains("\"running\":true"));
        let taken = Page::serve(page.address(), empty_report()).await;
        assert!(taken.err().is_some_and(|error| error.to_string().contains(&page.address().to_string())));
    }
}
