//! What stays of a download that did not come to its end, and what does not.

use super::*;

const SIZE: u64 = RESUMABLE_BYTES_MIN;

struct World {
    path: tempfile::TempDir,
    folder: Arc<Folder>,
}

impl World {
    fn new() -> Self {
        let path = tempfile::tempdir().expect("a temporary folder");
        let folder = Arc::new(Folder::open(path.path()).expect("it is there"));
        Self { path, folder }
    }

    fn open(&self) -> io::Result<Part> {
        Part::open(self.folder.clone(), OsStr::new("target"))
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path.path()).expect("the folder is there");
        let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("it can be read").file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Leaves a part behind as a process does that ended in the middle.
    fn leave(&self, etag: &str, size: u64, bytes: &[u8]) {
        let mut part = self.open().expect("nobody has it");
        part.begin(&name(), etag, size).and_then(|mut file| file.write_all(bytes)).expect("the folder is writable");
    }
}

fn name() -> FileName {
    FileName { bucket: "demo".parse().expect("a bucket"), key: "a/b".parse().expect("a key") }
}

fn etag() -> String {
    blake3::hash(b"content").to_hex().to_string()
}

#[test]
fn a_part_is_gone_on_with_under_the_same_name_only() {
    let world = World::new();
    world.leave(&etag(), SIZE, b"half");
    assert_eq!(world.names().len(), 2);
    let mut part = world.open().expect("nobody has it");
    assert_eq!(part.earlier(&name()), Some(Earlier { etag: etag(), size: SIZE, got: 4 }));
    // No server answered, say.
    drop(part);
    assert_eq!(world.names().len(), 2);
    let other = FileName { key: "a/c".parse().expect("a key"), ..name() };
    let mut part = world.open().expect("nobody has it");
    assert_eq!(part.earlier(&other), None);
    drop(part);
    assert!(world.names().is_empty());
}

#[test]
fn small_files_and_files_of_several_trees_leave_nothing() {
    let world = World::new();
    world.leave(&etag(), SIZE - 1, b"half");
    world.leave(&format!("{}-2", etag()), SIZE, b"half");
    world.leave(&etag(), SIZE, b"");
    assert!(world.names().is_empty());
}

#[test]
fn a_whole_file_takes_its_name_and_the_record_goes() {
    let world = World::new();
    world.leave(&etag(), SIZE, b"half and more");
    let mut part = world.open().expect("nobody has it");
    let got = part.earlier(&name()).expect("it was left").got;
    assert_eq!(got, 13);
    part.go_on(4).and_then(|mut file| file.write_all(b"+half")).expect("the folder is writable");
    part.keep(Path::new("target")).expect("the name is free");
    assert_eq!(world.names(), ["target"]);
    assert_eq!(std::fs::read(world.path.path().join("target")).expect("it is there"), b"half+half");
}

#[test]
fn bytes_of_two_contents_never_meet() {
    let world = World::new();
    world.leave(&etag(), SIZE, b"first content");
    let mut part = world.open().expect("nobody has it");
    let second = blake3::hash(b"second").to_hex().to_string();
    drop(part.begin(&name(), &second, SIZE).expect("the folder is writable"));
    assert_eq!(part.earlier(&name()), None);
    assert_eq!(part.file.metadata().expect("it is open").len(), 0);
}

#[test]
fn one_process_at_a_time_has_a_part() {
    let world = World::new();
    let part = world.open().expect("nobody has it");
    assert_eq!(world.open().expect_err("it is locked").kind(), ErrorKind::WouldBlock);
    drop(part);
    assert!(world.open().is_ok());
}

#[test]
fn a_part_that_somebody_replaced_is_not_given_the_name() {
    let world = World::new();
    let part = world.open().expect("nobody has it");
    let path = world.path.path().join(&part.part);
    std::fs::remove_file(&path).and_then(|()| std::fs::write(&path, "other")).expect("the folder is writable");
    assert!(part.keep(Path::new("target")).is_err());
    assert!(!world.path.path().join("target").exists());
}

#[test]
fn links_in_the_place_of_a_part_lead_nowhere() {
    let world = World::new();
    let outside = tempfile::tempdir().expect("a temporary folder");
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "old").expect("the folder is writable");
    let path = world.path.path().join(&world.open().expect("nobody has it").part);
    std::os::unix::fs::symlink(&victim, &path).expect("links can be made");
    assert!(world.open().is_err());
    std::fs::remove_file(&path).and_then(|()| std::fs::hard_link(&victim, &path)).expect("links can be made");
    world.leave(&etag(), SIZE, b"half");
    assert_eq!(std::fs::read(&victim).expect("it is there"), b"old");
}

#[test]
fn a_record_that_is_not_understood_starts_over() {
    let world = World::new();
    world.leave(&etag(), SIZE, b"half");
    let record = world.path.path().join(world.names().iter().find(|name| name.ends_with("json")).expect("a record"));
    let text = std::fs::read_to_string(&record).expect("it is there");
    for wrong in [text.replace("\"schema\":1", "\"schema\":2"), text[..text.len() / 2].to_owned(), "x".repeat(20_000)] {
        std::fs::write(&record, wrong).expect("the folder is writable");
        let mut part = world.open().expect("nobody has it");
        assert_eq!(part.earlier(&name()), None);
        part.resumable = true;
    }
    world.leave(&etag(), SIZE, b"half");
    let mut part = world.open().expect("nobody has it");
    assert!(part.earlier(&name()).is_some());
    part.give_up();
    drop(part);
    assert!(world.names().is_empty());
}

#[test]
fn names_of_parts_are_known() {
    assert!(is_own_name(".flotilla-0123456789abcdef.part") && is_own_name(".flotilla-0123456789abcdef.json"));
    for other in [".flotilla-0123456789abcdef", ".flotilla-x.part", "a.part", ".flotilla-0123456789abcdef.part.x", ""] {
        assert!(!is_own_name(other), "{other}");
    }
    let world = World::new();
    let error = Part::open(world.folder.clone(), OsStr::new(".flotilla-0123456789abcdef.part"));
    assert_eq!(error.expect_err("it is ours").kind(), ErrorKind::InvalidInput);
}
