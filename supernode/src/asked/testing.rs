//! Clusters that answer from memory, for the tests of those who ask them.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use flotilla_api::{
    ClusterName, Epoch, FileName, NodeId, codec,
    peer::{
        ClusterReport, Documents, FenceAnswer, FenceRequest, HomeRecord, HomesAnswer, HomesRequest, NodeReport,
        NodeStats, RecordState, auth::FleetSecret,
    },
    route,
};
use flotilla_client::{Body, Network, PeerClient, body};
use flotilla_env::{clock, entropy};
use http::{Request, Response};
use tower::service_fn;
use uuid::Uuid;

use super::Asker;
use crate::{
    clusters::Clusters,
    directory::testing::{cluster, name, uuid},
};

/// The directory that was lost: what reports name.
const LOST: Uuid = Uuid::from_u128(9);
const QUESTION_MAX_BYTES: usize = 1 << 20;

/// A cluster's own log, as far as it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Log {
    records: BTreeMap<FileName, (Epoch, RecordState)>,
    pub(crate) floor: Epoch,
    pub(crate) documents: Documents,
    /// A key whose record is another one whenever it is asked for by name.
    pub(crate) restless: Option<FileName>,
}

impl Log {
    /// Notes a record.
    pub(crate) fn put(&mut self, key: &str, epoch: u64, state: RecordState) {
        self.records.insert(name(key), (Epoch(epoch), state));
    }

    fn homes(&mut self, request: &HomesRequest) -> HomesAnswer {
        let records = match request {
            HomesRequest::Page { after, limit } => {
                let behind = self.records.iter().filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
                behind.take(*limit as usize).map(record).collect()
            }
            HomesRequest::Named { names } => {
                if let Some((epoch, _)) = self.restless.as_ref().and_then(|name| self.records.get_mut(name)) {
                    epoch.0 += 1;
                }
                names.iter().filter_map(|name| self.records.get_key_value(name)).map(record).collect()
            }
        };
        HomesAnswer { records, floor: self.floor }
    }
}

fn record((name, (epoch, state)): (&FileName, &(Epoch, RecordState))) -> HomeRecord {
    HomeRecord { name: name.clone(), epoch: *epoch, state: *state }
}

/// Clusters of one node each, and the way to them.
pub(crate) struct Fleet {
    pub(crate) asker: Asker,
    logs: BTreeMap<&'static str, Arc<Mutex<Log>>>,
}

impl Fleet {
    pub(crate) fn new(names: &[&'static str]) -> Self {
        let network = Network::new(entropy::seeded(3));
        let logs: BTreeMap<&str, Arc<Mutex<Log>>> = names.iter().map(|name| (*name, Arc::default())).collect();
        for (name, log) in &logs {
            let log = Arc::clone(log);
            network.serve(host(name), service_fn(move |request: Request<Body>| answer(request, Arc::clone(&log))));
        }
        let (secret, own) = (FleetSecret::new("of the test"), "s1:1");
        let peers = PeerClient::new(secret, own, clock::system(), &*entropy::seeded(2), network.transport(own));
        let clusters = Clusters::new(clock::system(), entropy::seeded(4));
        Self { asker: Asker { clusters, peers }, logs }
    }

    pub(crate) fn log(&self, name: &str) -> MutexGuard<'_, Log> {
        self.logs[name].lock().expect("no test panics while it holds it")
    }

    /// Has a cluster report with homes of the lost directory.
    pub(crate) fn report(&self, name: &str) {
        self.asker.clusters.heard_foreign(report(name));
    }

    /// As that, all of them.
    pub(crate) fn report_all(&self) {
        self.logs.keys().for_each(|name| self.report(name));
    }

    /// Has a cluster report that the directory knows.
    pub(crate) fn report_known(&self, name: &str) {
        self.asker.clusters.heard(report(name));
    }
}

fn host(name: &str) -> String {
    format!("{name}:1")
}

/// A cluster's report, with homes of the lost directory.
pub(crate) fn report(name: &str) -> ClusterReport {
    let node = NodeReport {
        id: NodeId(1),
        peer: host(name),
        public: String::new(),
        zone: None,
        alive: true,
        stats: NodeStats::default(),
    };
    ClusterReport {
        cluster: cluster(name),
        uuid: uuid(name),
        leader: NodeId(1),
        term: 1,
        applied: 1,
        nodes: vec![node],
        documents: 0,
        directory: Some(LOST),
        offer: None,
    }
}

async fn answer(request: Request<Body>, log: Arc<Mutex<Log>>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let question = body::collect(request.into_body(), QUESTION_MAX_BYTES).await.expect("it is in memory");
    let mut log = log.lock().expect("no test panics while it holds it");
    let answer = match path.as_str() {
        route::PEER_HOMES => codec::encode(&log.homes(&codec::decode(&question).expect("a question"))),
        route::PEER_FENCE => {
            let FenceRequest { directory: _, upto } = codec::decode(&question).expect("a fence");
            log.floor = log.floor.max(upto);
            codec::encode(&FenceAnswer { documents: log.documents.clone() })
        }
        other => panic!("nobody asks for {other}"),
    };
    Ok(Response::new(body::full(answer)))
}

/// A cluster's name and identity, as documents have them.
pub(crate) fn card(name: &str) -> (ClusterName, Uuid) {
    (cluster(name), uuid(name))
}
