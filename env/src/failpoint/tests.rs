//! What the variable sets up, what it refuses, and what passing a point does. Every test has points of its own.

use std::collections::BTreeSet;

use super::*;

fn count(name: &str) -> u64 {
    hits().find(|(point, _)| *point == name).expect("it is in the list").1
}

fn before_vote() -> Result<(), io::Error> {
    crate::failpoint!("raft.before_vote", |argument| Err(io_error(argument)));
    Ok(())
}

#[test]
fn names_are_of_one_form_and_stand_once() {
    let names: BTreeSet<&str> = POINTS.iter().map(|point| point.name).collect();
    assert_eq!(names.len(), POINTS.len());
    assert!(POINTS.len() >= 40);
    for point in POINTS {
        let parts: Vec<&str> = point.name.split('.').collect();
        let is_word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(parts.len() == 2 && parts.iter().all(is_word), "{}", point.name);
        assert!(!point.place.is_empty() && !point.actions().is_empty(), "{}", point.name);
    }
}

#[test]
fn idle_points_are_counted_and_do_nothing() {
    let before = count("chunks.before_create");
    for _ in 0..3 {
        crate::failpoint!("chunks.before_create");
    }
    assert_eq!(count("chunks.before_create"), before + 3);
}

#[test]
fn a_return_gives_the_error_of_the_place_as_often_as_was_asked() {
    set("raft.before_vote=1*off->2*return(ENOSPC)->1*return").expect("it makes sense");
    assert!(before_vote().is_ok());
    for number in [libc::ENOSPC, libc::ENOSPC, libc::EIO] {
        assert_eq!(before_vote().expect_err("it fails").raw_os_error(), Some(number));
    }
    assert!(before_vote().is_ok(), "all counts are used up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_leaves_other_tasks_their_thread() {
    set("raft.before_append=sleep(10)").expect("it makes sense");
    crate::failpoint!("raft.before_append");
}

#[test]
fn a_panic_becomes_a_crash_with_its_counts_and_chances() {
    let point = POINTS[index("raft.after_append")];
    for (action, prefix) in [("panic", ""), ("panic(why)", ""), ("5%2*panic", "5%2*"), ("1*panic", "1*")] {
        assert_eq!(spec::translate(&point, action), Ok(format!("{prefix}return({CRASH})")), "{action}");
    }
}

/// Runs itself in a process of its own, which passes a point twice, in a task that tokio would survive.
#[test]
fn a_crash_ends_the_process_by_sigabrt() {
    use std::os::unix::process::ExitStatusExt;
    const CHILD: &str = "FLOTILLA_TEST_CRASHES";
    if std::env::var_os(CHILD).is_some() {
        set("kv.before_sync=1*off->panic").expect("it makes sense");
        let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
        runtime.block_on(async {
            crate::failpoint!("kv.before_sync");
            let _ = tokio::spawn(async { crate::failpoint!("kv.before_sync") }).await;
        });
        return;
    }
    let name = "failpoint::tests::a_crash_ends_the_process_by_sigabrt";
    let itself = std::env::current_exe().expect("the test's own program");
    let child = std::process::Command::new(itself).args(["--exact", name]).env(CHILD, "1").output().expect("it runs");
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{child:?}");
}

#[test]
fn what_makes_no_sense_is_refused_and_sets_nothing() {
    for (text, says) in [
        ("gateway.placed", "is not NAME=ACTION"),
        ("gateway.plced=panic", "there is no failpoint 'gateway.plced'"),
        ("=panic", "there is no failpoint ''"),
        ("gateway.placed=explode", "it takes panic, sleep, return"),
        ("gateway.placed=", "it takes panic, sleep, return"),
        ("gateway.placed=print(x)", "it takes panic, sleep, return"),
        ("gateway.placed=sleep", "sleep takes milliseconds"),
        ("gateway.placed=sleep(soon)", "sleep takes milliseconds"),
        ("gateway.placed=many*panic", "a count is a number"),
        ("gateway.placed=200%panic", "a chance is"),
        ("gateway.placed=1*off->x*return", "a count is a number"),
        ("gateway.placed=return(x", "parentheses"),
        ("raft.after_append=return", "it takes panic, sleep"),
        ("chunks.dir_sync=panic", "it takes return"),
    ] {
        let error = set(&format!("gateway.before_delete=return;{text}")).expect_err(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    assert!(pass(index("gateway.before_delete"), |_| ()).is_none());
    for text in ["", " ; ", "gateway.before_commit = 50%3*sleep(1) -> panic ;", "chunks.dir_sync=10%return"] {
        assert_eq!(set(text), Ok(()), "{text}");
    }
}
