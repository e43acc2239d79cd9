//! Where blocking work runs: on threads made for it, or, in a simulation, on the runtime's one thread, so that the same seed
//! gives the same order.
//!
//! It must not know what the work is.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use tokio::task::JoinHandle;

/// Draws how long a piece of work waits for its thread.
type Wait = Box<dyn FnMut() -> Duration>;

thread_local! {
    static WAIT: RefCell<Option<Wait>> = const { RefCell::new(None) };
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static OWED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Runs work that blocks, away from the tasks that must not.
///
/// # Panics
/// Outside a tokio runtime.
///
/// # Cancel safety
/// A dropped handle lets the work go on.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    if !is_simulated() {
        return tokio::task::spawn_blocking(work);
    }
    tokio::spawn(async move {
        let wait = WAIT.with_borrow_mut(|wait| wait.as_mut().map_or(Duration::ZERO, |wait| wait()));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let outside = Outside::leave();
        let done = work();
        drop(outside);
        let owed = OWED.take();
        if !owed.is_zero() {
            tokio::time::sleep(owed).await;
        }
        done
    })
}

/// Has blocking work of this thread run as tasks of its runtime from now on, each after a wait that `wait` draws. For simulations.
pub fn simulate(wait: impl FnMut() -> Duration + 'static) {
    WAIT.set(Some(Box::new(wait)));
}

/// Whether blocking work of this thread runs as tasks: then nothing may wait for another thread.
#[must_use]
pub fn is_simulated() -> bool {
    WAIT.with_borrow(Option::is_some)
}

/// Whether the caller is blocking work in a simulation: it can't wait for a task.
#[must_use]
pub fn is_inside() -> bool {
    INSIDE.get()
}

/// Makes the work that runs take longer by so much of a simulation's time; it has done all it does by then.
pub fn owe(duration: Duration) {
    if is_inside() {
        OWED.set(OWED.get() + duration);
    }
}

/// Notes for as long as it lives that work is done, also if that panics.
struct Outside {
    inside_before: bool,
}

impl Outside {
    fn leave() -> Self {
        Self { inside_before: INSIDE.replace(true) }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        INSIDE.set(self.inside_before);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn work_has_threads_of_its_own_outside_a_simulation() {
        let here = std::thread::current().id();
        let there = spawn(|| std::thread::current().id()).await.expect("no panic");
        assert_ne!(here, there);
        assert!(!spawn(is_inside).await.expect("no panic"));
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_work_runs_here_in_the_order_of_its_waits_and_takes_what_it_owes() {
        let mut waits = [30, 10, 20].into_iter();
        simulate(move || Duration::from_millis(waits.next().unwrap_or(0)));
        let order: Arc<Mutex<Vec<u32>>> = Arc::default();
        let note = |number| {
            let order = order.clone();
            spawn(move || {
                assert!(is_inside());
                owe(Duration::from_millis(100));
                order.lock().expect("no panic").push(number);
                std::thread::current().id()
            })
        };
        let (begun, all) = (Instant::now(), [note(1), note(2), note(3)]);
        for work in all {
            assert_eq!(work.await.expect("no panic"), std::thread::current().id());
        }
        assert_eq!(*order.lock().expect("no panic"), [2, 3, 1]);
        assert_eq!(begun.elapsed(), Duration::from_millis(130));
        assert!(!is_inside());
        assert!(spawn(|| panic!("of the work")).await.is_err());
        assert!(!is_inside(), "a panic leaves nothing behind");
    }
}
