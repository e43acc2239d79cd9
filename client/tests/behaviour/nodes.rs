//! Without an address of the API: files at the clusters' own nodes, whose addresses were learned before.

use std::{io, time::Duration};

use axum::{body::Body as AxumBody, extract::Request};
use bytes::Bytes;
use flotilla_api::{Code, Epoch, Problem, error::HomeElsewhere, header};
use flotilla_client::{Client, ClusterNodes, Error, Kind, Learn, ListQuery, Network, Options, PutBody, PutOptions};
use flotilla_env::{clock, entropy};
use futures::{StreamExt, TryStreamExt, stream};
use http::{Method, Response, StatusCode, header::IF_NONE_MATCH};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::service::{CALLER, Seen, created, file, name, network, problem, refuse, router};

const API: &str = "supernode:1";

fn urls(nodes: &[&str]) -> Vec<String> {
    nodes.iter().map(|node| format!("http://{node}")).collect()
}

fn client(network: &Network, nodes: &[&[&str]], learn: Learn) -> Client {
    client_of(network, API, nodes, learn)
}

fn client_of(network: &Network, api: &str, nodes: &[&[&str]], learn: Learn) -> Client {
    let known = |(number, nodes): (usize, &&[&str])| ClusterNodes {
        cluster: format!("c{number}").parse().expect("a good name"),
        nodes: urls(nodes),
        age: Duration::ZERO,
    };
    let nodes = nodes.iter().enumerate().map(known).collect();
    let options = Options { api: urls(&[api]), retries: 2, nodes, learn, ..Options::default() };
    let client = Client::with_transport(options, clock::system(), entropy::seeded(2), network.transport(CALLER));
    client.expect("the options are good")
}

