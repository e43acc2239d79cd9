//! One file request on its way to its home cluster: which node, with which headers, and what to do when that node fails.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flotilla_api::{ClusterName, Code, CommandId, FileName, Problem, RequestId, header, peer::Home, route};
use flotilla_client::{
    Body as PeerBody, Lane, PeerClient,
    alive::{Watch, until_silent},
    body,
    peer::{self, Executed},
};
use flotilla_env::Entropy;
use flotilla_http_server::{ApiError, files::Source};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header as std_header};
use std::sync::Arc;

use super::{
    error::{cluster_unavailable, file_not_found, of_answer, of_directory, of_refusal},
    lent::Lent,
};
use crate::{
    clusters::Clusters,
    directory::{Answer, Command, Directory},
};

/// How many nodes a request is tried on.
const TRIES_MAX: usize = 3;
/// How often a request follows its key to another home: once for a stale hit, once more if the home was renewed on the way.
const REROUTES_MAX: usize = 2;
/// How long a node may take to answer a request without a body.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// A gateway that moves no byte is asked whether it lives; one that says nothing for so long is lost. An upload takes as long as its
/// client, and a commit as long as an election, so no other deadline would do.
const GATEWAY_WATCH: Watch = Watch { every: Duration::from_secs(1), answer: Duration::from_secs(2) };
/// Headers of a client's request that the gateway needs.
const TO_GATEWAY: [HeaderName; 11] = [
    std_header::CONTENT_TYPE,
    std_header::CONTENT_LENGTH,
    std_header::RANGE,
    std_header::IF_RANGE,
    std_header::IF_MATCH,
    std_header::IF_NONE_MATCH,
    std_header::IF_MODIFIED_SINCE,
    std_header::IF_UNMODIFIED_SINCE,
    std_header::CONTENT_RANGE,
    HeaderName::from_static(header::SOURCE_IF_MATCH),
    HeaderName::from_static(header::APPEND),
];
/// Headers of an answer that belong to the connection it came on.
const HOP_BY_HOP: [HeaderName; 4] =
    [std_header::CONNECTION, std_header::TRANSFER_ENCODING, std_header::DATE, HeaderName::from_static("keep-alive")];

/// A body that a request brings.
pub enum Upload {
    /// None.
    Empty,
    /// A small one, kept until it is answered.
    Kept(Bytes),
    /// A big one, streamed once.
    Streamed(Body),
}

/// A request to be sent on.
pub struct Request<'a> {
    /// What to do.
    pub method: Method,
    /// With which file.
    pub name: &'a FileName,
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// The request's id.
    pub request_id: &'a RequestId,
    /// The client's own id for a mutating request.
    pub idempotency_key: Option<RequestId>,
    /// Asks for the layout instead of the content.
    pub layout: bool,
    /// The source of a copy or a move.
    pub source: Option<&'a Source>,
}

impl Request<'_> {
    /// Whether it makes the file if there is none, so that it claims a home where there is none.
    fn makes(&self) -> bool {
        self.method == Method::PUT || self.source.is_some()
    }
}

/// Sends requests on. Cheap to clone.
#[derive(Clone)]
pub struct Forwarder {
    /// Keys and homes.
    pub directory: Directory,
    /// Clusters and their nodes.
    pub clusters: Clusters,
    /// The way to nodes.
    pub peers: PeerClient,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
}

