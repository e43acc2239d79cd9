//! The right to send a request to a cluster: what happens to the request is told to the gate through it, and dropping it
//! gives it back.

use flotilla_api::{ClusterName, explain::Claimed};
use flotilla_http_server::ApiError;
use http::StatusCode;

use super::Gate;
use crate::admission::{
    class::{Ask, Patience, Place},
    engine::{Event, Outcome, PermitId},
};

/// The right to send a request to a cluster, until it is dropped.
pub struct Permit {
    gate: Gate,
    id: PermitId,
    /// Where it goes; none for a list.
    pub cluster: Option<ClusterName>,
    /// What was asked, with the moment when it was asked first.
    ask: Ask,
    outcome: Outcome,
}

impl Permit {
    pub(super) fn new(gate: Gate, id: PermitId, cluster: Option<ClusterName>, ask: Ask) -> Self {
        Self { gate, id, cluster, ask, outcome: Outcome::Gone }
    }

    /// The directory has answered with the claim that was made for the request.
    pub fn claimed(&self, claimed: Claimed) {
        self.gate.apply(Event::Claimed(self.id, claimed));
    }

    /// Notes a node that the request was sent to.
    pub fn tried(&self, node: &str) {
        self.gate.lock().engine.records().tried(&self.ask.request, node);
    }

    /// Another claim of the key was earlier: gives this permit back and waits for the winner's cluster, at the front.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub async fn lost_claim(mut self, winner: ClusterName) -> Result<Self, ApiError> {
        let (gate, ask) = (self.gate.clone(), self.asks_again(Place::Home(winner)));
        self.outcome = Outcome::LostClaim;
        drop(self);
        gate.admit(ask).await
    }

    /// The cluster gets no new keys any more: gives this permit back and waits for another one, at the front.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub async fn elsewhere(mut self) -> Result<Self, ApiError> {
        let (gate, ask) = (self.gate.clone(), self.asks_again(Place::Any));
        if let Some(cluster) = &self.cluster {
            gate.retires(cluster, true);
        }
        self.outcome = Outcome::LostClaim;
        drop(self);
        gate.admit(ask).await
    }

    /// It was through: now it waits, also if it did not want to.
    fn asks_again(&self, place: Place) -> Ask {
        let patience = match self.ask.patience {
            Patience::AtOnce => Patience::Queue,
            patience @ (Patience::Queue | Patience::Ticket | Patience::Due) => patience,
        };
        Ask { place, patience, ..self.ask.clone() }
    }

    /// The request has followed its key to another cluster.
    pub fn moved(&mut self, to: &ClusterName) {
        self.cluster = Some(to.clone());
        self.gate.apply(Event::Moved(self.id, to.clone()));
    }

    /// The body of the request hardly moves, and it is the client that it waits for.
    pub fn rested(&self) {
        self.gate.apply(Event::Rested(self.id));
    }

    /// The head of the answer to a read has come, with the length of what follows.
    pub fn headed(&self, length: Option<u64>) {
        self.gate.apply(Event::Headed(self.id, length));
    }

    /// Notes the status of an error that the request ends with.
    ///
    /// # Errors
    /// The same one.
    pub fn note<T>(&mut self, result: Result<T, ApiError>) -> Result<T, ApiError> {
        result.inspect_err(|error| self.answered(error.code.status()))
    }

    /// Notes the status of the answer.
    pub fn answered(&mut self, status: StatusCode) {
        self.outcome = Outcome::Answered(status.as_u16());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.apply(Event::Ended(self.id, self.outcome));
    }
}
