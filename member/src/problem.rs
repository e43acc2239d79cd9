//! What a Raft group's errors are to a client; the same for clusters and supernodes.

use flotilla_api::{Code, Problem};
use flotilla_http_server::ApiError;
use flotilla_raft_store::Error;

/// What a server says when it can't tell.
const INDETERMINATE_HINT: &str =
    "read the file to see which version is current, or send the request again with the same Idempotency-Key";

/// A Raft error as a problem; `group` names the group in the sentence for the client.
#[must_use]
pub fn of_raft(error: &Error, group: &str) -> ApiError {
    let retry = |code, detail: String, ms| Problem::new(code, detail).retry_after_ms(ms).into();
    match error {
        Error::NoLeader | Error::NotLeader { .. } => {
            retry(Code::NoLeader, format!("{group} has no leader now, so nothing was changed"), 500)
        }
        Error::CatchingUp | Error::Behind { .. } => {
            retry(Code::CatchingUp, format!("this member of {group} is behind the others"), 1000)
        }
        Error::Busy => retry(Code::RateLimited, "too many reads are waiting".to_owned(), 500),
        Error::Stopped => retry(Code::NotReady, "the process is stopping".to_owned(), 1000),
        Error::Indeterminate => {
            let detail = format!("{group} did not confirm the change in time; it may still happen");
            Problem::new(Code::Indeterminate, detail).hint(INDETERMINATE_HINT).into()
        }
        Error::TooLarge { .. } => ApiError::new(Code::TooLarge, error.to_string()),
        Error::Peer(_) => ApiError::new(Code::BodyInvalid, error.to_string()),
        Error::Membership(_) | Error::Answer(_) | Error::Settings(_) | Error::Store(_) => {
            tracing::error!(%error, "raft failed");
            ApiError::new(Code::Internal, format!("the Raft group of {group} failed"))
        }
    }
}
