//! The one place where the node's errors become problems: what the client reads here is not what the log says.

use flotilla_api::{Code, Problem, error::HomeElsewhere, peer::Home};
use flotilla_http_server::{ApiError, BodyFault};
use flotilla_member::problem;

use super::answer::quoted;
use crate::{
    gateway::{download, fetch, places, upload},
    homes, membership,
    metadata::{Refusal, copy::COPY_SEGMENTS_MAX, read, rows::Etag},
};

/// A file that does not exist.
pub fn file_not_found() -> ApiError {
    ApiError::new(Code::FileNotFound, "no file has this key")
}

/// A copy of nothing.
pub fn source_not_found() -> ApiError {
    ApiError::new(Code::FileNotFound, "the source does not exist, so nothing was changed")
}

/// A metadata error as a problem.
pub fn of_metadata(error: &read::Error) -> ApiError {
    match error {
        read::Error::Raft(raft) => of_raft(raft),
        read::Error::Gone => ApiError::new(Code::ChunkGone, "the version was replaced meanwhile; read the file again"),
        read::Error::Kv(_) | read::Error::Corrupt { .. } => {
            tracing::error!(%error, "metadata can't be read");
            ApiError::new(Code::Internal, "the node's metadata can't be read")
        }
    }
}

/// An error of a change of the members as a problem.
pub fn of_membership(error: &membership::Error) -> ApiError {
    match error {
        membership::Error::Raft(error) => of_raft(error),
        membership::Error::Register(_) => {
            tracing::error!(%error, "members can't be read or changed");
            ApiError::new(Code::Internal, "the members can't be read or changed")
        }
    }
}

/// A Raft error as a problem.
pub fn of_raft(error: &flotilla_raft_store::Error) -> ApiError {
    problem::of_raft(error, "the cluster")
}

/// A home error as a problem.
pub fn of_home(error: &homes::Error) -> ApiError {
    match error {
        homes::Error::Elsewhere(home) => wrong_home(Some(home)),
        homes::Error::Directory(why) => {
            tracing::warn!(%why, "directory is unavailable");
            ApiError::new(
                Code::DirectoryUnavailable,
                "no supernode answers, so it is not known where the key is at home",
            )
            .retry(1000)
        }
        homes::Error::Refused(problem) => Problem::clone(problem).into(),
        homes::Error::Metadata(error) => of_metadata(error),
    }
}

fn wrong_home(home: Option<&Home>) -> ApiError {
    let detail = home.map_or_else(
        || "the key's home has left this cluster".to_owned(),
        |home| format!("the key is at home in cluster '{}'", home.cluster),
    );
    let hint = "send the request to a supernode, or to a node of that cluster";
    let mut problem = Problem::new(Code::WrongHome, detail).hint(hint);
    problem.home = home.map(|home| HomeElsewhere {
        cluster: home.cluster.clone(),
        epoch: home.epoch,
        addresses: Vec::new(), // who answers a client directly asks for them
    });
    problem.into()
}

/// A refused change as a problem.
pub fn of_refusal(refusal: &Refusal) -> ApiError {
    match refusal {
        Refusal::WrongHome => wrong_home(None),
        Refusal::Sealed => ApiError::new(Code::Moving, "the key is moving to another cluster").retry(1000),
        // Its home ended while the request was on its way, and so did the one that it was sent to again.
        Refusal::BelowFloor => ApiError::new(Code::Moving, "the key's home has changed meanwhile").retry(100),
        Refusal::ChunkGone => ApiError::new(
            Code::ChunkGone,
            "the upload's chunks were given up meanwhile, or its node is leaving; send the request again",
        ),
        Refusal::NotFound => file_not_found(),
        Refusal::Invalid(why) => ApiError::new(Code::TooLarge, why.clone()),
        Refusal::PreconditionFailed(etag) => precondition_failed(etag.as_ref()),
        Refusal::Changed(etag) => {
            let detail = "the file was changed while this change was made from it; nothing was changed";
            with_etag(
                Problem::new(Code::Conflict, detail).hint("read the file, then send the request anew"),
                etag.as_ref(),
            )
        }
        Refusal::SourceChanged(etag) => {
            let detail = format!("the source has the ETag \"{etag}\", which is not what was asked for");
            ApiError::new(Code::PreconditionFailed, detail)
        }
        Refusal::SourceTooLong => {
            let detail = format!("a copy has at most {COPY_SEGMENTS_MAX} segments of 256 chunks");
            Problem::new(Code::TooLarge, detail).hint("move the file, or read it and write it anew").into()
        }
    }
}

