//! The operating system's randomness, replaced by the seed's: libraries seed hash maps, generators and timers from it.
//!
//! The linker takes these functions instead of the C library's (build.rs makes them visible to those who look them up at run time).
#![allow(unsafe_code)] // the C library's functions have no safe form

use std::{
    ffi::{c_int, c_uint, c_void},
    sync::atomic::{AtomicU64, Ordering},
};

static STATE: AtomicU64 = AtomicU64::new(0x5eed);

/// Makes everything that is drawn from here on a function of `seed`.
pub fn seed(seed: u64) {
    STATE.store(seed, Ordering::SeqCst);
}

/// SplitMix64: any sequence will do that differs from seed to seed.
fn next() -> u64 {
    let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// # Safety
/// As the C library's: `buffer` has room for `length` bytes.
unsafe fn fill(buffer: *mut c_void, length: usize) {
    if length == 0 {
        return;
    }
    // SAFETY: the caller promises the room.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&next().to_le_bytes()[..part.len()]);
    }
}

/// Stands for the C library's function of this name.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    // SAFETY: the caller's promise.
    unsafe { fill(buffer, length) };
    isize::try_from(length).unwrap_or(isize::MAX)
}

/// Stands for the C library's function of this name.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { fill(buffer, length) };
    0
}