impl Forwarder {
    /// Sends a request to `home` and streams the answer back.
    ///
    /// A body that was not begun, and a small one, is tried on another node of the cluster; so is a request without a body. A
    /// cluster that says that it is not the home is believed once, after a read barrier of the directory.
    ///
    /// # Errors
    /// The gateway's problem, or one that says what is known of the outcome.
    pub async fn send(&self, request: Request<'_>, mut home: Home, upload: Upload) -> Result<Response, ApiError> {
        let (lent, kept) = match upload {
            Upload::Streamed(body) => (Some(Lent::new(body)), Bytes::new()),
            Upload::Kept(bytes) => (None, bytes),
            Upload::Empty => (None, Bytes::new()),
        };
        let mut known = Known::new(&request.method);
        let mut command = self.command(&request, &home);
        let mut avoid: Vec<String> = Vec::new();
        let mut reroutes = 0;
        loop {
            let cluster = home.cluster.clone();
            let node = self.clusters.wait_for(|known| known.gateway(&cluster, &avoid)).await;
            let Some(node) = node else { return Err(known.unless_uncertain(cluster_unavailable(&cluster))) };
            let headers = headers(&request, &home, &command);
            let body = lent.as_ref().map_or_else(|| body::full(kept.clone()), Lent::lend);
            let dispatched = self.clusters.dispatch(&cluster);
            let error = match self.exchange(&request, &node, headers, body).await {
                Ok(answer) => {
                    flotilla_env::failpoint!("supernode.answered");
                    let (mut parts, body) = answer.into_parts();
                    for name in &HOP_BY_HOP {
                        parts.headers.remove(name);
                    }
                    let body = Body::new(body).into_data_stream().inspect(move |_| {
                        let _counted_to_the_end = &dispatched;
                    });
                    return Ok((parts.status, parts.headers, Body::from_stream(body)).into_response());
                }
                Err(error) => error,
            };
            if let Some(fault) = lent.as_ref().and_then(Lent::fault) {
                return Err(fault.problem());
            }
            let fresh_body = lent.as_ref().is_none_or(Lent::is_untouched);
            let sent_whole = lent.as_ref().is_none_or(Lent::is_finished);
            known.failed(&error, sent_whole, !fresh_body && !sent_whole);
            let next = after(&error, fresh_body);
            tracing::debug!(%node, %error, ?next, "gateway failed");
            match next {
                Next::AnotherNode if avoid.len() + 1 < TRIES_MAX => avoid.push(node),
                Next::AnotherHome if reroutes < REROUTES_MAX => {
                    reroutes += 1;
                    let found = self.directory.fresh_home(request.name).await.map_err(|e| of_directory(&e))?;
                    home = match found {
                        Some(found) if found.cluster == home.cluster && found != home => found,
                        // A copy is made where its source is.
                        Some(found) if found != home && request.source.is_some() => {
                            return Err(known.unless_uncertain(created_elsewhere()));
                        }
                        Some(found) if found != home => found,
                        // Its cluster has closed the home, and nobody else has the key.
                        Some(_) | None if !request.makes() => {
                            return Err(known.unless_uncertain(file_not_found()));
                        }
                        // The directory has yet to let go of it, or has done so: a home that is granted now is a new one.
                        Some(_) => self.renew(request.name, &home).await?,
                        None => self.claim(request.name, &home.cluster).await?,
                    };
                    command.seen = command.seen.and(self.clusters.applied(&home.cluster));
                }
                Next::AnotherNode | Next::AnotherHome | Next::Answer => return Err(known.answer(error, &cluster)),
            }
        }
    }

    /// Grants the same home a fresh epoch, if it still stands.
    pub(super) async fn renew(&self, name: &FileName, home: &Home) -> Result<Home, ApiError> {
        let (cluster, passed) = (home.cluster.clone(), home.epoch);
        let refresh = Command::Refresh { name: name.clone(), cluster, passed };
        match self.directory.propose(self.entropy.u128(), refresh).await.map_err(|error| of_directory(&error))? {
            Answer::Home(home) => Ok(home),
            Answer::Refused(refusal) => Err(of_refusal(&refusal)),
            answer => Err(of_answer(&answer)),
        }
    }