/// A precondition that does not hold; with the current ETag, so that a client can see whether it was itself that changed the file.
pub fn precondition_failed(etag: Option<&Etag>) -> ApiError {
    let detail = match etag {
        Some(_) => "the file has another ETag than the precondition allows",
        None => "there is no such file, and the precondition asks for one",
    };
    with_etag(Problem::new(Code::PreconditionFailed, detail), etag)
}

fn with_etag(mut problem: Problem, etag: Option<&Etag>) -> ApiError {
    problem.etag = etag.map(|etag| quoted(&etag.to_string()));
    problem.into()
}

/// An upload error as a problem.
pub fn of_upload(error: &upload::Error) -> ApiError {
    match error {
        upload::Error::Body(source) => BodyFault::of(&**source).problem(),
        upload::Error::TooLarge { max_bytes } => {
            ApiError::new(Code::TooLarge, format!("a file has at most {max_bytes} bytes here"))
        }
        upload::Error::Place(places::Error::Full) | upload::Error::Copies { full: true, .. } => {
            ApiError::new(Code::Full, "too few nodes have space left; delete files or add nodes")
        }
        upload::Error::Place(error @ places::Error::TooFew { .. }) => {
            ApiError::new(Code::ReplicasUnavailable, error.to_string()).retry(1000)
        }
        upload::Error::Place(places::Error::NoLeader(why)) => {
            tracing::warn!(%why, "no leader placed a chunk");
            ApiError::new(Code::NoLeader, "the cluster has no leader now, so nothing was changed").retry(500)
        }
        upload::Error::Copies { full: false, .. } => {
            ApiError::new(Code::ReplicasUnavailable, format!("{error}; nothing was changed")).retry(1000)
        }
        upload::Error::Busy => ApiError::new(Code::RateLimited, "the node holds too many bodies in memory").retry(1000),
        upload::Error::Metadata(error) => of_metadata(error),
        upload::Error::Refused(refusal) => of_refusal(refusal),
        upload::Error::Home(error) => of_home(error),
        upload::Error::Read(error) => of_download(error),
        upload::Error::Internal(why) => {
            tracing::error!(%why, "upload failed");
            ApiError::new(Code::Internal, "the upload failed inside the node; nothing was changed")
        }
        upload::Error::Unknown(why) => {
            tracing::error!(%why, "commit failed");
            ApiError::new(Code::Internal, "the commit failed inside the node; it may have been made")
        }
    }
}

/// A download error as a problem; only for what fails before the first byte is sent.
pub fn of_download(error: &download::Error) -> ApiError {
    match error {
        download::Error::Fetch(error) => match &**error {
            fetch::Error::Unavailable { .. } => {
                ApiError::new(Code::ReplicasUnavailable, "no node with a copy answers").retry(1000)
            }
            fetch::Error::Corrupt { .. } => ApiError::new(Code::DataCorrupt, "no good copy of the file is left"),
        },
        download::Error::Metadata(error) => of_metadata(error),
        download::Error::Short { .. } => ApiError::new(Code::Internal, "the file's manifest is too short"),
    }
}

/// Adds when to try again.
trait Retry {
    fn retry(self, after_ms: u64) -> Self;
}

impl Retry for ApiError {
    fn retry(self, after_ms: u64) -> Self {
        Problem::from(self).retry_after_ms(after_ms).into()
    }
}
