//! Exit codes and what a failed command tells its user; knows no command.

use std::error::Error as StdError;

use flotilla_api::{Code, Problem};
use flotilla_client::{Error as ClientError, Kind};
use serde_json::{Value, json};

/// The exit codes of the command line; scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Ok = 0,
    /// Something failed that no other code names.
    Other = 1,
    /// The command line or a setting makes no sense.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// A precondition does not hold, or another change came first.
    Precondition = 4,
    /// The credential is missing or does not allow this.
    Denied = 5,
    /// Not now; the same command can succeed later.
    Unavailable = 6,
    /// A change may or may not have been made.
    Indeterminate = 7,
    /// Bytes are not those that they should be.
    Verification = 8,
    /// Of several files some were done and some were not.
    Partly = 9,
    /// A server's identity or configuration is wrong.
    Config = 78,
    /// The user or the system ended the command.
    Interrupted = 130,
}

impl Exit {
    /// Gives the number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Gives the word that stands for the code where a server sent none.
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Other => "other",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Precondition => "precondition",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Indeterminate => "indeterminate",
            Self::Verification => "verification",
            Self::Partly => "partly",
            Self::Config => "config",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::NotFound => Self::NotFound,
            Kind::Precondition => Self::Precondition,
            Kind::Denied => Self::Denied,
            // The server says that the request itself is wrong, so the command line was.
            Kind::Invalid => Self::Usage,
            Kind::Unavailable => Self::Unavailable,
            Kind::Indeterminate => Self::Indeterminate,
            Kind::Verification => Self::Verification,
            Kind::Other => Self::Other,
        }
    }
}

/// Why a command, or one file of it, failed.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    detail: String,
    hint: Option<String>,
    subject: Option<String>,
    problem: Option<Box<Problem>>,
}

impl Failure {
    /// Makes a failure that no server reported.
    pub fn new(exit: Exit, detail: impl Into<String>) -> Self {
        Self { exit, detail: detail.into(), hint: None, subject: None, problem: None }
    }

    /// Makes a failure of the local system.
    pub fn local(what: impl std::fmt::Display, source: &dyn StdError) -> Self {
        Self::new(Exit::Other, format!("{what}: {}", chain(source)))
    }

