//! Buffers for reads and writes, used again: a fresh megabyte costs more in page faults than its checksum does.
//!
//! Each starts on a page, so that it can go to and from the device past the page cache.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flotilla_env::disk::DIRECT_ALIGN;

/// The size of a pooled buffer: a read of 1 MiB that starts and ends within blocks, or a batch and what follows a chunk's data.
pub(crate) const POOLED_BYTES: usize = (1 << 20) + 2 * crate::BLOCK_BYTES;

/// Below this a fresh buffer is as cheap, and would pin a far larger one.
const POOLED_FROM_BYTES: usize = 256 << 10;

/// How many idle buffers are kept: 36 MiB, about what a node that serves ten uploads at full speed has in flight.
const IDLE_MAX: usize = 32;

/// What of the buffers that nobody needed since the last trim is given back: all of it within half a minute of trims twice a second.
const TRIMMED_SHARE: usize = 8;

/// A pool of buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Idle>);

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    /// The fewest there were since the last trim.
    fewest: usize,
}

/// A buffer of a chosen length; goes back to its pool when dropped. What it holds at first is anything.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Where the first page of `bytes` starts.
    start: usize,
    length: usize,
    pool: Option<Arc<Buffers>>,
}

impl Buffers {
    pub(crate) fn take(self: &Arc<Self>, length: usize) -> Buffer {
        let pooled = (POOLED_FROM_BYTES..=POOLED_BYTES).contains(&length);
        let idle = if pooled { self.idle().take() } else { None };
        let bytes = idle.unwrap_or_else(|| vec![0; if pooled { POOLED_BYTES } else { length } + DIRECT_ALIGN]);
        let start = bytes.as_ptr().addr().wrapping_neg() % DIRECT_ALIGN;
        Buffer { bytes, start, length, pool: pooled.then(|| self.clone()) }
    }

    /// Gives back a part of what was not needed since the last call.
    pub(crate) fn trim(&self) {
        let given_back = {
            let idle = &mut *self.idle();
            let kept = idle.buffers.len() - idle.fewest.div_ceil(TRIMMED_SHARE);
            let given_back = idle.buffers.split_off(kept);
            idle.fewest = kept;
            given_back
        };
        drop(given_back); // not while others wait for the pool
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn take(&mut self) -> Option<Vec<u8>> {
        let taken = self.buffers.pop();
        self.fewest = self.fewest.min(self.buffers.len());
        taken
    }
}

impl Buffer {
    /// Gives up what lies behind the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            let idle = &mut pool.idle().buffers;
            if idle.len() < IDLE_MAX {
                idle.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.length]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_come_back_and_the_pool_stays_bounded() {
        let pool = Arc::new(Buffers::default());
        let idle = || pool.idle().buffers.len();
        drop(pool.take(POOLED_FROM_BYTES - 1));
        drop(pool.take(POOLED_BYTES + 1));
        assert_eq!(idle(), 0);
        let taken: Vec<_> = (0..IDLE_MAX + 3).map(|_| pool.take(POOLED_FROM_BYTES)).collect();
        assert_eq!((taken[0].len(), idle()), (POOLED_FROM_BYTES, 0));
        drop(taken);
        assert_eq!(idle(), IDLE_MAX);
        let again = pool.take(POOLED_BYTES);
        assert_eq!((again.len(), idle()), (POOLED_BYTES, IDLE_MAX - 1));
    }

    #[test]
    fn what_nobody_needs_is_given_back_and_the_rest_is_kept() {
        let pool = Arc::new(Buffers::default());
        let load = |count: usize| drop((0..count).map(|_| pool.take(POOLED_FROM_BYTES)).collect::<Vec<_>>());
        let idle = || pool.idle().buffers.len();
        load(IDLE_MAX);
        pool.trim(); // notes what there is
        for _ in 0..100 {
            load(10);
            pool.trim();
        }
        assert_eq!(idle(), 10, "what the load needs");
        (0..60).for_each(|_| pool.trim());
        assert_eq!(idle(), 0);
    }

    #[test]
    fn every_buffer_starts_on_a_page() {
        let pool = Arc::new(Buffers::default());
        let taken: Vec<_> = [1, 5000, POOLED_FROM_BYTES, POOLED_BYTES, 4 << 20].map(|n| pool.take(n)).into();
        for buffer in &taken {
            assert!(buffer.as_ptr().addr().is_multiple_of(DIRECT_ALIGN), "{} bytes", buffer.len());
        }
    }
}
