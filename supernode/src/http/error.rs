//! The one place where the supernode's errors become problems.

use flotilla_api::{ClusterName, Code, Problem};
use flotilla_http_server::ApiError;
use flotilla_member::problem;

use crate::directory::{Answer, Refusal, read};

/// The home cluster of a key can't be reached.
pub fn cluster_unavailable(cluster: &ClusterName) -> ApiError {
    let problem =
        Problem::new(Code::ClusterUnavailable, format!("no node of cluster '{cluster}' answers; nothing was changed"));
    problem.retry_after_ms(1000).into()
}

/// A file that does not exist.
pub fn file_not_found() -> ApiError {
    ApiError::new(Code::FileNotFound, "no file has this key")
}

/// No cluster can take a new key.
pub fn no_cluster() -> ApiError {
    let problem = Problem::new(
        Code::ClusterUnavailable,
        "no cluster with space has reported lately, so none can take a new file",
    );
    problem.retry_after_ms(1000).into()
}

/// An `If-Match` on a key without a file.
pub fn nothing_to_match() -> ApiError {
    ApiError::new(Code::PreconditionFailed, "there is no such file, and the precondition asks for one")
}

/// A bucket that does not exist.
pub fn bucket_not_found(name: &flotilla_api::BucketName) -> ApiError {
    let problem = Problem::new(Code::BucketNotFound, format!("there is no bucket '{name}'"));
    problem.hint(format!("make it with PUT /v1/buckets/{name}")).into()
}

/// A directory error as a problem.
pub fn of_directory(error: &read::Error) -> ApiError {
    match error {
        read::Error::Raft(raft) => of_raft(raft),
        read::Error::Kv(_) | read::Error::Corrupt { .. } => {
            tracing::error!(%error, "directory can't be read");
            ApiError::new(Code::Internal, "the directory can't be read")
        }
    }
}

/// A Raft error as a problem.
pub fn of_raft(error: &flotilla_raft_store::Error) -> ApiError {
    problem::of_raft(error, "the supernode group")
}

/// There are clusters whose homes this directory does not know, since it was formed anew.
pub fn other_directory() -> ApiError {
    let detail = "there are clusters whose homes are of another directory than this one";
    Problem::new(Code::DirectoryUnavailable, detail).hint("start the supernodes on the disks that they had").into()
}

/// An answer that belongs to another command.
pub fn of_answer(answer: &Answer) -> ApiError {
    tracing::error!(?answer, "the directory answered another command");
    ApiError::new(Code::Internal, "the directory can't be changed")
}

/// A refused change of the directory as a problem.
pub fn of_refusal(refusal: &Refusal) -> ApiError {
    match refusal {
        Refusal::UnknownCluster => no_cluster(),
        Refusal::ForeignCluster => {
            ApiError::new(Code::Conflict, "another cluster is registered under this name; give this one another name")
        }
        Refusal::TooMany => ApiError::new(Code::QuotaExceeded, "there are as many buckets or clusters as there may be"),
        Refusal::Taken => {
            let problem = Problem::new(Code::Conflict, "a principal of this name has a key already");
            problem.hint("choose another name, or revoke that key first").into()
        }
        Refusal::NoPrincipal => {
            let problem = Problem::new(Code::RouteNotFound, "there is no principal of this name");
            problem.hint("'flotilla key list' shows them").into()
        }
        Refusal::Root => {
            let problem = Problem::new(Code::Conflict, "the root key is that of a file, and can't be revoked here");
            problem.hint("put another key into the root_key_file of one supernode, and start that one once with replace_root_key").into()
        }
        Refusal::Passed => ApiError::new(Code::Conflict, "the key's home has changed meanwhile"),
    }
}
