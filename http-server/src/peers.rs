//! Peer requests: signed with the fleet secret, for this process, for this route, once.
//!
//! It must not know what peers ask for.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use flotilla_api::{
    Code, Problem,
    peer::auth::{FleetSecret, Refusal, Signature, verify},
};
use flotilla_env::Clock;
use http::{HeaderValue, header, request::Parts};
use tokio::time::{Duration, Instant};

use crate::{
    nonces::{Nonces, Refused},
    problem::ApiError,
};

/// How often refusals are logged: a wrong secret is seen at once, a flood of them does not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The process that sent a request; an extension of every request behind [`require`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCaller {
    /// Its advertised peer address.
    pub address: String,
}

/// Checks signatures and remembers nonces.
#[derive(Debug)]
pub struct PeerAuth {
    secret: FleetSecret,
    address: String,
    clock: Arc<dyn Clock>,
    nonces: Mutex<Nonces>,
    logged: Mutex<Option<Instant>>,
}

impl PeerAuth {
    /// Makes the check of the process that its peers know as `address`.
    #[must_use]
    pub fn new(secret: FleetSecret, address: impl Into<String>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (nonces, logged) = (Mutex::default(), Mutex::default());
        Arc::new(Self { secret, address: address.into(), clock, nonces, logged })
    }

    /// Checks one request's head and uses up its nonce.
    ///
    /// # Errors
    /// 401 `unauthenticated`, saying which check failed; only a caller with another secret, clock or address book gets it.
    pub fn check(&self, head: &Parts) -> Result<PeerCaller, ApiError> {
        let route = head.uri.path_and_query().map_or("/", |route| route.as_str());
        let now_ms = self.clock.wall_ms();
        let signature = verify(&self.secret, &head.method, route, &head.headers, &self.address, now_ms)
            .map_err(|refusal| self.refused(&refusal.to_string()))?;
        self.admit(signature)
    }

    fn admit(&self, signature: Signature) -> Result<PeerCaller, ApiError> {
        let admitted = {
            let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
            nonces.admit(&signature, self.clock.now())
        };
        match admitted {
            Ok(()) => Ok(PeerCaller { address: signature.caller }),
            Err(Refused::Seen) => Err(self.refused(&Refusal::Replayed.to_string())),
            Err(Refused::Crowded) => {
                Err(self.refused("too many callers are remembered; wait until old ones are forgotten"))
            }
        }
    }

    fn refused(&self, why: &str) -> ApiError {
        let now = self.clock.now();
        let due = {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            let due = logged.is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY);
            if due {
                *logged = Some(now);
            }
            due
        };
        if due {
            tracing::warn!(why, every_s = LOG_EVERY.as_secs(), "peer request refused");
        }
        Problem::new(Code::Unauthenticated, why).into()
    }
}

/// Puts a router behind peer authentication, its fallbacks too. The body is not polled before the signature is checked.
///
/// The signature covers the path as it was sent, so the router must not be nested under a prefix.
pub fn require(router: Router, auth: Arc<PeerAuth>) -> Router {
    router.layer(from_fn_with_state(auth, check))
}

async fn check(State(auth): State<Arc<PeerAuth>>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    match auth.check(&head) {
        Ok(caller) => {
            head.extensions.insert(caller);
            next.run(Request::from_parts(head, body)).await
        }
        Err(error) => {
            let challenge = HeaderValue::from_static("Flotilla-Peer");
            ([(header::WWW_AUTHENTICATE, challenge)], error).into_response()
        }
    }
}
