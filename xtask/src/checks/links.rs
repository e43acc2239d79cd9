//! Relative links in Markdown lead somewhere.

use std::collections::BTreeSet;

use crate::{File, Finding};

const RULE: &str = "links";

/// Checks every relative link of every Markdown file, the heading after `#` included.
pub fn check(files: &[File]) -> Vec<Finding> {
    let known = known_paths(files);
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is("md")) {
        for (line, target) in links(&file.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, heading) = target.split_once('#').map_or((target.as_str(), None), |(p, h)| (p, Some(h)));
            let resolved = if path.is_empty() { Some(file.path.clone()) } else { resolve(&file.path, path) };
            let Some(resolved) = resolved.filter(|resolved| known.contains(resolved)) else {
                findings.push(Finding::error(RULE, &file.path, line, format!("'{target}' leads nowhere")));
                continue;
            };
            let page = files.iter().find(|other| other.path == resolved);
            let missing = heading.zip(page).is_some_and(|(h, page)| page.is("md") && !headings(&page.text).contains(h));
            if missing {
                findings.push(Finding::error(RULE, &file.path, line, format!("'{target}' names no heading")));
            }
        }
    }
    findings
}

/// Every file and every folder above one.
fn known_paths(files: &[File]) -> BTreeSet<String> {
    let mut known = BTreeSet::from([String::new()]);
    for file in files {
        known.insert(file.path.clone());
        known.extend(file.path.match_indices('/').map(|(at, _)| file.path[..at].to_owned()));
    }
    known
}

/// The targets of inline links outside code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in prose(text) {
        // Text between backticks is code: the even pieces are prose.
        for piece in line.split('`').step_by(2) {
            for (open, _) in piece.match_indices("](") {
                let rest = &piece[open + 2..];
                if let Some(end) = rest.find(')') {
                    found.push((at, rest[..end].trim().to_owned()));
                }
            }
        }
    }
    found
}

/// The lines outside fenced blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((at + 1, line))
    })
}

/// The headings of a page, as the fragments that lead to them.
fn headings(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter_map(|(_, line)| line.strip_prefix('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Joins a link to the folder of the file it stands in; nothing when it leaves the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::File;

    fn count(text: &str) -> usize {
        let other = File::new("docs/adr/0001-x.md", "# One\n\n## Why, then?\n");
        check(&[File::new("docs/a.md", text), other]).len()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        assert_eq!(
            count("[x](adr/0001-x.md) [y](../docs/adr) [z](https://example.com/) [w](adr/0001-x.md#why-then)"),
            0
        );
        assert_eq!(count("# Here\n[x](#here)"), 0);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        assert_eq!(count("[x](gone.md)"), 1);
        assert_eq!(count("[x](../../above.md)"), 1);
        assert_eq!(count("[x](adr/0001-x.md#gone)"), 1);
    }

    #[test]
    fn code_is_not_a_link() {
        assert_eq!(count("`[x](gone.md)`"), 0);
        assert_eq!(count("```text\n[x](gone.md)\n```"), 0);
    }
}
