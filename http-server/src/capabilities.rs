//! Capabilities in the query of a request: the credential of a client that was redirected here.
//!
//! It must not know where clients are redirected from, nor what a file is.

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse as _, Response};
use flotilla_api::{
    ClusterName, Code, Epoch, FileName, Problem,
    capability::{Capability, Deed, Holder, PARAMETER, Refusal},
    keys::KeyId,
    peer::auth::FleetSecret,
};
use flotilla_env::Clock;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use crate::{DocumentCache, files, problem::ApiError};

/// What a redirected request may do; an extension of every request that came with a good capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The epoch to commit under.
    pub epoch: Epoch,
    /// The most bytes of a body.
    pub limit_bytes: u64,
}

/// Makes capabilities. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sealer {
    secret: FleetSecret,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    documents: DocumentCache,
}

impl Sealer {
    /// Makes a maker of capabilities that live so long, for callers that were found in `documents`.
    #[must_use]
    pub fn new(secret: FleetSecret, clock: Arc<dyn Clock>, lifetime: Duration, documents: DocumentCache) -> Self {
        Self { secret, clock, lifetime, documents }
    }

    /// Sends the client to `address`, a node's URL, where it may do the same with the same file, at the home that is told.
    ///
    /// # Shape
    /// 307 without a body; no cache may keep it, since the address is a credential.
    #[must_use]
    pub fn redirect(&self, address: &str, name: &FileName, to: &Destination<'_>) -> Response {
        let lifetime = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = self.clock.wall_ms().saturating_add(lifetime);
        let Destination { deed, cluster, epoch, limit_bytes, key } = *to;
        // The caller was found in these documents or in earlier ones: who has them, too, and does not find its key, knows that it
        // was revoked.
        let holder = Some(Holder { key, revision: self.documents.revision() });
        let capability = Capability { deed, epoch, limit_bytes, expires_ms, holder };
        let sealed = capability.seal(&self.secret, name, cluster);
        let location = format!("{address}{}?{PARAMETER}={sealed}", name.to_path());
        let Ok(location) = HeaderValue::try_from(location) else {
            return ApiError::new(Code::Internal, "a node's public address is malformed").into_response();
        };
        let headers = [
            (header::LOCATION, location),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (HeaderName::from_static("preference-applied"), HeaderValue::from_static("redirect")),
        ];
        (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
    }
}

/// Where a client is sent, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// What it may do there.
    pub deed: Deed,
    /// The cluster of the node.
    pub cluster: &'a ClusterName,
    /// The epoch of the key's home.
    pub epoch: Epoch,
    /// The most bytes of a body.
    pub limit_bytes: u64,
    /// The key that the client showed: the capability ends with it.
    pub key: KeyId,
}

/// Tells whether a client allows a redirect: `Prefer: redirect` (RFC 7240).
#[must_use]
pub fn prefers_redirect(headers: &HeaderMap) -> bool {
    prefers(headers, "redirect")
}

/// Tells whether a client would rather be answered at once than wait: `Prefer: respond-async` (RFC 7240, section 4.1).
#[must_use]
pub fn prefers_async(headers: &HeaderMap) -> bool {
    prefers(headers, "respond-async")
}

fn prefers(headers: &HeaderMap, what: &str) -> bool {
    let values = headers.get_all(HeaderName::from_static("prefer")).iter();
    let mut preferences = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    preferences.any(|preference| preference.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(what))
}

/// Reads capabilities that are for one cluster.
#[derive(Debug)]
pub struct Capabilities {
    secret: FleetSecret,
    cluster: ClusterName,
    clock: Arc<dyn Clock>,
    documents: DocumentCache,
}

impl Capabilities {
    /// Makes the check of a node of `cluster`; what was made with a key that `documents` show to be revoked is refused.
    #[must_use]
    pub fn new(
        secret: FleetSecret,
        cluster: ClusterName,
        clock: Arc<dyn Clock>,
        documents: DocumentCache,
    ) -> Arc<Self> {
        Arc::new(Self { secret, cluster, clock, documents })
    }

    /// Checks the capability of a request; nothing if it has none and needs a credential.
    ///
    /// # Errors
    /// 403 `forbidden`: the client must ask again where it was redirected from. The detail never quotes the capability.
    pub(crate) fn check(&self, method: &Method, uri: &Uri) -> Option<Result<Granted, ApiError>> {
        let mut told = uri.query()?.split('&').filter_map(|pair| pair.strip_prefix(PARAMETER)?.strip_prefix('='));
        let first = told.next()?;
        let opened = match (told.next(), Deed::of(method), files::file_name(uri)) {
            (None, Some(deed), Ok(name)) => {
                let now_ms = self.clock.wall_ms();
                let opened = Capability::open(first, &self.secret, deed, &name, &self.cluster, now_ms);
                opened.and_then(|capability| self.held(capability))
            }
            (Some(_), _, _) => Err(Refusal::Malformed),
            (None, None, _) | (None, _, Err(_)) => Err(Refusal::Mac),
        };
        Some(match opened {
            Ok(capability) => Ok(Granted { epoch: capability.epoch, limit_bytes: capability.limit_bytes }),
            Err(refusal) => {
                let problem = Problem::new(Code::Forbidden, refusal.to_string());
                Err(problem.hint("send the request again to the server that redirected it").into())
            }
        })
    }

