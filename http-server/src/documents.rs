//! The supernode group's documents as both servers read them on every request: buckets, principals and supernodes, decoded once.
//!
//! It must not know where documents are stored.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use flotilla_api::{
    BucketName,
    capability::Holder,
    keys::KeyId,
    peer::{Document, Documents, Supernode},
};
use uuid::Uuid;

use crate::{
    credentials::{Authenticator, Caller, unknown},
    problem::ApiError,
};

#[derive(Debug, Default)]
struct Decoded {
    directory: Uuid,
    revision: u64,
    buckets: HashSet<BucketName>,
    callers: HashMap<[u8; 32], Caller>,
    keys: HashSet<KeyId>,
    supernodes: Vec<Supernode>,
}

/// The documents. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct DocumentCache {
    decoded: Arc<RwLock<Arc<Decoded>>>,
    partial: Arc<AtomicBool>,
}

impl DocumentCache {
    /// Takes over other documents.
    pub fn replace(&self, documents: Documents) {
        let decoded = Arc::new(decode(documents));
        *self.decoded.write().unwrap_or_else(PoisonError::into_inner) = decoded;
    }

    /// Notes whether there may be principals that the documents lack, as in a directory that was lost and is not whole again: a
    /// token that is not known is not called a bad one then.
    pub fn set_partial(&self, partial: bool) {
        self.partial.store(partial, Ordering::Relaxed);
    }

    /// The revision that was taken over last.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.held().revision
    }

    /// The directory that they are of; none before there are any.
    #[must_use]
    pub fn directory(&self) -> Option<Uuid> {
        let held = self.held();
        (held.revision > 0).then_some(held.directory)
    }

    /// Whether a bucket is known.
    #[must_use]
    pub fn has_bucket(&self, name: &BucketName) -> bool {
        self.held().buckets.contains(name)
    }

    /// Gives the supernodes that were started, by id.
    #[must_use]
    pub fn supernodes(&self) -> Vec<Supernode> {
        self.held().supernodes.clone()
    }

    /// Whether principals are known: supernodes may be before root is.
    #[must_use]
    pub fn has_principals(&self) -> bool {
        !self.held().callers.is_empty()
    }

    /// Whether a key that was good once may be good still: it is known here, or these documents are older than that.
    #[must_use]
    pub fn may_hold(&self, holder: Holder) -> bool {
        let held = self.held();
        held.keys.contains(&holder.key) || held.revision < holder.revision
    }

    /// Looks again at the key that a caller showed, after it has waited: one that was revoked meanwhile is answered as one that never
    /// was. A caller without one came with a capability, which is judged by itself.
    ///
    /// # Errors
    /// 401 `unauthenticated`; 503 `not_ready` while there may be principals that the documents lack.
    pub fn recheck(&self, key: Option<KeyId>) -> Result<(), ApiError> {
        match key {
            Some(key) if !self.held().keys.contains(&key) => Err(unknown(self)),
            Some(_) | None => Ok(()),
        }
    }

    fn held(&self) -> Arc<Decoded> {
        Arc::clone(&self.decoded.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Authenticator for DocumentCache {
    /// Looks the token's hash up: what the comparison takes time for is a hash that nobody can steer.
    fn authenticate(&self, token: &str) -> Option<Caller> {
        self.held().callers.get(blake3::hash(token.as_bytes()).as_bytes()).cloned()
    }

    /// Clusters are documents too, and can be there before the root is.
    fn is_ready(&self) -> bool {
        self.has_principals() && !self.partial.load(Ordering::Relaxed)
    }
}

fn decode(documents: Documents) -> Decoded {
    let Documents { directory, revision, entries } = documents;
    let mut decoded = Decoded { directory, revision, ..Decoded::default() };
    for document in entries {
        match document {
            Document::Bucket { name } => {
                decoded.buckets.insert(name);
            }
            Document::Principal(principal) => {
                let key = KeyId::of(&principal.key_hash);
                let caller = Caller { principal: principal.name.into(), root: principal.root, key: Some(key) };
                decoded.keys.insert(key);
                decoded.callers.insert(principal.key_hash, caller);
            }
            Document::Supernode(supernode) => decoded.supernodes.push(supernode),
            // For the directory alone.
            Document::Cluster { .. } | Document::Fenced { .. } => {}
        }
    }
    decoded.supernodes.sort_by_key(|supernode| supernode.id);
    decoded
}

#[cfg(test)]
mod tests {
    use flotilla_api::{Code, peer::Principal};

    use super::*;

    #[test]
    fn what_is_not_known_is_not_called_bad_before_all_is_known() {
        let documents = DocumentCache::default();
        assert!(!documents.is_ready());
        let key_hash = *blake3::hash(b"good").as_bytes();
        let root = Principal { name: "root".parse().expect("a good name"), key_hash, root: true, created_ms: 1 };
        documents.replace(Documents { revision: 1, entries: vec![Document::Principal(root)], ..Documents::default() });
        assert!(documents.is_ready());
        documents.set_partial(true);
        assert!(!documents.is_ready());
        assert!(documents.authenticate("good").is_some(), "what is known is served");
        assert!(documents.authenticate("other").is_none());
        documents.set_partial(false);
        assert!(documents.is_ready());
    }

    #[test]
    fn a_key_is_known_until_it_is_revoked_whoever_has_its_name_then() {
        let documents = DocumentCache::default();
        let of = |revision, keys: &[&str]| {
            let principal = |key: &&str| Principal {
                name: "backup".parse().expect("a good name"),
                key_hash: *blake3::hash(key.as_bytes()).as_bytes(),
                root: false,
                created_ms: 1,
            };
            let entries = keys.iter().map(|key| Document::Principal(principal(key))).collect();
            Documents { revision, entries, ..Documents::default() }
        };
        documents.replace(of(1, &["old"]));
        let key = documents.authenticate("old").expect("it is known").key;
        assert!(key.is_some() && documents.recheck(key).is_ok() && documents.recheck(None).is_ok());
        documents.replace(of(2, &["new"]));
        let said = |documents: &DocumentCache| documents.recheck(key).map_err(|error| error.code);
        assert_eq!(said(&documents), Err(Code::Unauthenticated));
        documents.set_partial(true);
        assert_eq!(said(&documents), Err(Code::NotReady), "it may be one that the documents lack");
    }
}
