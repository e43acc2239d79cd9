//! Versions stand in one place: the workspace's table.

use toml::{Table, Value};

use super::layers::dependencies;
use crate::{File, Finding};

const RULE: &str = "manifest";

/// Checks that a crate takes every dependency from the workspace and inherits the workspace's lints.
pub fn check(file: &File) -> Vec<Finding> {
    if !file.path.ends_with("/Cargo.toml") {
        return Vec::new();
    }
    // A manifest that does not parse is the layers' finding.
    let Ok(manifest) = file.text.parse::<Table>() else { return Vec::new() };
    let mut findings = Vec::new();
    for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
        for name in dependencies(&manifest, table) {
            if !inherited(&manifest, table, name) {
                let text = format!("'{name}' must say `workspace = true`; its version stands in the root Cargo.toml");
                findings.push(Finding::error(RULE, &file.path, 0, text));
            }
        }
    }
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
    if lints != Some(true) {
        findings.push(Finding::error(RULE, &file.path, 0, "lints must be the workspace's: `[lints] workspace = true`"));
    }
    findings
}

fn inherited(manifest: &Table, table: &str, name: &str) -> bool {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    std::iter::once(manifest)
        .chain(targets.filter_map(Value::as_table))
        .filter_map(|found| found.get(table)?.get(name))
        .all(|entry| entry.get("workspace").and_then(Value::as_bool) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::File;

    fn count(text: &str) -> usize {
        check(&File::new("api/Cargo.toml", &format!("{text}\n[lints]\nworkspace = true"))).len()
    }

    #[test]
    fn inherited_dependency_passes() {
        assert_eq!(count("[dependencies]\nbytes = { workspace = true, features = [\"serde\"] }"), 0);
    }

    #[test]
    fn version_in_a_crate_is_found() {
        assert_eq!(count("[dependencies]\nbytes = \"1\""), 1);
        assert_eq!(count("[dev-dependencies]\nbytes = { version = \"1\" }"), 1);
        assert_eq!(count("[target.'cfg(unix)'.dependencies]\nbytes = { path = \"x\" }"), 1);
    }

    #[test]
    fn crate_without_the_lints_is_found() {
        assert_eq!(check(&File::new("api/Cargo.toml", "[package]")).len(), 1);
        assert_eq!(check(&File::new("Cargo.toml", "[workspace]")).len(), 0);
    }
}
