//! The one place where the supernode's errors become problems.

use flotilla_api::{ClusterName, Code, Problem};
use flotilla_http_server::ApiError;
use flotilla_member::{membership, problem};

use crate::directory::{Answer, Refusal, read};

/// When to come again where there are too many tickets: some of them will have had their turns.
const TICKETS_AGAIN_MS: u64 = 5000;

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
        read::Error::Rebuilding => rebuilding(),
        read::Error::Kv(_) | read::Error::Corrupt { .. } => {
            tracing::error!(%error, "directory can't be read");
            ApiError::new(Code::Internal, "the directory can't be read")
        }
    }
}

/// An error of a claim as a problem. Whether the key got its home may be open; that nothing was done with the file is
/// not, since what it is to hold is read after that.
pub fn of_claim(error: &read::Error) -> ApiError {
    match error {
        read::Error::Raft(flotilla_raft_store::Error::Indeterminate) => {
            let detail = "the supernode group did not confirm the file's place in time; nothing was done with the file";
            Problem::new(Code::NoLeader, detail).retry_after_ms(500).into()
        }
        error => of_directory(error),
    }
}

/// An error of a change of the members as a problem.
pub fn of_membership(error: &membership::Error) -> ApiError {
    match error {
        membership::Error::Raft(error) => of_raft(error),
        membership::Error::Register(_) => {
            tracing::error!(%error, "supernodes can't be read or changed");
            ApiError::new(Code::Internal, "the supernodes can't be read or changed")
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
    let hint = "start the supernodes on the disks that they had; if those are lost, run 'flotilla directory rebuild'";
    Problem::new(Code::DirectoryUnavailable, detail).hint(hint).into()
}

/// The directory is made anew: what it does not know may be there.
pub fn rebuilding() -> ApiError {
    let hint = "wait until 'flotilla directory rebuild' has ended; if it has not, run it again";
    Problem::new(Code::DirectoryUnavailable, "the directory is being rebuilt from its clusters").hint(hint).into()
}

/// A cluster that asks for a key before its first report was taken.
pub fn unregistered(cluster: &ClusterName) -> ApiError {
    let detail = format!("cluster '{cluster}' is not registered here");
    Problem::new(Code::DirectoryUnavailable, detail).retry_after_ms(1000).into()
}

/// A cluster that nobody listens to any more.
pub fn forgotten() -> ApiError {
    let detail = "this cluster was forgotten, or given up, and is refused for ever";
    Problem::new(Code::DirectoryUnavailable, detail).hint("stop its nodes; empty ones can form a new cluster").into()
}

/// A cluster that gets no new keys, to a node of it; `addresses` are those of nodes of others.
pub fn retiring(cluster: &ClusterName, addresses: &[String]) -> ApiError {
    let detail = format!("cluster '{cluster}' is retiring and gets no new files; nothing was done");
    let mut problem = Problem::new(Code::ClusterUnavailable, detail);
    // Not here, and not later.
    problem.retryable = false;
    let others = if addresses.is_empty() { String::new() } else { format!(": {}", addresses.join(", ")) };
    problem.hint(format!("ask a supernode, or a node of another cluster{others}")).into()
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
        Refusal::Leaves => ApiError::new(Code::Conflict, "the supernode leaves the group for ever"),
        Refusal::LastSupernode => {
            let detail = "no other supernode would be left that has started and stays";
            Problem::new(Code::Conflict, detail).hint("have another supernode join first").into()
        }
        Refusal::Started => ApiError::new(Code::Conflict, "the supernode was started again meanwhile"),
        Refusal::Passed => ApiError::new(Code::Conflict, "what this was decided from has changed meanwhile"),
        Refusal::Retiring => {
            let problem = Problem::new(Code::ClusterUnavailable, "the cluster is retiring and gets no new files");
            problem.retry_after_ms(1000).into()
        }
        Refusal::Fenced => {
            ApiError::new(Code::Conflict, "the cluster was given up for ever; 'forget --fence' ends what is left of it")
        }
        Refusal::Rebuilding => rebuilding(),
        Refusal::NotEmpty => {
            let problem = Problem::new(Code::Conflict, "the directory has homes, so it was not lost");
            problem.hint("'flotilla directory verify' holds it against the clusters").into()
        }
        Refusal::TicketsFull => {
            let problem = Problem::new(Code::QueueFull, "there are as many tickets as there may be; nothing was done");
            problem.retry_after_ms(TICKETS_AGAIN_MS).into()
        }
        Refusal::TicketsOfOne => {
            let detail = "this principal has as many tickets as one may have; nothing was done";
            let problem = Problem::new(Code::RateLimited, detail).retry_after_ms(TICKETS_AGAIN_MS);
            problem.hint("use the tickets that stand, or end them with DELETE").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_raft_store::Error;

    use super::*;

    #[test]
    fn a_claim_whose_end_is_open_says_that_nothing_was_done_with_the_file() {
        let open = || read::Error::Raft(Error::Indeterminate);
        assert_eq!(of_directory(&open()).code, Code::Indeterminate);
        let claim = of_claim(&open());
        assert_eq!((claim.code, claim.code.status().as_u16()), (Code::NoLeader, 503));
        assert!(claim.retry_after_ms.is_some());
        assert_eq!(of_claim(&read::Error::Rebuilding).code, of_directory(&read::Error::Rebuilding).code);
    }
}
