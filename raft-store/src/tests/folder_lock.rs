//! One process per data folder.

use std::{io, time::Duration};

use crate::identity::{Error, FolderLock};

#[test]
fn a_held_folder_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let _held = FolderLock::take(dir.path()).expect("the first holder");
    match FolderLock::take(dir.path()) {
        Err(Error::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::WouldBlock),
        other => panic!("the second holder got {other:?}"),
    }
}

#[test]
fn a_start_waits_for_a_holder_that_is_about_to_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let held = FolderLock::take(dir.path()).expect("the first holder");
    let ending = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(held);
    });
    FolderLock::take(dir.path()).expect("the folder is free after 0.2 s");
    ending.join().expect("the holder ended");
}
