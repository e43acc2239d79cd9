//! The rules, one module each, and the list that runs them all.

mod budget;
mod changes;
mod failpoints;
mod header;
mod imports;
mod layers;
mod links;
mod manifest;
mod words;

use crate::{File, Finding};

/// Files that must exist, because others point to them.
const REQUIRED: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "LICENSE", "docs/GLOSSARY.md"];

/// Runs every rule over the repository's files.
#[must_use]
pub fn all(files: &[File]) -> Vec<Finding> {
    let mut findings = required(files);
    for file in files {
        findings.extend(layers::check(file));
        findings.extend(manifest::check(file));
        findings.extend(imports::check(file));
        findings.extend(header::check(file));
        findings.extend(budget::check(file));
        findings.extend(words::check(file));
        findings.extend(changes::check(file));
    }
    findings.extend(links::check(files));
    findings.extend(failpoints::check(files));
    findings
}

fn required(files: &[File]) -> Vec<Finding> {
    REQUIRED
        .iter()
        .filter(|path| !files.iter().any(|file| file.path == **path))
        .map(|path| Finding::error("required", path, 0, "this file must exist"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{REQUIRED, required};
    use crate::File;

    #[test]
    fn missing_glossary_is_found() {
        let files: Vec<File> = REQUIRED.iter().map(|path| File::new(path, "x")).collect();
        assert_eq!(required(&files), []);
        let without: Vec<File> = files.into_iter().filter(|f| f.path != "docs/GLOSSARY.md").collect();
        assert_eq!(required(&without).len(), 1);
    }
}
