//! One request to one node, and what its answer means.

use std::{fmt, time::Duration};

use flotilla_api::{Code, CommandId, Epoch, FileName, header, route};
use flotilla_client::{
    Lane, PeerClient,
    body::{self, Body},
    peer::{Error, Executed},
};
use http::{HeaderMap, HeaderValue, Method, header::ETAG};

use super::{Action, Value};

/// How long a client waits for an answer: longer than a node tries.
const PATIENCE: Duration = Duration::from_secs(12);
/// The longest answer.
const ANSWER_MAX: usize = 1 << 20;

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It was done, with this found or made.
    Done(Option<Value>),
    /// There was nothing to read, copy or delete.
    Absent,
    /// It was not done.
    Not(String),
    /// Nobody knows.
    Unknown(String),
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(Some(value)) => write!(f, "done {value}"),
            Self::Done(None) => f.write_str("done, nothing"),
            Self::Absent => f.write_str("absent"),
            Self::Not(why) => write!(f, "not: {why}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// Sends a request and reads its answer.
pub(super) async fn send(
    peers: &PeerClient,
    target: &str,
    home: &(FileName, Epoch),
    action: &Action,
    id: &str,
) -> Told {
    let (method, body) = match action {
        Action::Put(content) => (Method::PUT, body::full(content.bytes.clone())),
        Action::Get => (Method::GET, body::empty()),
        Action::Delete => (Method::DELETE, body::empty()),
        Action::Copy { .. } => (Method::POST, body::empty()),
    };
    let exchange = async {
        let headers = headers(home, action, id);
        let answer = peers.stream(Lane::Data, method, target, route::PEER_FILE, headers, body, None).await?;
        let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).and_then(Value::of_etag);
        match action {
            Action::Put(content) => Ok(Told::Done(Some(content.value))),
            Action::Copy { .. } => Ok(Told::Done(etag)),
            Action::Delete => Ok(Told::Done(None)),
            Action::Get => Ok(read(answer.into_body()).await),
        }
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => of_error(action, &error),
        Err(_) => Told::Unknown("no answer in time".to_owned()),
    }
}

/// Asks for a file and never lets go of the answer.
pub(super) async fn hold(peers: &PeerClient, target: &str, home: &(FileName, Epoch)) {
    let headers = headers(home, &Action::Get, "held");
    let answer = peers.stream(Lane::Data, Method::GET, target, route::PEER_FILE, headers, body::empty(), None).await;
    std::mem::forget(answer);
}

async fn read(body: Body) -> Told {
    match body::collect(body, ANSWER_MAX).await {
        // A body that ends cleanly and is nobody's content: the checker finds it in no history.
        Ok(bytes) => Told::Done(Some(Value::of(&bytes))),
        Err(error) => Told::Not(error.to_string()),
    }
}

fn of_error(action: &Action, error: &Error) -> Told {
    let code = error.code().map_or_else(|| "no answer".to_owned(), |code| code.to_string());
    match (action, error.code(), error.executed()) {
        (Action::Get | Action::Delete | Action::Copy { .. }, Some(Code::FileNotFound), _) => Told::Absent,
        (_, _, Executed::No) => Told::Not(code),
        (_, _, Executed::Maybe) => Told::Unknown(code),
    }
}

fn headers((key, epoch): &(FileName, Epoch), action: &Action, id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, text: String| {
        headers.insert(name, HeaderValue::try_from(text).expect("names and numbers are ASCII"));
    };
    set(header::NAME, key.to_header());
    set(header::EPOCH, epoch.to_string());
    let id = CommandId { id: id.parse().expect("a short name"), seen: None };
    set(header::COMMAND, id.to_header());
    if let Action::Copy { from } = action {
        set(header::SOURCE, name(*from).to_header());
        set(header::SOURCE_MOVES, "false".to_owned());
    }
    headers
}

pub(super) fn name(key: u64) -> FileName {
    FileName { bucket: "sim".parse().expect("a good name"), key: format!("k{key}").parse().expect("a good key") }
}
