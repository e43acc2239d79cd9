//! The signature on every peer request: a keyed BLAKE3 over what the request is, who asks whom, and when.
//!
//! The secret never travels. The signature covers the method, the route and every `flotilla-*` header (so also the file's name,
//! the epoch and the chunk), the caller, the target and a nonce: it can't be replayed on another route or another node, and a
//! receiver that remembers nonces refuses it a second time.

use std::fmt::Write as _;

use http::{HeaderMap, Method};

use crate::header;

/// How far a signature's time may lie from the receiver's clock, in milliseconds.
///
/// Replays within the window are refused by the receiver's memory of nonces; the window only bounds what a restarted receiver,
/// which has forgotten them, could be told again. It is wide because clocks of healthy machines drift.
pub const WINDOW_MS: u64 = 15 * 60 * 1000;

/// The fleet's secret, from which the signing key is derived.
#[derive(Clone)]
pub struct FleetSecret {
    key: [u8; 32],
    capability: [u8; 32],
    fleet: uuid::Uuid,
}

impl FleetSecret {
    /// Derives the signing key from the secret's text (64 hex digits made at first start).
    #[must_use]
    pub fn new(text: &str) -> Self {
        let secret = text.trim().as_bytes();
        let fleet = blake3::derive_key("flotilla fleet identity v1", secret);
        Self {
            key: blake3::derive_key("flotilla peer signature v1", secret),
            capability: blake3::derive_key("flotilla capability v1", secret),
            fleet: uuid::Uuid::from_slice(&fleet[..16]).expect("16 bytes are a uuid"),
        }
    }

    /// The key of capabilities; nothing that it seals tells anything about the other keys.
    pub(crate) fn capability_key(&self) -> &[u8; 32] {
        &self.capability
    }

    /// The fleet's identity, the same for everyone who holds the secret; it tells nothing about the secret.
    #[must_use]
    pub fn fleet(&self) -> uuid::Uuid {
        self.fleet
    }
}

impl std::fmt::Debug for FleetSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FleetSecret(..)")
    }
}

/// What the header [`header::PEER`] says.
///
/// # Shape
/// `v1 CALLER TARGET TIME_MS BOOT COUNTER MAC`: addresses as text, numbers in decimal, boot and MAC in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The caller's advertised peer address.
    pub caller: String,
    /// The peer address that the caller means to reach.
    pub target: String,
    /// The caller's wall clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// Random number of the caller's process start.
    pub boot: u64,
    /// Counts up with every request of that process; with `boot` it is the nonce.
    pub counter: u64,
    mac: blake3::Hash,
}

/// Why a peer request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no signature, or it is not of the shape above.
    #[error("peer signature is missing or malformed")]
    Malformed,
    /// The signature is for another process.
    #[error("peer signature names another target; check the addresses of the members")]
    Target,
    /// The clocks are too far apart.
    #[error("peer signature is outside the time window; check the clocks")]
    Time,
    /// The secret differs.
    #[error("peer signature does not match; both sides need the same fleet secret")]
    Mac,
    /// The nonce was seen before.
    #[error("peer request was seen before")]
    Replayed,
}

fn mac(secret: &FleetSecret, method: &Method, route: &str, headers: &HeaderMap, s: &Signature) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&secret.key);
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(method.as_str().as_bytes());
    part(route.as_bytes());
    part(s.caller.as_bytes());
    part(s.target.as_bytes());
    part(&s.time_ms.to_le_bytes());
    part(&s.boot.to_le_bytes());
    part(&s.counter.to_le_bytes());
    let mut signed: Vec<_> =
        headers.iter().filter(|(n, _)| n.as_str().starts_with("flotilla-") && n.as_str() != header::PEER).collect();
    signed.sort_by(|a, b| (a.0.as_str(), a.1.as_bytes()).cmp(&(b.0.as_str(), b.1.as_bytes())));
    for (name, value) in signed {
        part(name.as_str().as_bytes());
        part(value.as_bytes());
    }
    hasher.finalize()
}

/// Signs a request; the result is the value of [`header::PEER`].
///
/// `route` is path and query as sent; `headers` must already hold every `flotilla-*` header of the request.
#[must_use]
#[allow(clippy::too_many_arguments)] // each is one signed fact
pub fn sign(
    secret: &FleetSecret,
    method: &Method,
    route: &str,
    headers: &HeaderMap,
    caller: &str,
    target: &str,
    time_ms: u64,
    nonce: (u64, u64),
) -> String {
    let (boot, counter) = nonce;
    let unsigned = blake3::Hash::from_bytes([0; 32]);
    let mut s = Signature { caller: caller.into(), target: target.into(), time_ms, boot, counter, mac: unsigned };
    s.mac = mac(secret, method, route, headers, &s);
    let mut out = String::with_capacity(160);
    write!(out, "v1 {caller} {target} {time_ms} {boot:016x} {counter} {}", s.mac.to_hex())
        .expect("writing to a String cannot fail");
    out
}

/// Checks a request's signature; the caller of this function still has to refuse a nonce it has seen.
///
/// # Errors
/// The [`Refusal`]; the request must not be served.
pub fn verify(
    secret: &FleetSecret,
    method: &Method,
    route: &str,
    headers: &HeaderMap,
    target: &str,
    now_ms: u64,
) -> Result<Signature, Refusal> {
    let text = headers.get(header::PEER).and_then(|v| v.to_str().ok()).ok_or(Refusal::Malformed)?;
    let signature = parse(text).ok_or(Refusal::Malformed)?;
    // blake3::Hash compares in constant time.
    if mac(secret, method, route, headers, &signature) != signature.mac {
        return Err(Refusal::Mac);
    }
    if signature.target != target {
        return Err(Refusal::Target);
    }
    if signature.time_ms.abs_diff(now_ms) > WINDOW_MS {
        return Err(Refusal::Time);
    }
    Ok(signature)
}

fn parse(text: &str) -> Option<Signature> {
    let mut parts = text.split(' ');
    if parts.next()? != "v1" {
        return None;
    }
    let signature = Signature {
        caller: parts.next()?.to_owned(),
        target: parts.next()?.to_owned(),
        time_ms: parts.next()?.parse().ok()?,
        boot: u64::from_str_radix(parts.next()?, 16).ok()?,
        counter: parts.next()?.parse().ok()?,
        mac: blake3::Hash::from_hex(parts.next()?).ok()?,
    };
    parts.next().is_none().then_some(signature)
}
