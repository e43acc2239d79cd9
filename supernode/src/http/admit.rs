//! How requests for files come to their permits: what they ask for, and what they claim with it.

use std::sync::Arc;

use axum::response::Response;
use flotilla_api::{
    ClusterName, FileName, RequestId, TicketId, explain, header, keys::KeyId, peer::Home, queue::Class,
};
use flotilla_http_server::{ApiError, Caller, conditions::WriteConditions, prefers_async};
use http::HeaderMap;

use super::{
    Service,
    error::{no_cluster, nothing_to_match, of_claim, of_directory, of_refusal},
    tickets::{self, Passes},
};
use crate::{
    admission::{
        class::{Ask, Patience, Place},
        gate::Permit,
    },
    directory::{Refusal, machine::Claimed},
};

/// Who asks, and how much.
#[derive(Clone)]
pub(super) struct Asker {
    request: RequestId,
    principal: Arc<str>,
    key: Option<KeyId>,
    op: &'static str,
    class: Class,
    patience: Patience,
    /// The ticket under which the request was sent.
    ticket: Option<TicketId>,
    /// The cluster that has a place for it.
    granted: Option<ClusterName>,
}

/// A request that may wait for its turn with a ticket.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) caller: &'a Caller,
    pub(super) request: &'a RequestId,
    pub(super) headers: &'a HeaderMap,
    pub(super) op: &'static str,
    pub(super) class: Class,
}

/// How a request that may have a ticket goes on.
pub(super) enum Entry {
    /// It asks for its place.
    Asks(Asker),
    /// Its ticket has not had its turn.
    Waits(Response),
}

/// What came of asking for a place.
pub(super) enum Placed {
    /// The request has it, at its key's home.
    Through(Home, Permit),
    /// It would have to wait and would rather have a ticket: for this home, if its key has one.
    Waits(Option<ClusterName>),
}

impl Asker {
    pub(super) fn new(caller: &Caller, request: &RequestId, op: &'static str, class: Class) -> Self {
        Self {
            request: request.clone(),
            principal: caller.principal.as_str().into(),
            key: caller.key,
            op,
            class,
            patience: Patience::Queue,
            ticket: None,
            granted: None,
        }
    }

    /// The id under which a change is made once that is sent again under the same ticket.
    pub(super) fn ticket_key(&self) -> Option<RequestId> {
        self.ticket.map(TicketId::idempotency_key)
    }

    /// Whether the client may be sent to a node. There nobody knows tickets, nor the id that a change has by one.
    pub(super) fn may_leave(&self) -> bool {
        self.ticket.is_none()
    }

    fn asks(self, place: Place) -> Ask {
        let Self { request, principal, key, op, class, patience, .. } = self;
        Ask { request, principal, key, op, class, place, first: None, patience }
    }
}

impl Wish<'_> {
    fn asker(&self) -> Asker {
        Asker::new(self.caller, self.request, self.op, self.class)
    }

    /// Whether it would rather have a ticket than wait, or has one: no queue refuses it.
    fn needs_no_queue(&self) -> bool {
        self.headers.contains_key(header::TICKET) || prefers_async(self.headers)
    }
}

impl Service {
    /// Refuses a request that every cluster would refuse, before anything is looked up for it.
    pub(super) fn refuse_early(&self, asker: &Asker) -> Result<(), ApiError> {
        self.gate().early(asker.class.lane, || asker.clone().asks(Place::Any))
    }

    /// As that, for a request that may have a ticket.
    pub(super) fn refuse_wish_early(&self, wish: &Wish<'_>) -> Result<(), ApiError> {
        match wish.needs_no_queue() {
            true => Ok(()),
            false => self.refuse_early(&wish.asker()),
        }
    }

    /// Tells how a request that may have a ticket goes on: under the one that it brings, or as one that would rather have
    /// one than wait, or as any other. `what` is what a ticket for it is for, [`tickets::what`].
    pub(super) async fn enter(&self, wish: &Wish<'_>, what: [u8; 16]) -> Result<Entry, ApiError> {
        let asker = wish.asker();
        let Some(id) = tickets::of_request(wish.headers)? else {
            let patience = if prefers_async(wish.headers) { Patience::AtOnce } else { Patience::Queue };
            return Ok(Entry::Asks(Asker { patience, ..asker }));
        };
        let ticket = Some(id);
        Ok(match self.use_ticket(id, wish, what).await? {
            Passes::Due(cluster) => {
                Entry::Asks(Asker { patience: Patience::Due, ticket, granted: Some(cluster), ..asker })
            }
            Passes::AsOthers => Entry::Asks(Asker { ticket, ..asker }),
            Passes::Waits(row) => Entry::Waits(self.still_waits(id, &row)),
        })
    }

