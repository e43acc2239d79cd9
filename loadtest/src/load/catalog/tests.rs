//! Files, their contents and their fates.

use super::{Catalog, Content, Expected, Item, Written, zipf};
use crate::load::{profile::Popularity, random::Random};

fn with(files: u64) -> (Catalog, Random) {
    let mut catalog = Catalog::new(Popularity::Uniform);
    for _ in 0..files {
        let item = catalog.begin_new();
        catalog.end_new(item, Written::Acked);
    }
    (catalog, Random::of(1, 1))
}

#[test]
fn what_is_read_is_not_written_and_what_is_written_not_read() {
    let (mut catalog, mut random) = with(1);
    let read = catalog.begin_read(&mut random).expect("a file");
    assert_eq!(catalog.begin_write(&mut random), None);
    catalog.begin_read(&mut random).expect("several may read");
    catalog.end_read(read);
    catalog.end_read(read);
    let written = catalog.begin_write(&mut random).expect("free again");
    assert_eq!((catalog.begin_read(&mut random), catalog.begin_write(&mut random)), (None, None));
    catalog.end_replace(written, Written::Acked);
    assert_eq!(catalog.begin_read(&mut random), Some(Item { number: 0, generation: 1 }));
}

#[test]
fn expectations_follow_the_answers() {
    let (mut catalog, mut random) = with(1);
    let item = Item { number: 0, generation: 0 };
    assert_eq!(catalog.expected(0), Some(Expected::Content(item)));
    catalog.begin_write(&mut random).expect("a file");
    catalog.end_replace(item, Written::Unknown);
    assert_eq!(catalog.expected(0), Some(Expected::Either(item)));
    assert_eq!(catalog.begin_read(&mut random), None, "it is not known what a read must give");
    for (written, expected) in [
        (Written::Acked, Some(Expected::Gone(item))),
        (Written::Unknown, Some(Expected::MaybeGone(item))),
        (Written::Refused, Some(Expected::Content(item))),
    ] {
        let (mut catalog, mut random) = with(1);
        catalog.begin_write(&mut random).expect("a file");
        catalog.end_delete(item, written);
        assert_eq!(catalog.expected(0), expected);
    }
    let (mut catalog, _) = with(0);
    let item = catalog.begin_new();
    assert_eq!(catalog.expected(0), Some(Expected::MaybeGone(item)));
    catalog.end_new(item, Written::Refused);
    assert_eq!(catalog.expected(0), Some(Expected::Gone(item)), "what was refused has no effect");
}

#[test]
fn cut_off_writes_are_unknown() {
    let (mut catalog, mut random) = with(1);
    let item = catalog.begin_write(&mut random).expect("a file");
    let new = catalog.begin_new();
    catalog.cut_off();
    assert_eq!(catalog.expected(0), Some(Expected::MaybeGone(item)));
    assert_eq!(catalog.expected(1), Some(Expected::MaybeGone(new)));
}

#[test]
fn lists_expect_what_is_settled() {
    let (mut catalog, mut random) = with(300);
    let (folder, items) = catalog.folder(&mut random).expect("a folder");
    assert_eq!(items.len(), if folder == 0 { 256 } else { 44 });
    let written = catalog.begin_write(&mut random).expect("a file");
    assert!(!catalog.is_still(written));
    catalog.end_replace(written, Written::Acked);
    assert!(!catalog.is_still(written) && catalog.is_still(Item { generation: 1, ..written }));
}

#[test]
fn zipf_prefers_the_first_and_stays_within() {
    let mut random = Random::of(1, 1);
    for exponent in [0.5, 1.0, 1.2] {
        let drawn: Vec<_> = (0..10_000).map(|_| zipf(random.unit(), 1000, exponent)).collect();
        let first = drawn.iter().filter(|rank| **rank < 10).count();
        let last = drawn.iter().filter(|rank| **rank >= 990).count();
        assert!(drawn.iter().all(|rank| *rank < 1000) && first > 5 * last.max(1), "{first} {last}");
    }
    assert_eq!((zipf(0.0, 1, 1.0), zipf(0.999_999, 1, 0.7)), (0, 0));
}

#[test]
fn copies_hold_what_their_source_held_until_they_are_replaced() {
    let (mut catalog, mut random) = with(1);
    let source = catalog.begin_read(&mut random).expect("a file");
    let copy = catalog.begin_copy(source);
    catalog.end_new(copy, Written::Acked);
    catalog.end_read(source);
    let copy_of_copy = catalog.begin_copy(copy);
    assert_eq!([copy, copy_of_copy].map(|item| catalog.content(item)), [catalog.content(source); 2]);
    let replaced = Item { generation: 1, ..copy };
    assert_ne!(catalog.content(replaced).id, catalog.content(Item { generation: 1, ..source }).id);
    catalog.end_replace(source, Written::Acked);
    assert_eq!(catalog.content(copy), Content { id: 0, length: None }, "what the source held then");
}

#[test]
fn files_of_a_trace_come_and_go_with_lengths_of_their_own() {
    let (mut catalog, _) = with(0);
    catalog.reserve(2);
    assert_eq!((catalog.begin_read_of(1), catalog.begin_write_of(1)), (None, None), "it is not there");
    let (item, first) = catalog.begin_upload(1, 10).expect("nobody uses it");
    assert!(first && catalog.begin_upload(1, 10).is_none(), "one write at a time");
    catalog.end_new(item, Written::Acked);
    assert_eq!(catalog.content(item).length, Some(10));
    let (old, first) = catalog.begin_upload(1, 30).expect("nobody uses it");
    let new = Item { generation: old.generation + 1, ..old };
    assert_eq!((first, [old, new].map(|item| catalog.content(item).length)), (false, [Some(10), Some(30)]));
    assert_eq!(catalog.begin_read_of(1), None);
    catalog.end_replace(old, Written::Acked);
    assert_eq!((catalog.begin_read_of(1), catalog.content(new).length), (Some(new), Some(30)));
    assert_eq!(catalog.begin_write_of(1), None, "it is being read");
    catalog.end_read(new);
    let deleted = catalog.begin_write_of(1).expect("nobody uses it");
    catalog.end_delete(deleted, Written::Acked);
    let (again, first) = catalog.begin_upload(1, 20).expect("nobody uses it");
    assert!(first && catalog.content(again) != catalog.content(new));
    assert_eq!((catalog.expected(0), catalog.begin_again(0)), (None, None), "it was never begun");
    catalog.end_new(again, Written::Unknown);
    assert_eq!(catalog.begin_upload(1, 20), None, "another content could be overtaken by the one that is under way");
    assert_eq!(catalog.begin_again(1), Some(again));
}