    /// Passes a capability on, unless its holder's key was revoked. One that names no holder lives as long as it was made for.
    fn held(&self, capability: Capability) -> Result<Capability, Refusal> {
        match capability.holder {
            Some(holder) if !self.documents.may_hold(holder) => Err(Refusal::Revoked),
            Some(_) | None => Ok(capability),
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::{
        keys::PrincipalName,
        peer::{Document, Documents, Principal},
    };
    use flotilla_env::clock;

    use super::*;

    const HASH: [u8; 32] = [7; 32];

    fn location(response: &Response) -> Uri {
        let location = response.headers()[header::LOCATION].to_str().expect("ASCII");
        location.parse().expect("an address")
    }

    /// Documents of a revision that have this principal's key, or nobody's.
    fn documents(revision: u64, name: Option<&str>) -> DocumentCache {
        let principal = |name: &str| {
            let name = name.parse::<PrincipalName>().expect("good");
            Document::Principal(Principal { name, key_hash: HASH, root: false, created_ms: 1 })
        };
        let entries = name.map(principal).into_iter().collect();
        let cache = DocumentCache::default();
        cache.replace(Documents { revision, entries, ..Documents::default() });
        cache
    }

    fn code(checked: Option<Result<Granted, ApiError>>) -> Option<Result<Granted, Code>> {
        checked.map(|checked| checked.map_err(|error| error.code))
    }

    #[test]
    fn a_redirect_carries_a_capability_that_its_node_takes() {
        let (secret, clock) = (FleetSecret::new("s"), clock::system());
        let (a, b): (ClusterName, ClusterName) = ("a".parse().expect("good"), "b".parse().expect("good"));
        let name = FileName::from_header("demo/x/%C3%A9%3F%26").expect("good");
        let sealer = Sealer::new(secret.clone(), clock.clone(), Duration::from_secs(300), documents(5, Some("backup")));
        let to =
            Destination { deed: Deed::Write, cluster: &a, epoch: Epoch(3), limit_bytes: 10, key: KeyId::of(&HASH) };
        let response = sealer.redirect("http://127.0.0.1:7411", &name, &to);
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let uri = location(&response);
        assert!(
            uri.to_string().starts_with("http://127.0.0.1:7411/v1/files/demo/x/%C3%A9%3F%26?capability=2.put.3.10.")
        );

        let known = documents(5, Some("backup"));
        let at =
            |cluster: &ClusterName| Capabilities::new(secret.clone(), cluster.clone(), clock.clone(), known.clone());
        assert_eq!(code(at(&a).check(&Method::PUT, &uri)), Some(Ok(Granted { epoch: Epoch(3), limit_bytes: 10 })));
        for (method, cluster) in [(Method::GET, &a), (Method::DELETE, &a), (Method::PUT, &b)] {
            assert_eq!(code(at(cluster).check(&method, &uri)), Some(Err(Code::Forbidden)), "{method} {cluster}");
        }
        let uri = |text: &str| text.parse::<Uri>().expect("a URI");
        assert_eq!(code(at(&a).check(&Method::PUT, &uri("/v1/files/demo/x"))), None);
        assert_eq!(code(at(&a).check(&Method::GET, &uri("/v1/files/demo?capability=1"))), Some(Err(Code::Forbidden)));
        let twice = format!("/v1/files/demo/x?{0}&{0}", location(&response).query().expect("there is one"));
        assert_eq!(code(at(&a).check(&Method::PUT, &uri(&twice))), Some(Err(Code::Forbidden)));
    }

    #[test]
    fn a_capability_ends_with_the_key_that_it_was_made_with() {
        let (secret, clock) = (FleetSecret::new("s"), clock::system());
        let cluster: ClusterName = "a".parse().expect("good");
        let name = FileName::from_header("demo/x").expect("good");
        let sealer = Sealer::new(secret.clone(), clock.clone(), Duration::from_secs(300), documents(5, Some("backup")));
        let to =
            Destination { deed: Deed::Read, cluster: &cluster, epoch: Epoch(3), limit_bytes: 0, key: KeyId::of(&HASH) };
        let uri = location(&sealer.redirect("http://h", &name, &to));
        let good = Some(Ok(Granted { epoch: Epoch(3), limit_bytes: 0 }));
        let of_nobody = Capability {
            deed: Deed::Read,
            epoch: Epoch(3),
            limit_bytes: 0,
            expires_ms: clock.wall_ms() + 1000,
            holder: None,
        };
        let of_nobody = of_nobody.seal(&secret, &name, &cluster);
        let of_nobody: Uri = format!("/v1/files/demo/x?{PARAMETER}={of_nobody}").parse().expect("an address");
        // The key is known, whatever its principal is called; it is not yet known; it was revoked, at once and later.
        for (known, expect) in [
            (documents(5, Some("backup")), good),
            (documents(9, Some("renamed")), good),
            (DocumentCache::default(), good),
            (documents(4, None), good),
            (documents(5, None), Some(Err(Code::Forbidden))),
            (documents(6, None), Some(Err(Code::Forbidden))),
        ] {
            let revision = known.revision();
            let check = Capabilities::new(secret.clone(), cluster.clone(), clock.clone(), known);
            assert_eq!(code(check.check(&Method::GET, &uri)), expect, "at revision {revision}");
            assert_eq!(code(check.check(&Method::GET, &of_nobody)), good, "of version 1, at revision {revision}");
        }
    }

    #[test]
    fn the_preference_is_found_among_others() {
        let prefers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", HeaderValue::from_static(value));
            }
            prefers_redirect(&headers)
        };
        assert!(
            prefers(&["redirect"]) && prefers(&["respond-async, Redirect; x=1"]) && prefers(&["wait=1", "redirect"])
        );
        let both = HeaderMap::from_iter([(
            HeaderName::from_static("prefer"),
            HeaderValue::from_static("respond-async, wait=10"),
        )]);
        assert!(prefers_async(&both) && !prefers_redirect(&both));
        assert!(!prefers(&[]) && !prefers(&["no-redirect"]) && !prefers(&["x=redirect"]));
    }
}
