//! Pool content: pinned bytes, distinct blocks, and a comparison that misses nothing.

use std::sync::{Arc, LazyLock};

use futures::FutureExt;
use http_body_util::BodyExt;
use proptest::prelude::{Strategy, any, proptest};

use super::{BLOCK_BYTES, Body, Compare, FRAME_BYTES, File, Pool, Wrong};

static POOL: LazyLock<Arc<Pool>> = LazyLock::new(|| Pool::new(1));

fn file(id: u64, length: usize) -> File {
    File::new(POOL.clone(), id, length as u64)
}

fn bytes(file: &File) -> Vec<u8> {
    let body = Body::file(file.clone());
    let collected = body.collect().now_or_never().expect("a pool body never waits");
    collected.expect("a pool body never fails").to_bytes().to_vec()
}

fn check(file: &File, found: &[u8], piece: usize) -> Result<(), Wrong> {
    let mut compare = Compare::new(file.clone());
    found.chunks(piece).try_for_each(|piece| compare.feed(piece))?;
    compare.finish()
}

#[test]
fn content_is_pinned_by_bytes() {
    let content = bytes(&file(0x0102, 2 * BLOCK_BYTES));
    assert_eq!(content[..16], [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(content[BLOCK_BYTES..][..16], [2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(blake3::hash(&content).to_hex().as_str(), PINNED);
}

#[test]
fn body_hash_and_length_agree() {
    for length in [0, 1, 15, 16, 17, BLOCK_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES] {
        let file = file(9, length);
        let content = bytes(&file);
        assert_eq!(content.len(), length);
        assert_eq!(blake3::hash(&content), file.hash());
    }
}

#[test]
fn no_two_blocks_are_equal() {
    let mut seen = std::collections::HashSet::new();
    for id in 0..8 {
        for block in bytes(&file(id, 64 * BLOCK_BYTES)).chunks(BLOCK_BYTES) {
            assert!(seen.insert(blake3::hash(block)));
        }
    }
}

#[test]
fn content_of_another_file_is_wrong_within_the_first_stamp() {
    let found = bytes(&file(1, 10_000));
    assert_eq!(check(&file(2, 10_000), &found, 10_000), Err(Wrong::Byte { offset: 0 }));
}

#[test]
fn short_and_long_content_is_wrong() {
    let whole = file(3, 5_000);
    let mut content = bytes(&whole);
    assert_eq!(check(&whole, &content[..4_999], 999), Err(Wrong::Short { at: 4_999, length: 5_000 }));
    content.push(0);
    assert_eq!(check(&whole, &content, 999), Err(Wrong::Long { length: 5_000 }));
}

proptest! {
    #[test]
    fn any_flipped_bit_is_found_however_the_content_is_cut(
        (length, at) in (1_usize..20_000).prop_flat_map(|length| (proptest::strategy::Just(length), 0..length)),
        bit in 0_u8..8, piece in 1_usize..9_000, id in any::<u64>(),
    ) {
        let file = file(id, length);
        let mut content = bytes(&file);
        assert_eq!(check(&file, &content, piece), Ok(()));
        content[at] ^= 1 << bit;
        assert_eq!(check(&file, &content, piece), Err(Wrong::Byte { offset: at as u64 }));
    }
}

const PINNED: &str = "0eb107a61c45e25447d72b4c75ed9b9fffd5d89bfba6e3bb71dd197a0e71a67e";
