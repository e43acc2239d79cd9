//! Holds the repository to its own rules, so that a plain test run finds what `cargo xtask tidy` finds.

use xtask::{Severity, checks, tree};

#[test]
fn repository_is_tidy() {
    let files = tree::load(&tree::root()).expect("the repository is a git checkout");
    let errors: Vec<String> = checks::all(&files)
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.to_string())
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}
