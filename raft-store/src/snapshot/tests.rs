//! Building and installing, cut by a crash between any two steps.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flotilla_env::{
    Disk,
    disk::{Call, Fault, FaultyDisk, MemDisk, When},
};
use flotilla_kv::{Batch, Error, Family, Kv, MemKv, Row, SyncDone, View};

use super::*;
use crate::{
    store::{codec, keys, types::log_id},
    tests::{
        cluster::{family_names, rows},
        counter::ROWS,
    },
};

const FAMILIES: &[Family] = &[ROWS];

/// A database that loses power after some steps.
struct Cut {
    kv: MemKv,
    left: AtomicU64,
}

impl Cut {
    fn step(&self) -> Result<(), Error> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| Error::Engine("the power is off".into()))
    }
}

impl View for Cut {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.kv.get(family, key)
    }
    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        self.kv.scan(family, from, to, limit)
    }
    fn last(&self, family: Family) -> Result<Option<Row>, Error> {
        self.kv.last(family)
    }
}

impl Kv for Cut {
    fn write(&self, batch: Batch) -> Result<(), Error> {
        self.step().and_then(|()| self.kv.write(batch))
    }
    fn sync_then(&self, done: SyncDone) {
        match self.step() {
            Ok(()) => self.kv.sync_then(done),
            Err(error) => done(Err(error)),
        }
    }
    fn drop_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<(), Error> {
        self.step().and_then(|()| self.kv.drop_range(family, from, to))
    }
    fn snapshot(&self) -> Box<dyn View + '_> {
        self.kv.snapshot()
    }
    fn syncs(&self) -> u64 {
        self.kv.syncs()
    }
}

/// A database with `count` rows of its own, applied up to `index`, all synced.
fn database(tag: &str, count: u32, index: u64) -> MemKv {
    let kv = MemKv::inline(&family_names());
    write_rows(&kv, tag, count, index);
    kv.sync_then(Box::new(|synced| synced.unwrap()));
    kv
}

fn write_rows(kv: &MemKv, tag: &str, count: u32, index: u64) {
    let mut batch = Batch::default();
    for number in 0..count {
        let family = if number % 3 == 0 { keys::DEDUP } else { ROWS };
        batch.put(family, format!("{tag}-{number:04}"), format!("value of {tag} {number}"));
    }
    batch.put(keys::META, keys::APPLIED, codec::encode_log_id(&log_id(1, index)));
    kv.write(batch).unwrap();
}

fn folder(disk: &MemDisk) -> Arc<Snapshots> {
    Snapshots::open(Arc::new(disk.clone()), PathBuf::from("/snapshots"), 300).unwrap()
}

async fn build(kv: Arc<dyn Kv>, snapshots: &Arc<Snapshots>) -> Result<Staged, crate::StoreError> {
    Builder::start(snapshots.clone(), kv, FAMILIES).await.finish().await
}

/// The applied position and all rows.
fn state(kv: &dyn Kv) -> (Option<Vec<u8>>, Vec<(Family, Row)>) {
    (kv.get(keys::META, keys::APPLIED).unwrap(), rows(kv))
}

