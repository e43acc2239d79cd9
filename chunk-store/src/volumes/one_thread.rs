//! The work of both threads of the volumes as one task of a simulation, which has no other threads.
//!
//! Outside a simulation nothing here does anything.

use std::sync::{
    Arc, Mutex, PoisonError,
    mpsc::{Receiver, TryRecvError},
};

use flotilla_env::blocking;
use tokio::sync::Notify;

use super::{
    commit::Committer,
    keeper::{Chore, Keeper},
};

/// Both workers, if they have no threads.
#[derive(Debug, Default)]
pub(super) struct OneThread(Mutex<Option<Workers>>);

#[derive(Debug, Clone)]
struct Workers {
    committer: Arc<Mutex<Committer>>,
    bell: Arc<Notify>,
}

impl OneThread {
    /// Starts the task.
    pub(super) fn start(&self, committer: Committer, keeper: Keeper, chores: Receiver<Chore>) {
        let workers = Workers { committer: Arc::new(Mutex::new(committer)), bell: Arc::default() };
        workers.bell.notify_one(); // chores of the start wait
        *lock(&self.0) = Some(workers.clone());
        tokio::spawn(run(workers, keeper, chores));
    }

    /// Tells the task that there is something to do.
    pub(super) fn wake(&self) {
        if let Some(workers) = &*lock(&self.0) {
            workers.bell.notify_one();
        }
    }

    /// Commits what waits, for the keeper: the committer has no thread on which it could.
    pub(super) fn commit_ready(&self) {
        let workers = lock(&self.0).clone();
        if let Some(workers) = workers {
            lock(&workers.committer).run_ready();
        }
    }

    /// Lets the task end what waits, then itself.
    pub(super) fn close(&self) {
        if let Some(workers) = lock(&self.0).take() {
            workers.bell.notify_one();
        }
    }
}

async fn run(workers: Workers, keeper: Keeper, chores: Receiver<Chore>) {
    let mut state = (keeper, chores);
    loop {
        workers.bell.notified().await;
        let committer = workers.committer.clone();
        match blocking::spawn(move || (turn(&committer, &mut state), state)).await {
            Ok((true, kept)) => state = kept,
            Ok((false, _)) | Err(_) => return,
        }
    }
}

/// Does all that waits; tells whether there may be more later.
fn turn(committer: &Mutex<Committer>, (keeper, chores): &mut (Keeper, Receiver<Chore>)) -> bool {
    loop {
        lock(committer).run_ready();
        match chores.try_recv() {
            Ok(Chore::Close) | Err(TryRecvError::Disconnected) => return false,
            Ok(chore) => keeper.work(chore),
            Err(TryRecvError::Empty) => return true,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
