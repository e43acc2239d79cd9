//! Changes of a part of a file, and appends.

use bytes::Bytes;
use flotilla_api::{Code, FileName, header};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_RANGE, IF_MATCH, IF_NONE_MATCH},
};

use super::{
    client::Client,
    content::{Content, PutBody},
    error::Error,
    exchange::{ANSWER_MAX_BYTES, Call, header_value, json, whole},
    put::{Put, PutOptions, condition},
};
use crate::transport::Lane;

/// How often an append that another change came before is made anew: with this many writers of one file, each one gets its turn.
const APPEND_TRIES_MAX: u32 = 16;

impl Client {
    /// Writes bytes into a file, from byte `first` on; the file may grow at its end.
    ///
    /// # Durability
    /// As [`Client::put`].
    ///
    /// # Errors
    /// See [`Error::kind`]. The code `conflict`: another change came first, and nothing was made. `range_invalid`: `first` lies
    /// behind the end. [`Error::Indeterminate`]: the same bytes under the same key settle it.
    ///
    /// # Cancel safety
    /// A dropped change may have been made.
    pub async fn patch(&self, name: &FileName, first: u64, bytes: Bytes, options: &PutOptions) -> Result<Put, Error> {
        let Some(last) = (bytes.len() as u64).checked_sub(1).and_then(|more| first.checked_add(more)) else {
            return Err(Error::Invalid("a change has at least one byte".into()));
        };
        let range = header_value(&format!("bytes {first}-{last}/*")).expect("numbers are visible ASCII");
        self.send_patch(name, HeaderMap::from_iter([(CONTENT_RANGE, range)]), bytes, options).await
    }

    /// Puts bytes behind the end of a file. Without a precondition or a key of the caller's, an append that another change came before
    /// is made anew a bounded number of times.
    ///
    /// # Errors
    /// As [`Client::patch`].
    ///
    /// # Cancel safety
    /// As [`Client::patch`].
    pub async fn append(&self, name: &FileName, bytes: Bytes, options: &PutOptions) -> Result<Put, Error> {
        if bytes.is_empty() {
            return Err(Error::Invalid("an append has at least one byte".into()));
        }
        let asks = options.if_match.is_some() || options.if_none_match.is_some() || options.idempotency_key.is_some();
        let mut tries = 1;
        loop {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(header::APPEND),
                HeaderValue::from_static("true"),
            )]);
            match self.send_patch(name, headers, bytes.clone(), options).await {
                // A conflict says for certain that nothing was appended.
                Err(Error::Problem(problem)) if problem.code == Code::Conflict && !asks && tries < APPEND_TRIES_MAX => {
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    async fn send_patch(
        &self,
        name: &FileName,
        mut headers: HeaderMap,
        bytes: Bytes,
        options: &PutOptions,
    ) -> Result<Put, Error> {
        condition(&mut headers, IF_MATCH, options.if_match.as_deref())?;
        condition(&mut headers, IF_NONE_MATCH, options.if_none_match.as_deref())?;
        let key = Some(options.idempotency_key.clone().unwrap_or_else(|| self.new_key()));
        let call = Call { method: Method::PATCH, lane: Lane::Data, route: name.to_path(), headers, key };
        self.run(&call, &Content::new(PutBody::Bytes(bytes), self.0.clock.clone()), |response| async move {
            let (parts, bytes) = whole(response, ANSWER_MAX_BYTES).await?;
            Ok(Put { answer: json(bytes)?, created: parts.status == StatusCode::CREATED })
        })
        .await
    }
}
