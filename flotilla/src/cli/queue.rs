//! Arguments of `queue` and `explain`: what waits at the supernodes, and what became of requests.

use clap::Args;
use flotilla_api::RequestId;

use super::ClientArgs;

/// Arguments of `queue`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla queue                              queues of one supernode, and your requests in them
  flotilla queue --api http://127.0.0.1:7402  those of this one
  flotilla queue --request ID                 where one request waits, at any supernode
  flotilla queue --json | jq '.clusters[] | {cluster, credits, in_flight}'

Root sees the requests of all principals. Exit code 3: that request does not wait.")]
pub struct QueueArgs {
    /// Only this request, by the id that its answer carries in X-Request-Id
    #[arg(long, value_name = "ID")]
    pub request: Option<RequestId>,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla put big.iso demo/ --json | jq -r .request_id
  flotilla explain 4bf92f3577b34da6a3ce929d0e0e4736

Every answer carries the request's id in the header X-Request-Id; errors print it, results have it in --json, and a client
may choose it. Supernodes remember their last thousands of requests. Exit code 3: none of them remembers this one, or it
is somebody else's.")]
pub struct ExplainArgs {
    /// The request
    #[arg(value_name = "REQUEST-ID")]
    pub request: RequestId,
    /// Which deployment, which output.
    #[command(flatten)]
    pub client: ClientArgs,
}
