//! A file store in memory behind a real socket, with faults to plant: what the tests measure and check against.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, FromArgMatches};
use flotilla_api::{
    Code, Epoch, Key, Problem, Version,
    files::{ListItem, ListPage, PutAnswer},
    header, route,
};
use http::{
    Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, RANGE},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Notify, RwLock},
    task::JoinSet,
};

use crate::{RunArgs, Target};

/// The only credential that the server takes.
pub(crate) const TOKEN: &str = "secret";
/// Where every file's path begins.
const FILES: &str = "/v1/files/demo/";
/// A page of a list, small enough that lists have many.
const PAGE: usize = 7;

/// The arguments of `run PROFILE` as the command line gives them, with all defaults.
pub(crate) fn run_args(profile: &str) -> RunArgs {
    let command = RunArgs::augment_args(clap::Command::new("run"));
    RunArgs::from_arg_matches(&command.get_matches_from(["run", profile])).expect("a profile is all that is needed")
}

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The GET with this number, from 1, has a flipped bit.
    FlipInGet(u64),
    /// The GET with this number ends a byte early and claims to be whole.
    CutInGet(u64),
    /// The PUT with this number is acked and forgotten.
    ForgetPut(u64),
    /// The PUT with this number is answered with the ETag of something else.
    WrongEtagOfPut(u64),
    /// Copies hold something else than their source.
    WrongCopies,
    /// The PUT with this number is answered with 503.
    RefusePut(u64),
}

/// The running server; ends when it is dropped.
pub(crate) struct Server {
    pub(crate) state: Arc<State>,
    address: String,
    _tasks: JoinSet<()>,
}

/// What it holds.
pub(crate) struct State {
    pub(crate) files: Mutex<BTreeMap<String, Bytes>>,
    fault: Fault,
    puts: AtomicU64,
    gets: AtomicU64,
    /// Whoever holds it for writing stops all answers.
    pub(crate) frozen: RwLock<()>,
    /// Every PUT is answered with 503.
    pub(crate) refuse_all: AtomicBool,
    /// Microseconds that each answer takes, one after the other; 0 if they do not wait for each other.
    turn_us: AtomicU64,
    turn: tokio::sync::Mutex<()>,
    /// Told of every PUT.
    pub(crate) put_seen: Notify,
}

impl Server {
    /// Starts on a free port of loopback.
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let state = Arc::new(State {
            files: Mutex::default(),
            fault,
            puts: AtomicU64::new(0),
            gets: AtomicU64::new(0),
            frozen: RwLock::new(()),
            refuse_all: AtomicBool::new(false),
            turn_us: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
            put_seen: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, state.clone()));
        Self { state, address, _tasks: tasks }
    }

    /// Gives its base address.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gives it as a deployment, without `dev.json`.
    pub(crate) fn target(&self) -> Target {
        Target { api: vec![self.base()], token: TOKEN.to_owned(), dev_json: None }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).expect("a fresh socket takes options");
        let state = state.clone();
        let service = service_fn(move |request| {
            let state = state.clone();
            async move { Ok::<_, Infallible>(state.answer(request).await) }
        });
        connections
            .spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await) });
    }
}

fn etag(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

fn problem(code: Code) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(&Problem::new(code, "planted")).expect("a problem is plain data");
    let answer = Response::builder().status(code.status()).header("content-type", Problem::MEDIA_TYPE);
    answer.body(Full::from(body)).expect("the parts are valid")
}

fn json(status: StatusCode, body: &impl serde::Serialize, etag: &str) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).expect("answers are plain data");
    let answer = Response::builder().status(status).header("etag", format!("\"{etag}\""));
    answer.body(Full::from(body)).expect("the parts are valid")
}

