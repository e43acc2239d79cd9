//! Preconditions, one by one, in commits and deletes on a map.

use flotilla_api::Epoch;

use super::*;
use crate::metadata::{
    Answer, Command, Commit, Delete, Probe,
    testing::{Cluster, commit, delete, inline, name},
};

const HELD: Etag = Etag::Root([9; 32]);
const OTHER: Etag = Etag::Root([8; 32]);

fn these(etags: &[Etag]) -> Option<Etags> {
    Some(Etags::These(etags.to_vec()))
}

fn asks(matches: Option<Etags>, differs: Option<Etags>) -> Precondition {
    Precondition::Etags { matches, differs }
}

/// A commit of the content that [`HELD`] stands for, under a precondition.
fn committed(cluster: &mut Cluster, precondition: Precondition) -> Answer {
    let writer = cluster.writer(1);
    let Command::Commit(plain) = commit(writer, 4, inline()) else { panic!("no commit") };
    cluster.apply(Command::Commit(Box::new(Commit { precondition, ..*plain })))
}

fn deleted(cluster: &mut Cluster, precondition: Precondition) -> Answer {
    let Command::Delete(plain) = delete(4) else { panic!("no delete") };
    cluster.apply(Command::Delete(Delete { precondition, ..plain }))
}

fn refused(etag: Option<Etag>) -> Answer {
    Answer::Refused(Refusal::PreconditionFailed(etag))
}

#[test]
fn only_one_of_many_creators_wins() {
    let mut cluster = Cluster::default();
    let absent = || asks(None, Some(Etags::Any));
    assert!(matches!(committed(&mut cluster, absent()), Answer::Committed { created: true, .. }));
    let before = cluster.state.rows.clone();
    assert_eq!(committed(&mut cluster, absent()), refused(Some(HELD)));
    let changed =
        |rows: &std::collections::BTreeMap<_, _>| rows.iter().filter(|row| before.get(row.0) != Some(row.1)).count();
    assert_eq!(changed(&cluster.state.rows), 3, "only the writer that the test itself asked for: its three rows");
    deleted(&mut cluster, Precondition::Always);
    assert!(
        matches!(committed(&mut cluster, absent()), Answer::Committed { created: true, .. }),
        "a tombstone is no file"
    );
}

#[test]
fn every_combination_of_both_headers_is_evaluated() {
    for (matches, differs, holds) in [
        (these(&[HELD]), None, true),
        (these(&[OTHER, HELD]), None, true),
        (these(&[OTHER]), None, false),
        (these(&[]), None, false),
        (Some(Etags::Any), None, true),
        (None, these(&[HELD]), false),
        (None, these(&[OTHER]), true),
        (None, these(&[]), true),
        (None, Some(Etags::Any), false),
        (these(&[HELD]), these(&[OTHER]), true),
        (these(&[HELD]), these(&[HELD]), false),
        (Some(Etags::Any), Some(Etags::Any), false),
    ] {
        let mut cluster = Cluster::default();
        committed(&mut cluster, Precondition::Always);
        let precondition = asks(matches, differs);
        let answer = committed(&mut cluster, precondition.clone());
        assert_eq!(matches!(answer, Answer::Committed { created: false, .. }), holds, "{precondition:?}: {answer:?}");
        let answer = deleted(&mut cluster, precondition.clone());
        assert_eq!(matches!(answer, Answer::Deleted { .. }), holds, "{precondition:?}: {answer:?}");
    }
}

#[test]
fn missing_file_matches_nothing() {
    let mut cluster = Cluster::default();
    for matches in [Some(Etags::Any), these(&[HELD])] {
        assert_eq!(committed(&mut cluster, asks(matches.clone(), None)), refused(None));
        assert_eq!(deleted(&mut cluster, asks(matches, None)), refused(None));
    }
    assert_eq!(deleted(&mut cluster, asks(None, Some(Etags::Any))), Answer::Refused(Refusal::NotFound));
    assert!(cluster.key().is_none(), "a refused commit makes no home");
}

#[test]
fn change_made_from_a_version_is_refused_once_there_is_another_one() {
    let mut cluster = Cluster::default();
    committed(&mut cluster, Precondition::Always);
    let version = cluster.key().and_then(|row| row.file).expect("it is there").version;
    let answer = committed(&mut cluster, Precondition::Version(version));
    assert!(matches!(answer, Answer::Made { size: 3, etag: HELD, created: false, .. }), "{answer:?}");
    assert_eq!(committed(&mut cluster, Precondition::Version(version)), Answer::Refused(Refusal::Changed(Some(HELD))));
}

#[test]
fn probe_changes_nothing_and_says_what_the_commit_would_be_told() {
    let mut cluster = Cluster::default();
    committed(&mut cluster, Precondition::Always);
    let before = cluster.state.rows.clone();
    let mut probe =
        |epoch, precondition| cluster.apply(Command::Probe(Probe { name: name(), epoch: Epoch(epoch), precondition }));
    assert_eq!(probe(4, asks(None, Some(Etags::Any))), refused(Some(HELD)));
    assert_eq!(probe(4, asks(these(&[HELD]), None)), Answer::Holds);
    assert_eq!(probe(5, Precondition::Always), Answer::Refused(Refusal::WrongHome));
    assert_eq!(cluster.state.rows, before);
}

#[test]
fn etags_read_back_only_as_they_print() {
    let root = "0a".repeat(32);
    for (text, etag) in [
        (root.clone(), Ok(Etag::Root([10; 32]))),
        (format!("{root}-3"), Ok(Etag::Trees([10; 32], 3))),
        (root.to_uppercase(), Err(())),
        (format!("{root}-03"), Err(())),
        ("abc".to_owned(), Err(())),
        (String::new(), Err(())),
    ] {
        assert_eq!(text.parse(), etag, "{text}");
    }
}
