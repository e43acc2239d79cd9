//! Local files beside what a deployment has under the same keys: two sorted streams become one.

use flotilla_api::files::ListItem;
use futures::{StreamExt, stream, stream::BoxStream};

use super::walk::Found;
use crate::exit::{Exit, Failure};

/// A local file, its key, and what the deployment has under it.
pub type Pair = (Found, Option<ListItem>);

/// What is left of both streams.
struct Rest<F> {
    walk: BoxStream<'static, Result<Found, Failure>>,
    /// None once it broke off.
    listing: Option<BoxStream<'static, Result<ListItem, Failure>>>,
    ahead: Option<ListItem>,
    prefix: String,
    on_lost: F,
    ended: bool,
}

/// Puts what the listing says of a key beside the file of that key; both must come in the order of the keys' bytes.
///
/// A listing that breaks off is told to `on_lost`, and the files behind are given without a partner. One that says that there
/// is no such bucket ends the stream with that failure: no file could be stored.
///
/// # Bounds
/// One item of each stream is held, beside the page that the listing holds.
pub fn beside<F>(
    walk: BoxStream<'static, Result<Found, Failure>>,
    listing: BoxStream<'static, Result<ListItem, Failure>>,
    prefix: String,
    on_lost: F,
) -> impl stream::Stream<Item = Result<Pair, Failure>>
where
    F: Fn(Failure),
{
    let rest = Rest { walk, listing: Some(listing), ahead: None, prefix, on_lost, ended: false };
    stream::unfold(rest, |mut rest| async move {
        if rest.ended {
            return None;
        }
        let found = match rest.walk.next().await? {
            Ok(found) => found,
            Err(failure) => return Some((Err(failure), rest)),
        };
        let Found::File { relative, .. } = &found else { return Some((Ok((found, None)), rest)) };
        let key = format!("{}{relative}", rest.prefix);
        match rest.partner(&key).await {
            Ok(partner) => Some((Ok((found, partner)), rest)),
            Err(failure) => {
                rest.ended = true;
                Some((Err(failure), rest))
            }
        }
    })
}

impl<F: Fn(Failure)> Rest<F> {
    /// Takes items up to the key.
    async fn partner(&mut self, key: &str) -> Result<Option<ListItem>, Failure> {
        loop {
            match self.ahead.take() {
                Some(item) if item.key.as_str() < key => {}
                Some(item) if item.key.as_str() == key => return Ok(Some(item)),
                Some(item) => {
                    self.ahead = Some(item);
                    return Ok(None);
                }
                None if self.listing.is_none() => return Ok(None),
                None => {}
            }
            match self.listing.as_mut().expect("looked at above, and only dropped below").next().await {
                Some(Ok(item)) => self.ahead = Some(item),
                None => self.listing = None,
                Some(Err(failure)) if failure.exit() == Exit::NotFound => return Err(failure),
                Some(Err(failure)) => {
                    self.listing = None;
                    (self.on_lost)(failure);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;

    fn item(key: &str) -> ListItem {
        ListItem {
            key: key.parse().expect("a key"),
            size: 1,
            etag: String::new(),
            version: String::new(),
            modified: String::new(),
            cluster: "a".parse().expect("a cluster"),
        }
    }

    async fn joined(files: &[&str], listed: Vec<Result<ListItem, Failure>>) -> (Vec<String>, u32) {
        let found = |name: &&str| Ok(Found::File { path: PathBuf::new(), relative: (*name).to_owned() });
        let walk = stream::iter(files.iter().map(found).collect::<Vec<_>>()).boxed();
        let lost = Arc::new(AtomicU32::new(0));
        let count = lost.clone();
        let on_lost = move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let pairs = beside(walk, stream::iter(listed).boxed(), "p/".to_owned(), on_lost);
        let text = |pair: Result<Pair, Failure>| match pair {
            Ok((Found::File { relative, .. }, Some(item))) => format!("{relative}={}", item.key),
            Ok((Found::File { relative, .. }, None)) => relative,
            Ok((Found::Skipped { .. }, _)) => "skipped".to_owned(),
            Err(failure) => format!("error {}", failure.exit().code()),
        };
        (pairs.map(text).collect().await, lost.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn equal_keys_meet() {
        let listed = ["p/0", "p/a", "p/a.b", "p/a/b", "p/z"].map(|key| Ok(item(key))).into();
        let (pairs, _) = joined(&["a", "a.b", "a/b", "c", "z"], listed).await;
        assert_eq!(pairs, ["a=p/a", "a.b=p/a.b", "a/b=p/a/b", "c", "z=p/z"]);
        assert_eq!(joined(&["a", "b"], Vec::new()).await.0, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_listing_that_breaks_off_costs_only_the_partners() {
        let listed = vec![Ok(item("p/a")), Err(Failure::new(Exit::Unavailable, "gone"))];
        assert_eq!(joined(&["a", "b", "c"], listed).await, (vec!["a=p/a".into(), "b".into(), "c".into()], 1));
    }

    #[tokio::test]
    async fn a_missing_bucket_ends_it_all() {
        let listed = vec![Err(Failure::new(Exit::NotFound, "no bucket"))];
        assert_eq!(joined(&["a", "b"], listed).await, (vec!["error 3".to_owned()], 0));
    }
}