impl State {
    /// From now on requests are answered one after the other, each after so long.
    pub(crate) fn take_turns(&self, each: Duration) {
        self.turn_us.store(u64::try_from(each.as_micros()).expect("a short time"), Ordering::SeqCst);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        drop(self.frozen.read().await);
        let turn_us = self.turn_us.load(Ordering::SeqCst);
        if turn_us > 0 {
            let _turn = self.turn.lock().await;
            tokio::time::sleep(Duration::from_micros(turn_us)).await;
        }
        let path = request.uri().path().to_owned();
        if path == route::HEALTHZ {
            return json(StatusCode::OK, &serde_json::json!({"rev": "test-rev"}), "");
        }
        if request.headers().get(AUTHORIZATION).is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
            return problem(Code::Unauthenticated);
        }
        let Some(key) = path.strip_prefix(FILES).map(str::to_owned) else {
            return self.list(request.uri().query().unwrap_or_default());
        };
        let query = request.uri().query().unwrap_or_default().to_owned();
        let (method, range) = (request.method().clone(), request.headers().get(RANGE).cloned());
        let Ok(body) = request.into_body().collect().await else { return problem(Code::BodyInvalid) };
        match method {
            Method::POST => self.copy(key, &query),
            Method::PUT => self.put(key, body.to_bytes()),
            Method::GET => self.get(&key, range.as_ref().map(|range| range.to_str().expect("tests send text"))),
            Method::HEAD => match self.files.lock().expect("no test thread panics").get(&key) {
                Some(content) => {
                    let answer = Response::builder().header(CONTENT_LENGTH, content.len());
                    answer.body(Full::default()).expect("the parts are valid")
                }
                None => problem(Code::FileNotFound),
            },
            Method::DELETE => match self.files.lock().expect("no test thread panics").remove(&key) {
                Some(_) => json(StatusCode::OK, &(), ""),
                None => problem(Code::FileNotFound),
            },
            _ => problem(Code::MethodNotAllowed),
        }
    }

    fn put(&self, key: String, content: Bytes) -> Response<Full<Bytes>> {
        let number = self.puts.fetch_add(1, Ordering::SeqCst) + 1;
        self.put_seen.notify_one();
        if self.fault == Fault::RefusePut(number) || self.refuse_all.load(Ordering::SeqCst) {
            return problem(Code::ReplicasUnavailable);
        }
        let etag = if self.fault == Fault::WrongEtagOfPut(number) { etag(b"other") } else { etag(&content) };
        let answer = PutAnswer {
            bucket: "demo".parse().expect("it is a bucket"),
            key: Key::from_path(&key).expect("tests send good keys"),
            size: content.len() as u64,
            etag: etag.clone(),
            version: Version { epoch: Epoch(1), index: number }.to_string(),
            cluster: "a".parse().expect("it is a cluster's name"),
            epoch: Epoch(1),
            replicas: 2,
            request_id: String::new(),
        };
        let mut files = self.files.lock().expect("no test thread panics");
        let replaced = files.contains_key(&key);
        if self.fault != Fault::ForgetPut(number) {
            files.insert(key, content);
        }
        json(if replaced { StatusCode::OK } else { StatusCode::CREATED }, &answer, &etag)
    }

    fn copy(&self, key: String, query: &str) -> Response<Full<Bytes>> {
        let source = query.strip_prefix("copy-from=demo/").expect("tests copy within the bucket");
        let content = self.files.lock().expect("no test thread panics").get(source).cloned();
        match content {
            Some(mut content) => {
                if self.fault == Fault::WrongCopies {
                    content = content.iter().map(|byte| byte ^ 1).collect();
                }
                self.put(key, content)
            }
            None => problem(Code::FileNotFound),
        }
    }

    fn get(&self, key: &str, range: Option<&str>) -> Response<Full<Bytes>> {
        let number = self.gets.fetch_add(1, Ordering::SeqCst) + 1;
        let Some(content) = self.files.lock().expect("no test thread panics").get(key).cloned() else {
            return problem(Code::FileNotFound);
        };
        let etag = etag(&content);
        let mut content = content.to_vec();
        if self.fault == Fault::FlipInGet(number) {
            let last = content.last_mut().expect("tests flip bits in files that have some");
            *last ^= 1;
        }
        if self.fault == Fault::CutInGet(number) {
            content.pop().expect("tests cut files that have some bytes");
        }
        let mut answer =
            Response::builder().header("etag", format!("\"{etag}\"")).header(header::VERSION, "0".repeat(32));
        if let Some((from, to)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
            let (from, to): (usize, usize) = (from.parse().expect("a number"), to.parse().expect("a number"));
            content = content.get(from..content.len().min(to + 1)).unwrap_or_default().to_vec();
            answer = answer.status(StatusCode::PARTIAL_CONTENT);
        }
        let answer = answer.header(header::CLUSTER, "a").header(header::EPOCH, "1").header(header::REQUEST_ID, "r");
        answer.body(Full::from(content)).expect("the parts are valid")
    }

    fn list(&self, query: &str) -> Response<Full<Bytes>> {
        let value = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
            Some(percent_encoding::percent_decode_str(pair).decode_utf8().expect("tests send UTF-8").into_owned())
        };
        let (prefix, cursor) = (value("prefix").unwrap_or_default(), value("cursor").unwrap_or_default());
        let files = self.files.lock().expect("no test thread panics");
        let mut matching = files.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > cursor);
        let limit = value("limit").map_or(PAGE, |limit| limit.parse().expect("tests send numbers"));
        let item = |(key, content): (&String, &Bytes)| ListItem {
            key: Key::from_path(key).expect("only good keys are stored"),
            size: content.len() as u64,
            etag: etag(content),
            version: "0".repeat(32),
            modified: String::new(),
            cluster: "a".parse().expect("it is a cluster's name"),
        };
        let items: Vec<ListItem> = matching.by_ref().take(limit).map(item).collect();
        let next = items.last().filter(|_| matching.next().is_some()).map(|item| item.key.as_str().to_owned());
        json(StatusCode::OK, &ListPage { items, next, ..ListPage::default() }, "")
    }
}