#[tokio::test]
async fn installation_cut_by_a_crash_is_done_again_or_never_began() {
    let source = Arc::new(database("new", 60, 90));
    let wanted = state(&*source);
    let disk = MemDisk::new();
    let snapshots = folder(&disk);
    let staged = build(source, &snapshots).await.unwrap();
    assert!(staged.manifest.parts.len() > 4, "{} parts", staged.manifest.parts.len());
    let old = database("old", 80, 20);
    let before = state(&old);

    let mut redone = 0;
    for steps in 0.. {
        let cut = Arc::new(Cut { kv: database("old", 80, 20), left: AtomicU64::new(steps) });
        let installed = {
            let (cut, snapshots, staged) = (cut.clone(), snapshots.clone(), staged.clone());
            tokio::task::spawn_blocking(move || install(&*cut, &snapshots, FAMILIES, &staged)).await.unwrap()
        };
        for kept in [0, 1, usize::MAX] {
            let kv = Arc::new(cut.kv.crash_keeping(kept));
            let marked = kv.get(keys::META, keys::INSTALL).unwrap().is_some();
            redone += u32::from(marked);
            let (again, snapshots) = (kv.clone(), snapshots.clone());
            tokio::task::spawn_blocking(move || redo(&*again, &snapshots, FAMILIES)).await.unwrap().unwrap();
            assert!(kv.get(keys::META, keys::INSTALL).unwrap().is_none());
            let expect = if marked || installed.is_ok() { &wanted } else { &before };
            let found = state(&*kv);
            assert!(found == *expect || (kept > 0 && found == wanted), "after {steps} steps, {kept} unsynced kept");
        }
        if installed.is_ok() {
            assert_eq!(state(&cut.kv), wanted);
            break;
        }
    }
    assert!(redone > 20, "{redone} cut installations were done again");
}

#[tokio::test]
async fn building_cut_by_a_power_cut_leaves_a_whole_snapshot_or_none() {
    let mut finished = false;
    for steps in 0..200 {
        let disk = MemDisk::new();
        let kv = Arc::new(database("one", 40, 10));
        let snapshots = folder(&disk);
        build(kv.clone(), &snapshots).await.unwrap();
        write_rows(&kv, "two", 40, 20);
        disk.stop_after(steps);
        finished = build(kv.clone(), &snapshots).await.is_ok();

        for (seed, kv) in [(0, kv.crash()), (steps + 2, kv.crash_keeping(usize::MAX))] {
            let snapshots = folder(&disk.crash(seed));
            snapshots.recover(&kv).unwrap();
            if let Some(current) = snapshots.current() {
                for part in 0..current.manifest.parts.len() {
                    snapshots.read_part(&current, part).unwrap();
                }
            }
        }
        if finished {
            break;
        }
    }
    assert!(finished, "the last round is a whole one");
}

#[tokio::test]
async fn snapshot_holds_what_was_applied_when_it_was_asked_for() {
    let disk = MemDisk::new();
    let snapshots = folder(&disk);
    let kv = Arc::new(database("one", 40, 10));
    let wanted = state(&*kv);
    let builder = Builder::start(snapshots.clone(), kv.clone(), FAMILIES).await;
    write_rows(&kv, "two", 40, 20);
    let staged = builder.finish().await.unwrap();
    let target = Arc::new(MemKv::inline(&family_names()));
    let copy = target.clone();
    tokio::task::spawn_blocking(move || install(&*copy, &snapshots, FAMILIES, &staged)).await.unwrap().unwrap();
    assert_eq!(state(&*target), wanted);
}

#[tokio::test]
async fn building_syncs_what_was_applied_before_it_reports() {
    let kv = Arc::new(database("one", 3, 10));
    write_rows(&kv, "two", 3, 20);
    build(kv.clone(), &folder(&MemDisk::new())).await.unwrap();
    assert_eq!(state(&kv.crash()), state(&*kv), "the log before the snapshot may be purged now");
}

#[tokio::test]
async fn files_in_use_outlive_the_next_snapshot() {
    let disk = MemDisk::new();
    let snapshots = folder(&disk);
    let kv = Arc::new(database("one", 40, 10));
    let first = build(kv.clone(), &snapshots).await.unwrap();
    write_rows(&kv, "two", 40, 20);
    let second = build(kv.clone(), &snapshots).await.unwrap();
    assert_ne!(first.name, second.name);
    snapshots.read_part(&first, 0).unwrap();
    drop(first);
    snapshots.sweep().unwrap();
    let files = disk.list(Path::new("/snapshots")).unwrap();
    assert!(files.iter().all(|file| file.path.to_string_lossy().contains(&second.name.to_string())), "{files:?}");
}

