//! Without an address of the API: files at the clusters' own nodes, whose addresses were learned before.

use axum::extract::Request;
use bytes::Bytes;
use flotilla_api::Code;
use flotilla_client::{Client, Kind, Learn, ListQuery, Network, Options, PutBody, PutOptions};
use flotilla_env::{clock, entropy};

use crate::service::{CALLER, Seen, created, key_of, name, network, refuse, router};

const API: &str = "supernode:1";

fn client(network: &Network, nodes: &[&[&str]], learn: Learn) -> Client {
    let urls = |nodes: &&[&str]| nodes.iter().map(|node| format!("http://{node}")).collect();
    let options = Options {
        api: vec![format!("http://{API}")],
        retries: 2,
        nodes: nodes.iter().map(urls).collect(),
        learn,
        ..Options::default()
    };
    let client = Client::with_transport(options, clock::system(), entropy::seeded(2), network.transport(CALLER));
    client.expect("the options are good")
}

async fn put(client: &Client) -> Result<bool, flotilla_client::Error> {
    let body = PutBody::Bytes(Bytes::from_static(b"abc"));
    client.put(&name(), body, &PutOptions::default()).await.map(|put| put.created)
}

#[tokio::test(start_paused = true)]
async fn every_cluster_is_asked_until_one_knows_the_file() {
    let (network, seen) = (network(), Seen::new());
    for (host, code) in [("a:1", Some(Code::DirectoryUnavailable)), ("b:1", Some(Code::WrongHome)), ("c:1", None)] {
        let service = seen.clone();
        network.serve(
            host,
            router(move |r: Request| {
                service.add((host, key_of(&r)));
                async move { code.map_or_else(created, refuse) }
            }),
        );
    }
    let client = client(&network, &[&["a:1"], &["gone:1", "b:1"], &["c:1"]], Learn::Never);
    assert!(put(&client).await.expect("cluster c has it"));
    let asked = seen.all();
    assert_eq!(asked.iter().map(|(host, _)| *host).collect::<Vec<_>>(), ["a:1", "c:1"], "a second node is not needed");
    assert_eq!(asked[0].1, asked[1].1, "it is one change, whoever makes it");
}

#[tokio::test(start_paused = true)]
async fn what_no_node_can_tell_is_unavailable_and_not_absent() {
    let network = network();
    network.serve("a:1", router(|_: Request| async { refuse(Code::DirectoryUnavailable) }));
    let client = client(&network, &[&["a:1"]], Learn::Never);
    assert_eq!(put(&client).await.expect_err("nobody knows").kind(), Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_nodes_refusal_is_the_answer() {
    let network = network();
    network.serve("a:1", router(|_: Request| async { refuse(Code::PreconditionFailed) }));
    let client = client(&network, &[&["a:1"]], Learn::Never);
    assert_eq!(put(&client).await.expect_err("refused").kind(), Kind::Precondition);
}

#[tokio::test(start_paused = true)]
async fn lists_are_not_asked_of_nodes() {
    let (network, seen) = (network(), Seen::<()>::new());
    let service = seen.clone();
    network.serve(
        "a:1",
        router(move |_: Request| {
            service.add(());
            async { created() }
        }),
    );
    let client = client(&network, &[&["a:1"]], Learn::Never);
    client.list(&"demo".parse().expect("a bucket"), &ListQuery::default()).await.expect_err("no supernode");
    assert_eq!(seen.all().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_learned_from_a_supernode_that_answered() {
    let network = network();
    let clusters = || {
        let node = |id, public: &str, alive| {
            let stats = flotilla_api::peer::NodeStats::default();
            let peer = String::new();
            flotilla_api::peer::NodeReport {
                id: flotilla_api::NodeId(id),
                peer,
                public: public.to_owned(),
                zone: None,
                alive,
                stats,
            }
        };
        let cluster = flotilla_api::files::ClusterStatus {
            name: "a".parse().expect("a good name"),
            reachable: true,
            report_age_ms: Some(1),
            leader: None,
            nodes: vec![node(1, "http://a1:1", false), node(2, "http://a2:1", true)],
        };
        axum::Json(flotilla_api::files::ClustersAnswer { clusters: vec![cluster], server: None })
    };
    network.serve(
        API,
        router(move |r: Request| async move {
            match r.uri().path() == flotilla_api::route::CLUSTERS {
                true => axum::response::IntoResponse::into_response(clusters()),
                false => created(),
            }
        }),
    );
    network.serve("a2:1", router(|_: Request| async { created() }));
    let told = Seen::new();
    let tell = told.clone();
    let client = client(
        &network,
        &[],
        Learn::Told(std::sync::Arc::new(move |nodes: &[Vec<String>]| {
            tell.add(nodes.to_vec());
        })),
    );
    assert!(put(&client).await.expect("by the supernode"));
    assert_eq!(told.all(), [vec![vec!["http://a2:1".to_owned(), "http://a1:1".to_owned()]]], "who lives comes first");
    network.remove(API);
    assert!(put(&client).await.expect("by the node"));
}
