//! Services for the tests to talk to, and clients that talk to them.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Body as AxumBody, extract::Request, response::IntoResponse};
use flotilla_api::{Code, FileName, Problem, header};
use flotilla_client::{Client, Learn, Network, Options};
use flotilla_env::{clock, entropy};
use http::{Response, StatusCode, header::CONTENT_TYPE};

/// The host of most in-memory tests.
pub const HOST: &str = "s1:7400";
/// The caller of most in-memory tests.
pub const CALLER: &str = "client";

/// Makes a router that answers every request with `answer`.
pub fn router<F, Fut, R>(answer: F) -> Router
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoResponse + 'static,
{
    Router::new().fallback(answer)
}

/// Serves a router on loopback and gives `HOST:PORT`; ends with the test's runtime.
pub async fn on_loopback(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound listener has an address").to_string();
    let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

pub fn network() -> Network {
    Network::new(entropy::seeded(1))
}

/// Makes an SDK client on an in-memory network.
pub fn client(network: &Network, hosts: &[&str], retries: u32) -> Client {
    let api = hosts.iter().map(|host| format!("http://{host}")).collect();
    let options = Options { api, token: "secret".into(), retries, learn: Learn::Never, ..Options::default() };
    let client = Client::with_transport(options, clock::system(), entropy::seeded(2), network.transport(CALLER));
    client.expect("the options are good")
}

/// Makes an SDK client over TCP.
pub fn tcp_client(address: &str, retries: u32) -> Client {
    let options = Options {
        api: vec![format!("http://{address}")],
        token: "secret".into(),
        retries,
        learn: Learn::Never,
        ..Options::default()
    };
    Client::new(options, clock::system(), entropy::seeded(2)).expect("the options are good")
}

pub fn name() -> FileName {
    FileName { bucket: "demo".parse().expect("a bucket"), key: "a/ä b%.txt".parse().expect("a key") }
}

pub fn problem(problem: &Problem) -> Response<AxumBody> {
    Response::builder()
        .status(problem.code.status())
        .header(CONTENT_TYPE, Problem::MEDIA_TYPE)
        .body(serde_json::to_vec(problem).expect("problems are JSON").into())
        .expect("the parts are good")
}

pub fn refuse(code: Code) -> Response<AxumBody> {
    problem(&Problem::new(code, "as the test wants it"))
}

/// Makes the answer to a PUT.
pub fn created() -> Response<AxumBody> {
    let answer = serde_json::json!({
        "bucket": "demo", "key": "a/ä b%.txt", "size": 3, "etag": "e1", "version": "0".repeat(32), "cluster": "a",
        "epoch": 7, "replicas": 2, "request_id": "r1",
    });
    (StatusCode::CREATED, answer.to_string()).into_response()
}

/// Begins an answer with the headers of file answers.
pub fn file(status: StatusCode) -> http::response::Builder {
    Response::builder()
        .status(status)
        .header("etag", "\"e1\"")
        .header(header::VERSION, "0".repeat(32))
        .header(header::CLUSTER, "a")
        .header(header::EPOCH, "7")
        .header(header::REQUEST_ID, "r1")
}

/// What a service saw, in order.
#[derive(Debug)]
pub struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Seen<T> {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    pub fn new_with(all: Vec<T>) -> Self {
        Self(Arc::new(Mutex::new(all)))
    }

    /// Adds one and gives how many there are now.
    pub fn add(&self, value: T) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(value);
        all.len()
    }

    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Gives the Idempotency-Key of a request.
pub fn key_of(request: &Request) -> String {
    let key = request.headers().get(header::IDEMPOTENCY_KEY).expect("changes have a key");
    key.to_str().expect("keys are text").to_owned()
}
