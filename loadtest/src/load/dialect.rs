//! Stores that a load can be sent to: Flotilla, plain HTTP with PUT and GET, and S3. Pure but for the time of a signature.

use std::time::Duration;

use flotilla_api::BucketName;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use crate::{Target, wire::Endpoint};

/// How long a signature is good: longer than any request may take.
const SIGNED_FOR: Duration = Duration::from_secs(3600);

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Uploaded.
    Put,
    /// Downloaded.
    Get,
    /// Asked for its length.
    Head,
    /// Deleted.
    Delete,
}

/// A store and the way to it.
#[derive(Debug)]
pub(crate) struct Store {
    dialect: Dialect,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) addresses: Vec<String>,
}

#[derive(Debug)]
enum Dialect {
    Flotilla(BucketName),
    /// Keys follow this path.
    Http(String),
    S3(Box<(Bucket, Credentials)>),
}

impl Store {
    /// A deployment of Flotilla.
    ///
    /// # Errors
    /// A bad address or bucket.
    pub(crate) fn flotilla(target: &Target, bucket: &str) -> Result<Self, String> {
        if target.api.is_empty() {
            return Err("no API address is known: give --api, or start a dev deployment".to_owned());
        }
        let token = Some(target.token.trim()).filter(|token| !token.is_empty());
        let endpoints = target.api.iter().map(|base| Endpoint::new(base, token)).collect::<Result<_, _>>();
        Ok(Self {
            dialect: Dialect::Flotilla(bucket.parse().map_err(|error: flotilla_api::name::Error| error.to_string())?),
            endpoints: endpoints.map_err(|error| error.to_string())?,
            addresses: target.api.clone(),
        })
    }

    /// Another store: `http=URL` or `s3=URL/BUCKET`, whose keys and region stand in the environment as for other S3 tools.
    ///
    /// # Errors
    /// What is wrong with the text or the environment, and what it should be.
    pub(crate) fn other(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no target: give http=http://HOST:PORT/PATH or s3=http://HOST:PORT/BUCKET");
        let (kind, url) = text.split_once('=').ok_or_else(wrong)?;
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let base = format!("{scheme}://{authority}");
        let endpoint = Endpoint::new(&base, None).map_err(|error| error.to_string())?;
        let dialect = match kind {
            "http" if path.is_empty() => Dialect::Http(String::new()),
            "http" => Dialect::Http(format!("/{path}")),
            "s3" if !path.is_empty() && !path.contains('/') => {
                let need =
                    |name: &str| env(name).ok_or_else(|| format!("a target s3=… needs {name} in the environment"));
                let credentials = Credentials::new(need("AWS_ACCESS_KEY_ID")?, need("AWS_SECRET_ACCESS_KEY")?);
                let region = env("AWS_REGION").unwrap_or_else(|| "us-east-1".to_owned());
                let url = base.parse().map_err(|_| wrong())?;
                let bucket = Bucket::new(url, UrlStyle::Path, path.to_owned(), region).map_err(|_| wrong())?;
                Dialect::S3(Box::new((bucket, credentials)))
            }
            _ => return Err(wrong()),
        };
        Ok(Self { dialect, endpoints: vec![endpoint], addresses: vec![url.to_owned()] })
    }

    /// Its name in reports.
    pub(crate) fn kind(&self) -> &'static str {
        match self.dialect {
            Dialect::Flotilla(_) => "flotilla",
            Dialect::Http(_) => "http",
            Dialect::S3(_) => "s3",
        }
    }

    /// Gives the path of a request for a file, with everything that proves that it is allowed.
    pub(crate) fn path(&self, verb: Verb, key: &str) -> String {
        match &self.dialect {
            Dialect::Flotilla(bucket) => format!("/v1/files/{bucket}/{key}"),
            Dialect::Http(base) => format!("{base}/{key}"),
            Dialect::S3(s3) => {
                let (bucket, credentials) = &**s3;
                let credentials = Some(credentials);
                let url = match verb {
                    Verb::Put => bucket.put_object(credentials, key).sign(SIGNED_FOR),
                    Verb::Get => bucket.get_object(credentials, key).sign(SIGNED_FOR),
                    Verb::Head => bucket.head_object(credentials, key).sign(SIGNED_FOR),
                    Verb::Delete => bucket.delete_object(credentials, key).sign(SIGNED_FOR),
                };
                format!("{}?{}", url.path(), url.query().unwrap_or_default())
            }
        }
    }

    /// Gives the path of a list, if the store has lists that a load can check.
    pub(crate) fn list_path(&self, prefix: &str, limit: u64) -> Option<String> {
        match &self.dialect {
            Dialect::Flotilla(bucket) => Some(format!("/v1/files/{bucket}?prefix={prefix}&limit={limit}")),
            Dialect::Http(_) | Dialect::S3(_) => None,
        }
    }

    /// Gives the path of a request that makes a file from another one, if the store has one that a load can check.
    pub(crate) fn copy_path(&self, key: &str, source: &str) -> Option<String> {
        match &self.dialect {
            Dialect::Flotilla(bucket) => Some(format!("/v1/files/{bucket}/{key}?copy-from={bucket}/{source}")),
            Dialect::Http(_) | Dialect::S3(_) => None,
        }
    }

    /// Whether 429 and 503 say that a write has no effect.
    pub(crate) fn refusals_are_final(&self) -> bool {
        matches!(self.dialect, Dialect::Flotilla(_))
    }

    /// Whether the ETag is the BLAKE3 hash of the content.
    pub(crate) fn has_content_etag(&self) -> bool {
        matches!(self.dialect, Dialect::Flotilla(_))
    }
}

#[cfg(test)]
mod tests {
    use super::{Store, Verb};

    fn none(_: &str) -> Option<String> {
        None
    }

    fn keys(name: &str) -> Option<String> {
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].contains(&name).then(|| "k".to_owned())
    }

    #[test]
    fn plain_http_has_paths_below_its_base() {
        for (text, path) in [("http=http://h:1/a/b/", "/a/b/k/1"), ("http=http://h:1", "/k/1")] {
            let store = Store::other(text, none).expect("a target");
            assert_eq!((store.path(Verb::Put, "k/1").as_str(), store.kind()), (path, "http"));
            assert_eq!(store.list_path("k/", 5), None);
        }
    }

    #[test]
    fn s3_requests_are_signed_for_their_verb() {
        let store = Store::other("s3=http://127.0.0.1:3900/files", keys).expect("a target");
        let (put, get) = (store.path(Verb::Put, "k/1"), store.path(Verb::Get, "k/1"));
        assert!(put.starts_with("/files/k/1?") && put.contains("X-Amz-Signature="), "{put}");
        let signature = |path: &str| path.split("X-Amz-Signature=").nth(1).expect("it is signed").to_owned();
        assert_ne!(signature(&put), signature(&get));
    }

    #[test]
    fn what_is_no_target_is_told() {
        for text in ["", "ftp=http://h/", "http=h:1", "s3=http://h:1", "s3=http://h:1/a/b", "http=https://h:1/"] {
            let error = Store::other(text, keys).expect_err(text);
            assert!(error.contains("target") || error.contains("address"), "{text}: {error}");
        }
        assert!(Store::other("s3=http://h:1/b", none).expect_err("no keys").contains("AWS_ACCESS_KEY_ID"));
    }
}
