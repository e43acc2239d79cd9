//! Comparisons from begin to end, on a group of one in memory and with clusters that answer from memory.

use std::time::Duration;

use flotilla_env::entropy;
use futures::{StreamExt, future::join};

use super::*;
use crate::{
    asked::testing::{Fleet, card},
    directory::{
        Answer, Command,
        testing::{cluster, form_alone, name, unformed},
    },
};

/// A directory that knows these clusters, which report.
async fn directory(fleet: &Fleet, names: &[&str]) -> Directory {
    let directory = unformed().await;
    form_alone(&directory).await;
    let entropy = entropy::seeded(7);
    for name in names {
        let (cluster, uuid) = card(name);
        let register = Command::Register { cluster, uuid };
        assert_eq!(directory.propose(entropy.u128(), register).await.expect("it leads"), Answer::Done);
        fleet.report_known(name);
    }
    directory
}

/// Compares, and gives all but progress.
async fn compared(directory: &Directory, fleet: &Fleet) -> Vec<Line> {
    let (out, lines) = mpsc::channel(8);
    let verify = Verify { directory: directory.clone(), asker: fleet.asker.clone(), out };
    let ((), mut lines) = join(verify.run(), lines.collect::<Vec<Line>>()).await;
    lines.retain(|line| !matches!(line, Line::Progress { .. }));
    lines
}

#[tokio::test(start_paused = true)]
async fn homes_that_both_sides_have_are_equal_and_one_that_the_directory_lacks_is_found() {
    let fleet = Fleet::new(&["a"]);
    let directory = directory(&fleet, &["a"]).await;
    let claimed = directory.claim(name("k"), cluster("a")).await.expect("it leads").expect("it is registered");
    let clusters = vec![cluster("a")];
    let summary = Summary { clusters, unused: 1, ..Summary::default() };
    assert_eq!(compared(&directory, &fleet).await, [Line::Summary(summary.clone())]);
    fleet.log("a").put("k", claimed.home.epoch.0, RecordState::Open);
    let summary = Summary { homes: 1, unused: 0, ..summary };
    assert_eq!(compared(&directory, &fleet).await, [Line::Summary(summary.clone())]);
    fleet.log("a").put("l", 77, RecordState::Open);
    let lines = compared(&directory, &fleet).await;
    assert!(matches!(&lines[0], Line::Finding(Finding { what: What::Unknown, .. })), "{lines:?}");
    assert_eq!(lines[1], Line::Summary(Summary { findings: 1, ..summary }));
}

#[tokio::test(start_paused = true)]
async fn an_emptied_directory_that_has_heard_nobody_yet_is_not_called_equal() {
    let fleet = Fleet::new(&["a"]);
    let directory = directory(&fleet, &[]).await;
    let hears = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        fleet.report("a");
    };
    let (lines, ()) = join(compared(&directory, &fleet), hears).await;
    assert!(matches!(&lines[0], Line::Finding(Finding { what: What::Missing, .. })), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn of_a_key_that_changes_whenever_it_is_looked_at_nothing_is_said() {
    let fleet = Fleet::new(&["a"]);
    let directory = directory(&fleet, &["a"]).await;
    fleet.log("a").put("k", 1, RecordState::Open);
    fleet.log("a").restless = Some(name("k"));
    let summary = Summary { clusters: vec![cluster("a")], changing: 1, ..Summary::default() };
    assert_eq!(compared(&directory, &fleet).await, [Line::Summary(summary)]);
}
