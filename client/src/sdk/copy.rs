//! Files made from other files: copy and move, without their bytes where both are at home in one cluster.

use flotilla_api::{FileName, RequestId, header};
use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{IF_MATCH, IF_NONE_MATCH},
};

use super::{
    client::Client,
    content::Content,
    error::Error,
    exchange::{ANSWER_MAX_BYTES, Call, json, whole},
    put::{Put, condition},
};
use crate::transport::Lane;

/// How a copy or a move is done.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// The id under which the change is made at most once; made from random bits where there is none.
    pub idempotency_key: Option<RequestId>,
    /// Only if the target has this ETag (with or without quotes), or exists at all (`*`).
    pub if_match: Option<String>,
    /// Only if the target does not have this ETag, or does not exist (`*`).
    pub if_none_match: Option<String>,
    /// Only if the source has this ETag (with or without quotes).
    pub source_if_match: Option<String>,
}

impl Client {
    /// Makes `to` a copy of `from`, with its media type.
    ///
    /// # Durability
    /// As [`Client::put`].
    ///
    /// # Errors
    /// See [`Error::kind`]. [`Error::Indeterminate`]: the file may have been copied; the same key settles it.
    ///
    /// # Cancel safety
    /// A dropped copy may have been made.
    pub async fn copy(&self, from: &FileName, to: &FileName, options: &CopyOptions) -> Result<Put, Error> {
        self.make("copy-from", from, to, options).await
    }

    /// Makes `to` what `from` is, and ends `from`, at one moment.
    ///
    /// # Errors
    /// As [`Client::copy`]. Files at home in different clusters are refused with the code `conflict`: copy, then delete the source
    /// under the copy's ETag.
    ///
    /// # Cancel safety
    /// A dropped move may have been made.
    pub async fn move_file(&self, from: &FileName, to: &FileName, options: &CopyOptions) -> Result<Put, Error> {
        self.make("move-from", from, to, options).await
    }

    async fn make(&self, how: &str, from: &FileName, to: &FileName, options: &CopyOptions) -> Result<Put, Error> {
        let mut headers = HeaderMap::new();
        condition(&mut headers, IF_MATCH, options.if_match.as_deref())?;
        condition(&mut headers, IF_NONE_MATCH, options.if_none_match.as_deref())?;
        let of_source = HeaderName::from_static(header::SOURCE_IF_MATCH);
        condition(&mut headers, of_source, options.source_if_match.as_deref())?;
        let key = Some(options.idempotency_key.clone().unwrap_or_else(|| self.new_key()));
        let route = format!("{}?{how}={}", to.to_path(), from.to_header());
        let call = Call { method: Method::POST, lane: Lane::Data, route, headers, key };
        self.run(&call, &Content::none(self.0.clock.clone()), |response| async move {
            let (parts, bytes) = whole(response, ANSWER_MAX_BYTES).await?;
            Ok(Put { answer: json(bytes)?, created: parts.status == StatusCode::CREATED })
        })
        .await
    }
}
