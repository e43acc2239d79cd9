//! Each fault of the faulty disk does what it says, on the calls it was planned for and on no other.

use std::{io::IoSlice, path::Path, sync::Arc};

use flotilla_env::disk::{Call, Cause, Disk, DiskFile, Fault, FaultyDisk, Gate, MemDisk, When};

fn fresh() -> (MemDisk, FaultyDisk, Arc<dyn DiskFile>) {
    let mem = MemDisk::new();
    let disk = FaultyDisk::new(Arc::new(mem.clone()));
    let file = disk.create(Path::new("/a")).expect("created");
    file.write_at(0, &[IoSlice::new(b"0123456789")]).expect("written");
    (mem, disk, file)
}

fn write(file: &dyn DiskFile, bytes: &[u8]) -> std::io::Result<()> {
    file.write_at(0, &[IoSlice::new(bytes)])
}

fn read(file: &dyn DiskFile) -> Vec<u8> {
    let mut out = vec![0; 100];
    let count = file.read_at(0, &mut out).expect("read");
    out.truncate(count);
    out
}

#[test]
fn an_error_meets_the_nth_call_of_its_kind_alone() {
    let (_, disk, file) = fresh();
    disk.on(Call::Write, When::Nth(2), Fault::Io);
    disk.on(Call::Allocate, When::From(1), Fault::Full);
    write(&*file, b"a").expect("the first");
    assert_eq!(Cause::of(&write(&*file, b"b").expect_err("the second")), Cause::Failing);
    write(&*file, b"c").expect("the third");
    assert_eq!(Cause::of(&file.allocate(1).expect_err("every one")), Cause::Full);
    assert_eq!(Cause::of(&file.allocate(1).expect_err("every one")), Cause::Full);
    disk.heal();
    file.allocate(1).expect("healed");
    assert_eq!(disk.calls(Call::Write), 4);
}

#[test]
fn a_skipped_sync_claims_success_and_keeps_nothing() {
    let (mem, disk, file) = fresh();
    disk.on(Call::SyncData, When::From(1), Fault::Skip);
    file.sync_data().expect("claimed");
    disk.sync_dir(Path::new("/")).expect("synced");
    let after = mem.crash(0).open(Path::new("/a")).expect("its name is synced");
    assert_eq!(read(&*after), b"");
}

#[test]
fn a_torn_write_leaves_its_head() {
    let (_, disk, file) = fresh();
    disk.on(Call::Write, When::Nth(1), Fault::Short(3));
    assert_eq!(Cause::of(&write(&*file, b"abcdef").expect_err("torn")), Cause::Failing);
    assert_eq!(read(&*file), b"abc3456789");
}

#[test]
fn reads_are_cut_or_flipped() {
    let (_, disk, file) = fresh();
    disk.on(Call::Read, When::Nth(1), Fault::Short(4));
    disk.on(Call::Read, When::Nth(2), Fault::FlipBit(8));
    disk.on(Call::ReadNowait, When::Nth(1), Fault::WouldBlock);
    assert_eq!(read(&*file), b"0123");
    assert_eq!(read(&*file), b"0023456789");
    assert_eq!(read(&*file), b"0123456789");
    assert_eq!(Cause::of(&file.read_at_nowait(0, &mut [0]).expect_err("would wait")), Cause::WouldBlock);
}

#[test]
fn a_gate_holds_calls_until_it_opens() {
    let (_, disk, file) = fresh();
    let gate = Gate::closed();
    disk.on(Call::SyncData, When::From(1), Fault::Stall(gate.clone()));
    std::thread::scope(|scope| {
        let calls = [scope.spawn(|| file.sync_data()), scope.spawn(|| file.sync_data())];
        gate.await_waiting(2);
        assert!(calls.iter().all(|call| !call.is_finished()));
        gate.open();
        for call in calls {
            call.join().expect("no panic").expect("synced");
        }
    });
    file.sync_data().expect("an open gate holds nothing");
}
