//! What the command line takes and refuses.

use clap::{CommandFactory, Parser, error::ErrorKind};

use super::*;
use crate::settings::known;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_has_no_contradictions() {
    Cli::command().debug_assert();
}

#[test]
fn pinned_commands_parse() {
    for line in [
        "flotilla put - demo/x",
        "flotilla put -r dir demo/k --json --api http://a:1,http://b:2 --token-file t",
        "flotilla get demo/x -",
        "flotilla get -r demo/k dir",
        "flotilla ls demo",
        "flotilla ls -r demo/a/b --json",
        "flotilla mv demo/a demo/b",
        "flotilla cp -r demo/a other/b --if-none-match * --json",
        "flotilla rm -r demo/k",
        "flotilla stat demo/x --layout --json",
        "flotilla status",
        "flotilla dev up --dir d --clusters 2 --nodes 3 --supernodes 1 --port-base 7400 --detach --set chunk_size=1MiB",
        "flotilla dev status --json --dir d",
        "flotilla dev down --dir d",
        "flotilla loadtest run seed-tables --api http://a:1",
        "flotilla loadtest ledger run --file f --clients 2 --seconds 5",
        "flotilla loadtest ledger check --file f",
        "flotilla put -r dir demo/k --force",
        "flotilla put f demo/k --idempotency-key a-1",
        "flotilla put f demo/k --queue",
        "flotilla get -r demo/k dir --force",
        "flotilla completions bash",
        "flotilla man dev up",
        "flotilla man --out d",
        "flotilla doctor --json --data-dir d",
        "flotilla config show --origin --json",
        "flotilla config show node --origin --config f --set zone=x",
        "flotilla node --config f --set zone=x",
        "flotilla node accept-disk d",
        "flotilla node stop 3 --cluster a",
        "flotilla node stop --here",
        "flotilla node stop --here --config node.toml --json",
        "flotilla fleet-secret f",
        "flotilla healthcheck",
        "flotilla healthcheck live --ops 127.0.0.1:7403",
        "flotilla supernode --name s",
        "flotilla supernode list --json",
        "flotilla supernode join 10.0.0.1:2,10.0.0.2:2 --config f --name s",
        "flotilla supernode remove 2 --lost --no-wait",
        "flotilla bucket create photos --json",
        "flotilla key create ci-2 --json",
        "flotilla key list",
        "flotilla key revoke ci-2",
        "flotilla queue",
        "flotilla queue --request 4bf92f35 --json",
        "flotilla explain 4bf92f35 --json --api http://a:1",
        "flotilla cluster list --json",
        "flotilla cluster retire a --undo",
        "flotilla cluster retire a --no-wait",
        "flotilla cluster forget a --fence",
        "flotilla directory rebuild --fence a b --json",
        "flotilla directory rebuild --fence a,b",
        "flotilla directory verify",
        "flotilla directory dump",
    ] {
        if let Err(e) = parse(line) {
            panic!("{line}: {e}");
        }
    }
}

#[test]
fn a_typo_is_told_what_was_meant() {
    let error = parse("flotilla stats").expect_err("no such command");
    assert!(error.to_string().contains("'stat'"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn bad_arguments_are_usage_errors() {
    for (line, kind) in [
        ("flotilla dev up --supernodes 4", ErrorKind::ValueValidation),
        ("flotilla put a UPPER/x", ErrorKind::ValueValidation),
        ("flotilla put a demo/x -j 0", ErrorKind::ValueValidation),
        ("flotilla rm -r demo/x --if-match e", ErrorKind::ArgumentConflict),
        ("flotilla dev up --detach --live", ErrorKind::ArgumentConflict),
        ("flotilla explain no/id", ErrorKind::ValueValidation),
        ("flotilla node stop", ErrorKind::MissingRequiredArgument),
        ("flotilla node stop 3 --here", ErrorKind::ArgumentConflict),
        ("flotilla node stop --here --api http://other:7400", ErrorKind::ArgumentConflict),
        ("flotilla node stop --token-file t --here", ErrorKind::ArgumentConflict),
        ("flotilla node stop --here --dir d", ErrorKind::ArgumentConflict),
    ] {
        assert_eq!(parse(line).expect_err(line).kind(), kind, "{line}");
    }
}

#[test]
fn server_flags_are_settings() {
    let Command::Node(node) = parse("flotilla node --name a-n1 --cluster a --zone z").expect("it parses").command
    else {
        panic!("a node is started");
    };
    let pairs = node.node.pairs();
    assert_eq!(pairs.len(), 3);
    let all = parse(
        "flotilla supernode --name n --data-dir d --public p --peer q --ops o --initial-members m --fleet-secret-file f \
         --root-key-file r",
    );
    let Command::Supernode(supernode) = all.expect("it parses").command else { panic!("a supernode is started") };
    for (key, _) in supernode.supernode.pairs() {
        assert!(known::<flotilla_supernode::Settings>().contains(&key.as_str()), "{key}");
    }
    for (key, _) in pairs {
        assert!(known::<flotilla_cluster_node::Settings>().contains(&key.as_str()), "{key}");
    }
}

#[test]
fn a_place_is_a_bucket_and_what_follows() {
    let place: Place = "demo/a/b".parse().expect("a good place");
    assert_eq!((place.bucket.as_str(), place.key.as_str()), ("demo", "a/b"));
    assert_eq!(place.file().expect("a good key").to_string(), "demo/a/b");
    assert_eq!(place.tree_prefix(), "a/b/");
    let bucket: Place = "demo/".parse().expect("a bucket alone");
    assert_eq!((bucket.key.as_str(), bucket.tree_prefix().as_str()), ("", ""));
    assert!(bucket.file().is_err());
    let folder: Place = "demo/a/".parse().expect("a good place");
    assert_eq!(folder.tree_prefix(), "a/");
    assert_eq!("demo//".parse::<Place>().expect("a good place").tree_prefix(), "/");
    assert!("demo/../x".parse::<Place>().expect("the bucket is good").file().is_err());
}
