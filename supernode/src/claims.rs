//! Claims that were never used: the leader of the supernodes asks their clusters about them.
//!
//! A gateway that crashed between claim and commit leaves a home that no cluster knows. Nothing here decides that: a cluster is asked
//! whether its log has the home, and closes it at that epoch if not; it then tells the directory itself.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use flotilla_api::{
    ClusterName, Epoch, FileName,
    peer::{HOMES_MAX, Home, SettleAnswer, SettleRequest},
    route,
};
use flotilla_client::{Lane, PeerClient};
use flotilla_env::{Clock, Entropy};
use tokio::time::Instant;

use crate::{
    clusters::Clusters,
    directory::{Command, Directory},
};

/// How many times within the period that a claim may be idle its age is looked at.
const LOOKS: u32 = 8;
/// The shortest pause between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How many pages of claims one look asks about.
const PAGES_MAX: usize = 16;
/// How long a cluster may take to answer for a page.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);

/// Asks clusters about old claims.
pub struct Claims {
    /// Keys and homes.
    pub directory: Directory,
    /// Clusters and their nodes.
    pub clusters: Clusters,
    /// The way to nodes.
    pub peers: PeerClient,
    /// The monotonic clock.
    pub clock: Arc<dyn Clock>,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
    /// How old a claim gets before its cluster is asked.
    pub idle: Duration,
}

impl Claims {
    /// Works for as long as it is polled, and only while this supernode leads.
    pub async fn run(self) {
        let pause = (self.idle / LOOKS).clamp(PAUSE_MIN, PAUSE_MAX);
        let mut ages = Ages::default();
        let mut after = Epoch(0);
        loop {
            tokio::time::sleep(pause).await;
            let status = self.directory.group().status();
            if !status.is_leader || status.catching_up {
                ages = Ages::default();
                continue;
            }
            let old = match self.directory.last_epoch() {
                Ok(last) => ages.see(last, self.clock.now(), self.idle),
                Err(error) => {
                    tracing::debug!(%error, "the last epoch can't be read");
                    None
                }
            };
            if let Some(upto) = old {
                after = self.look(after, upto).await;
            }
        }
    }

    /// Asks about the claims behind `after`, page by page; gives where the next look goes on.
    async fn look(&self, mut after: Epoch, upto: Epoch) -> Epoch {
        for _ in 0..PAGES_MAX {
            let claims = match self.directory.unconfirmed(after, upto, HOMES_MAX) {
                Ok(claims) => claims,
                Err(error) => {
                    tracing::debug!(%error, "claims can't be read");
                    return after;
                }
            };
            // The last page: claims that no cluster answered for are asked about again.
            let Some((_, last)) = claims.last() else { return Epoch(0) };
            after = last.epoch;
            self.settle(claims).await;
        }
        after
    }

    async fn settle(&self, claims: Vec<(FileName, Home)>) {
        let mut by_cluster: Vec<(ClusterName, Vec<(FileName, Epoch)>)> = Vec::new();
        for (name, Home { cluster, epoch }) in claims {
            match by_cluster.iter_mut().find(|(known, _)| *known == cluster) {
                Some((_, list)) => list.push((name, epoch)),
                None => by_cluster.push((cluster, vec![(name, epoch)])),
            }
        }
        for (cluster, claims) in by_cluster {
            let Some(node) = self.clusters.gateway(&cluster, &[]) else { continue };
            let request = SettleRequest { claims };
            let asked = self.peers.post(Lane::Control, &node, route::PEER_SETTLE, &request, SETTLE_DEADLINE).await;
            let epochs = match asked {
                Ok(SettleAnswer { confirmed }) => confirmed,
                Err(error) => {
                    tracing::debug!(%cluster, %error, "cluster does not answer for its claims");
                    continue;
                }
            };
            if epochs.is_empty() {
                continue;
            }
            if let Err(error) = self.directory.propose(self.entropy.u128(), Command::Confirm { epochs }).await {
                tracing::debug!(%error, "claims could not be confirmed");
            }
        }
    }
}

/// When the epoch counter was seen where: tells which epochs were granted long ago. Soft, begun anew by every leader.
#[derive(Debug, Default)]
struct Ages(VecDeque<(Instant, Epoch)>);

impl Ages {
    /// Notes the last epoch granted, and gives the highest one that was granted at least `idle` ago.
    fn see(&mut self, last: Epoch, now: Instant, idle: Duration) -> Option<Epoch> {
        self.0.push_back((now, last));
        let mut old = None;
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) >= idle) {
            old = self.0.pop_front();
        }
        // Kept, so that the next look finds it again if nothing newer is old enough.
        if let Some(entry) = old {
            self.0.push_front(entry);
        }
        old.map(|(_, epoch)| epoch).filter(|epoch| *epoch > Epoch(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_granted_long_ago_is_old() {
        let begin = Instant::now();
        let idle = Duration::from_secs(60);
        let mut ages = Ages::default();
        let mut see = |secs, last| ages.see(Epoch(last), begin + Duration::from_secs(secs), idle);
        assert_eq!(see(0, 5), None, "a new leader has seen nothing age");
        assert_eq!(see(30, 9), None);
        assert_eq!(see(60, 12), Some(Epoch(5)));
        assert_eq!(see(61, 12), Some(Epoch(5)), "what no cluster answered for is asked about again");
        assert_eq!(see(90, 12), Some(Epoch(9)));
        assert_eq!(see(200, 12), Some(Epoch(12)));
    }
}
