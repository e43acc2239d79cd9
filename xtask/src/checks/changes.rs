//! Each unreleased change is one sentence for the reader of the release notes.

use crate::{File, Finding};

const RULE: &str = "changes";
const FOLDER: &str = "changes/unreleased/";

/// Checks one entry; files elsewhere pass.
pub fn check(file: &File) -> Vec<Finding> {
    let Some(name) = file.path.strip_prefix(FOLDER) else { return Vec::new() };
    let mut findings = Vec::new();
    if !file.is("md") || name.contains('/') {
        findings.push(Finding::error(RULE, &file.path, 0, "an entry is a file SCOPE-TOPIC.md right in this folder"));
    }
    if !is_sentence(file.text.trim()) {
        findings.push(Finding::error(
            RULE,
            &file.path,
            1,
            "an entry is one sentence on one line, ending with a period",
        ));
    }
    findings
}

fn is_sentence(text: &str) -> bool {
    let begins = text.chars().next().is_some_and(|c| c.is_uppercase() || c == '`');
    let inner = text.strip_suffix('.').unwrap_or("");
    let second = inner.match_indices(". ").any(|(at, _)| inner[at + 2..].starts_with(char::is_uppercase));
    begins && !inner.is_empty() && !text.contains('\n') && !second
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::File;

    fn count(name: &str, text: &str) -> usize {
        check(&File::new(&format!("changes/unreleased/{name}"), text)).len()
    }

    #[test]
    fn one_sentence_passes() {
        assert_eq!(count("client-retry.md", "The client retries a 503 after the time that it names.\n"), 0);
    }

    #[test]
    fn anything_else_is_found() {
        assert_eq!(count("a.md", ""), 1);
        assert_eq!(count("a.md", "No period"), 1);
        assert_eq!(count("a.md", "One. Two."), 1);
        assert_eq!(count("a.md", "One\nline."), 1);
        assert_eq!(count("a.txt", "One."), 1);
    }
}
