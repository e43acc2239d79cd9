//! Failpoints in the sources and in their list are the same, and the list has each name once.

use std::collections::BTreeMap;

use crate::{File, Finding};

const RULE: &str = "failpoints";

/// Where all of them are listed.
const LIST: &str = "env/src/failpoint/points.rs";
/// Sources that have the macro, or use it to test it.
const OWN: &str = "env/src/";
/// How the list begins an entry.
const ENTRIES: &[&str] = &["pass(", "fail(", "planted("];
/// The macro, in pieces so that this file has no failpoint.
const MACRO: &str = concat!("failpoint", "!(");
/// The macro of the crate behind it, which counts nothing.
const BARE: &str = concat!("fail_point", "!(");

/// Holds the places against the list.
pub fn check(files: &[File]) -> Vec<Finding> {
    let Some(list) = files.iter().find(|file| file.path == LIST) else { return Vec::new() };
    let mut findings = Vec::new();
    let mut listed: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for (at, entry) in ENTRIES.iter().flat_map(|entry| list.text.match_indices(entry)) {
        let Some(name) = quoted(list.text[at + entry.len()..].trim_start()) else { continue };
        let line = line_of(&list.text, at);
        if listed.insert(name, (line, false)).is_some() {
            findings.push(Finding::error(RULE, LIST, line, format!("'{name}' is listed twice")));
        }
    }
    for file in files.iter().filter(|file| file.is("rs") && !file.path.starts_with(OWN)) {
        for (at, _) in file.text.match_indices(BARE) {
            let text = "use flotilla_env::failpoint, which counts";
            findings.push(Finding::error(RULE, &file.path, line_of(&file.text, at), text));
        }
        for (at, found) in file.text.match_indices(MACRO) {
            let Some(name) = quoted(file.text[at + found.len()..].trim_start()) else { continue };
            match listed.get_mut(name) {
                Some((_, used)) => *used = true,
                None => {
                    let text = format!("'{name}' is not listed in {LIST}");
                    findings.push(Finding::error(RULE, &file.path, line_of(&file.text, at), text));
                }
            }
        }
    }
    let unused = listed.into_iter().filter(|(_, (_, used))| !used);
    findings.extend(
        unused.map(|(name, (line, _))| {
            Finding::error(RULE, LIST, line, format!("'{name}' stands nowhere in the sources"))
        }),
    );
    findings
}

/// Reads the text literal that `text` begins with.
fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.split_once('"').map(|(name, _)| name)
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::{BARE, LIST, MACRO, check};
    use crate::File;

    fn texts(list: &str, source: &str) -> Vec<String> {
        let files = [File::new(LIST, list), File::new("kv/src/a.rs", source)];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn places_and_list_that_agree_pass() {
        let list = "    pass(\"a.b\", \"x\"),\n    planted(\n        \"c.d\", \"y\"),\n";
        let source = format!("{MACRO}\"a.b\");\n{MACRO}\n    \"c.d\",\n |_| 1);\n{MACRO}\"a.b\");");
        assert_eq!(texts(list, &source), Vec::<String>::new());
    }

    #[test]
    fn names_in_one_place_alone_are_found() {
        let found = texts("    fail(\"a.b\", \"x\"),\n    fail(\"a.b\", \"x\"),\n", &format!("\n{MACRO}\"c.d\");"));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("twice") && found[1].contains("not listed") && found[2].contains("nowhere"),
            "{found:?}"
        );
    }

    #[test]
    fn the_macro_that_does_not_count_is_found() {
        assert_eq!(texts("", &format!("fail::{BARE}\"a.b\");")).len(), 1);
    }
}
