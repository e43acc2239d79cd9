//! Who may read a secret's file, and how one is made.

use super::*;

#[test]
fn a_group_may_read_what_root_gives_to_a_user() {
    let (root, user) = (Reader { user: 0, groups: vec![0] }, Reader { user: 7, groups: vec![8, 9] });
    for (mode, owner, group, reader, wanted) in [
        (0o400, 7, 9, &user, true),
        (0o600, 0, 0, &root, true),
        (0o440, 0, 8, &user, true),
        (0o640, 0, 9, &user, true),
        (0o640, 0, 4, &user, false),
        (0o440, 0, 0, &user, false),
        (0o440, 0, 0, &root, false),
        (0o440, 7, 9, &user, false),
        (0o460, 0, 9, &user, false),
        (0o444, 0, 9, &user, false),
        (0o404, 0, 9, &user, false),
    ] {
        let is = private(mode, owner, group, reader);
        assert_eq!(is, wanted, "{mode:o} of {owner}:{group} for {}", reader.user);
    }
}

#[test]
fn a_process_knows_its_groups() {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("they are told");
    let mut groups: Vec<u32> = groups.split_whitespace().map(|group| group.parse().expect("a number")).collect();
    groups.push(std::fs::metadata("/proc/self").expect("it is there").gid());
    assert_eq!(Reader::own().groups, groups);
}

#[test]
fn a_secret_is_private_and_long_enough() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("fleet.secret");
    assert!(matches!(read(&path), Err(Error::Io { .. })));
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("written");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
    mode(0o644);
    assert!(matches!(read(&path), Err(Error::Exposed { mode: 0o644, .. })));
    mode(0o600);
    assert!(read(&path).is_ok());
    std::fs::write(&path, "short").expect("written");
    assert!(matches!(read(&path), Err(Error::Malformed { length: 5, .. })));
}

#[test]
fn an_exposed_file_is_refused_with_both_ways_to_mend_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("fleet.secret");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("written");
    std::fs::set_permissions(&path, Permissions::from_mode(0o604)).expect("changed");
    let error = read(&path).expect_err("others can read it").to_string();
    for words in ["mode 604", "chmod 600", "mode 640", "as another user than root"] {
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_secret_is_made_once_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("root.key");
    assert!(make_once(&path, "first", 1).expect("the folder is writable"));
    assert!(!make_once(&path, "second", 2).expect("the folder is writable"));
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "first");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is a folder").count(), 1);
}

#[test]
fn of_processes_that_make_a_secret_together_one_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("fleet.secret");
    let made = std::thread::scope(|scope| {
        let make = |unique: u64| make_once(&path, &unique.to_string(), unique).expect("the folder is writable");
        let all: Vec<_> = (0..8).map(|unique| scope.spawn(move || make(unique).then_some(unique))).collect();
        all.into_iter().filter_map(|one| one.join().expect("nobody panicked")).collect::<Vec<u64>>()
    });
    let [one] = made[..] else { panic!("made by {made:?}") };
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), one.to_string());
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is a folder").count(), 1);
}

#[test]
fn a_secret_that_can_t_be_made_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    // The temporary file has another extension, and fits.
    let path = dir.path().join(format!("root.{}", "k".repeat(300)));
    make_once(&path, "a part of a key", 1).expect_err("no file has such a name");
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is a folder").count(), 0);
}

#[test]
fn a_file_named_alone_is_in_the_current_folder() {
    assert_eq!(folder(Path::new("root.key")), Path::new("."));
    assert_eq!(folder(Path::new("/run/root.key")), Path::new("/run"));
}
