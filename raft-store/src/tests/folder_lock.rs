//! One process per data folder.

use std::{io, time::Duration};

use crate::identity::{Error, FolderLock};

#[tokio::test(start_paused = true)]
async fn a_held_folder_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let _held = FolderLock::take(dir.path()).await.expect("the first holder");
    match FolderLock::take(dir.path()).await {
        Err(Error::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::WouldBlock),
        other => panic!("the second holder got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_a_holder_that_is_about_to_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let held = FolderLock::take(dir.path()).await.expect("the first holder");
    let ending = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(held);
    });
    FolderLock::take(dir.path()).await.expect("the folder is free after 0.2 s");
    ending.await.expect("the holder ended");
}
