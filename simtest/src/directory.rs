//! The directory, as a process that never fails: what is tried is the cluster's part in homes. A key that the cluster gave up is
//! at home in another cluster for a while, about which nothing is known but that.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::post};
use flotilla_api::{
    BucketName, ClusterName, Epoch, FileName,
    peer::{
        ClaimAnswer, ClaimRequest, ClusterReport, Home, NodesAnswer, NodesRequest, ReleaseRequest, ReportAnswer,
        SettleAnswer, SettleRequest,
    },
    route,
};
use flotilla_client::{Lane, PeerClient};
use flotilla_cluster_node::Service;
use flotilla_http_server::Coded;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::{host::address, lock, note, plan::Plan, trace::Trace};

/// Where the cluster's nodes find it.
pub const ADDRESS: &str = "10.0.2.1:2";
/// How old a claim gets before the cluster is asked about it, and how often that is looked at.
const CLAIM_AGE: Duration = Duration::from_millis(700);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What clusters and clients ask. Cheap to clone.
#[derive(Clone)]
pub struct Directory(Arc<Mutex<State>>, Trace);

struct State {
    rng: StdRng,
    epoch: u64,
    homes: BTreeMap<FileName, Granted>,
}

#[derive(Clone)]
struct Granted {
    home: Home,
    at: Instant,
    confirmed: bool,
}

/// The cluster that is simulated.
fn here() -> ClusterName {
    "sim".parse().expect("a good name")
}

fn elsewhere() -> ClusterName {
    "other".parse().expect("a good name")
}

impl Directory {
    /// Makes one that knows no key.
    #[must_use]
    pub fn new(plan: &Plan, trace: Trace) -> Self {
        let rng = StdRng::seed_from_u64(plan.seed.rotate_left(53));
        Self(Arc::new(Mutex::new(State { rng, epoch: 0, homes: BTreeMap::new() })), trace)
    }

    /// Gives a key's epoch in the cluster that is simulated, if it is at home there.
    #[must_use]
    pub fn home(&self, name: &FileName) -> Option<Epoch> {
        lock(&self.0).homes.get(name).filter(|granted| granted.home.cluster == here()).map(|granted| granted.home.epoch)
    }

    /// As [`Directory::home`]; a free key is claimed for that cluster first.
    #[must_use]
    pub fn claim(&self, name: &FileName) -> Option<Epoch> {
        let home = self.claimed(name, here());
        (home.cluster == here()).then_some(home.epoch)
    }

    fn claimed(&self, name: &FileName, cluster: ClusterName) -> Home {
        let known = lock(&self.0).homes.get(name).map(|granted| granted.home.clone());
        known.unwrap_or_else(|| self.grant(name, cluster))
    }

    fn grant(&self, name: &FileName, cluster: ClusterName) -> Home {
        let state = &mut *lock(&self.0);
        state.epoch += 1;
        let home = Home { cluster, epoch: Epoch(state.epoch) };
        note!(self.1, "directory: {name} is at home in {} under {}", home.cluster, home.epoch);
        let granted = Granted { home: home.clone(), at: Instant::now(), confirmed: false };
        state.homes.insert(name.clone(), granted);
        home
    }

    fn answer_claim(&self, ClaimRequest { name, cluster, uuid: _, refresh }: ClaimRequest) -> ClaimAnswer {
        let held = lock(&self.0).homes.get(&name).map(|granted| granted.home.clone());
        let home = match held {
            Some(home) if home.cluster == cluster && Some(home.epoch) == refresh => self.grant(&name, cluster),
            Some(home) => home,
            None => self.grant(&name, cluster),
        };
        ClaimAnswer { home }
    }

    /// Lets go of homes that still stand as they were closed; another cluster gets some of the keys for a while.
    fn release(&self, ReleaseRequest { cluster, homes }: ReleaseRequest) {
        for (name, epoch) in homes {
            let (stands, moves, stay) = {
                let state = &mut *lock(&self.0);
                let closed = Home { cluster: cluster.clone(), epoch };
                let stands = state.homes.get(&name).is_some_and(|granted| granted.home == closed);
                if stands {
                    state.homes.remove(&name);
                }
                (stands, state.rng.random_bool(0.5), Duration::from_millis(state.rng.random_range(100..4_000)))
            };
            note!(self.1, "directory: {name} is given up under {epoch}: {stands}");
            if stands && moves {
                let home = self.grant(&name, elsewhere());
                let this = self.clone();
                tokio::spawn(async move {
                    sleep(stay).await;
                    this.release_there(name, home);
                });
            }
        }
    }

    fn release_there(&self, name: FileName, home: Home) {
        let state = &mut *lock(&self.0);
        if state.homes.get(&name).is_some_and(|granted| granted.home == home) {
            note!(self.1, "directory: {name} is free again");
            state.homes.remove(&name);
        }
    }

    /// Asks the cluster about claims that nobody heard of again, until dropped.
    pub async fn ask_about_claims(self, peers: PeerClient, machines: u64) {
        loop {
            sleep(LOOK_EVERY).await;
            let old = |(_, granted): &(&FileName, &Granted)| {
                !granted.confirmed && granted.home.cluster == here() && granted.at.elapsed() > CLAIM_AGE
            };
            let (claims, node) = {
                let state = &mut *lock(&self.0);
                let claims = state.homes.iter().filter(old).map(|(name, granted)| (name.clone(), granted.home.epoch));
                (claims.collect::<Vec<_>>(), state.rng.random_range(1..=machines))
            };
            if claims.is_empty() {
                continue;
            }
            let request = SettleRequest { claims };
            let asked = peers.post(Lane::Control, &address(node), route::PEER_SETTLE, &request, PATIENCE).await;
            let Ok(SettleAnswer { confirmed }) = asked else { continue };
            for granted in lock(&self.0).homes.values_mut() {
                granted.confirmed |= confirmed.contains(&granted.home.epoch);
            }
        }
    }

    /// Gives what nodes ask.
    pub fn service(&self) -> Service {
        let [claims, releases, lookups] = [self.clone(), self.clone(), self.clone()];
        Router::new()
            .route(
                route::PEER_CLAIM,
                post(async move |Coded(request): Coded<ClaimRequest>| told(claims.answer_claim(request))),
            )
            .route(
                route::PEER_RELEASE,
                post(async move |Coded(request): Coded<ReleaseRequest>| {
                    releases.release(request);
                    told(())
                }),
            )
            .route(
                route::PEER_LOOKUP,
                post(async move |Coded(name): Coded<FileName>| {
                    told(lock(&lookups.0).homes.get(&name).map(|granted| granted.home.clone()))
                }),
            )
            .route(route::PEER_BUCKET, post(async |_: Coded<BucketName>| told(true)))
            .route(route::PEER_NODES, post(async |_: Coded<NodesRequest>| told(NodesAnswer::default())))
            .route(
                route::PEER_REPORT,
                post(async |_: Coded<ClusterReport>| told(ReportAnswer { documents: None, felt: None })),
            )
    }
}

fn told<T>(answer: T) -> Coded<T> {
    Coded(answer)
}
