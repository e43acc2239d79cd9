//! What is known of a request after a try failed: what to do next, and how much an answer may claim.

use flotilla_api::{ClusterName, Code, Problem};
use flotilla_client::peer::{self, Executed};
use flotilla_http_server::ApiError;
use http::Method;

use super::{super::error::cluster_unavailable, created_elsewhere};

/// What to do after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    AnotherNode,
    AnotherHome,
    Answer,
}

pub(super) fn after(error: &peer::Error, fresh_body: bool) -> Next {
    if !fresh_body {
        return Next::Answer;
    }
    match error.code() {
        Some(Code::WrongHome) => Next::AnotherHome,
        // A gateway that is leaving the cluster can't name chunks any more; nothing was changed.
        Some(Code::NotReady | Code::CatchingUp | Code::RateLimited | Code::ChunkGone) => Next::AnotherNode,
        Some(_) => Next::Answer,
        None => Next::AnotherNode,
    }
}

/// What is known of a request's outcome after all tries so far. An error must not claim more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Whether the request changes anything at all.
    changes: bool,
    /// Whether a try that had the whole request may have been carried out.
    uncertain: bool,
    /// Whether a body was cut off before its end.
    cut: bool,
}

impl Known {
    pub(super) fn new(method: &Method) -> Self {
        Self { changes: ![Method::GET, Method::HEAD].contains(method), uncertain: false, cut: false }
    }

    /// Notes a failed try: whether it had the whole body, and whether the body was cut off on its way.
    pub(super) fn failed(&mut self, error: &peer::Error, sent_whole: bool, cut: bool) {
        tracing::debug!(%error, sent_whole, cut, "a try failed");
        self.uncertain |= self.changes && sent_whole && error.executed() == Executed::Maybe;
        self.cut |= self.changes && cut;
    }

    /// The answer to the client.
    pub(super) fn answer(self, error: peer::Error, cluster: &ClusterName) -> ApiError {
        match error {
            // Chunks of the last try that are gone say nothing of an earlier one's.
            peer::Error::Problem(problem) if problem.retryable || problem.code == Code::ChunkGone => {
                self.unless_uncertain((*problem).into())
            }
            // The body is spent, so only the client can begin again.
            peer::Error::Problem(problem) if problem.code == Code::WrongHome => created_elsewhere(),
            // A refusal for good was made in the light of whatever the earlier tries did: they carried the same key.
            peer::Error::Problem(problem) => (*problem).into(),
            _ if self.cut => {
                let detail = "the upload lost its gateway before the commit; nothing was changed";
                Problem::new(Code::UploadInterrupted, detail).retry_after_ms(500).into()
            }
            _ => self.unless_uncertain(cluster_unavailable(cluster)),
        }
    }

    pub(super) fn unless_uncertain(self, error: ApiError) -> ApiError {
        if !self.uncertain {
            return error;
        }
        let detail = "the gateway was lost before it answered; the change may have happened";
        let problem = Problem::new(Code::Indeterminate, detail);
        problem.hint("read the file, or send the request again with the same Idempotency-Key").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_body_is_never_sent_twice_and_a_refusal_is_an_answer() {
        let problem = |code| peer::Error::Problem(Box::new(Problem::new(code, "")));
        assert_eq!(after(&problem(Code::NotReady), true), Next::AnotherNode);
        assert_eq!(after(&problem(Code::NotReady), false), Next::Answer);
        assert_eq!(after(&problem(Code::WrongHome), true), Next::AnotherHome);
        assert_eq!(after(&problem(Code::FileNotFound), true), Next::Answer);
        assert_eq!(after(&problem(Code::Indeterminate), true), Next::Answer);
    }

    fn answers(method: &Method, tries: Vec<(peer::Error, bool)>) -> Code {
        let cluster: ClusterName = "a".parse().expect("a good name");
        let mut known = Known::new(method);
        let mut last = None;
        for (error, sent_whole) in tries {
            known.failed(&error, sent_whole, !sent_whole);
            last = Some(error);
        }
        known.answer(last.expect("there was a try"), &cluster).code
    }

    #[test]
    fn an_error_never_claims_more_than_is_known() {
        let lost = || peer::Error::Timeout { target: "h:1".into(), deadline: super::super::HEAD_DEADLINE };
        let down = || peer::Error::Unreachable { target: "h:1".into(), source: "refused".into() };
        let problem = |code| peer::Error::Problem(Box::new(Problem::new(code, "")));
        let put = |tries| answers(&Method::PUT, tries);
        assert_eq!(put(vec![(lost(), false)]), Code::UploadInterrupted);
        assert_eq!(put(vec![(down(), false)]), Code::UploadInterrupted, "the client did begin to send");
        assert_eq!(put(vec![(lost(), true)]), Code::Indeterminate);
        assert_eq!(put(vec![(down(), true)]), Code::ClusterUnavailable);
        assert_eq!(put(vec![(lost(), true), (down(), true)]), Code::Indeterminate);
        assert_eq!(put(vec![(lost(), true), (problem(Code::NotReady), true)]), Code::Indeterminate);
        assert_eq!(put(vec![(lost(), true), (problem(Code::ChunkGone), true)]), Code::Indeterminate);
        assert_eq!(put(vec![(problem(Code::ChunkGone), true)]), Code::ChunkGone);
        assert_eq!(
            put(vec![(lost(), true), (problem(Code::Conflict), true)]),
            Code::Conflict,
            "they carried the same key"
        );
        assert_eq!(put(vec![(problem(Code::NotReady), true)]), Code::NotReady);
        assert_eq!(answers(&Method::GET, vec![(lost(), true)]), Code::ClusterUnavailable, "a read changes nothing");
    }
}
