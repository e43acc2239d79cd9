//! One line of the doctor: what was looked at, how it is, and what to do about it.

use std::fmt;

use serde::Serialize;

use crate::exit::Failure;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and will not under all circumstances.
    Warn,
    /// It does not work.
    Fail,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do; only where something is to be done.
    pub fix: Option<String>,
}

impl Finding {
    /// Makes a line about what is as it should be.
    pub fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Ok, detail: detail.into(), fix: None }
    }

    /// Makes a line about what should be mended some time.
    pub fn warn(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Warn, detail: detail.into(), fix: Some(fix.into()) }
    }

    /// Makes a line about what must be mended.
    pub fn fail(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Fail, detail: detail.into(), fix: Some(fix.into()) }
    }

    /// Makes a line of what kept a step from being done.
    pub fn of_failure(check: &'static str, failure: &Failure) -> Self {
        let document = failure.to_json();
        let text = |field: &str| document[field].as_str().map(str::to_owned);
        let fix = text("hint").unwrap_or_else(|| "mend what the text says, then run this again".to_owned());
        Self::fail(check, text("detail").unwrap_or_default(), fix)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "OK",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        };
        write!(f, "{state:<4}  {:<11}  {}", self.check, self.detail)?;
        match &self.fix {
            Some(fix) => write!(f, "\n                   fix: {fix}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_line_says_what_to_do() {
        let failure = Failure::new(Exit::Denied, "no token").hint("give one");
        let finding = Finding::of_failure("settings", &failure);
        assert_eq!(finding.to_string(), "FAIL  settings     no token\n                   fix: give one");
        let json = serde_json::to_value(Finding::ok("api", "fine")).expect("plain data");
        assert_eq!(json, serde_json::json!({"check": "api", "state": "OK", "detail": "fine", "fix": null}));
    }
}