    /// Makes the failure of a program whose reader went away; it is reported to nobody.
    pub fn unheard() -> Self {
        Self::new(Exit::Other, "")
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the file that it is about; the first one named stays.
    pub fn about(mut self, subject: impl std::fmt::Display) -> Self {
        self.subject.get_or_insert_with(|| subject.to_string());
        self
    }

    /// Gives the exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Says whether there is anybody to tell.
    pub fn is_unheard(&self) -> bool {
        self.detail.is_empty()
    }

    /// Gives the problem document: the server's own, or one of the same shape.
    pub fn to_json(&self) -> Value {
        let mut document = match &self.problem {
            Some(problem) => serde_json::to_value(problem).expect("a problem document is plain data"),
            None => json!({
                "type": format!("urn:flotilla:cli:{}", self.exit.word()),
                "title": "The command failed",
                "detail": self.detail,
                "code": self.exit.word(),
                "retryable": self.exit == Exit::Unavailable,
            }),
        };
        document["exit"] = self.exit.code().into();
        if let Some(subject) = &self.subject {
            document["file"] = subject.as_str().into();
        }
        if let (Some(hint), Some(Value::Null) | None) = (&self.hint, document.get("hint")) {
            document["hint"] = hint.as_str().into();
        }
        document
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(subject) = &self.subject {
            write!(f, "{subject}: ")?;
        }
        f.write_str(&self.detail)?;
        let problem = self.problem.as_deref();
        if let Some(hint) = problem.and_then(|problem| problem.hint.as_ref()).or(self.hint.as_ref()) {
            write!(f, "\n  hint: {hint}")?;
        }
        if let Some(id) = problem.map(|problem| &problem.request_id).filter(|id| !id.is_empty()) {
            write!(f, "\n  request: {id}")?;
        }
        Ok(())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = Exit::from(error.kind());
        let failure = Self { problem: error.problem().cloned().map(Box::new), ..Self::new(exit, chain(&error)) };
        match (&error, exit) {
            (ClientError::Unreachable { .. }, _) => {
                failure.hint("is the deployment running? `flotilla dev status` shows one on this machine")
            }
            (_, Exit::Denied) => failure.hint("give the right token with --token-file or FLOTILLA_TOKEN"),
            (ClientError::Indeterminate { key, .. }, _) => failure.hint(format!(
                "look at the file with `flotilla stat`; a put of the same content is safe again with --idempotency-key {key}"
            )),
            (_, Exit::Indeterminate) => failure.hint("look at the file with `flotilla stat` before doing it again"),
            (ClientError::Problem(problem), _) if is_of_queue(problem) => {
                let id = &problem.request_id;
                failure.hint(format!("nothing was done; try again later. `flotilla explain {id}` tells what it waited for"))
            }
            (_, Exit::Unavailable) => failure.hint("try again in a moment; `flotilla doctor` looks for the reason"),
            (_, _) => failure,
        }
    }
}

/// Says whether a supernode's queue refused a request that it can tell more about.
fn is_of_queue(problem: &Problem) -> bool {
    matches!(problem.code, Code::QueueFull | Code::QueueTimeout) && !problem.request_id.is_empty()
}

/// Writes an error and what caused it on one line.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_of(code: Code) -> u8 {
        Failure::from(ClientError::Problem(Box::new(Problem::new(code, "why")))).exit().code()
    }

    #[test]
    fn every_code_of_a_server_has_its_pinned_exit_code() {
        for code in Code::ALL {
            let expected = match code.as_str() {
                "bucket_not_found" | "file_not_found" | "upload_not_found" | "route_not_found" | "ticket_lost" => 3,
                "conflict" | "chunk_gone" | "precondition_failed" => 4,
                "unauthenticated" | "forbidden" => 5,
                "indeterminate" | "durability_not_reached" => 7,
                "internal" | "data_corrupt" | "full" | "quota_exceeded" => 1,
                "key_invalid" | "bucket_invalid" | "header_invalid" | "body_invalid" | "method_not_allowed"
                | "length_required" | "too_large" | "range_invalid" => 2,
                _ => 6,
            };
            assert_eq!(exit_of(*code), expected, "{code}");
        }
    }

    #[test]
    fn pinned_numbers_stay() {
        let numbers = [
            (Exit::Ok, 0),
            (Exit::Other, 1),
            (Exit::Usage, 2),
            (Exit::NotFound, 3),
            (Exit::Precondition, 4),
            (Exit::Denied, 5),
            (Exit::Unavailable, 6),
            (Exit::Indeterminate, 7),
            (Exit::Verification, 8),
            (Exit::Partly, 9),
            (Exit::Config, 78),
            (Exit::Interrupted, 130),
        ];
        for (exit, number) in numbers {
            assert_eq!(exit.code(), number);
        }
    }

    #[test]
    fn errors_without_a_server_have_their_exit_codes() {
        let unreachable = ClientError::Unreachable { address: "x".into(), source: "refused".into() };
        assert_eq!(Failure::from(unreachable).exit(), Exit::Unavailable);
        let length = ClientError::Length { expected_bytes: 2, got_bytes: 1 };
        assert_eq!(Failure::from(length).exit(), Exit::Verification);
    }

    #[test]
    fn a_servers_problem_is_passed_on_whole() {
        let mut problem = Problem::new(Code::FileNotFound, "no file 'x'").hint("look with ls");
        problem.request_id = "r-1".into();
        let failure = Failure::from(ClientError::Problem(Box::new(problem))).about("demo/x");
        let text = failure.to_string();
        for part in ["demo/x", "file_not_found", "no file 'x'", "look with ls", "r-1"] {
            assert!(text.contains(part), "'{part}' is missing in '{text}'");
        }
        let json = failure.to_json();
        assert_eq!((json["code"].as_str(), json["exit"].as_u64()), (Some("file_not_found"), Some(3)));
        assert_eq!((json["file"].as_str(), json["request_id"].as_str()), (Some("demo/x"), Some("r-1")));
    }

    #[test]
    fn a_refusal_of_the_queue_says_where_to_ask() {
        let mut problem = Problem::new(Code::QueueFull, "the queue is full");
        problem.request_id = "r-1".into();
        let text = Failure::from(ClientError::Problem(Box::new(problem))).to_string();
        assert!(text.contains("`flotilla explain r-1`"), "{text}");
    }

    #[test]
    fn a_local_failure_has_the_shape_of_a_problem() {
        let json = Failure::new(Exit::Verification, "wrong bytes").hint("again").to_json();
        assert_eq!(json["type"], "urn:flotilla:cli:verification");
        assert_eq!((json["detail"].as_str(), json["hint"].as_str()), (Some("wrong bytes"), Some("again")));
    }
}