    /// Waits for the cluster that has a key.
    pub(super) async fn admit_home(&self, asker: Asker, home: &Home) -> Result<Permit, ApiError> {
        self.gate().admit(asker.asks(Place::Home(home.cluster.clone()))).await
    }

    /// Waits for the cluster that has a key that is to be changed, or says that the request would rather have a ticket.
    pub(super) async fn admit_change(&self, asker: Asker, home: Home) -> Result<Placed, ApiError> {
        let permit = self.gate().admit_unless_waiting(asker.asks(Place::Home(home.cluster.clone()))).await?;
        Ok(match permit {
            Some(permit) => Placed::Through(home, permit),
            None => Placed::Waits(Some(home.cluster)),
        })
    }

    /// Waits for a place among the lists.
    pub(super) async fn admit_list(&self, asker: Asker) -> Result<Permit, ApiError> {
        self.gate().admit(asker.asks(Place::Everywhere)).await
    }

    /// Waits for the cluster of a key that is to be written; a free key is claimed then, for `cluster`, else for the one whose turn it
    /// is. A free key has no file that `If-Match` could name, so nothing is claimed for a request that has one.
    pub(super) async fn admit_write(
        &self,
        asker: Asker,
        name: &FileName,
        conditions: &WriteConditions,
        cluster: Option<&ClusterName>,
    ) -> Result<Placed, ApiError> {
        let home = match conditions.if_match {
            None => self.directory().applied_home(name),
            Some(_) => self.directory().home(name).await,
        };
        match (home.map_err(|error| of_directory(&error))?, &conditions.if_match) {
            (Some(home), _) => self.admit_change(asker, home).await,
            (None, Some(_)) => {
                // Nothing is called absent while there are clusters whose keys are not known here.
                self.forwarder.may_grant()?;
                Err(nothing_to_match())
            }
            (None, None) => self.admit_new(asker, name, cluster).await,
        }
    }

    async fn admit_new(
        &self,
        asker: Asker,
        name: &FileName,
        cluster: Option<&ClusterName>,
    ) -> Result<Placed, ApiError> {
        self.forwarder.may_grant()?;
        let place = match cluster.or(asker.granted.as_ref()) {
            Some(cluster) => Place::Home(cluster.clone()),
            None => {
                // A supernode that has just started hears from every cluster within a second.
                let known = self.forwarder.clusters.wait_for(|known| known.knows_any().then_some(())).await;
                known.ok_or_else(no_cluster)?;
                Place::Any
            }
        };
        let Some(mut permit) = self.gate().admit_unless_waiting(asker.asks(place)).await? else {
            return Ok(Placed::Waits(cluster.cloned()));
        };
        let mut answer = self.claim_for(name, &permit).await;
        if matches!(answer, Ok(Err(Refusal::Retiring))) && cluster.is_none() {
            // Since its last report, or since a ticket's turn came; others take it.
            permit = permit.elsewhere().await?;
            answer = self.claim_for(name, &permit).await;
        }
        let claimed = answer.and_then(|claimed| claimed.map_err(|refusal| of_refusal(&refusal)));
        let Claimed { home, granted } = permit.note(claimed)?;
        metrics::counter!("flotilla_claims_total", "result" => if granted { "granted" } else { "lost" }).increment(1);
        permit.claimed(explain::Claimed { cluster: home.cluster.clone(), epoch: home.epoch, granted });
        if permit.cluster.as_ref() == Some(&home.cluster) {
            return Ok(Placed::Through(home, permit));
        }
        let permit = permit.lost_claim(home.cluster.clone()).await?;
        Ok(Placed::Through(home, permit))
    }

    /// Claims a key for the cluster of a permit.
    async fn claim_for(&self, name: &FileName, permit: &Permit) -> Result<Result<Claimed, Refusal>, ApiError> {
        let cluster = permit.cluster.clone().ok_or_else(no_cluster)?;
        let answer = self.directory().claim(name.clone(), cluster).await;
        flotilla_env::failpoint!("supernode.after_claim", |_| Err(ApiError::new(
            flotilla_api::Code::NoLeader,
            "a failpoint"
        )));
        answer.map_err(|error| of_claim(&error))
    }
}
