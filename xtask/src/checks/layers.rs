//! The arrows between our crates, and the one home of each big dependency.
//!
//! This table is the one in ARCHITECTURE.md. A new arrow needs an ADR first.

use toml::{Table, Value};

use crate::{File, Finding};

const RULE: &str = "layers";

/// For each folder: the crates of ours that it may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("env", &[]),
    ("kv", &["flotilla-env"]),
    ("client", &["flotilla-api", "flotilla-env"]),
    ("http-server", &["flotilla-api", "flotilla-env"]),
    ("chunk-store", &["flotilla-api", "flotilla-env", "flotilla-kv"]),
    ("raft-store", &["flotilla-api", "flotilla-env", "flotilla-kv"]),
    (
        "member",
        &[
            "flotilla-api",
            "flotilla-client",
            "flotilla-env",
            "flotilla-http-server",
            "flotilla-kv",
            "flotilla-raft-store",
        ],
    ),
    ("cluster-node", SERVER),
    ("supernode", SERVER),
    ("loadtest", &["flotilla-api", "flotilla-client", "flotilla-env"]),
    ("flotilla", ALL),
    ("simtest", ALL),
    ("xtask", &[]),
];

const SERVER: &[&str] = &[
    "flotilla-api",
    "flotilla-chunk-store",
    "flotilla-client",
    "flotilla-env",
    "flotilla-http-server",
    "flotilla-kv",
    "flotilla-member",
    "flotilla-raft-store",
];

const ALL: &[&str] = &[
    "flotilla-api",
    "flotilla-chunk-store",
    "flotilla-client",
    "flotilla-cluster-node",
    "flotilla-env",
    "flotilla-http-server",
    "flotilla-kv",
    "flotilla-loadtest",
    "flotilla-member",
    "flotilla-raft-store",
    "flotilla-supernode",
];

/// Dependencies that only the named folders may have, so that a change of them stays in one place.
const HOMES: &[(&str, &[&str])] = &[
    ("axum", &["http-server", "cluster-node", "supernode", "simtest"]),
    ("figment", &["flotilla"]),
    ("moka", &["cluster-node"]),
    ("openraft", &["raft-store"]),
    ("reqwest", &["flotilla"]),
    ("rocksdb", &["kv"]),
    ("sysinfo", &["env"]),
    ("tikv-jemalloc-ctl", &["flotilla"]),
    ("tikv-jemallocator", &["flotilla"]),
];

/// Checks one crate's manifest; other files pass.
pub fn check(file: &File) -> Vec<Finding> {
    let Some(folder) = file.path.strip_suffix("/Cargo.toml") else { return Vec::new() };
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::error(RULE, &file.path, 0, format!("does not parse: {error}"))],
    };
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
        return vec![Finding::error(RULE, &file.path, 0, format!("'{folder}' has no place in the table of layers"))];
    };
    let mut findings = Vec::new();
    for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
        for name in dependencies(&manifest, table) {
            let (ours, dev) = (name == "flotilla" || name.starts_with("flotilla-"), table == "dev-dependencies");
            // Tests may look sideways (a client against a real server), never at the simulation.
            let bad_arrow = ours && if dev { name == "flotilla-simtest" } else { !allowed.contains(&name) };
            if bad_arrow {
                let text = format!("'{folder}' may not import '{name}'; arrows point to lower layers only");
                findings.push(Finding::error(RULE, &file.path, 0, text));
            }
            // A test of a client needs a server to talk to; nothing else leaves its home, tests included.
            let stand_in = dev && name == "axum";
            let home = HOMES.iter().find(|(home, _)| *home == name).map(|(_, homes)| homes);
            if let Some(homes) = home.filter(|homes| !stand_in && !homes.contains(&folder)) {
                let text = format!("'{name}' is at home in {} only", homes.join(", "));
                findings.push(Finding::error(RULE, &file.path, 0, text));
            }
        }
    }
    findings
}

/// The names of one table of dependencies, those behind `target` included.
pub fn dependencies<'a>(manifest: &'a Table, table: &str) -> Vec<&'a str> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    tables
        .filter_map(|found| found.get(table).and_then(Value::as_table))
        .flat_map(Table::keys)
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::File;

    fn count(path: &str, text: &str) -> usize {
        check(&File::new(path, text)).len()
    }

    #[test]
    fn arrows_downwards_pass() {
        assert_eq!(count("client/Cargo.toml", "[dependencies]\nflotilla-api = { workspace = true }"), 0);
        assert_eq!(count("client/src/lib.rs", "flotilla-kv"), 0);
    }

    #[test]
    fn arrows_sideways_and_upwards_are_found() {
        let text = "[dependencies]\nflotilla-supernode = { workspace = true }";
        assert_eq!(count("cluster-node/Cargo.toml", text), 1);
        assert_eq!(count("api/Cargo.toml", text), 1);
        assert_eq!(count("api/Cargo.toml", "[target.'cfg(unix)'.dependencies]\nflotilla-kv = {}"), 1);
    }

    #[test]
    fn nobody_imports_the_simulation() {
        let text = "[dev-dependencies]\nflotilla-simtest = { workspace = true }";
        assert_eq!(count("flotilla/Cargo.toml", text), 1);
    }

    #[test]
    fn dependency_away_from_its_home_is_found() {
        for name in ["openraft", "rocksdb", "reqwest", "sysinfo", "axum"] {
            let text = format!("[dependencies]\n{name} = {{ workspace = true }}");
            assert_eq!(count("loadtest/Cargo.toml", &text), 1, "{name}");
        }
        assert_eq!(count("kv/Cargo.toml", "[dependencies]\nrocksdb = { workspace = true }"), 0);
        assert_eq!(count("client/Cargo.toml", "[dev-dependencies]\nrocksdb = { workspace = true }"), 1);
        assert_eq!(count("client/Cargo.toml", "[dev-dependencies]\naxum = { workspace = true }"), 0);
    }

    #[test]
    fn crate_without_a_place_is_found() {
        assert_eq!(count("utils/Cargo.toml", "[package]"), 1);
    }
}
