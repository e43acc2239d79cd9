//! Every route of the table with every credential, in memory: nothing is answered to anybody without a right one.

use std::time::Duration;

use axum::body::Body;
use flotilla_api::{
    FileName, admin,
    capability::Deed,
    keys::{KeyId, PrincipalName},
    peer::{
        Document, Documents, Principal,
        auth::{self, FleetSecret},
    },
};
use flotilla_env::{clock, disk::RealDisk, entropy};
use flotilla_http_server::{
    Authenticator, Caller, Capabilities, Destination, DocumentCache, Edge, Guard, PeerAuth, RequestMetrics, Sealer,
    credentials, peers, problem::with_fallbacks,
};
use flotilla_raft_store::formation::Plan;
use http::Request;
use tower::ServiceExt as _;

use super::*;
use crate::ops::name as op;

const PEER: &str = "127.0.0.1:1";
const KEY_HASH: [u8; 32] = [7; 32];
const METHODS: [&str; 8] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"];

struct OneToken;

impl Authenticator for OneToken {
    fn authenticate(&self, token: &str) -> Option<Caller> {
        (token == "good").then(|| Caller { principal: "root".to_owned(), root: true, key: None })
    }
}

/// Every route that the source names, also those that this server does not have, with the parameters that some take.
fn paths() -> Vec<String> {
    let source = include_str!("../../../../api/src/route.rs");
    let named = source.lines().filter_map(|line| line.split_once("= \"/")?.1.strip_suffix("\";"));
    let asked = admin::ROUTES.iter().map(|(_, rest)| format!("{}/a/{}", route::CLUSTERS, rest.replace("{node}", "7")));
    let paths: Vec<_> = named
        .flat_map(|route| ["", "/demo", "/demo/key", "/demo/fsck"].map(|rest| format!("/{route}{rest}")))
        .chain(asked)
        .collect();
    assert!(paths.len() > 50, "the source has another form");
    paths
}

async fn status(router: &Router, method: &str, path: &str, headers: &[(&str, String)]) -> u16 {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Body::empty()).expect("a good request");
    let Ok(response) = router.clone().oneshot(request).await;
    response.status().as_u16()
}

fn signature(secret: &str, method: &str, path: &str, counter: u64) -> String {
    let (secret, method) = (FleetSecret::new(secret), method.parse().expect("a method"));
    auth::sign(&secret, &method, path, &HeaderMap::new(), "127.0.0.1:2", PEER, clock::system().wall_ms(), (1, counter))
}

fn edge() -> Edge {
    Edge::new(entropy::seeded(1), clock::system(), RequestMetrics::default(), op)
}

fn formation(dir: &std::path::Path) -> Arc<Formation> {
    let plan = Plan {
        dir: dir.to_owned(),
        fleet: FleetSecret::new("good").fleet(),
        group: "a".to_owned(),
        name: "a-n1".to_owned(),
        own: PEER.to_owned(),
        members: vec![PEER.to_owned()],
        join: Vec::new(),
    };
    Arc::new(Formation::open(plan, Arc::new(RealDisk), entropy::seeded(2)).expect("an empty folder"))
}

#[tokio::test]
async fn no_route_answers_a_client_without_a_good_token() {
    let router = edge().wrap(credentials::require(with_fallbacks(public()), guard()));
    let bearer = |token: &str| vec![("authorization", format!("Bearer {token}"))];
    for path in paths() {
        for method in METHODS {
            let signed = vec![("flotilla-peer", signature("good", method, &path, 0))];
            for headers in [vec![], bearer("bad"), vec![("authorization", "Basic Z29vZA==".to_owned())], signed] {
                assert_eq!(status(&router, method, &path, &headers).await, 401, "{method} {path} {headers:?}");
            }
            let known = status(&router, method, &path, &bearer("good")).await;
            assert!(![401, 403].contains(&known), "{method} {path}: {known} for a good token");
        }
    }
}

#[tokio::test]
async fn no_route_answers_a_peer_without_a_good_signature() {
    let dir = tempfile::tempdir().expect("a folder");
    let auth = PeerAuth::new(FleetSecret::new("good"), PEER, clock::system());
    let router = edge().wrap(peers::require(with_fallbacks(peer(formation(dir.path()))), auth));
    let mut counter = 0;
    for path in paths() {
        for method in METHODS {
            let mut signed = |secret, method, path| {
                counter += 1;
                vec![("flotilla-peer", signature(secret, method, path, counter))]
            };
            let good = signed("good", method, &path);
            let token = vec![("authorization", "Bearer good".to_owned())];
            let (other_method, other_path) = (signed("good", "LINK", &path), signed("good", method, "/other"));
            for headers in [vec![], token, signed("bad", method, &path), other_method, other_path] {
                assert_eq!(status(&router, method, &path, &headers).await, 401, "{method} {path} {headers:?}");
            }
            let known = status(&router, method, &path, &good).await;
            assert!(![401, 403].contains(&known), "{method} {path}: {known} for a good signature");
            assert_eq!(status(&router, method, &path, &good).await, 401, "{method} {path}: sent a second time");
        }
    }
}

/// Documents that have one key.
fn documents() -> DocumentCache {
    let root = Principal { name: PrincipalName::root(), key_hash: KEY_HASH, root: true, created_ms: 0 };
    let documents = DocumentCache::default();
    documents.replace(Documents { revision: 1, entries: vec![Document::Principal(root)], ..Documents::default() });
    documents
}

fn sealer() -> Sealer {
    Sealer::new(FleetSecret::new("good"), clock::system(), Duration::from_secs(60), documents())
}

fn guard() -> Guard {
    let (secret, cluster) = (FleetSecret::new("good"), "a".parse().expect("a good name"));
    Guard::tokens(Arc::new(OneToken)).or(Capabilities::new(secret, cluster, clock::system(), documents()))
}

fn public() -> Router {
    public_router(Direct { files: Late::default(), sealer: sealer() })
}

fn peer(formation: Arc<Formation>) -> Router {
    peer_router(formation, Late::default(), Late::default())
}

#[tokio::test]
async fn a_capability_opens_one_route_with_one_method() {
    let router = edge().wrap(credentials::require(with_fallbacks(public()), guard()));
    let name = FileName::from_header("demo/key").expect("a good name");
    let cluster = "a".parse().expect("a good name");
    for (deed, methods) in [(Deed::Read, &["GET", "HEAD"][..]), (Deed::Write, &["PUT"][..])] {
        let key = KeyId::of(&KEY_HASH);
        let to = Destination { deed, cluster: &cluster, epoch: flotilla_api::Epoch(1), limit_bytes: 10, key };
        let sent = sealer().redirect("http://h", &name, &to);
        let location = sent.headers()[http::header::LOCATION].to_str().expect("ASCII");
        let (own, query) = location.strip_prefix("http://h").and_then(|rest| rest.split_once('?')).expect("a query");
        for path in paths() {
            for method in METHODS {
                let status = status(&router, method, &format!("{path}?{query}"), &[]).await;
                let allowed = path == own && methods.contains(&method);
                assert_eq!(status, if allowed { 503 } else { 403 }, "{deed:?}: {method} {path}");
            }
        }
    }
}
