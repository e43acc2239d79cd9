//! The ledger's store over the SDK: turns its answers and errors into what is known of an outcome.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use flotilla_api::{BucketName, Code, FileName, RequestId};
use flotilla_client::{Client, DeleteOptions, Error, ListQuery, Options, PutBody, PutOptions};
use flotilla_env::{clock, entropy};
use futures::TryStreamExt;

use super::{
    SIZE_MAX,
    line::{Op, Outcome, outcome},
    oracle::{Listed, Read},
    store::{Answer, Page, Store, StoreError},
};
use crate::Target;

/// Status of a line whose request reached no server: nothing was done, as after a 503 of a server.
const UNREACHABLE_STATUS: u16 = 503;

/// A bucket of a deployment, through the SDK.
#[derive(Debug)]
pub(crate) struct Sdk {
    client: Client,
    bucket: BucketName,
}

impl Sdk {
    /// Connects to a deployment; `retries` is the SDK's number of further tries per request.
    ///
    /// # Errors
    /// [`StoreError`]: an address, the token or the bucket's name is wrong.
    pub(crate) fn new(target: &Target, bucket: &str, retries: u32) -> Result<Self, StoreError> {
        let options = Options { api: target.api.clone(), token: target.token.clone(), retries, ..Options::default() };
        Ok(Self { client: Client::new(options, clock::system(), entropy::system())?, bucket: bucket.parse()? })
    }

    fn name(&self, key: &str) -> Result<FileName, StoreError> {
        Ok(FileName { bucket: self.bucket.clone(), key: key.parse()? })
    }
}

#[async_trait]
impl Store for Sdk {
    async fn put(&self, key: &str, content: Bytes, request_id: &RequestId) -> Answer {
        let options = PutOptions { idempotency_key: Some(request_id.clone()), ..PutOptions::default() };
        let put = async { Ok(self.client.put(&self.name(key)?, PutBody::Bytes(content), &options).await?) };
        match put.await {
            Ok(put) => Answer {
                status: Some(if put.created { 201 } else { 200 }),
                version: Some(put.answer.version),
                etag: Some(put.answer.etag),
                error: None,
            },
            Err(error) => failed(error),
        }
    }

    async fn delete(&self, key: &str, request_id: &RequestId) -> Answer {
        let options = DeleteOptions { idempotency_key: Some(request_id.clone()), ..DeleteOptions::default() };
        let delete = async { Ok(self.client.delete(&self.name(key)?, &options).await?) };
        match delete.await {
            Ok(deleted) => Answer { status: Some(204), version: deleted.version, ..Answer::default() },
            Err(error) => failed(error),
        }
    }

    async fn get(&self, key: &str) -> Result<Read, StoreError> {
        let download = match self.client.get(&self.name(key)?, None).await {
            Ok(download) => download,
            Err(error) => return unread(error),
        };
        let mut content = BytesMut::new();
        let mut body = download.body;
        loop {
            match body.try_next().await {
                Ok(Some(bytes)) if (content.len() + bytes.len()) as u64 > SIZE_MAX => {
                    return Ok(Read::Broken(format!("the content has more than {SIZE_MAX} bytes")));
                }
                Ok(Some(bytes)) => content.extend_from_slice(&bytes),
                Ok(None) => return Ok(Read::File { content: content.freeze(), etag: download.info.etag }),
                Err(error) => return unread(error),
            }
        }
    }

    async fn list(&self, prefix: &str, cursor: Option<String>) -> Result<Page, StoreError> {
        let query = ListQuery { prefix: prefix.to_owned(), cursor, ..ListQuery::default() };
        let page = self.client.list(&self.bucket, &query).await?;
        let files = page.items.into_iter();
        let files = files.map(|item| (String::from(item.key), Listed { size: item.size, etag: item.etag })).collect();
        Ok(Page { files, next: page.next })
    }
}

/// Says what a failed change leaves known. [`Error::Problem`] is only given where no try before it can have had an effect.
fn failed(error: StoreError) -> Answer {
    let status = match &error {
        StoreError::Client(Error::Problem(problem)) => Some(problem.status),
        StoreError::Client(Error::Unreachable { .. }) => Some(UNREACHABLE_STATUS),
        // The request was never made.
        StoreError::Client(Error::Invalid(_)) | StoreError::Name(_) => Some(400),
        StoreError::Client(
            Error::Indeterminate { .. }
            | Error::Interrupted { .. }
            | Error::Length { .. }
            | Error::Granted { .. }
            | Error::Malformed(_)
            | Error::Source(_),
        ) => None,
    };
    // A 404 of the bucket is no answer about the file.
    let bucket = matches!(&error, StoreError::Client(Error::Problem(problem)) if problem.code == Code::BucketNotFound);
    let status = status.map(|status| if bucket { 400 } else { status });
    // Readers of the ledger need not know which statuses leave the outcome open: those lines have none.
    let status = status.filter(|&status| outcome(Op::Put, Some(status)) != Outcome::Unknown);
    Answer { status, error: Some(error), ..Answer::default() }
}

/// Tells a missing or broken file, which is an answer, from a read that failed.
fn unread(error: Error) -> Result<Read, StoreError> {
    match error {
        Error::Problem(problem) if problem.code == Code::FileNotFound => Ok(Read::Absent),
        Error::Problem(problem) if problem.code == Code::DataCorrupt => Ok(Read::Broken(problem.detail)),
        error @ Error::Length { .. } => Ok(Read::Broken(error.to_string())),
        error => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::{Code, Problem, RequestId};
    use flotilla_client::Error;

    use super::failed;
    use crate::ledger::line::{Op, Outcome, outcome};

    fn check(error: impl Fn() -> Error, expect: Outcome) {
        for op in [Op::Put, Op::Delete] {
            let status = failed(error().into()).status;
            assert_eq!(outcome(op, status), expect, "{op:?}: {}", error());
            assert_eq!(status.is_none(), expect == Outcome::Unknown, "{op:?}: {}", error());
        }
    }

    fn problem(code: Code) -> Box<Problem> {
        Box::new(Problem::new(code, "because"))
    }

    #[test]
    fn outcome_is_only_known_where_the_sdk_knows_it() {
        let key = RequestId::from_bits(1);
        for code in [Code::NoLeader, Code::ReplicasUnavailable, Code::Full, Code::BucketNotFound, Code::Forbidden] {
            check(|| Error::Problem(problem(code)), Outcome::Refused);
        }
        for code in [Code::Indeterminate, Code::DurabilityNotReached, Code::Internal] {
            check(|| Error::Problem(problem(code)), Outcome::Unknown);
        }
        // A refusal, even a 404, says nothing once an earlier try may have had an effect.
        for refusal in [None, Some(problem(Code::NoLeader)), Some(problem(Code::FileNotFound))] {
            let error = || Error::Indeterminate { key: key.clone(), why: "reset".to_owned(), problem: refusal.clone() };
            check(error, Outcome::Unknown);
        }
        check(|| Error::Malformed("what".to_owned()), Outcome::Unknown);
        let unreachable = || Error::Unreachable { address: "a:1".to_owned(), source: "refused".into() };
        check(unreachable, Outcome::Refused);
    }
}
