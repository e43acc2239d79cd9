//! Group commit over an engine whose syncs a test holds, lets go and fails.

use std::sync::{
    Condvar, Mutex,
    mpsc::{Receiver, sync_channel},
};

use super::*;

/// An engine whose syncs wait while the gate is shut.
#[derive(Default)]
struct Gated {
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default)]
struct Gate {
    shut: bool,
    failing: bool,
    waiting: usize,
    synced: usize,
}

impl Gated {
    fn set(&self, change: impl FnOnce(&mut Gate)) {
        change(&mut self.gate.lock().expect("no test panics under the lock"));
        self.changed.notify_all();
    }

    /// Returns once a sync waits at the gate.
    fn await_sync(&self) {
        let gate = self.gate.lock().expect("no test panics under the lock");
        drop(self.changed.wait_while(gate, |gate| gate.waiting == 0).expect("no test panics under the lock"));
    }

    fn synced(&self) -> usize {
        self.gate.lock().expect("no test panics under the lock").synced
    }
}

impl Engine for Gated {
    fn sync(&self) -> Result<(), Arc<str>> {
        let mut gate = self.gate.lock().expect("no test panics under the lock");
        gate.waiting += 1;
        self.changed.notify_all();
        let mut gate = self.changed.wait_while(gate, |gate| gate.shut).expect("no test panics under the lock");
        gate.waiting -= 1;
        gate.synced += 1;
        if gate.failing { Err("injected failure".into()) } else { Ok(()) }
    }
}

type Answers = Receiver<(usize, Result<(), Error>)>;

fn start(shut: bool) -> (Arc<Gated>, GroupCommit) {
    let engine = Arc::new(Gated::default());
    engine.set(|gate| gate.shut = shut);
    let commit = GroupCommit::start(engine.clone()).expect("the machine has a thread");
    (engine, commit)
}

/// Asks `count` times and gives the answers as they come.
fn ask(commit: &GroupCommit, count: usize) -> Answers {
    let (send, answers) = sync_channel(count);
    for number in 0..count {
        let send = send.clone();
        commit.sync_then(Box::new(move |result| send.send((number, result)).expect("the test still listens")));
    }
    answers
}

fn is_poisoned(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Poisoned))
}

#[test]
fn requests_that_come_during_a_sync_share_the_next_one() {
    let (engine, commit) = start(true);
    let first = ask(&commit, 1);
    engine.await_sync();
    let rest = ask(&commit, 100);
    engine.set(|gate| gate.shut = false);

    assert!(first.recv().expect("an answer").1.is_ok());
    let order: Vec<usize> = rest.iter().map(|(number, result)| result.map(|()| number).expect("a good sync")).collect();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
    assert_eq!((engine.synced(), commit.syncs()), (2, 2));
}

#[test]
fn a_lone_request_is_synced_without_company() {
    let (engine, commit) = start(false);
    for round in 1..=3 {
        ask(&commit, 1).recv().expect("an answer").1.expect("a good sync");
        assert_eq!(engine.synced(), round);
    }
}

#[test]
fn nothing_is_synced_after_a_failed_sync() {
    let (engine, commit) = start(true);
    engine.set(|gate| gate.failing = true);
    let first = ask(&commit, 1);
    engine.await_sync();
    let rest = ask(&commit, 10);
    // The disk recovers at once: a second sync would succeed, and would be a lie.
    engine.set(|gate| gate.shut = false);
    assert!(matches!(first.recv().expect("an answer").1, Err(Error::Sync(_))));
    engine.set(|gate| gate.failing = false);

    assert!(rest.iter().all(|(_, result)| is_poisoned(&result)));
    assert!(is_poisoned(&ask(&commit, 1).recv().expect("an answer").1));
    assert!(is_poisoned(&commit.check()));
    assert_eq!(engine.synced(), 1);
}

#[test]
fn whoever_hears_of_a_failed_sync_finds_the_database_shut() {
    let (engine, commit) = start(false);
    engine.set(|gate| gate.failing = true);
    let commit = Arc::new(commit);
    let (send, answer) = sync_channel(1);
    let inner = Arc::downgrade(&commit);
    commit.sync_then(Box::new(move |_| {
        let seen = inner.upgrade().expect("the test holds it").check();
        send.send(seen).expect("the test still listens");
    }));
    assert!(is_poisoned(&answer.recv().expect("an answer")));
}

#[test]
fn a_drop_answers_all_who_wait_and_ends_the_thread() {
    let (engine, commit) = start(true);
    let first = ask(&commit, 1);
    engine.await_sync();
    let rest = ask(&commit, 10);
    engine.set(|gate| gate.shut = false);
    drop(commit);

    assert_eq!(first.try_iter().chain(rest.try_iter()).filter(|(_, result)| result.is_ok()).count(), 11);
    assert_eq!(Arc::strong_count(&engine), 1, "the thread still holds the engine");
}

#[test]
fn the_sync_thread_may_drop_the_last_reference() {
    let (engine, commit) = start(true);
    let commit = Arc::new(commit);
    let (send, answer) = sync_channel(1);
    let held = Arc::clone(&commit);
    commit.sync_then(Box::new(move |result| {
        drop(held);
        send.send(result).expect("the test still listens");
    }));
    engine.await_sync();
    drop(commit);
    engine.set(|gate| gate.shut = false);
    answer.recv().expect("the thread does not wait for itself").expect("a good sync");
}

#[test]
fn a_panic_in_an_answer_shuts_the_database() {
    let (_engine, commit) = start(false);
    let (send, panicked) = sync_channel::<()>(1);
    commit.sync_then(Box::new(move |_| {
        let _held = send;
        panic!("on purpose");
    }));
    assert!(panicked.recv().is_err(), "the answer's channel is closed by its panic");
    // The thread is on its way out; the queue is closed when it is gone.
    loop {
        match ask(&commit, 1).recv() {
            Ok((_, result)) => break assert!(matches!(result, Err(Error::Closed))),
            Err(_) => continue, // it was queued while the thread unwound, and dropped with the queue
        }
    }
    assert!(is_poisoned(&commit.check()));
}

#[test]
fn inline_syncs_are_over_when_the_call_returns() {
    let engine = Arc::new(Gated::default());
    let commit = GroupCommit::inline(engine.clone());
    let answers = ask(&commit, 3);
    assert_eq!(answers.try_iter().filter(|(_, result)| result.is_ok()).count(), 3);
    engine.set(|gate| gate.failing = true);
    assert!(matches!(ask(&commit, 1).try_recv().expect("an answer").1, Err(Error::Sync(_))));
    engine.set(|gate| gate.failing = false);
    assert!(is_poisoned(&ask(&commit, 1).try_recv().expect("an answer").1));
    assert_eq!(engine.synced(), 4);
}
