//! Tells a peer that is slow from one that is gone: a stopped process keeps its connections and takes bytes until the kernel's
//! buffers are full, but it answers nothing.
//!
//! It must not know what the peer owes; who waits for that races it against [`until_silent`].

use std::time::Duration;

use flotilla_api::route;

use crate::{
    peer::{Error, PeerClient},
    transport::Lane,
};

/// How long a peer may say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// How long the peer is waited for before it is asked, and between two questions: most waits are over by then.
    pub every: Duration,
    /// How long an answer may take. With `every` it is the longest silence of a peer that counts as alive.
    pub answer: Duration,
}

/// Waits until `target` (`HOST:PORT`) does not answer; asks nothing if it is dropped before the first question is due.
///
/// Any answer is a sign of life, a refusal too.
///
/// # Cancel safety
/// Nothing is changed anywhere.
pub async fn until_silent(peers: &PeerClient, target: &str, watch: Watch) {
    loop {
        tokio::time::sleep(watch.every).await;
        let mut answer = ask(peers, target, watch).await;
        if matches!(answer, Err(Error::Interrupted { .. })) {
            // A kept connection may have been closed just then; a new one tells.
            answer = ask(peers, target, watch).await;
        }
        match answer {
            Ok(()) | Err(Error::Problem(_) | Error::Malformed { .. }) => {}
            Err(Error::Unreachable { .. } | Error::Interrupted { .. } | Error::Timeout { .. }) => return,
        }
    }
}

async fn ask(peers: &PeerClient, target: &str, watch: Watch) -> Result<(), Error> {
    peers.post(Lane::Control, target, route::PEER_ALIVE, &(), watch.answer).await
}
