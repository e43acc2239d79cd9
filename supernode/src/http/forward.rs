//! One file request on its way to its home cluster: which node, with which headers, and what to do when that node fails.

mod known;
mod moved;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flotilla_api::{ClusterName, Code, CommandId, FileName, Problem, RequestId, header, peer::Home, route};
use flotilla_client::{
    Body as PeerBody, Lane, PeerClient,
    alive::{Watch, until_silent},
    body, peer,
};
use flotilla_env::{Clock, Entropy};
use flotilla_http_server::{ApiError, BodyFault, files::Source};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header as std_header};
use http_body::Body as _;

use self::{
    known::{Known, Next, after},
    moved::Moved,
};
use super::{
    error::{cluster_unavailable, file_not_found, of_answer, of_claim, of_directory, of_refusal, other_directory},
    lent::{Lent, REST_BYTES, REST_LOOK},
};
use crate::{
    admission::gate::{Gate, Kind, Permit},
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

    fn reads(&self) -> bool {
        [Method::GET, Method::HEAD].contains(&self.method)
    }

    fn uploads(&self) -> bool {
        [Method::PUT, Method::PATCH].contains(&self.method)
    }

    /// What its time tells: heads and changes of the metadata alone take another time than files.
    fn kind(&self, sending: &Sending) -> Kind {
        match &sending.lent {
            None if self.uploads() => Kind::Write,
            None if self.method == Method::GET && !self.layout => Kind::Read,
            None | Some(_) => Kind::Other,
        }
    }
}

/// What is sent along.
struct Sending {
    /// A body that streams.
    lent: Option<Lent>,
    /// One that was kept; empty if there is none.
    kept: Bytes,
}

impl Sending {
    /// What broke the client's body.
    fn fault(&self) -> Option<BodyFault> {
        self.lent.as_ref().and_then(Lent::fault)
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
    /// Counts what clusters answer.
    pub gate: Gate,
    /// How long answers take.
    pub clock: Arc<dyn Clock>,
}

impl Forwarder {
    /// Sends a request to `home` and streams the answer back. `permit` is given back at the answer's end.
    ///
    /// A body that was not begun, and a small one, is tried on another node of the cluster; so is a request without a body. A
    /// cluster that says that it is not the home is believed once, after a read barrier of the directory.
    ///
    /// # Errors
    /// The gateway's problem, or one that says what is known of the outcome.
    pub async fn send(
        &self,
        request: Request<'_>,
        mut home: Home,
        upload: Upload,
        mut permit: Option<Permit>,
    ) -> Result<Response, ApiError> {
        let sending = match upload {
            Upload::Streamed(body) => Sending { lent: Some(Lent::new(body)), kept: Bytes::new() },
            Upload::Kept(kept) => Sending { lent: None, kept },
            Upload::Empty => Sending { lent: None, kept: Bytes::new() },
        };
        let answer = match self.try_nodes(&request, &mut home, &sending, &mut permit).await {
            Ok(answer) => answer,
            Err(error) => {
                // What the client did wrong is no fault of the cluster's.
                if sending.fault().is_none() {
                    self.gate.failed(&home.cluster, error.code.status());
                }
                if let Some(permit) = &mut permit {
                    permit.answered(error.code.status());
                }
                return Err(error);
            }
        };
        flotilla_env::failpoint!("supernode.answered");
        let (mut parts, body) = answer.into_parts();
        for name in &HOP_BY_HOP {
            parts.headers.remove(name);
        }
        if let Some(permit) = &mut permit {
            permit.answered(parts.status);
            if request.reads() {
                permit.headed(body.size_hint().exact());
            }
        }
        let mut moved = Moved::new(self.gate.clone(), home.cluster);
        let body = Body::new(body).into_data_stream().inspect(move |frame| {
            let _held_to_the_end = &permit;
            moved.add(frame.as_ref().map_or(0, Bytes::len));
        });
        Ok((parts.status, parts.headers, Body::from_stream(body)).into_response())
    }

