//! Rebuilds from their begin to their end, on a group of one in memory and with clusters that answer from memory.

use std::collections::BTreeSet;

use flotilla_env::entropy;
use futures::{StreamExt, future::join};

use super::*;
use crate::{
    asked::testing::{Fleet, card},
    directory::testing::{cluster, form_alone, home, name, unformed},
};

async fn emptied() -> Directory {
    let directory = unformed().await;
    form_alone(&directory).await;
    directory
}

async fn begun(directory: &Directory, fleet: &Fleet, run: u64, fence: &[&str]) -> (Rebuild, mpsc::Receiver<Line>) {
    let (out, lines) = mpsc::channel(8);
    let fence = fence.iter().map(|name| cluster(name)).collect();
    let (directory, asker) = (directory.clone(), fleet.asker.clone());
    let rebuild = Rebuild { directory, asker, entropy: entropy::seeded(100 + run), fence, run, out };
    assert_eq!(rebuild.begin().await.expect("it leads"), Applied::Rebuild(Answer::Done));
    (rebuild, lines)
}

/// Watches a rebuild to its last line.
async fn ended((rebuild, lines): (Rebuild, mpsc::Receiver<Line>)) -> Line {
    let ((), lines) = join(rebuild.run(), lines.collect::<Vec<Line>>()).await;
    lines.last().expect("there is a last line").clone()
}

fn whole(homes: u64, clusters: &[&str]) -> Line {
    let clusters = clusters.iter().map(|name| cluster(name)).collect();
    Line::Summary(Summary { clusters, homes, ..Summary::default() })
}

/// Two clusters with homes, which report with those of a lost directory.
fn two() -> Fleet {
    let fleet = Fleet::new(&["a", "b"]);
    fleet.log("a").put("k", 3, RecordState::Open);
    fleet.log("a").put("gone", 6, RecordState::Closed);
    fleet.log("b").put("l", 9, RecordState::Sealed);
    fleet.log("b").floor = Epoch(20);
    fleet.report_all();
    fleet
}

#[tokio::test(start_paused = true)]
async fn what_clusters_have_open_is_adopted_and_what_is_granted_next_is_above_their_floors() {
    let (directory, fleet) = (emptied().await, two());
    assert_eq!(ended(begun(&directory, &fleet, 1, &[]).await).await, whole(2, &["a", "b"]));
    let home_of = |key| directory.applied_home(&name(key)).expect("a map");
    assert_eq!((home_of("k"), home_of("gone"), home_of("l")), (Some(home("a", 3)), None, Some(home("b", 9))));
    let floors: BTreeSet<Epoch> = ["a", "b"].map(|name| fleet.log(name).floor).into();
    assert_eq!(floors, BTreeSet::from([Epoch(20 + GRANTED_AHEAD_MAX)]), "a floor counts as an epoch that was seen");
    let claimed = directory.claim(name("new"), cluster("a")).await.expect("it leads").expect("it is registered");
    assert_eq!(claimed.home, home("a", 20 + GRANTED_AHEAD_MAX + 1));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_nobody_watches_any_more_is_begun_again_from_the_start_wherever_it_ended() {
    for lines_seen in 0..8 {
        let (directory, fleet) = (emptied().await, two());
        let (rebuild, mut lines) = begun(&directory, &fleet, 1, &[]).await;
        let watch = async move {
            for _ in 0..lines_seen {
                lines.next().await;
            }
        };
        join(rebuild.run(), watch).await;
        let interrupted = directory.rebuild().expect("a map").is_some();
        if !interrupted {
            // All its lines found room before it noticed.
            continue;
        }
        let miss = directory.home(&name("unknown")).await;
        assert!(matches!(miss, Err(read::Error::Rebuilding)), "{lines_seen}: nothing is called absent");
        let counted = directory.tally().await;
        assert!(matches!(counted, Err(read::Error::Rebuilding)), "{lines_seen}: homes that are not adopted yet count");
        fleet.report_all();
        let last = ended(begun(&directory, &fleet, 2, &[]).await).await;
        assert_eq!(last, whole(2, &["a", "b"]), "{lines_seen}");
        let home_of = |key| directory.applied_home(&name(key)).expect("a map");
        assert_eq!((home_of("k"), home_of("l")), (Some(home("a", 3)), Some(home("b", 9))), "{lines_seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_rebuilds_at_once_the_later_one_ends() {
    let (directory, fleet) = (emptied().await, two());
    let first = begun(&directory, &fleet, 1, &[]).await;
    let second = begun(&directory, &fleet, 2, &[]).await;
    let (first, second) = join(ended(first), ended(second)).await;
    assert!(matches!(first, Line::Failed { retryable: true, .. }), "{first:?}");
    assert_eq!(second, whole(2, &["a", "b"]));
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_cluster_that_still_runs_does_not_keep_a_rebuild_from_its_end() {
    let (directory, fleet) = (emptied().await, Fleet::new(&["a", "old"]));
    fleet.log("a").put("k", 3, RecordState::Open);
    fleet.log("old").put("m", 4, RecordState::Open);
    let ((of_a, uuid_a), (of_old, uuid_old)) = (card("a"), card("old"));
    let entries = vec![
        Document::Cluster { name: of_a, uuid: uuid_a, retiring: false },
        Document::Fenced { name: of_old, uuid: uuid_old },
    ];
    fleet.log("a").documents = Documents { revision: 4, entries, ..Documents::default() };
    fleet.report_all();
    assert_eq!(ended(begun(&directory, &fleet, 1, &[]).await).await, whole(1, &["a"]));
    assert_eq!(directory.applied_home(&name("m")).expect("a map"), None);
    assert!(!fleet.asker.clusters.has_foreign(), "it is no stranger");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_reports_is_not_given_up() {
    let (directory, fleet) = (emptied().await, two());
    let last = ended(begun(&directory, &fleet, 1, &["b"]).await).await;
    assert!(matches!(&last, Line::Failed { detail, .. } if detail.contains("'b' reports")), "{last:?}");
    assert!(directory.rebuild().expect("a map").is_some(), "it has not ended");
}

#[test]
fn a_refused_step_says_whether_another_try_can_succeed() {
    let again = |refusal| matches!(refused(&refusal), Stop::Failed(_, true));
    for refusal in [Refusal::Passed, Refusal::ForeignCluster, Refusal::UnknownCluster, Refusal::Rebuilding] {
        assert!(again(refusal.clone()), "{refusal:?}");
    }
    for refusal in [Refusal::NotEmpty, Refusal::TooMany, Refusal::Fenced] {
        assert!(!again(refusal.clone()), "{refusal:?}");
    }
}
