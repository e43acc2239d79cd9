//! What lets a client that was redirected do one thing at one cluster, for a short time, without its credential.
//!
//! Clients drop credentials on a redirect to another port, so the redirect's address carries a proof of its own: a keyed BLAKE3
//! over what is allowed. Whoever makes one has looked at the credential, and notes which key it was, so that what was made with a key
//! ends with it. It must not know which keys are good.

use http::Method;

use crate::{ClusterName, Epoch, FileName, keys::KeyId, peer::auth::FleetSecret};

/// The query parameter that a capability travels in.
pub const PARAMETER: &str = "capability";

/// How far the clocks of the maker and the reader may differ, in milliseconds: machines that keep their clocks by NTP differ by
/// far less, and a longer life than announced is what every millisecond of it costs.
pub const CLOCKS_DIFFER_MS: u64 = 5000;

/// The longest life that a reader believes, in milliseconds: a maker whose clock is ahead makes none that last for ever.
pub const LIFETIME_MAX_MS: u64 = 15 * 60 * 1000;

/// What a capability allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// GET and HEAD.
    Read,
    /// PUT.
    Write,
}

impl Deed {
    /// The deed of a method, if it is one that is ever redirected.
    #[must_use]
    pub fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET | Method::HEAD => Some(Self::Read),
            Method::PUT => Some(Self::Write),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Read => "get",
            Self::Write => "put",
        }
    }
}

/// Whose key a capability was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The key.
    pub key: KeyId,
    /// The revision of the supernode group's documents at which the key was good: whoever has these or later ones, and does not find
    /// it there, knows that it was revoked.
    pub revision: u64,
}

/// What is allowed, for which file, under which home, until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// What may be done.
    pub deed: Deed,
    /// The epoch of the key's home; a write is committed under it.
    pub epoch: Epoch,
    /// The most bytes of a body.
    pub limit_bytes: u64,
    /// The last moment, in milliseconds since 1970 by the maker's clock.
    pub expires_ms: u64,
    /// Whose it is; none in version 1, which nobody makes any more.
    pub holder: Option<Holder>,
}

/// Why a capability is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not of the shape of [`Capability::seal`].
    #[error("the capability is malformed")]
    Malformed,
    /// It was not made for this, or not by this fleet.
    #[error("the capability is for another file, method or cluster, or was changed")]
    Mac,
    /// Its time is over, or further ahead than any that is made.
    #[error("the capability has expired")]
    Expired,
    /// The key that it was made with is good no more; for the reader to find out.
    #[error("the key that the capability was made with was revoked")]
    Revoked,
}

impl Capability {
    /// Makes the text for `name` at `cluster`.
    ///
    /// # Shape
    /// `2.DEED.EPOCH.LIMIT.EXPIRES.KEY.REVISION.MAC`: `get` or `put`, numbers in decimal, the key's id, 64 hex digits. Version 1 has no
    /// holder, and so neither of these two parts. No character of it needs encoding in a query.
    #[must_use]
    pub fn seal(&self, secret: &FleetSecret, name: &FileName, cluster: &ClusterName) -> String {
        let Self { deed, epoch, limit_bytes, expires_ms, holder } = self;
        let (deed, mac) = (deed.text(), self.mac(secret, name, cluster).to_hex());
        match holder {
            Some(Holder { key, revision }) => {
                format!("2.{deed}.{epoch}.{limit_bytes}.{expires_ms}.{key}.{revision}.{mac}")
            }
            None => format!("1.{deed}.{epoch}.{limit_bytes}.{expires_ms}.{mac}"),
        }
    }

    /// Reads a text and checks that it allows `deed` with `name` at `cluster` now, if its holder's key is still good, which the caller
    /// has to look up.
    ///
    /// # Errors
    /// [`Refusal`]; the client must ask for another one where it got this.
    pub fn open(
        text: &str,
        secret: &FleetSecret,
        deed: Deed,
        name: &FileName,
        cluster: &ClusterName,
        now_ms: u64,
    ) -> Result<Self, Refusal> {
        let (told, mac) = parse(text).ok_or(Refusal::Malformed)?;
        // blake3::Hash compares in constant time.
        if told.deed != deed || told.mac(secret, name, cluster) != mac {
            return Err(Refusal::Mac);
        }
        let last = told.expires_ms.saturating_add(CLOCKS_DIFFER_MS);
        let first = last.saturating_sub(LIFETIME_MAX_MS + 2 * CLOCKS_DIFFER_MS);
        if (first..=last).contains(&now_ms) { Ok(told) } else { Err(Refusal::Expired) }
    }

    fn mac(&self, secret: &FleetSecret, name: &FileName, cluster: &ClusterName) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(secret.capability_key());
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(self.deed.text().as_bytes());
        part(name.bucket.as_str().as_bytes());
        part(name.key.as_str().as_bytes());
        part(cluster.as_str().as_bytes());
        part(self.epoch.to_string().as_bytes());
        part(&self.limit_bytes.to_le_bytes());
        part(&self.expires_ms.to_le_bytes());
        // With its length before each part, none of one version is one of another.
        if let Some(Holder { key, revision }) = self.holder {
            part(key.to_string().as_bytes());
            part(&revision.to_le_bytes());
        }
        hasher.finalize()
    }
}