    /// Sends a request to one node after the other until one answers it; `home` is where it was sent last.
    async fn try_nodes(
        &self,
        request: &Request<'_>,
        home: &mut Home,
        sending: &Sending,
        permit: &mut Option<Permit>,
    ) -> Result<http::Response<PeerBody>, ApiError> {
        let mut known = Known::new(&request.method);
        let mut command = self.command(request, home);
        let mut avoid: Vec<String> = Vec::new();
        let mut reroutes = 0;
        loop {
            let cluster = home.cluster.clone();
            let node = match self.clusters.gateway(&cluster, &avoid) {
                None if !self.clusters.is_known(&cluster) => {
                    self.clusters.wait_for(|known| known.gateway(&cluster, &avoid)).await
                }
                node => node,
            };
            let Some(node) = node else { return Err(known.unless_uncertain(cluster_unavailable(&cluster))) };
            let headers = headers(request, home, &command);
            if let Some(permit) = permit {
                permit.tried(&node);
            }
            let sent_at = self.clock.now();
            let error = match self.exchange(request, (&cluster, &node), headers, sending, permit.as_ref()).await {
                Ok(mut answer) => {
                    let whole = self.clock.now().duration_since(sent_at);
                    let took = answer.headers_mut().remove(header::TOOK);
                    let took = took.and_then(|text| took_there(&text)).unwrap_or(whole);
                    self.gate.answered(&cluster, request.kind(sending), took);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if let Some(fault) = sending.fault() {
                return Err(fault.problem());
            }
            let fresh_body = sending.lent.as_ref().is_none_or(Lent::is_untouched);
            let sent_whole = sending.lent.as_ref().is_none_or(Lent::is_finished);
            known.failed(&error, sent_whole, !fresh_body && !sent_whole);
            let next = after(&error, fresh_body);
            tracing::debug!(%node, %error, ?next, "gateway failed");
            match next {
                Next::AnotherNode if avoid.len() + 1 < TRIES_MAX => avoid.push(node),
                Next::AnotherHome if reroutes < REROUTES_MAX => {
                    reroutes += 1;
                    *home = self.another_home(request, home).await.map_err(|error| known.unless_uncertain(error))?;
                    command.seen = command.seen.and(self.clusters.applied(&home.cluster));
                    if let Some(permit) = permit.as_mut().filter(|_| home.cluster != cluster) {
                        permit.moved(&home.cluster);
                    }
                }
                Next::AnotherNode | Next::AnotherHome | Next::Answer => return Err(known.answer(error, &cluster)),
            }
        }
    }

    /// Where a key is at home, if not where it was thought to be.
    async fn another_home(&self, request: &Request<'_>, home: &Home) -> Result<Home, ApiError> {
        let found = self.directory.fresh_home(request.name).await.map_err(|e| of_directory(&e))?;
        match found {
            Some(found) if found.cluster == home.cluster && found != *home => Ok(found),
            // A copy is made where its source is.
            Some(found) if found != *home && request.source.is_some() => Err(created_elsewhere()),
            Some(found) if found != *home => Ok(found),
            // Its cluster has closed the home, and nobody else has the key.
            Some(_) | None if !request.makes() => Err(file_not_found()),
            // The directory has yet to let go of it, or has done so: a home that is granted now is a new one.
            Some(_) => self.renew(request.name, home).await,
            None => self.claim(request.name, &home.cluster).await,
        }
    }

    /// Grants the same home a fresh epoch, if it still stands.
    pub(super) async fn renew(&self, name: &FileName, home: &Home) -> Result<Home, ApiError> {
        let (cluster, passed) = (home.cluster.clone(), home.epoch);
        let refresh = Command::Refresh { name: name.clone(), cluster, passed };
        match self.directory.propose(self.entropy.u128(), refresh).await.map_err(|error| of_claim(&error))? {
            Answer::Home(home) => Ok(home),
            Answer::Refused(refusal) => Err(of_refusal(&refusal)),
            answer => Err(of_answer(&answer)),
        }
    }

    /// Refuses what would grant a free key while there are clusters whose keys are not known here.
    pub(super) fn may_grant(&self) -> Result<(), ApiError> {
        if self.clusters.has_foreign() { Err(other_directory()) } else { Ok(()) }
    }

    /// Claims a free key for a cluster.
    async fn claim(&self, name: &FileName, cluster: &ClusterName) -> Result<Home, ApiError> {
        let claimed = self.directory.claim(name.clone(), cluster.clone()).await;
        let claimed = claimed.map_err(|error| of_claim(&error))?;
        claimed.map(|claimed| claimed.home).map_err(|refusal| of_refusal(&refusal))
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        (cluster, node): (&ClusterName, &str),
        headers: HeaderMap,
        sending: &Sending,
        permit: Option<&Permit>,
    ) -> Result<http::Response<PeerBody>, peer::Error> {
        flotilla_env::failpoint!("supernode.before_forward", |_| Err(peer::Error::Unreachable {
            target: node.to_owned(),
            source: "a failpoint".into()
        }));
        let route = if request.layout { route::PEER_LAYOUT } else { route::PEER_FILE };
        let deadline = (!request.uploads()).then_some(HEAD_DEADLINE);
        let _sent = self.clusters.send(node);
        let body = sending.lent.as_ref().map_or_else(|| body::full(sending.kept.clone()), Lent::lend);
        let answer = self.peers.stream(Lane::Data, request.method.clone(), node, route, headers, body, deadline);
        let answer = tokio::select! {
            answer = answer => answer,
            never = self.watch(cluster, sending, permit) => match never {},
            () = until_silent(&self.peers, node, GATEWAY_WATCH) => {
                let deadline = GATEWAY_WATCH.every + GATEWAY_WATCH.answer;
                Err(peer::Error::Timeout { target: node.to_owned(), deadline })
            }
        };
        self.tell_moved(cluster, sending);
        answer
    }

    /// Tells how much of a body that streams has moved, and that it rests when that is little.
    async fn watch(&self, cluster: &ClusterName, sending: &Sending, permit: Option<&Permit>) -> Infallible {
        let Some(lent) = &sending.lent else { return std::future::pending().await };
        loop {
            tokio::time::sleep(REST_LOOK).await;
            let moved = self.tell_moved(cluster, sending);
            if let Some(permit) = permit.filter(|_| moved < REST_BYTES && lent.waits()) {
                permit.rested();
            }
        }
    }

    fn tell_moved(&self, cluster: &ClusterName, sending: &Sending) -> u64 {
        let moved = sending.lent.as_ref().map_or(0, Lent::take_moved);
        if moved > 0 {
            self.gate.moved_bytes(cluster, moved);
        }
        moved
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

/// How long an answer took at its node. The whole time has this supernode's own delay in it, which is no reason to send
/// less to the cluster.
fn took_there(text: &HeaderValue) -> Option<Duration> {
    text.to_str().ok()?.parse().ok().map(Duration::from_micros)
}

fn created_elsewhere() -> ApiError {
    let detail = "the key was created in another cluster during the request; nothing was changed";
    Problem::new(Code::Conflict, detail).hint("send the request again").into()
}
