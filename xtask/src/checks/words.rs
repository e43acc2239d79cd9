//! Words that no committed text may have: unfinished work, and paths or hosts of one machine.

use crate::{File, Finding, source};

const RULE: &str = "words";

/// Marks of unfinished work. In pieces, so that this file passes its own rule.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("X", "XX"), concat!("HA", "CK")];
/// Macros that stand for unfinished work.
const MACROS: &[&str] = &["unimplemented!", "todo!", "dbg!"];
/// A known fault that is left for now; it carries the number of its issue.
const KNOWN_FAULT: &str = concat!("FIX", "ME");
/// Paths that exist on one machine only.
const PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
/// Hosts of package registries: which one is asked is the machine's affair.
const HOSTS: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("deb.debian", ".org"),
];

/// Texts that others wrote or that a tool writes.
const FOREIGN: &[&str] = &["Cargo.lock", "LICENSE"];

/// Checks every text file for paths and hosts, and code for marks of unfinished work.
pub fn check(file: &File) -> Vec<Finding> {
    if FOREIGN.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut report = |line: usize, text: String| findings.push(Finding::error(RULE, &file.path, line, text));
    // Prose may name a mark when it forbids it.
    let is_code = !file.is("md");
    for (at, line) in file.text.lines().enumerate() {
        for path in PATHS.iter().filter(|path| has_absolute(line, path)) {
            report(at + 1, format!("'{path}' is a path of one machine"));
        }
        for host in HOSTS.iter().filter(|host| line.contains(**host)) {
            report(at + 1, format!("'{host}' is set by the machine, not by the repository"));
        }
        if !is_code {
            continue;
        }
        for word in UNFINISHED.iter().filter(|word| source::has_word(line, word)) {
            report(at + 1, format!("'{word}' marks unfinished work: finish it or open an issue"));
        }
        if source::has_word(line, KNOWN_FAULT) && !carries_number(line) {
            report(at + 1, format!("a {KNOWN_FAULT} carries its issue's number: {KNOWN_FAULT}(#12)"));
        }
    }
    if file.is("rs") {
        findings.extend(rust(file));
    }
    findings
}

fn rust(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let raw: Vec<&str> = file.text.lines().collect();
    for (at, line) in source::lines(&file.text).iter().enumerate() {
        for name in MACROS.iter().filter(|name| line.code.contains(**name)) {
            findings.push(Finding::error(RULE, &file.path, at + 1, format!("'{name}' is not for committed code")));
        }
        let allows = line.code.contains("#[allow(") || line.code.contains("#![allow(");
        let reason = raw[at].contains("//") || file.text.lines().skip(at).take(4).any(|l| l.contains("reason ="));
        let above = at > 0 && raw[at - 1].trim_start().starts_with("// ");
        if allows && !reason && !above {
            findings.push(Finding::error(RULE, &file.path, at + 1, "an allow says its reason"));
        }
    }
    findings
}

/// Whether `path` stands in `line` as the beginning of an absolute path, not inside a longer one.
fn has_absolute(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line[..at]
            .chars()
            .next_back()
            .is_some_and(|c| source::is_word(c) || matches!(c, '.' | '-' | '}' | ')' | '/' | '~'))
    })
}

fn carries_number(line: &str) -> bool {
    line.split_once(KNOWN_FAULT)
        .and_then(|(_, rest)| rest.strip_prefix("(#"))
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::{HOSTS, KNOWN_FAULT, MACROS, PATHS, UNFINISHED, check};
    use crate::File;

    fn count(path: &str, text: &str) -> usize {
        check(&File::new(path, text)).len()
    }

    #[test]
    fn unfinished_work_is_found() {
        for word in UNFINISHED {
            assert_eq!(count("kv/src/a.rs", &format!("//! A.\n// {word}: later")), 1, "{word}");
            assert_eq!(count("docs/a.md", &format!("Never write {word}.")), 0, "{word}");
        }
        for name in MACROS {
            assert_eq!(count("kv/src/a.rs", &format!("fn f() {{ {name}(1) }}")), 1, "{name}");
            assert_eq!(count("kv/src/a.rs", &format!("// never {name}(1)")), 0, "{name}");
        }
    }

    #[test]
    fn known_fault_without_an_issue_is_found() {
        assert_eq!(count("kv/src/a.rs", &format!("// {KNOWN_FAULT}: leaks")), 1);
        assert_eq!(count("kv/src/a.rs", &format!("// {KNOWN_FAULT}(#12): leaks")), 0);
    }

    #[test]
    fn paths_and_hosts_of_one_machine_are_found() {
        for path in PATHS {
            assert_eq!(count("docs/a.md", &format!("see {path}x")), 1, "{path}");
            assert_eq!(count("docs/a.md", &format!("see DIR{path}x and $DIR{path}x")), 0, "{path}");
        }
        for host in HOSTS {
            assert_eq!(count("ci/a.sh", &format!("curl https://{host}/x")), 1, "{host}");
            assert_eq!(count("Cargo.lock", host), 0, "{host}");
        }
    }

    #[test]
    fn allow_without_a_reason_is_found() {
        assert_eq!(count("kv/src/a.rs", "#[allow(dead_code)]\nfn f() {}"), 1);
        assert_eq!(count("kv/src/a.rs", "#[allow(dead_code)] // kept for the format\nfn f() {}"), 0);
        assert_eq!(count("kv/src/a.rs", "// kept for the format\n#[allow(dead_code)]\nfn f() {}"), 0);
        assert_eq!(count("kv/src/a.rs", "#[allow(dead_code, reason = \"kept\")]\nfn f() {}"), 0);
    }
}