fn parse(text: &str) -> Option<(Capability, blake3::Hash)> {
    let mut parts = text.split('.');
    let version = parts.next()?;
    let deed = match parts.next()? {
        "get" => Deed::Read,
        "put" => Deed::Write,
        _ => return None,
    };
    let epoch = parts.next()?.parse().ok()?;
    let limit_bytes = parts.next()?.parse().ok()?;
    let expires_ms = parts.next()?.parse().ok()?;
    let holder = match version {
        "1" => None,
        "2" => Some(Holder { key: parts.next()?.parse().ok()?, revision: parts.next()?.parse().ok()? }),
        _ => return None,
    };
    let mac = blake3::Hash::from_hex(parts.next()?).ok()?;
    parts.next().is_none().then_some((Capability { deed, epoch, limit_bytes, expires_ms, holder }, mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn name(text: &str) -> FileName {
        FileName::from_header(text).expect("a good name")
    }

    fn cluster(text: &str) -> ClusterName {
        text.parse().expect("a good name")
    }

    fn made() -> (FleetSecret, Capability, String) {
        let secret = FleetSecret::new("secret");
        let holder = Some(Holder { key: "00ff10203040506f".parse().expect("a good id"), revision: 12 });
        let (deed, expires_ms) = (Deed::Write, NOW + 300_000);
        let made = Capability { deed, epoch: Epoch(7), limit_bytes: 1000, expires_ms, holder };
        let text = made.seal(&secret, &name("demo/a/b"), &cluster("a"));
        (secret, made, text)
    }

    #[test]
    fn the_text_is_pinned() {
        let (_, _, text) = made();
        let (told, mac) = text.rsplit_once('.').expect("parts");
        assert_eq!(told, "2.put.7.1000.1800000300000.00ff10203040506f.12");
        assert_eq!(mac, "d3f17dbc4e278a031e63af234863793caaece2ce60bee5de729a8e3c81d0b8c6");
    }

    #[test]
    fn one_that_names_no_holder_is_still_read() {
        let (secret, made, text) = made();
        let old = "1.put.7.1000.1800000300000.e05a5a6dec660cf183fef45c24f20d8b358e29b9d03baf7b620d7e253b913dbf";
        let nobodys = Capability { holder: None, ..made };
        assert_eq!(nobodys.seal(&secret, &name("demo/a/b"), &cluster("a")), old);
        let open =
            |text: &str, now| Capability::open(text, &secret, Deed::Write, &name("demo/a/b"), &cluster("a"), now);
        assert_eq!(open(old, NOW), Ok(nobodys));
        assert_eq!(open(old, made.expires_ms + CLOCKS_DIFFER_MS + 1), Err(Refusal::Expired));
        // Nobody makes one of the other: the holder can't be left out, nor another one put in.
        let (told, mac) = text.rsplit_once('.').expect("parts");
        let stripped = format!("1.put.7.1000.1800000300000.{mac}");
        assert_eq!(open(&stripped, NOW), Err(Refusal::Mac));
        let (_, old_mac) = old.rsplit_once('.').expect("parts");
        assert_eq!(open(&format!("{told}.{old_mac}"), NOW), Err(Refusal::Mac));
        let other = told.replace("00ff10203040506f", "00ff10203040506e");
        assert_eq!(open(&format!("{other}.{mac}"), NOW), Err(Refusal::Mac));
        assert_eq!(open(&format!("{}.{mac}", told.replace(".12", ".11")), NOW), Err(Refusal::Mac));
    }

    #[test]
    fn a_capability_opens_for_what_it_was_made_for_alone() {
        let (secret, made, text) = made();
        let open = |text: &str, secret: &FleetSecret, deed, file: &str, at: &str| {
            Capability::open(text, secret, deed, &name(file), &cluster(at), NOW)
        };
        assert_eq!(open(&text, &secret, Deed::Write, "demo/a/b", "a"), Ok(made));
        assert_eq!(open(&text, &secret, Deed::Read, "demo/a/b", "a"), Err(Refusal::Mac));
        assert_eq!(open(&text, &secret, Deed::Write, "demo/a/c", "a"), Err(Refusal::Mac));
        assert_eq!(open(&text, &secret, Deed::Write, "demo.a/b", "a"), Err(Refusal::Mac));
        assert_eq!(open(&text, &secret, Deed::Write, "demo/a/b", "b"), Err(Refusal::Mac));
        assert_eq!(open(&text, &FleetSecret::new("other"), Deed::Write, "demo/a/b", "a"), Err(Refusal::Mac));
    }

    #[test]
    fn no_character_of_it_can_be_changed() {
        let (secret, _, text) = made();
        for at in 0..text.len() {
            for other in ["0", "1", "9", "f", ".", "g"] {
                if &text[at..=at] == other {
                    continue;
                }
                let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                let opened = Capability::open(&changed, &secret, Deed::Write, &name("demo/a/b"), &cluster("a"), NOW);
                assert!(opened.is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn it_expires_and_never_lives_longer_than_any_that_is_made() {
        let (secret, made, text) = made();
        let open =
            |text: &str, now| Capability::open(text, &secret, Deed::Write, &name("demo/a/b"), &cluster("a"), now).err();
        assert_eq!(open(&text, made.expires_ms + CLOCKS_DIFFER_MS), None);
        assert_eq!(open(&text, made.expires_ms + CLOCKS_DIFFER_MS + 1), Some(Refusal::Expired));
        let far = Capability { expires_ms: NOW + LIFETIME_MAX_MS + CLOCKS_DIFFER_MS, ..made };
        let seal = |capability: Capability| capability.seal(&secret, &name("demo/a/b"), &cluster("a"));
        assert_eq!(open(&seal(far), NOW), None);
        assert_eq!(open(&seal(Capability { expires_ms: far.expires_ms + 1, ..far }), NOW), Some(Refusal::Expired));
        assert_eq!(open(&seal(Capability { expires_ms: u64::MAX, ..far }), NOW), Some(Refusal::Expired));
    }
}
