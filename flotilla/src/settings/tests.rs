//! What settings promise: the order of the sources, and messages that name the mistake.

use bytesize::ByteSize;
use flotilla_cluster_node::Settings as Node;
use flotilla_supernode::Settings as Supernode;

use super::*;

fn needed() -> Vec<(String, String)> {
    let pairs = [
        ("name", "a-n1"),
        ("cluster", "a"),
        ("data_dir", "/tmp/a/n1"),
        ("public", "127.0.0.1:1"),
        ("peer", "127.0.0.1:2"),
        ("ops", "127.0.0.1:3"),
        ("initial_members", "127.0.0.1:2,127.0.0.1:5"),
        ("fleet_secret_file", "/tmp/secret"),
    ];
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn with(file: Option<&str>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Node, Error> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = file.map(|text| {
        let path = folder.path().join("node.toml");
        std::fs::write(&path, text).expect("the folder is writable");
        path
    });
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut flags_all = needed();
    flags_all.extend(own(flags));
    load(&Sources { file: path, env: own(env), flags: flags_all })
}

#[test]
fn texts_of_the_command_line_become_what_their_keys_take() {
    let flags = [("replicas", "3"), ("chunk_size", "64KiB"), ("cache_bytes", "1048576"), ("zone", "7")];
    let settings = with(None, &[], &flags).expect("all settings are good");
    assert_eq!(settings.initial_members, ["127.0.0.1:2", "127.0.0.1:5"]);
    assert_eq!((settings.replicas, settings.zone.as_deref()), (3, Some("7")));
    assert_eq!((settings.chunk_size, settings.cache_bytes), (ByteSize::kib(64), ByteSize::mib(1)));
    assert_eq!(settings.public.to_string(), "127.0.0.1:1");
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let file = Some("replicas = 5\nzone = \"file\"\ncache_bytes = \"1MiB\"");
    let env = [("FLOTILLA_REPLICAS", "4"), ("FLOTILLA_ZONE", "env")];
    let all = with(file, &env, &[("replicas", "3")]).expect("all settings are good");
    assert_eq!((all.replicas, all.zone.as_deref(), all.cache_bytes), (3, Some("env"), ByteSize::mib(1)));
    let default = with(None, &[], &[]).expect("the needed settings are enough");
    assert_eq!((default.replicas, default.chunk_size), (2, ByteSize::mib(8)));
}

#[test]
fn an_empty_zone_is_none() {
    let settings = with(None, &[("FLOTILLA_ZONE", "")], &[]).expect("the needed settings are enough");
    assert_eq!(settings.zone, None);
}

#[test]
fn a_later_flag_beats_an_earlier_one() {
    let settings = with(None, &[], &[("zone", "x"), ("zone", "y")]).expect("all settings are good");
    assert_eq!(settings.zone.as_deref(), Some("y"));
}

#[test]
fn an_unknown_key_names_the_nearest_one_wherever_it_stands() {
    let cases = [
        with(None, &[], &[("chunksize", "1MiB")]),
        with(Some("chunk-size = 1"), &[], &[]),
        with(None, &[("FLOTILLA_CHUNK_SIZ", "1MiB")], &[]),
    ];
    for case in cases {
        let text = case.expect_err("no such key").to_string();
        assert!(text.contains("'chunk_size'"), "{text}");
    }
    let text = with(None, &[], &[("qqqqqqqqqqqq", "1")]).expect_err("no such key").to_string();
    assert!(text.contains("'qqqqqqqqqqqq'") && !text.contains("did you mean"), "{text}");
}

#[test]
fn variables_of_others_are_left_alone() {
    let env = [
        ("FLOTILLA_LOG", "debug"),
        ("FLOTILLA_TOKEN", "t"),
        ("FLOTILLA_API", "http://x:1"),
        ("FLOTILLA_DEV_DIR", "d"),
        ("FLOTILLA_SERVICE_HOST", "10.0.0.1"),
        ("FLOTILLA_PORT_7400_TCP", "tcp://10.0.0.1:7400"),
        ("FLOTILLA_ROOT_KEY_FILE", "k"),
        ("ZONE", "wrong"),
    ];
    let settings = with(None, &env, &[]).expect("none of them is a misspelt key");
    assert_eq!(settings.zone, None);
}

#[test]
fn a_bad_value_names_its_key_and_where_it_stands() {
    let cases = [
        (with(None, &[], &[("replicas", "many")]), "replicas", "command line"),
        (with(None, &[("FLOTILLA_CHUNK_SIZE", "big")], &[]), "chunk_size", "FLOTILLA_CHUNK_SIZE"),
        (with(Some("replicas = \"x\""), &[], &[]), "replicas", "node.toml"),
    ];
    for (case, key, origin) in cases {
        let text = case.expect_err("the value is bad").to_string();
        assert!(text.contains(key) && text.contains(origin), "{text}");
    }
}

#[test]
fn a_missing_key_says_how_to_give_it() {
    let mut flags = needed();
    flags.retain(|(key, _)| key != "cluster");
    let error = load::<Node>(&Sources { flags, ..Sources::default() }).expect_err("the cluster is missing");
    assert!(error.to_string().contains("FLOTILLA_CLUSTER"), "{error}");
}

#[test]
fn a_broken_or_missing_file_is_named() {
    let text = with(Some("replicas = ["), &[], &[]).expect_err("not TOML").to_string();
    assert!(text.contains("node.toml"), "{text}");
    let file = Some("/nonexistent/node.toml".into());
    let error = load::<Node>(&Sources { file, ..Sources::default() }).expect_err("no such file");
    assert!(matches!(error, Error::File { .. }), "{error}");
}

#[test]
fn one_value_is_checked_alone() {
    check::<Node>("chunk_size", "1MiB").expect("a good size");
    assert!(matches!(check::<Node>("chunk_size", "big"), Err(Error::Value { .. })));
    assert!(matches!(check::<Supernode>("chunk_size", "1MiB"), Err(Error::Unknown { .. })));
}

#[test]
fn both_servers_tell_their_keys() {
    for keys in [known::<Node>(), known::<Supernode>()] {
        assert!(keys.contains(&"name") && keys.contains(&"data_dir"), "{keys:?}");
    }
    assert!(known::<String>().is_empty());
}

#[test]
fn a_pair_is_split_at_its_first_sign() {
    assert_eq!(pair("a=b=c").expect("a pair"), ("a".to_owned(), "b=c".to_owned()));
    assert!(pair("zone").is_err() && pair("=x").is_err());
}

#[test]
fn the_example_files_are_settings_that_the_servers_take() {
    let example = |name: &str| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/config").join(name);
        Sources { file: Some(path), ..Sources::default() }
    };
    let node: Node = load(&example("node.toml")).expect("a node takes them");
    assert_eq!(node.check().expect("they make sense").peer, node.initial_members[0]);
    let supernode: Supernode = load(&example("supernode.toml")).expect("a supernode takes them");
    assert_eq!(supernode.check().expect("they make sense").peer, supernode.initial_members[0]);
    assert_eq!(node.supernodes, supernode.initial_members);
}
