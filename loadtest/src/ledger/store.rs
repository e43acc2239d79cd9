//! What the ledger needs of a file store: the seam between its rules and the SDK.

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_api::RequestId;

use super::oracle::{Listed, Read};

/// Why a store can't be asked, or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The SDK's error, after its retries.
    #[error(transparent)]
    Client(#[from] flotilla_client::Error),
    /// The bucket's name or a key breaks a rule.
    #[error(transparent)]
    Name(#[from] flotilla_api::name::Error),
}

/// What came back from a change.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The status for the ledger's line; none if the outcome is unknown.
    pub(crate) status: Option<u16>,
    /// The version that was made, as text.
    pub(crate) version: Option<String>,
    /// The ETag, without quotes.
    pub(crate) etag: Option<String>,
    /// The reason, if the change was not acked.
    pub(crate) error: Option<StoreError>,
}

/// One page of a list.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Keys with what is shown of them.
    pub(crate) files: Vec<(String, Listed)>,
    /// Where the next page begins; none at the end.
    pub(crate) next: Option<String>,
}

/// A file store with one bucket in use.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Puts a file. Dropped before its end, the outcome is unknown.
    async fn put(&self, key: &str, content: Bytes, request_id: &RequestId) -> Answer;
    /// Deletes a file. Dropped before its end, the outcome is unknown.
    async fn delete(&self, key: &str, request_id: &RequestId) -> Answer;
    /// Reads a whole file.
    async fn get(&self, key: &str) -> Result<Read, StoreError>;
    /// Lists the files whose keys begin with `prefix`, from `cursor` on.
    async fn list(&self, prefix: &str, cursor: Option<String>) -> Result<Page, StoreError>;
}
