//! What waits at the supernodes, and what became of requests.

use flotilla_api::{RequestId, explain::ExplainAnswer, queue::QueueAnswer, route};

use super::{client::Client, error::Error, exchange::ANSWER_MAX_BYTES, list::read};

impl Client {
    /// Asks a supernode what waits there: the caller's own requests, for root those of all. With a request's id: where
    /// that one waits, at any supernode.
    ///
    /// # Errors
    /// See [`Error::kind`]. A request that does not wait is no error.
    pub async fn queue(&self, request: Option<&RequestId>) -> Result<QueueAnswer, Error> {
        // No character of an id has a meaning in an address's query.
        let route = match request {
            Some(request) => format!("{}?request={request}", route::QUEUE),
            None => route::QUEUE.to_owned(),
        };
        self.run_json(&read(route), ANSWER_MAX_BYTES).await
    }

    /// Asks what became of a request; for root and the principal whose it is. Supernodes remember the last thousands of
    /// requests, until they end.
    ///
    /// # Errors
    /// See [`Error::kind`]. A request that nobody remembers is no error.
    pub async fn explain(&self, request: &RequestId) -> Result<ExplainAnswer, Error> {
        self.run_json(&read(format!("{}/{request}", route::EXPLAIN)), ANSWER_MAX_BYTES).await
    }
}
