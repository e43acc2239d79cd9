//! What a rule found, where, and how bad it is.

use std::fmt;

/// Whether a finding stops the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// A question for the next reader; the build goes on.
    Note,
    /// The build fails.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, relative to the repository's root.
    pub path: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What to change.
    pub text: String,
}

impl Finding {
    /// Makes a finding that fails the build.
    #[must_use]
    pub fn error(rule: &'static str, path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { severity: Severity::Error, path: path.to_owned(), line, rule, text: text.into() }
    }

    /// Makes a finding that is only printed.
    #[must_use]
    pub fn note(rule: &'static str, path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(rule, path, line, text) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Note => "note",
            Severity::Error => "error",
        };
        write!(f, "{word}: {}", self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {} [{}]", self.text, self.rule)
    }
}
