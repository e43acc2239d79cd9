//! Orders to a node from the machine that it runs on: by a local address, whatever its name resolves to, and with the fleet's secret.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use flotilla_api::{peer::auth::FleetSecret, route};
use flotilla_client::{Body, Lane, PeerClient, Transport, peer, transport};
use flotilla_http_server::secret;
use flotilla_member::{Error, Seams, addresses};
use http::{Request, Response, Uri};

use crate::Settings;

/// How long the node may take to say that it heard.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why a node was not told to stop.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The settings are not those of a node.
    #[error(transparent)]
    Settings(#[from] Error),
    /// The node did not take the order; it may have ended already.
    #[error(transparent)]
    Peer(#[from] peer::Error),
}

impl StopError {
    /// Whether the settings are wrong, so that trying again is of no use.
    #[must_use]
    pub fn is_of_settings(&self) -> bool {
        matches!(self, Self::Settings(_))
    }
}

/// Has the node with these settings hand over and end, as SIGTERM does. Returns when it has heard, not when it has ended.
///
/// # Errors
/// [`StopError`]; a node that is still starting refuses, and the signal is left.
///
/// # Cancel safety
/// The node may or may not have heard.
pub async fn stop_here(settings: &Settings) -> Result<(), StopError> {
    let own = settings.check()?.peer;
    let secret = secret::read(&settings.fleet_secret_file).map_err(Error::from)?;
    Ok(stop(secret, own, settings.peer, &Seams::system()).await?)
}

async fn stop(secret: FleetSecret, own: String, bound: SocketAddr, seams: &Seams) -> Result<(), peer::Error> {
    let transport = Arc::new(Here { to: addresses::local(bound), beneath: seams.transport.clone() });
    // The node checks that it is the one that is meant, so the request names it as its peers do.
    let peers = PeerClient::new(secret, own.clone(), seams.clock.clone(), &*seams.entropy, transport);
    peers.post(Lane::Control, &own, route::PEER_STOP, &(), ANSWER_WITHIN).await
}

/// Sends everything to one address, whatever it is addressed to.
#[derive(Debug)]
struct Here {
    to: SocketAddr,
    beneath: Arc<dyn Transport>,
}

#[async_trait]
impl Transport for Here {
    async fn send(&self, lane: Lane, mut request: Request<Body>) -> Result<Response<Body>, transport::Error> {
        let route = request.uri().path_and_query().map_or("/", |route| route.as_str()).to_owned();
        let uri = Uri::builder().scheme("http").authority(self.to.to_string()).path_and_query(route).build();
        *request.uri_mut() = uri.map_err(|error| transport::Error::Invalid(error.into()))?;
        self.beneath.send(lane, request).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes note of what is sent, and answers as a node that heard.
    #[derive(Debug, Default)]
    struct Listener(Mutex<Vec<String>>);

    #[async_trait]
    impl Transport for Listener {
        async fn send(&self, _lane: Lane, request: Request<Body>) -> Result<Response<Body>, transport::Error> {
            self.0.lock().expect("nobody panicked").push(request.uri().to_string());
            Ok(Response::new(flotilla_client::body::full(flotilla_api::codec::encode(&()))))
        }
    }

    #[tokio::test]
    async fn a_node_is_reached_by_a_local_address_under_its_own_name() {
        let listener = Arc::new(Listener::default());
        let seams = Seams { transport: listener.clone(), ..Seams::system() };
        let secret = FleetSecret::new("0123456789abcdef0123456789abcdef");
        for (bound, wanted) in [("0.0.0.0:7402", "127.0.0.1:7402"), ("10.1.2.3:5", "10.1.2.3:5")] {
            let bound = bound.parse().expect("an address");
            stop(secret.clone(), "a-0.a:7402".to_owned(), bound, &seams).await.expect("it answers");
            let sent = listener.0.lock().expect("nobody panicked").pop();
            assert_eq!(sent, Some(format!("http://{wanted}{}", route::PEER_STOP)));
        }
    }
}
