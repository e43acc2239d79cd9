//! The search for a home, and what answers mean, without any node.

use flotilla_api::{Epoch, Problem, error::HomeElsewhere};

use super::*;

fn candidate(node: &str) -> Candidate {
    let cluster = node.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
    Candidate { cluster: Some(cluster.parse().expect("a good name")), node: node.to_owned() }
}

fn search(nodes: &[&str]) -> Search {
    Search::new(nodes.iter().map(|node| candidate(node)).collect())
}

fn next(search: &mut Search) -> Option<String> {
    search.next(Instant::now()).map(|candidate| candidate.node)
}

fn elsewhere(nodes: &[&str]) -> Said {
    Said::Elsewhere(nodes.iter().map(ToString::to_string).collect())
}

fn problem(code: Code) -> Failure {
    Failure::Problem(Box::new(Problem::new(code, "")))
}

#[test]
fn a_cluster_that_has_spoken_is_not_asked_again() {
    let mut search = search(&["a1", "b1", "c1", "a2", "b2", "c2"]);
    assert_eq!(next(&mut search).as_deref(), Some("a1"));
    assert!(!search.hear(&candidate("a1"), Said::Unknown));
    assert_eq!(next(&mut search).as_deref(), Some("b1"));
    assert!(!search.hear(&candidate("b1"), Said::NotNow), "that is the node's own answer");
    assert_eq!(next(&mut search).as_deref(), Some("c1"));
    assert!(!search.hear(&candidate("c1"), elsewhere(&[])));
    assert_eq!(next(&mut search).as_deref(), Some("b2"));
    assert!(search.hear(&candidate("b2"), Said::Here));
}

#[test]
fn a_home_that_is_named_is_asked_next_once() {
    let mut search = search(&["a1", "b1", "b2"]);
    next(&mut search);
    search.hear(&candidate("b1"), Said::Unknown);
    search.hear(&candidate("a1"), elsewhere(&["b2", "x1"]));
    assert_eq!(next(&mut search).as_deref(), Some("b2"), "although its cluster did not know before");
    let named = Candidate { cluster: None, node: "b2".to_owned() };
    search.hear(&named, elsewhere(&["y1"]));
    assert_eq!(next(&mut search).as_deref(), Some("x1"));
    assert_eq!(next(&mut search), None, "a second name is not followed, and no node is asked twice");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_were_overtaken_are_silent() {
    let mut search = search(&["a1", "b1"]);
    next(&mut search);
    tokio::time::advance(HEDGE_AFTER).await;
    next(&mut search);
    assert_eq!(search.silent(Instant::now()).collect::<Vec<_>>(), ["a1"]);
    search.hear(&candidate("a1"), Said::Unknown);
    assert_eq!(search.silent(Instant::now()).count(), 0);
}

#[test]
fn answers_say_whose_file_it_is() {
    for (code, expected) in [
        (Code::FileNotFound, Said::Here),
        (Code::BucketNotFound, Said::Here),
        (Code::Unauthenticated, Said::Here),
        (Code::Forbidden, Said::Here),
        (Code::WrongHome, Said::Elsewhere(Vec::new())),
        (Code::DirectoryUnavailable, Said::Unknown),
        (Code::NotReady, Said::NotNow),
        (Code::NoLeader, Said::NotNow),
        (Code::CatchingUp, Said::NotNow),
        (Code::RateLimited, Said::NotNow),
        (Code::Internal, Said::NotNow),
    ] {
        assert_eq!(said(&problem(code)), expected, "{code}");
    }
    assert_eq!(said(&Failure::Unreachable("refused".into())), Said::NotNow);
    assert_eq!(said(&Failure::Malformed("not ours".into())), Said::NotNow);
    let mut wrong = Problem::new(Code::WrongHome, "");
    let addresses = vec!["http://b:1".to_owned()];
    let cluster = "b".parse().expect("a good name");
    wrong.home = Some(HomeElsewhere { cluster, epoch: Epoch(1), addresses: addresses.clone() });
    assert_eq!(said(&Failure::Problem(Box::new(wrong))), Said::Elsewhere(addresses));
}

#[test]
fn a_question_is_about_the_file_alone() {
    let question = question("/v1/files/demo/a?copy-from=demo/b");
    assert_eq!((question.route.as_str(), &question.method), ("/v1/files/demo/a", &Method::GET));
    assert_eq!(question.headers.get(IF_NONE_MATCH).map(|value| value.as_bytes()), Some(&b"*"[..]));
    assert!(question.key.is_none());
}