    /// Claims a free key for a cluster.
    pub(super) async fn claim(&self, name: &FileName, cluster: &ClusterName) -> Result<Home, ApiError> {
        let claimed = self.directory.claim(name.clone(), cluster.clone()).await;
        let claimed = claimed.map_err(|error| of_directory(&error))?;
        claimed.map(|claimed| claimed.home).map_err(|refusal| of_refusal(&refusal))
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        node: &str,
        headers: HeaderMap,
        body: PeerBody,
    ) -> Result<http::Response<PeerBody>, peer::Error> {
        flotilla_env::failpoint!("supernode.before_forward", |_| Err(peer::Error::Unreachable {
            target: node.to_owned(),
            source: "a failpoint".into()
        }));
        let route = if request.layout { route::PEER_LAYOUT } else { route::PEER_FILE };
        let uploads = [Method::PUT, Method::PATCH].contains(&request.method);
        let deadline = (!uploads).then_some(HEAD_DEADLINE);
        let answer = self.peers.stream(Lane::Data, request.method.clone(), node, route, headers, body, deadline);
        tokio::select! {
            answer = answer => answer,
            () = until_silent(&self.peers, node, GATEWAY_WATCH) => {
                let deadline = GATEWAY_WATCH.every + GATEWAY_WATCH.answer;
                Err(peer::Error::Timeout { target: node.to_owned(), deadline })
            }
        }
    }

    /// The same key on every try: a command that was applied once is answered, not applied, the next time.
    fn command(&self, request: &Request<'_>, home: &Home) -> CommandId {
        match request.idempotency_key.clone() {
            Some(id) => CommandId { id, seen: None },
            None => {
                let id = RequestId::from_bits(self.entropy.u128());
                CommandId { id, seen: self.clusters.applied(&home.cluster) }
            }
        }
    }
}

fn headers(request: &Request<'_>, home: &Home, command: &CommandId) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in TO_GATEWAY {
        for value in request.headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    let ours = [
        (header::NAME, request.name.to_header()),
        (header::EPOCH, home.epoch.to_string()),
        (header::COMMAND, command.to_header()),
        (header::REQUEST_ID, request.request_id.to_string()),
    ];
    let source = request
        .source
        .map(|source| [(header::SOURCE, source.name.to_header()), (header::SOURCE_MOVES, source.moves.to_string())]);
    for (name, text) in ours.into_iter().chain(source.into_iter().flatten()) {
        let value = HeaderValue::try_from(text).expect("names are percent-encoded, ids and numbers visible ASCII");
        headers.insert(HeaderName::from_static(name), value);
    }
    headers
}

fn created_elsewhere() -> ApiError {
    let detail = "the key was created in another cluster during the request; nothing was changed";
    Problem::new(Code::Conflict, detail).hint("send the request again").into()
}

/// What to do after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    AnotherNode,
    AnotherHome,
    Answer,
}

fn after(error: &peer::Error, fresh_body: bool) -> Next {
    if !fresh_body {
        return Next::Answer;
    }
    match error.code() {
        Some(Code::WrongHome) => Next::AnotherHome,
        // A gateway that is leaving the cluster can't name chunks any more; nothing was changed.
        Some(Code::NotReady | Code::CatchingUp | Code::RateLimited | Code::ChunkGone) => Next::AnotherNode,
        Some(_) => Next::Answer,
        None => Next::AnotherNode,
    }
}

/// What is known of a request's outcome after all tries so far. An error must not claim more.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Whether the request changes anything at all.
    changes: bool,
    /// Whether a try that had the whole request may have been carried out.
    uncertain: bool,
    /// Whether a body was cut off before its end.
    cut: bool,
}

impl Known {
    fn new(method: &Method) -> Self {
        Self { changes: ![Method::GET, Method::HEAD].contains(method), uncertain: false, cut: false }
    }

    /// Notes a failed try: whether it had the whole body, and whether the body was cut off on its way.
    fn failed(&mut self, error: &peer::Error, sent_whole: bool, cut: bool) {
        tracing::debug!(%error, sent_whole, cut, "a try failed");
        self.uncertain |= self.changes && sent_whole && error.executed() == Executed::Maybe;
        self.cut |= self.changes && cut;
    }

