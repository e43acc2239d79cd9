//! How many chunks are files of their own, and what they take: counted behind the start, shelf by shelf, while work goes on.
//!
//! A start that counted all files would take the longer the more there are. Instead each shelf is uncounted at first, then
//! counted once, and from then on kept up to date; the sums are exact when all shelves are counted.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use flotilla_api::ChunkId;
use tokio::sync::watch;

use crate::names::{SHELVES, shelf_of};

#[derive(Debug)]
pub(crate) struct Counts {
    shelves: Vec<Mutex<Shelf>>,
    /// How many shelves are counted, or `u8::MAX` once no more will be.
    counted: watch::Sender<u8>,
}

#[derive(Debug, Default)]
struct Shelf {
    stage: Stage,
    chunks: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
enum Stage {
    /// Changes need no note: the count to come sees them.
    #[default]
    Uncounted,
    /// The folder is being read: what it shows of a chunk that changes meanwhile does not count.
    Counting(HashMap<ChunkId, Option<u64>>),
    Counted,
}

impl Default for Counts {
    fn default() -> Self {
        Self { shelves: (0..SHELVES).map(|_| Mutex::default()).collect(), counted: watch::Sender::new(0) }
    }
}

impl Counts {
    /// Gives how many chunks there are and what they take, as far as they are counted.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let sum = |(chunks, bytes), shelf: &Mutex<Shelf>| {
            let shelf = lock(shelf);
            (chunks + shelf.chunks, bytes + shelf.bytes)
        };
        self.shelves.iter().fold((0, 0), sum)
    }

    /// Waits until all shelves are counted; tells whether they could be.
    pub(crate) async fn settled(&self) -> bool {
        let mut counted = self.counted.subscribe();
        let settled = counted.wait_for(|counted| *counted >= SHELVES).await.map(|counted| *counted);
        settled.is_ok_and(|counted| counted == SHELVES)
    }

    /// Whether all shelves are counted.
    pub(crate) fn is_settled(&self) -> bool {
        *self.counted.borrow() == SHELVES
    }

    /// Ends the counting, whether it came to its end or not.
    pub(crate) fn give_up(&self) {
        self.counted.send_if_modified(|counted| *counted < SHELVES && std::mem::replace(counted, u8::MAX) < SHELVES);
    }

    /// Notes a chunk that came, before it becomes visible.
    pub(crate) fn add(&self, id: ChunkId, bytes: u64) {
        let shelf = &mut *self.shelf(shelf_of(id));
        match &mut shelf.stage {
            Stage::Uncounted => {}
            Stage::Counting(changed) => drop(changed.insert(id, Some(bytes))),
            Stage::Counted => {
                shelf.chunks += 1;
                shelf.bytes += bytes;
            }
        }
    }

    /// Takes a chunk away by `remove`, which gives what it took; nobody counts the shelf in between.
    pub(crate) fn remove(&self, id: ChunkId, remove: impl FnOnce() -> io::Result<u64>) -> io::Result<()> {
        let shelf = &mut *self.shelf(shelf_of(id));
        let bytes = remove()?;
        match &mut shelf.stage {
            Stage::Uncounted => {}
            Stage::Counting(changed) => drop(changed.insert(id, None)),
            Stage::Counted => {
                // A file that someone else cut or removed must not make the counts wrap.
                shelf.chunks = shelf.chunks.saturating_sub(1);
                shelf.bytes = shelf.bytes.saturating_sub(bytes);
            }
        }
        Ok(())
    }

    /// Counts a shelf: `list` gives the chunks that its folder shows and that nobody writes at this moment.
    pub(crate) fn count<E>(&self, shelf: u8, list: impl FnOnce() -> Result<HashMap<ChunkId, u64>, E>) -> Result<(), E> {
        self.shelf(shelf).stage = Stage::Counting(HashMap::new());
        let mut there = list()?;
        {
            let state = &mut *self.shelf(shelf);
            if let Stage::Counting(changed) = std::mem::replace(&mut state.stage, Stage::Counted) {
                for (id, bytes) in changed {
                    match bytes {
                        Some(bytes) => drop(there.insert(id, bytes)),
                        None => drop(there.remove(&id)),
                    }
                }
            }
            state.chunks = there.len() as u64;
            state.bytes = there.values().sum();
        }
        Ok(())
    }

    /// Tells those who wait that one more shelf is counted.
    pub(crate) fn tell_counted(&self) {
        self.counted.send_modify(|counted| *counted += 1);
    }

    fn shelf(&self, shelf: u8) -> MutexGuard<'_, Shelf> {
        lock(&self.shelves[usize::from(shelf)])
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use flotilla_api::WriterId;

    use super::*;

    fn id(seq: u64) -> ChunkId {
        ChunkId { writer: WriterId(1), seq } // 0 to 31 share a shelf
    }

    #[test]
    fn what_changes_while_a_shelf_is_counted_counts_once() {
        let counts = Counts::default();
        counts.add(id(1), 10);
        assert_eq!(counts.sums(), (0, 0), "the count to come sees it");
        let shelf = shelf_of(id(1));
        let listed = counts.count(shelf, || {
            counts.add(id(2), 20); // came too late for the folder to show it
            counts.add(id(3), 30); // shown as well
            counts.remove(id(4), || Ok(40))?; // still shown
            Ok::<_, io::Error>([(id(1), 10), (id(3), 30), (id(4), 40)].into())
        });
        listed.expect("listed");
        assert_eq!(counts.sums(), (3, 60));
        counts.add(id(5), 50);
        counts.remove(id(1), || Ok(10)).expect("removed");
        assert_eq!(counts.sums(), (3, 100));
    }

    #[tokio::test]
    async fn it_is_told_when_all_shelves_are_counted() {
        let counts = Counts::default();
        for shelf in 0..SHELVES {
            counts.count(shelf, || Ok::<_, io::Error>(HashMap::new())).expect("counted");
            counts.tell_counted();
        }
        assert!(counts.settled().await);
        counts.give_up();
        assert!(counts.settled().await, "too late to give up");
        let counts = Counts::default();
        counts.give_up();
        assert!(!counts.settled().await);
    }
}
