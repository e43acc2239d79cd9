//! Questions to the other supernodes: what only the one that a request came to knows.

use std::time::Duration;

use flotilla_client::{Lane, PeerClient};
use flotilla_raft_store::Group;
use futures::{StreamExt as _, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};

use crate::directory::DirectoryMachine;

/// How long each of them may take: people wait for the answer, and it stands in memory.
const ASK_DEADLINE: Duration = Duration::from_secs(1);

/// The other supernodes of the group. Cheap to clone.
#[derive(Clone)]
pub struct Others {
    group: Group<DirectoryMachine>,
    peers: PeerClient,
}

/// What the others said.
pub(super) struct Told<A> {
    /// What the first one said that knows of it, and its peer address.
    pub found: Option<(String, A)>,
    /// Those that did not answer, if none knows of it.
    pub silent: Vec<String>,
}

impl Others {
    /// Puts the parts together. Those who joined are asked from then on, those who left no more.
    #[must_use]
    pub fn new(group: Group<DirectoryMachine>, peers: PeerClient) -> Self {
        Self { group, peers }
    }

    /// This supernode's own peer address.
    pub(super) fn own(&self) -> &str {
        self.peers.own()
    }

    /// Asks all of them at once.
    ///
    /// # Cancel safety
    /// Nothing is changed anywhere.
    pub(super) async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(&self, route: &str, request: &Q) -> Told<A> {
        let ask = |address: String| async move {
            let answer: Result<Option<A>, _> =
                self.peers.post(Lane::Control, &address, route, request, ASK_DEADLINE).await;
            (address, answer)
        };
        let members = self.group.status().members.into_values().map(|member| member.peer);
        let mut asked: FuturesUnordered<_> = members.filter(|peer| peer != self.peers.own()).map(ask).collect();
        let mut silent = Vec::new();
        while let Some((address, answer)) = asked.next().await {
            match answer {
                Ok(Some(answer)) => return Told { found: Some((address, answer)), silent: Vec::new() },
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%address, %error, "another supernode does not answer");
                    silent.push(address);
                }
            }
        }
        silent.sort();
        Told { found: None, silent }
    }
}