    /// The answer to the client.
    fn answer(self, error: peer::Error, cluster: &ClusterName) -> ApiError {
        match error {
            // Chunks of the last try that are gone say nothing of an earlier one's.
            peer::Error::Problem(problem) if problem.retryable || problem.code == Code::ChunkGone => {
                self.unless_uncertain((*problem).into())
            }
            // The body is spent, so only the client can begin again.
            peer::Error::Problem(problem) if problem.code == Code::WrongHome => created_elsewhere(),
            // A refusal for good was made in the light of whatever the earlier tries did: they carried the same key.
            peer::Error::Problem(problem) => (*problem).into(),
            _ if self.cut => {
                let detail = "the upload lost its gateway before the commit; nothing was changed";
                Problem::new(Code::UploadInterrupted, detail).retry_after_ms(500).into()
            }
            _ => self.unless_uncertain(cluster_unavailable(cluster)),
        }
    }

    fn unless_uncertain(self, error: ApiError) -> ApiError {
        if !self.uncertain {
            return error;
        }
        let detail = "the gateway was lost before it answered; the change may have happened";
        let problem = Problem::new(Code::Indeterminate, detail);
        problem.hint("read the file, or send the request again with the same Idempotency-Key").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_body_is_never_sent_twice_and_a_refusal_is_an_answer() {
        let problem = |code| peer::Error::Problem(Box::new(Problem::new(code, "")));
        assert_eq!(after(&problem(Code::NotReady), true), Next::AnotherNode);
        assert_eq!(after(&problem(Code::NotReady), false), Next::Answer);
        assert_eq!(after(&problem(Code::WrongHome), true), Next::AnotherHome);
        assert_eq!(after(&problem(Code::FileNotFound), true), Next::Answer);
        assert_eq!(after(&problem(Code::Indeterminate), true), Next::Answer);
    }

    fn answers(method: &Method, tries: Vec<(peer::Error, bool)>) -> Code {
        let cluster: ClusterName = "a".parse().expect("a good name");
        let mut known = Known::new(method);
        let mut last = None;
        for (error, sent_whole) in tries {
            known.failed(&error, sent_whole, !sent_whole);
            last = Some(error);
        }
        known.answer(last.expect("there was a try"), &cluster).code
    }

    #[test]
    fn an_error_never_claims_more_than_is_known() {
        let lost = || peer::Error::Timeout { target: "h:1".into(), deadline: HEAD_DEADLINE };
        let down = || peer::Error::Unreachable { target: "h:1".into(), source: "refused".into() };
        let problem = |code| peer::Error::Problem(Box::new(Problem::new(code, "")));
        let put = |tries| answers(&Method::PUT, tries);
        assert_eq!(put(vec![(lost(), false)]), Code::UploadInterrupted);
        assert_eq!(put(vec![(down(), false)]), Code::UploadInterrupted, "the client did begin to send");
        assert_eq!(put(vec![(lost(), true)]), Code::Indeterminate);
        assert_eq!(put(vec![(down(), true)]), Code::ClusterUnavailable);
        assert_eq!(put(vec![(lost(), true), (down(), true)]), Code::Indeterminate);
        assert_eq!(put(vec![(lost(), true), (problem(Code::NotReady), true)]), Code::Indeterminate);
        assert_eq!(put(vec![(lost(), true), (problem(Code::ChunkGone), true)]), Code::Indeterminate);
        assert_eq!(put(vec![(problem(Code::ChunkGone), true)]), Code::ChunkGone);
        assert_eq!(
            put(vec![(lost(), true), (problem(Code::Conflict), true)]),
            Code::Conflict,
            "they carried the same key"
        );
        assert_eq!(put(vec![(problem(Code::NotReady), true)]), Code::NotReady);
        assert_eq!(answers(&Method::GET, vec![(lost(), true)]), Code::ClusterUnavailable, "a read changes nothing");
    }
}
