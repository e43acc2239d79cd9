//! What waits, and what became of requests: for people, and for the other supernodes.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use flotilla_api::{
    Code, RequestId,
    explain::{ExplainAnswer, Explanation},
    queue::{EntryStatus, QueueAnswer, Waits},
    route,
};
use flotilla_http_server::{ApiError, Caller, Coded};
use serde::Deserialize;

use super::{Late, PeerState, Service, others::Told};

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    request: Option<String>,
}

/// Tells what waits at this supernode, or where one request waits. Each principal sees its own requests, root those of
/// all.
pub(super) async fn queue(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Result<Json<QueueAnswer>, ApiError> {
    let service = service.ready()?;
    match asked.request {
        Some(text) => Ok(Json(service.waits(&caller, &parse(&text)?).await)),
        None => {
            let principal = (!caller.root).then_some(caller.principal.as_str());
            let items = service.gate().entries(principal);
            Ok(Json(QueueAnswer { found: None, items, ..service.own_queues() }))
        }
    }
}

/// Tells what became of a request, as far as any supernode remembers, to root and to its own principal.
pub(super) async fn explain(
    State(service): State<Late<Service>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<ExplainAnswer>, ApiError> {
    let service = service.ready()?;
    Ok(Json(service.explains(&caller, &parse(&id)?).await))
}

/// Tells another supernode of a request that waits here.
pub(super) async fn peer_queue(
    State(state): State<PeerState>,
    Coded(request): Coded<RequestId>,
) -> Result<Coded<Option<Waits>>, ApiError> {
    let gate = state.service.ready()?.gate();
    Ok(Coded(gate.entry(&request).map(|entry| Waits { entry, clusters: gate.status() })))
}

/// Tells another supernode what is remembered here of a request.
pub(super) async fn peer_explain(
    State(state): State<PeerState>,
    Coded(request): Coded<RequestId>,
) -> Result<Coded<Option<Explanation>>, ApiError> {
    Ok(Coded(state.service.ready()?.gate().explain(&request)))
}

impl Service {
    /// This supernode's queues, without the requests in them.
    fn own_queues(&self) -> QueueAnswer {
        let (supernode, clusters) = (self.others.own().to_owned(), self.gate().status());
        QueueAnswer { supernode, found: Some(false), clusters, items: Vec::new(), silent: Vec::new() }
    }

    async fn waits(&self, caller: &Caller, request: &RequestId) -> QueueAnswer {
        let own = |entry: &EntryStatus| caller.root || entry.principal == caller.principal;
        if let Some(entry) = self.gate().entry(request).filter(own) {
            return QueueAnswer { found: Some(true), items: vec![entry], ..self.own_queues() };
        }
        let Told { found, silent } = self.others.ask::<_, Waits>(route::PEER_QUEUE, request).await;
        match found.filter(|(_, waits)| own(&waits.entry)) {
            Some((supernode, Waits { entry, clusters })) => {
                QueueAnswer { supernode, found: Some(true), clusters, items: vec![entry], silent }
            }
            None => QueueAnswer { silent, ..self.own_queues() },
        }
    }

    async fn explains(&self, caller: &Caller, request: &RequestId) -> ExplainAnswer {
        let own = |told: &Explanation| caller.root || told.principal == caller.principal;
        let answer = |supernode: String, explanation: Option<Explanation>, silent| ExplainAnswer {
            found: explanation.is_some(),
            supernode,
            explanation,
            silent,
        };
        let here = self.others.own().to_owned();
        if let Some(told) = self.gate().explain(request).filter(own) {
            return answer(here, Some(told), Vec::new());
        }
        let Told { found, silent } = self.others.ask::<_, Explanation>(route::PEER_EXPLAIN, request).await;
        match found.filter(|(_, told)| own(told)) {
            Some((supernode, told)) => answer(supernode, Some(told), silent),
            None => answer(here, None, silent),
        }
    }
}

fn parse(text: &str) -> Result<RequestId, ApiError> {
    text.parse().map_err(|_| ApiError::new(Code::HeaderInvalid, "that is no request's id"))
}