/// What was asked: host, method, and the key of a change.
type Asked = Seen<(&'static str, Method, Option<String>)>;

/// Makes a server that answers every request with `answer`, after the whole body.
fn serve<F, Fut>(network: &Network, host: &'static str, seen: &Asked, answer: F)
where
    F: Fn(Method) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<AxumBody>> + Send + 'static,
{
    let seen = seen.clone();
    network.serve(
        host,
        router(move |r: Request| {
            let key = r.headers().get(header::IDEMPOTENCY_KEY).map(|key| key.to_str().expect("text").to_owned());
            seen.add((host, r.method().clone(), key));
            let answered = answer(r.method().clone());
            async move {
                axum::body::to_bytes(r.into_body(), 1 << 20).await.expect("the whole body");
                answered.await
            }
        }),
    );
}

/// Makes a server that refuses everything.
fn refusing(network: &Network, host: &'static str, seen: &Asked, code: Code) {
    serve(network, host, seen, move |_| async move { refuse(code) });
}

/// Makes a node of the cluster that has the file.
fn home(network: &Network, host: &'static str, seen: &Asked) {
    serve(network, host, seen, |method| async move { if method == Method::GET { not_modified() } else { created() } });
}

/// The answer to the question whether there is such a file.
fn not_modified() -> Response<AxumBody> {
    file(StatusCode::NOT_MODIFIED).body(AxumBody::empty()).expect("the parts are good")
}

/// Makes a server that names another one as the home, as a node does that has it from a supernode.
fn naming(network: &Network, host: &'static str, seen: &Asked, node: &'static str) {
    serve(network, host, seen, move |_| async move {
        let mut wrong = Problem::new(Code::WrongHome, "as the test wants it");
        let cluster = "z".parse().expect("a good name");
        wrong.home = Some(HomeElsewhere { cluster, epoch: Epoch(1), addresses: urls(&[node]) });
        problem(&wrong)
    });
}

async fn put(client: &Client) -> Result<bool, Error> {
    let body = PutBody::Bytes(Bytes::from_static(b"abc"));
    client.put(&name(), body, &PutOptions::default()).await.map(|put| put.created)
}

async fn put_stream(client: &Client) -> Result<bool, Error> {
    let frames = stream::iter(["a", "b", "c"].map(|b| Ok(Bytes::from_static(b.as_bytes()))));
    let body = PutBody::Stream { stream: frames.boxed(), length: Some(3) };
    client.put(&name(), body, &PutOptions::default()).await.map(|put| put.created)
}

/// Gives the hosts that got requests of a method, in order.
fn hosts(seen: &Asked, method: &Method) -> Vec<&'static str> {
    seen.all().into_iter().filter(|(_, asked, _)| asked == method).map(|(host, _, _)| host).collect()
}

#[tokio::test(start_paused = true)]
async fn every_cluster_is_asked_until_one_knows_the_file_and_it_alone_gets_the_change() {
    let (network, seen) = (network(), Seen::new());
    refusing(&network, "a:1", &seen, Code::DirectoryUnavailable);
    refusing(&network, "b:1", &seen, Code::WrongHome);
    home(&network, "c:1", &seen);
    let client = client(&network, &[&["a:1"], &["gone:1", "b:1"], &["c:1"]], Learn::Never);
    assert!(put(&client).await.expect("cluster c has it"));
    assert_eq!(hosts(&seen, &Method::GET), ["a:1", "c:1"], "a second node is not needed");
    assert_eq!(hosts(&seen, &Method::PUT), ["c:1"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_cluster_says_is_asked_of_one_of_its_nodes() {
    let (network, seen) = (network(), Seen::new());
    for host in ["a:1", "a:2"] {
        refusing(&network, host, &seen, Code::DirectoryUnavailable);
    }
    for host in ["b:1", "b:2"] {
        refusing(&network, host, &seen, Code::CatchingUp);
    }
    let client = client(&network, &[&["a:1", "a:2"], &["b:1", "b:2"]], Learn::Never);
    let error = put(&client).await.expect_err("nobody can tell");
    assert_eq!(error.kind(), Kind::Unavailable, "and not absent");
    let asked = hosts(&seen, &Method::GET);
    assert_eq!(asked[..3], ["a:1", "b:1", "b:2"], "that it catches up is the node's own answer");
    assert!(!asked.contains(&"a:2"), "{asked:?}");
    assert!(hosts(&seen, &Method::PUT).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_to_the_home_and_nowhere_else() {
    let (network, seen) = (network(), Seen::new());
    refusing(&network, "a:1", &seen, Code::WrongHome);
    refusing(&network, "b:1", &seen, Code::NoLeader);
    home(&network, "b:2", &seen);
    let client = client(&network, &[&["a:1"], &["b:1", "b:2"]], Learn::Never);
    assert!(put_stream(&client).await.expect("cluster b has it"));
    assert_eq!(hosts(&seen, &Method::PUT), ["b:2"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_sent_where_another_one_was_just_refused() {
    let (network, seen) = (network(), Seen::new());
    refusing(&network, API, &seen, Code::NoLeader);
    home(&network, "a:1", &seen);
    let client = client(&network, &[&["a:1"]], Learn::Never);
    let error = put_stream(&client).await.expect_err("the supernode has read it");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(put_stream(&client).await.expect("sent to the node"));
    assert_eq!(hosts(&seen, &Method::PUT), [API, "a:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_holds_up_one_change_for_a_moment() {
    let (network, seen) = (network(), Seen::new());
    for host in ["a:1", "a:2"] {
        home(&network, host, &seen);
    }
    network.stall("a:1");
    let client = client(&network, &[&["a:1", "a:2"]], Learn::Never);
    let begin = Instant::now();
    assert!(put(&client).await.expect("the second node"));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    let begin = Instant::now();
    assert!(put(&client).await.expect("the second node again"));
    assert_eq!(begin.elapsed(), Duration::ZERO, "the first one is remembered");
    assert_eq!(hosts(&seen, &Method::PUT), ["a:2", "a:2"]);
}

#[tokio::test(start_paused = true)]
async fn an_open_change_is_sent_to_nodes_a_few_times_only() {
    let (network, seen) = (network(), Seen::new());
    let links = network.clone();
    serve(&network, "a:1", &seen, move |method| {
        // Every answer to a change is lost.
        match method == Method::PUT {
            true => links.cut("a:1", CALLER),
            false => links.heal_all(),
        }
        async { not_modified() }
    });
    let client = client(&network, &[&["a:1"]], Learn::Never);
    assert_eq!(put(&client).await.expect_err("never answered").kind(), Kind::Indeterminate);
    let keys: Vec<_> = seen.all().into_iter().filter_map(|(_, _, key)| key).collect();
    assert_eq!(keys.len(), 4, "one try and three that ask again");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_home_that_a_node_names_is_asked_although_it_was_not_known() {
    let (network, seen) = (network(), Seen::new());
    naming(&network, "a:1", &seen, "z:1");
    home(&network, "z:1", &seen);
    let client = client(&network, &[&["a:1"]], Learn::Never);
    assert!(put_stream(&client).await.expect("the home was named"));
    assert_eq!(hosts(&seen, &Method::PUT), ["z:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_home_that_an_address_of_the_api_names_is_asked() {
    let (network, seen) = (network(), Seen::new());
    naming(&network, "a:1", &seen, "z:1");
    home(&network, "z:1", &seen);
    let client = client_of(&network, "a:1", &[], Learn::Never);
    let begin = Instant::now();
    assert!(put(&client).await.expect("the home was named"));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(hosts(&seen, &Method::PUT), ["a:1", "z:1"]);
}

#[tokio::test(start_paused = true)]
async fn servers_that_name_each_other_are_believed_once() {
    let (network, seen) = (network(), Seen::new());
    naming(&network, "a:1", &seen, "z:1");
    naming(&network, "z:1", &seen, "a:1");
    let client = client_of(&network, "a:1", &[], Learn::Never);
    let error = put(&client).await.expect_err("neither is the home");
    assert_eq!(error.problem().map(|problem| problem.code), Some(Code::WrongHome));
    assert_eq!(hosts(&seen, &Method::PUT), ["a:1"; 3], "one try and two more");
    assert_eq!(hosts(&seen, &Method::GET), ["z:1", "a:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_home_on_this_machine_that_a_server_elsewhere_names_gets_no_token() {
    let (network, seen) = (network(), Seen::new());
    naming(&network, "a:1", &seen, "127.0.0.1:1");
    home(&network, "127.0.0.1:1", &seen);
    let client = client(&network, &[&["a:1"], &["127.0.0.1:1"]], Learn::Never);
    put(&client).await.expect_err("nobody else has it");
    assert!(seen.all().iter().all(|(host, ..)| *host == "a:1"), "{:?}", seen.all());
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_a_node_names_the_node() {
    let network = network();
    let links = network.clone();
    network.serve(
        "a:1",
        router(move |mut r: Request| {
            let links = links.clone();
            async move {
                match (r.method() == Method::PUT, r.headers().contains_key(IF_NONE_MATCH)) {
                    (true, _) => {
                        assert!(r.body_mut().frame().await.is_some());
                        links.cut("a:1", CALLER);
                        created()
                    }
                    (false, true) => not_modified(),
                    (false, false) => {
                        let frames = [Ok("a"), Err(io::Error::other("the disk is gone"))];
                        let body = AxumBody::from_stream(stream::iter(frames));
                        file(StatusCode::OK)
                            .header("content-length", 3)
                            .header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")
                            .body(body)
                            .expect("the parts are good")
                    }
                }
            }
        }),
    );
    let client = client(&network, &[&["a:1"]], Learn::Never);
    let mut download = client.get(&name(), None).await.expect("it begins");
    let broken = async {
        while download.body.try_next().await?.is_some() {}
        Ok::<_, Error>(())
    }
    .await;
    let named = |error: &Error| matches!(error, Error::Interrupted { address, .. } if address == "a:1");
    let error = broken.expect_err("it breaks off");
    assert!(named(&error), "{error:?}");
    let error = put_stream(&client).await.expect_err("cut");
    assert!(named(&error), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_no_node_can_tell_is_unavailable_and_not_absent() {
    let (network, seen) = (network(), Seen::new());
    refusing(&network, "a:1", &seen, Code::DirectoryUnavailable);
    let client = client(&network, &[&["a:1"]], Learn::Never);
    assert_eq!(put(&client).await.expect_err("nobody knows").kind(), Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_nodes_refusal_is_the_answer() {
    let (network, seen) = (network(), Seen::new());
    refusing(&network, "a:1", &seen, Code::PreconditionFailed);
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
            state: Default::default(),
            reachable: true,
            report_age_ms: Some(1),
            leader: None,
            nodes: vec![node(1, "http://a1:1", false), node(2, "http://a2:1", true)],
            queue: None,
        };
        axum::Json(flotilla_api::files::ClustersAnswer {
            clusters: vec![cluster],
            server: None,
            supernodes: Vec::new(),
        })
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
        Learn::Told(std::sync::Arc::new(move |nodes: &[ClusterNodes]| {
            tell.add(nodes.to_vec());
        })),
    );
    assert!(put(&client).await.expect("by the supernode"));
    let (cluster, nodes) = ("a".parse().expect("a good name"), urls(&["a2:1", "a1:1"]));
    let learned = ClusterNodes { cluster, nodes, age: Duration::ZERO };
    assert_eq!(told.all(), [vec![learned]], "who lives comes first");
    network.remove(API);
    assert!(put(&client).await.expect("by the node"));
}

#[tokio::test(start_paused = true)]
async fn a_supernode_that_joined_is_asked_when_the_given_one_is_gone() {
    let network = network();
    let answer = || flotilla_api::files::ClustersAnswer {
        clusters: Vec::new(),
        server: None,
        supernodes: vec![format!("http://{API}"), "http://supernode-2:1".to_owned()],
    };
    network.serve(
        API,
        router(move |r: Request| async move {
            match r.uri().path() == flotilla_api::route::CLUSTERS {
                true => axum::response::IntoResponse::into_response(axum::Json(answer())),
                false => created(),
            }
        }),
    );
    network.serve("supernode-2:1", router(|_: Request| async { created() }));
    let client = client(&network, &[], Learn::Told(std::sync::Arc::new(|_: &[ClusterNodes]| {})));
    assert!(put(&client).await.expect("by the given one"));
    network.remove(API);
    assert!(put(&client).await.expect("by the one that joined"));
    let deaf = self::client(&network, &[], Learn::Never);
    assert_eq!(put(&deaf).await.expect_err("it knows one address").kind(), Kind::Unavailable);
}
