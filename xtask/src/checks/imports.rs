//! What a source file may name: axum stays at the edge.

use crate::{File, Finding, source};

const RULE: &str = "imports";

/// Where a router may be built or called: the shared server, the two servers' HTTP modules, and the simulation. Tests are free.
const AXUM_HOMES: &[&str] = &["http-server/", "cluster-node/src/http/", "supernode/src/http/", "simtest/", "xtask/"];

/// Checks that only the edge names axum.
pub fn check(file: &File) -> Vec<Finding> {
    let test = file.path.contains("/tests/") || file.path.ends_with("/tests.rs");
    if !file.is("rs") || test || AXUM_HOMES.iter().any(|home| file.path.starts_with(home)) {
        return Vec::new();
    }
    source::lines(&file.text)
        .iter()
        .enumerate()
        .filter(|(_, line)| source::has_word(&line.code, "axum"))
        .map(|(at, _)| {
            Finding::error(RULE, &file.path, at + 1, "axum lives in http-server and the servers' http/ only")
        })
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
    fn axum_away_from_the_edge_is_found() {
        assert_eq!(count("cluster-node/src/placement.rs", "use axum::Router;"), 1);
        assert_eq!(count("cluster-node/src/placement.rs", "fn f() -> axum::Router {}"), 1);
    }

    #[test]
    fn axum_at_the_edge_and_in_prose_passes() {
        assert_eq!(count("cluster-node/src/http/files.rs", "use axum::Router;"), 0);
        assert_eq!(count("cluster-node/src/placement.rs", "// axum\nlet x = \"axum\";"), 0);
        assert_eq!(count("client/tests/peer.rs", "use axum::Router;"), 0);
        assert_eq!(count("docs/x.md", "use axum"), 0);
    }
}
