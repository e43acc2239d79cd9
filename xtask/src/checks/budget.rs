//! File budgets, in net lines: blanks and comments are free.

use crate::{File, Finding, source};

const RULE: &str = "budget";

/// From here on a file is a question: has it two jobs?
const NOTE: usize = 400;
/// From here on a file is too long to be read in one sitting.
const ERROR: usize = 800;
/// Tests repeat a shape and are read one by one, so they may be twice as long.
const TESTS: usize = 2;

/// Checks a Rust file's length; an inline test module counts apart from the code above it.
pub fn check(file: &File) -> Vec<Finding> {
    if !file.is("rs") {
        return Vec::new();
    }
    let lines = source::lines(&file.text);
    let tests_at = if is_test_file(&file.path) { 0 } else { tests_from(&lines) };
    let net = |part: &[source::Line]| part.iter().filter(|line| line.net).count();
    let mut findings = Vec::new();
    findings.extend(judge(&file.path, "code", net(&lines[..tests_at]), 1));
    findings.extend(judge(&file.path, "tests", net(&lines[tests_at..]), TESTS));
    findings
}

fn judge(path: &str, what: &str, net: usize, factor: usize) -> Option<Finding> {
    let text = format!("{net} net lines of {what}; {} is a question, {} is too long", NOTE * factor, ERROR * factor);
    if net >= ERROR * factor {
        Some(Finding::error(RULE, path, 0, text))
    } else if net >= NOTE * factor {
        Some(Finding::note(RULE, path, 0, text))
    } else {
        None
    }
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("simtest/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The line where the inline test module begins; the number of lines when there is none.
fn tests_from(lines: &[source::Line]) -> usize {
    lines
        .windows(2)
        .position(|pair| {
            pair[0].code == "#[cfg(test)]" && pair[1].code.starts_with("mod ") && pair[1].code.contains('{')
        })
        .unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{File, Severity};

    fn severity(path: &str, text: &str) -> Option<Severity> {
        check(&File::new(path, text)).first().map(|finding| finding.severity)
    }

    #[test]
    fn long_file_is_a_question_then_an_error() {
        assert_eq!(severity("kv/src/a.rs", &"x;\n".repeat(399)), None);
        assert_eq!(severity("kv/src/a.rs", &"x;\n".repeat(400)), Some(Severity::Note));
        assert_eq!(severity("kv/src/a.rs", &"x;\n".repeat(800)), Some(Severity::Error));
    }

    #[test]
    fn comments_and_blanks_are_free() {
        assert_eq!(severity("kv/src/a.rs", &"// why\n\n/// doc\n".repeat(800)), None);
    }

    #[test]
    fn tests_have_a_budget_of_their_own() {
        let inline = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x;\n".repeat(390), "x;\n".repeat(390));
        assert_eq!(severity("kv/src/a.rs", &inline), None);
        assert_eq!(severity("kv/src/a/tests.rs", &"x;\n".repeat(799)), None);
        assert_eq!(severity("kv/tests/a.rs", &"x;\n".repeat(1600)), Some(Severity::Error));
    }
}