#[tokio::test]
async fn manifest_is_pinned_and_damage_is_found() {
    let snapshots = folder(&MemDisk::new());
    let staged = build(Arc::new(database("x", 1, 300)), &snapshots).await.unwrap();
    let bytes = staged.manifest.to_file();
    let crc = staged.manifest.parts[0].crc;
    let mut expect = vec![1, 1, 1, 0xac, 0x02, 0, 0, 0, 1, 10];
    expect.extend_from_slice(b"raft_dedup");
    expect.extend_from_slice(&[1, 50]);
    assert_eq!(bytes[..expect.len()], expect);
    assert_eq!(Manifest::from_file(&bytes).unwrap(), *staged.manifest);
    assert_eq!(staged.manifest.parts[0].crc, crc);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Manifest::from_file(&damaged).is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn part_that_arrives_damaged_is_asked_for_again() {
    use crate::network::messages::{Place, SnapshotPart, Wanted};
    let source = folder(&MemDisk::new());
    let staged = build(Arc::new(database("x", 20, 10)), &source).await.unwrap();
    let target = folder(&MemDisk::new());
    let inbox = Inbox::new(target.clone());
    let ticket = staged.manifest.ticket();
    let at = |part, offset| Place { part, offset };
    assert_eq!(inbox.begin((*staged.manifest).clone()).unwrap(), Wanted::Next(at(0, 0)));

    let good = source.read_part(&staged, 0).unwrap();
    let mut bad = good.clone();
    bad[20] ^= 1;
    let send = |place, bytes: &[u8]| {
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        inbox.part(&SnapshotPart { ticket, place, bytes }).unwrap()
    };
    assert_eq!(send(at(0, 0), &bad), Wanted::Next(at(0, 0)));
    assert_eq!(send(at(0, 0), &good[..10]), Wanted::Next(at(0, 10)));
    assert_eq!(send(at(0, 0), &good[..10]), Wanted::Next(at(0, 10)), "bytes that come twice are dropped");
    assert_eq!(inbox.begin((*staged.manifest).clone()).unwrap(), Wanted::Next(at(0, 10)));
    assert_eq!(send(at(0, 10), &good[10..]), Wanted::Next(at(1, 0)));
    assert_eq!(target.read_part(&staged_as_received(&target, &staged), 0).unwrap(), good);
    let other = crate::network::messages::Ticket { sum: ticket.sum ^ 1, ..ticket };
    let bytes = bytes::Bytes::new();
    assert_eq!(inbox.part(&SnapshotPart { ticket: other, place: at(1, 0), bytes }).unwrap(), Wanted::Gone);
}

#[tokio::test]
async fn snapshot_whose_seal_could_not_be_synced_is_asked_for_again() {
    use crate::network::messages::{Place, SnapshotPart, Wanted};
    let source = folder(&MemDisk::new());
    let staged = build(Arc::new(database("x", 20, 10)), &source).await.unwrap();
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let target = Snapshots::open(Arc::new(disk.clone()), PathBuf::from("/snapshots"), 4096).unwrap();
    let inbox = Inbox::new(target);
    let (ticket, parts) = (staged.manifest.ticket(), staged.manifest.parts.len());
    let send_all = || {
        let mut last = inbox.begin((*staged.manifest).clone());
        assert_eq!(last.as_ref().unwrap(), &Wanted::Next(Place { part: 0, offset: 0 }));
        for part in 0..parts {
            let bytes = source.read_part(&staged, part).unwrap().into();
            let place = Place { part: u32::try_from(part).unwrap(), offset: 0 };
            last = inbox.part(&SnapshotPart { ticket, place, bytes });
        }
        last
    };
    disk.on(Call::SyncDir, When::Nth(1), Fault::Io);
    assert!(send_all().is_err());
    let end = Place { part: u32::try_from(parts).unwrap(), offset: 0 };
    assert_eq!(send_all().unwrap(), Wanted::Next(end), "all of it, from the first byte");
}

fn staged_as_received(target: &Arc<Snapshots>, staged: &Staged) -> Staged {
    target.stage(files::Name::received(staged.manifest.at), (*staged.manifest).clone())
}
