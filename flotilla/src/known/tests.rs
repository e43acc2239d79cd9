//! Which files count, for whom and for how long, and that they don't pile up.

use std::{
    fs::{FileTimes, Permissions},
    os::unix::fs::PermissionsExt as _,
    sync::atomic::Ordering,
};

use flotilla_env::clock::FixedWall;

use super::*;

/// A day in 2024.
const NOW_MS: u64 = 1_720_000_000_000;

struct World {
    dir: tempfile::TempDir,
    clock: Arc<FixedWall>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(FixedWall::default());
        clock.0.store(NOW_MS, Ordering::Relaxed);
        Self { dir: tempfile::tempdir().expect("a folder"), clock }
    }

    fn known(&self, api: &str, token: &str) -> Known {
        let env = |name: &str| (name == "XDG_CACHE_HOME").then(|| self.dir.path().to_string_lossy().into_owned());
        Known::of(&[api.to_owned()], token, &env, self.clock.clone()).expect("there is a folder")
    }

    fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).expect("a few days");
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }

    /// The names of the files that are kept.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("flotilla")).expect("the folder is there");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }
}

fn nodes(cluster: &str, age: Duration) -> ClusterNodes {
    let nodes = vec![format!("http://{cluster}:1"), format!("http://{cluster}:2")];
    ClusterNodes { cluster: cluster.parse().expect("a good name"), nodes, age }
}

#[test]
fn addresses_are_kept_for_each_list_of_supernodes_and_token() {
    let world = World::new();
    let known = world.known("http://s:1", "t");
    assert!(known.read().is_empty());
    let told = [nodes("a", Duration::ZERO), nodes("b", Duration::from_secs(5))];
    known.write(&told);
    assert_eq!(known.read(), told);
    assert!(world.known("http://s:2", "t").read().is_empty());
    assert!(world.known("http://s:1", "another").read().is_empty());
    assert!(Known::of(&[], "t", &|_| None, world.clock.clone()).is_none());
}

#[test]
fn each_cluster_has_its_own_age() {
    let world = World::new();
    let known = world.known("http://s:1", "t");
    assert!(Known::is_old(&[]));
    known.write(&[nodes("a", Duration::ZERO), nodes("b", NODES_GOOD_FOR - OLD_AFTER)]);
    assert!(!Known::is_old(&known.read()));
    world.pass(OLD_AFTER);
    assert_eq!(known.read(), [nodes("a", OLD_AFTER)], "those of b are forgotten");
    assert!(Known::is_old(&known.read()));
    world.clock.0.store(NOW_MS - 1, Ordering::Relaxed);
    assert_eq!(known.read().len(), 1, "a was learned in the future");
}

#[test]
fn what_is_not_understood_is_nothing() {
    let world = World::new();
    let known = world.known("http://s:1", "t");
    known.write(&[nodes("a", Duration::ZERO)]);
    let good = fs::read_to_string(&known.path).expect("it was written");
    let other_schema = good.replace("\"schema\":1", "\"schema\":2");
    let long = good.clone() + &" ".repeat(64 << 10);
    let old = r#"[["http://a:1"]]"#.to_owned();
    for text in [good[1..].to_owned(), other_schema, long, old, String::new()] {
        fs::write(&known.path, &text).expect("written");
        assert!(known.read().is_empty(), "{}", text.trim_end());
    }
    known.write(&[nodes("a", Duration::ZERO)]);
    assert_eq!(known.read().len(), 1);
}

#[test]
fn a_file_that_others_can_write_is_not_believed() {
    let world = World::new();
    let known = world.known("http://s:1", "t");
    known.write(&[nodes("a", Duration::ZERO)]);
    for (mode, count) in [(0o620, 0), (0o602, 0), (0o644, 1), (0o600, 1)] {
        fs::set_permissions(&known.path, Permissions::from_mode(mode)).expect("changed");
        assert_eq!(known.read().len(), count, "{mode:o}");
    }
}

#[test]
fn old_files_go_and_the_others_are_bounded() {
    let world = World::new();
    for number in 0..FILES_MAX + 3 {
        world.known(&format!("http://s:{number}"), "t").write(&[nodes("a", Duration::ZERO)]);
    }
    assert_eq!(world.names().len(), FILES_MAX);

    let old = world.known("http://old:1", "t");
    old.write(&[nodes("a", Duration::ZERO)]);
    let left = old.path.with_extension("tmp-1");
    let others = [old.path.with_file_name("target"), old.path.with_file_name("nodes-and-more.json")];
    for path in others.iter().chain([&left]) {
        fs::write(path, b"").expect("written");
    }
    for path in others.iter().chain([&left, &old.path]) {
        let file = fs::OpenOptions::new().write(true).open(path).expect("it is there");
        let about = file.metadata().expect("it has a time");
        let before = about.modified().expect("it has a time") - NODES_GOOD_FOR;
        file.set_times(FileTimes::new().set_modified(before)).expect("changed");
    }
    world.known("http://new:1", "t").write(&[nodes("a", Duration::ZERO)]);
    assert!(!old.path.exists() && !left.exists(), "{:?}", world.names());
    assert!(others.iter().all(|path| path.exists()), "they are not ours");
}
