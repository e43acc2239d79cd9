//! What is not the content of one file: lists, layouts, clusters and buckets.

use std::fmt::Write as _;

use flotilla_api::{
    BucketName, FileName,
    files::{ClustersAnswer, Layout, ListPage},
    route,
};
use http::{HeaderMap, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    client::Client,
    content::Content,
    error::Error,
    exchange::{ANSWER_MAX_BYTES, Call, whole},
};
use crate::transport::Lane;

/// The longest layout: at about 500 bytes a chunk, a file of 2 TiB.
const LAYOUT_MAX_BYTES: usize = 128 << 20;

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListQuery {
    /// Only keys that begin so; empty for all.
    pub prefix: String,
    /// Group keys by the part up to this text.
    pub delimiter: Option<String>,
    /// At most so many items; the server has its own limit.
    pub limit: Option<usize>,
    /// [`ListPage::next`] of the page before.
    pub cursor: Option<String>,
    /// Take a page that lacks clusters which don't answer; otherwise that is an error.
    pub partial: bool,
}

impl ListQuery {
    fn to_route(&self, bucket: &BucketName) -> String {
        let mut out = format!("{}/{bucket}", route::FILES);
        let mut mark = '?';
        let mut add = |name: &str, value: &str| {
            write!(out, "{mark}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
                .expect("writing to a String cannot fail");
            mark = '&';
        };
        if !self.prefix.is_empty() {
            add("prefix", &self.prefix);
        }
        if let Some(delimiter) = &self.delimiter {
            add("delimiter", delimiter);
        }
        if let Some(limit) = self.limit {
            add("limit", &limit.to_string());
        }
        if let Some(cursor) = &self.cursor {
            add("cursor", cursor);
        }
        if self.partial {
            add("partial", "true");
        }
        out
    }
}

impl Client {
    /// Lists one page of a bucket.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn list(&self, bucket: &BucketName, query: &ListQuery) -> Result<ListPage, Error> {
        self.run_json(&read(query.to_route(bucket)), ANSWER_MAX_BYTES).await
    }

    /// Asks where the bytes of a file lie; for the root principal.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn layout(&self, name: &FileName) -> Result<Layout, Error> {
        self.run_json(&read(format!("{}?layout", name.to_path())), LAYOUT_MAX_BYTES).await
    }

    /// Asks for the registered clusters and their nodes.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn clusters(&self) -> Result<ClustersAnswer, Error> {
        self.run_json(&read(route::CLUSTERS.to_owned()), ANSWER_MAX_BYTES).await
    }

    /// Creates a bucket; one that exists stays as it is.
    ///
    /// # Errors
    /// See [`Error::kind`].
    ///
    /// # Cancel safety
    /// The bucket may have been created.
    pub async fn create_bucket(&self, bucket: &BucketName) -> Result<(), Error> {
        let route = format!("{}/{bucket}", route::BUCKETS);
        let key = Some(self.new_key());
        let call = Call { method: Method::PUT, lane: Lane::Control, route, headers: HeaderMap::new(), key };
        let content = Content::none(self.0.clock.clone());
        self.run(&call, &content, |response| async move { whole(response, ANSWER_MAX_BYTES).await.map(|_| ()) }).await
    }
}

pub(super) fn read(route: String) -> Call {
    Call { method: Method::GET, lane: Lane::Control, route, headers: HeaderMap::new(), key: None }
}
