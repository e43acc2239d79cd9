//! Where addresses and tokens come from, and where tokens never go.

use std::collections::BTreeMap;

use super::*;
use crate::commands::dev::deployment::{DevFile, SCHEMA};

struct World {
    folder: tempfile::TempDir,
    env: BTreeMap<String, String>,
    args: ConnectionArgs,
}

impl World {
    /// A machine without any setting; HOME is empty, and no dev deployment is found by chance.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut world = Self { folder, env: BTreeMap::new(), args: ConnectionArgs::default() };
        let home = world.path("nobody");
        world.env("HOME", &home.to_string_lossy());
        world.env("FLOTILLA_DEV_DIR", &home.join("none").to_string_lossy());
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn env(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("the folder is writable");
        std::fs::write(&path, text).expect("the folder is writable");
        path
    }

    fn dev(&self, name: &str, state: State) -> PathBuf {
        let dir = self.path(name);
        let token_file = self.write(&format!("{name}/root.key"), "dev-token\n");
        let api = vec!["http://127.0.0.1:7400".to_owned()];
        let document =
            DevFile { schema: SCHEMA, state, api, token_file, bucket: "demo".to_owned(), processes: Vec::new() };
        Deployment { dir: dir.clone(), document }.write().expect("the folder is writable");
        dir
    }

    fn resolve(&self) -> Result<Connection, Failure> {
        resolve(&self.args, &|name| self.env.get(name).cloned())
    }

    fn pair(&self) -> (String, String) {
        let connection = self.resolve().expect("a deployment is known");
        (connection.api.join(","), connection.token)
    }
}

fn own(api: &str, token: &str) -> (String, String) {
    (api.to_owned(), token.to_owned())
}

#[test]
fn flags_beat_the_environment_beats_the_file_beats_a_dev_deployment() {
    let mut world = World::new();
    let dev = world.dev("dev", State::Ready);
    world.env("FLOTILLA_DEV_DIR", &dev.to_string_lossy());
    assert_eq!(world.pair(), own("http://127.0.0.1:7400", "dev-token"));

    let config = world.write("config/flotilla/config.toml", "api = [\"http://file:1\"]\ntoken = \"file-token\"");
    let base = config.parent().and_then(Path::parent).expect("two folders").to_owned();
    world.env("XDG_CONFIG_HOME", &base.to_string_lossy());
    assert_eq!(world.pair(), own("http://file:1", "file-token"));

    world.env("FLOTILLA_API", "http://env:1, http://env:2");
    world.env("FLOTILLA_TOKEN", "env-token");
    assert_eq!(world.pair(), own("http://env:1,http://env:2", "env-token"));

    world.args.dir = Some(dev.clone());
    assert_eq!(world.pair(), own("http://127.0.0.1:7400", "dev-token"));
    assert_eq!(world.resolve().expect("it is known").dev_json, Some(dev.join("dev.json")));

    world.args.api = vec!["http://flag:1".to_owned()];
    world.args.token_file = Some(world.write("token", "flag-token\n"));
    assert_eq!(world.pair(), own("http://flag:1", "flag-token"));
}

#[test]
fn a_token_goes_only_to_the_addresses_beside_it() {
    let mut world = World::new();
    let dev = world.dev("dev", State::Ready);
    world.env("FLOTILLA_DEV_DIR", &dev.to_string_lossy());
    for elsewhere in ["http://elsewhere:1", "http://127.0.0.1.elsewhere:1", "http://127.0.0.1:1@elsewhere", "x"] {
        world.args.api = vec![elsewhere.to_owned()];
        assert_eq!(world.resolve().expect_err(elsewhere).exit(), Exit::Denied, "{elsewhere}");
    }
    // A node of the deployment takes it.
    world.args.api = vec!["http://127.0.0.1:7411".to_owned()];
    assert_eq!(world.pair(), own("http://127.0.0.1:7411", "dev-token"));

    let mut world = World::new();
    world.args.config = Some(world.write("c.toml", "api = [\"http://file:1\"]\ntoken = \"file-token\""));
    world.args.api = vec!["http://127.0.0.1:7411".to_owned()];
    assert_eq!(world.resolve().expect_err("the token is another server's").exit(), Exit::Denied);
}

#[test]
fn nothing_known_says_what_to_do() {
    let failure = World::new().resolve().expect_err("nothing is known");
    assert_eq!(failure.exit(), Exit::Usage);
    assert!(failure.to_string().contains("flotilla dev up"), "{failure}");
}

#[test]
fn a_stopped_deployment_is_named_when_it_was_asked_for() {
    let mut world = World::new();
    world.args.dir = Some(world.dev("dev", State::Stopped));
    assert_eq!(world.resolve().expect_err("it is stopped").exit(), Exit::Unavailable);
    world.args.dir = Some(world.path("none"));
    assert_eq!(world.resolve().expect_err("there is none").exit(), Exit::NotFound);
}

#[test]
fn a_misspelt_key_of_the_file_is_a_usage_error() {
    let mut world = World::new();
    world.args.config = Some(world.write("c.toml", "tokenfile = \"x\""));
    let failure = world.resolve().expect_err("no such key");
    assert_eq!(failure.exit(), Exit::Usage);
    assert!(failure.to_string().contains("'token_file'"), "{failure}");
}

#[test]
fn a_connection_does_not_show_its_token() {
    let mut world = World::new();
    world.env("FLOTILLA_API", "http://127.0.0.1:1");
    world.env("FLOTILLA_TOKEN", "secret");
    let connection = world.resolve().expect("all is given");
    assert!(!format!("{connection:?}").contains("secret"));
}

#[test]
fn where_each_setting_came_from_is_told() {
    let mut world = World::new();
    let origins = |world: &World| {
        let connection = world.resolve().expect("a deployment is known");
        (connection.api_origin, connection.token_origin)
    };
    let dev = world.dev("dev", State::Ready);
    world.env("FLOTILLA_DEV_DIR", &dev.to_string_lossy());
    let of_dev = (format!("the dev deployment in {}", dev.display()), dev.join("root.key").display().to_string());
    assert_eq!(origins(&world), of_dev);
    world.env("FLOTILLA_TOKEN", "env-token");
    world.env("FLOTILLA_API", "http://env:1");
    assert_eq!(origins(&world), own("FLOTILLA_API", "FLOTILLA_TOKEN"));
    world.args.api = vec!["http://flag:1".to_owned()];
    let token = world.write("token", "flag-token\n");
    world.args.token_file = Some(token.clone());
    assert_eq!(origins(&world), ("--api".to_owned(), format!("{}, named by --token-file", token.display())));
}
