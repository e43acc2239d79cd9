//! How requests for files come to their permits: what they ask for, and what they claim with it.

use std::sync::Arc;

use flotilla_api::{ClusterName, FileName, RequestId, explain, peer::Home, queue::Class};
use flotilla_http_server::{ApiError, Caller, conditions::WriteConditions};

use super::{
    Service,
    error::{no_cluster, nothing_to_match, of_directory, of_refusal},
};
use crate::{
    admission::{
        class::{Ask, Place},
        gate::Permit,
    },
    directory::machine::Claimed,
};

/// Who asks, and how much.
#[derive(Clone)]
pub(super) struct Asker {
    request: RequestId,
    principal: Arc<str>,
    op: &'static str,
    class: Class,
}

impl Asker {
    pub(super) fn new(caller: &Caller, request: &RequestId, op: &'static str, class: Class) -> Self {
        Self { request: request.clone(), principal: caller.principal.as_str().into(), op, class }
    }

    /// The same, now that more is known of it.
    pub(super) fn of_class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    fn asks(self, place: Place) -> Ask {
        let Self { request, principal, op, class } = self;
        Ask { request, principal, op, class, place, first: None }
    }
}

impl Service {
    /// Refuses a request that every cluster would refuse, before anything is looked up for it.
    pub(super) fn refuse_early(&self, asker: &Asker) -> Result<(), ApiError> {
        self.gate().early(asker.class.lane, || asker.clone().asks(Place::Any))
    }

    /// Waits for the cluster that has a key.
    pub(super) async fn admit_home(&self, asker: Asker, home: &Home) -> Result<Permit, ApiError> {
        self.gate().admit(asker.asks(Place::Home(home.cluster.clone()))).await
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
    ) -> Result<(Home, Permit), ApiError> {
        let home = match conditions.if_match {
            None => self.directory().applied_home(name),
            Some(_) => self.directory().home(name).await,
        };
        match (home.map_err(|error| of_directory(&error))?, &conditions.if_match) {
            (Some(home), _) => {
                let permit = self.admit_home(asker, &home).await?;
                Ok((home, permit))
            }
            (None, Some(_)) => Err(nothing_to_match()),
            (None, None) => self.admit_new(asker, name, cluster).await,
        }
    }

    async fn admit_new(
        &self,
        asker: Asker,
        name: &FileName,
        cluster: Option<&ClusterName>,
    ) -> Result<(Home, Permit), ApiError> {
        let place = match cluster {
            Some(cluster) => Place::Home(cluster.clone()),
            None => {
                // A supernode that has just started hears from every cluster within a second.
                let known = self.forwarder.clusters.wait_for(|known| known.knows_any().then_some(())).await;
                known.ok_or_else(no_cluster)?;
                Place::Any
            }
        };
        let mut permit = self.gate().admit(asker.asks(place)).await?;
        let claimed = self.claim_for(name, &permit).await;
        let Claimed { home, granted } = permit.note(claimed)?;
        metrics::counter!("flotilla_claims_total", "result" => if granted { "granted" } else { "lost" }).increment(1);
        permit.claimed(explain::Claimed { cluster: home.cluster.clone(), epoch: home.epoch, granted });
        if permit.cluster.as_ref() == Some(&home.cluster) {
            return Ok((home, permit));
        }
        let permit = permit.lost_claim(home.cluster.clone()).await?;
        Ok((home, permit))
    }

    /// Claims a key for the cluster of a permit.
    async fn claim_for(&self, name: &FileName, permit: &Permit) -> Result<Claimed, ApiError> {
        let cluster = permit.cluster.clone().ok_or_else(no_cluster)?;
        let answer = self.directory().claim(name.clone(), cluster).await;
        flotilla_env::failpoint!("supernode.after_claim", |_| Err(ApiError::new(
            flotilla_api::Code::NoLeader,
            "a failpoint"
        )));
        answer.map_err(|error| of_directory(&error))?.map_err(|refusal| of_refusal(&refusal))
    }
}
