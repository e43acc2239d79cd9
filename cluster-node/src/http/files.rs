//! Files as clients and supernodes see them: put, get, delete, list. The routes add where the home comes from.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flotilla_api::{
    BucketName, ClusterName, Code, CommandId, Epoch, FileName, Key, Problem, RequestId,
    files::{ListPage, PutAnswer},
    header,
    peer::ListRequest,
};
use flotilla_env::{Clock, Entropy};
use flotilla_http_server::{
    ApiError, DocumentCache,
    conditions::{ReadVerdict, WriteConditions},
    files::content_length,
};
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode, header as std_header};

use super::{
    admin::Admin,
    answer::{file_headers, list_item, quoted, set},
    conditions::{of_read, precondition},
    disposition,
    error::{file_not_found, of_download, of_home, of_metadata, of_refusal, of_upload, precondition_failed},
    multipart::Multipart,
    range::{self, Wanted},
};
use crate::{
    gateway::{
        budget::Budget,
        download::{self, Memory},
        fetch::Fetcher,
        upload::{self, Committed, Uploads},
    },
    homes::Homes,
    metadata::{
        Answer, Command, Metadata, Precondition, Probe, Refusal,
        list::Entry,
        rows::{FileRow, HomeState, KeyRow},
    },
    under_way::{By, UnderWay},
};

/// The longest media type that is kept with a file, in bytes.
const MEDIA_TYPE_MAX: usize = 255;
/// Bodies from this length on are not read before the precondition is seen to hold; the commit alone refuses smaller ones.
const PROBE_FROM_BYTES: u64 = 64 << 10;

/// What file requests need. Cheap to clone.
#[derive(Clone)]
pub struct FileService {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// Where keys are at home.
    pub homes: Homes,
    /// What operators ask.
    pub admin: Admin,
    /// Uploads.
    pub uploads: Uploads,
    /// Pieces of chunks.
    pub fetcher: Fetcher,
    /// Buckets and principals.
    pub documents: DocumentCache,
    /// Body bytes that all requests of this node may hold.
    pub budget: Budget,
    /// Requests of clients.
    pub under_way: UnderWay,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
    /// Wall time for display.
    pub clock: Arc<dyn Clock>,
}

/// Where a request's home comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// A client came to this node: the home is found out here.
    Direct,
    /// A supernode sent the request here: it knows the home, which has this epoch.
    Forwarded(Epoch),
    /// A supernode sent the client here, for a home that has this epoch.
    Redirected(Epoch),
}

impl Hop {
    /// Who brought the request.
    pub fn by(self) -> By {
        match self {
            Self::Direct | Self::Redirected(_) => By::Client,
            Self::Forwarded(_) => By::Supernode,
        }
    }
}

/// A write that is about to be made.
pub struct Put {
    /// The file.
    pub name: FileName,
    /// The epoch to commit under.
    pub epoch: Epoch,
    /// The key of the commit.
    pub command: CommandId,
    /// The request's id.
    pub request_id: RequestId,
    /// What the client asks of the current version.
    pub conditions: WriteConditions,
    /// Where the epoch comes from.
    pub hop: Hop,
}

impl FileService {
    /// Makes the key of a client's command: its own Idempotency-Key, else one of ours.
    pub fn command(&self, idempotency_key: Option<RequestId>) -> CommandId {
        match idempotency_key {
            Some(id) => CommandId { id, seen: None },
            None => self.metadata.fresh_id(&*self.entropy),
        }
    }

    /// Refuses a bucket that does not exist.
    pub async fn check_bucket(&self, bucket: &BucketName) -> Result<(), ApiError> {
        if self.documents.has_bucket(bucket) {
            return Ok(());
        }
        match self.homes.has_bucket(bucket).await.map_err(|error| of_home(&error))? {
            true => Ok(()),
            false => Err(ApiError::new(Code::BucketNotFound, format!("there is no bucket '{bucket}'"))),
        }
    }

    /// As [`FileService::check_bucket`], for a file: a key that is at home here proves it.
    pub async fn check_bucket_of(&self, name: &FileName) -> Result<(), ApiError> {
        let row = self.metadata.key(name).map_err(|error| of_metadata(&error))?;
        match row.is_some_and(|row| row.home == HomeState::Open) {
            true => Ok(()),
            false => self.check_bucket(&name.bucket).await,
        }
    }

    /// Stores a body.
    pub async fn put(&self, request: Put, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
        let Put { name, mut epoch, command, request_id, conditions, hop } = request;
        let _counted = self.under_way.count_one(hop.by());
        let precondition = precondition(&conditions);
        if let Some(KeyRow { epoch: held, home, .. }) = self.metadata.key(&name).map_err(|error| of_metadata(&error))?
            && (home == HomeState::Closed || held != epoch)
        {
            // Applied state may lag behind, but a row never goes back: better refuse before the body than after it.
            match home {
                HomeState::Open if hop == Hop::Direct => epoch = held,
                // Granted anew before the record of its closed predecessor was dropped.
                HomeState::Closed if held < epoch => {}
                HomeState::Closed => {
                    epoch = self.homes.again(&name, held).await.map_err(|error| of_home(&error))?;
                }
                HomeState::Open | HomeState::Sealed => return Err(of_refusal(&Refusal::WrongHome)),
            }
        }
        flotilla_env::failpoint!("gateway.after_claim", |_| Err(of_home(&crate::homes::Error::Directory(
            "a failpoint".into()
        ))));
        let length = content_length(headers);
        if precondition != Precondition::Always && length.is_none_or(|length| length >= PROBE_FROM_BYTES) {
            self.probe(&name, epoch, &precondition, &command).await?;
        }
        let request = upload::Request {
            name: name.clone(),
            epoch,
            command,
            precondition,
            media_type: media_type(headers)?,
            length,
        };
        let body = body.into_data_stream().map(|frame| frame.map_err(Into::into));
        let done = self.uploads.put(request, body).await.map_err(|error| of_upload(&error))?;
        Ok(self.made(name, &request_id, done))
    }

    /// Refuses a change before its body is read if its precondition is seen to fail; what passes is decided by the commit.
    pub(super) async fn probe(
        &self,
        name: &FileName,
        epoch: Epoch,
        precondition: &Precondition,
        command: &CommandId,
    ) -> Result<(), ApiError> {
        self.metadata.barrier().await.map_err(|error| of_metadata(&error))?;
        let row = self.metadata.key(name).map_err(|error| of_metadata(&error))?;
        if precondition.check(row.as_ref().and_then(|row| row.file.as_ref())).is_ok() {
            return Ok(());
        }
        // Applied state alone can't refuse: it may be this very request, sent before, that changed the file. The log knows.
        let probe = Probe { name: name.clone(), epoch, precondition: precondition.clone() };
        let applied = self.metadata.propose(command.clone(), Command::Probe(probe)).await;
        match applied.map_err(|error| of_metadata(&error))?.answer {
            Answer::Refused(refusal) => Err(of_refusal(&refusal)),
            made => {
                tracing::debug!(name = %name.to_header(), ?made, "change goes on behind its probe");
                Ok(())
            }
        }
    }

    /// The answer to a change that made a version.
    pub fn made(&self, name: FileName, request_id: &RequestId, done: Committed) -> Response {
        let answer = PutAnswer {
            bucket: name.bucket,
            key: name.key,
            size: done.size,
            etag: done.etag.clone(),
            version: done.version.to_string(),
            cluster: self.cluster.clone(),
            epoch: done.version.epoch,
            replicas: self.uploads.replicas(),
            request_id: request_id.to_string(),
        };
        let status = if done.created { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = (status, Json(answer)).into_response();
        let headers = response.headers_mut();
        set(headers, header::VERSION, done.version.to_string());
        set(headers, header::CLUSTER, self.cluster.to_string());
        set(headers, header::EPOCH, done.version.epoch.to_string());
        let etag = HeaderValue::try_from(quoted(&done.etag)).expect("an ETag is hex");
        headers.insert(std_header::ETAG, etag);
        response
    }

    /// Finds the current version of a file, linearizably.
    pub async fn find(&self, name: &FileName, hop: Hop) -> Result<(Epoch, FileRow), ApiError> {
        self.metadata.barrier().await.map_err(|error| of_metadata(&error))?;
        let row = self.metadata.key(name).map_err(|error| of_metadata(&error))?;
        match (row, hop) {
            (Some(KeyRow { home: HomeState::Open | HomeState::Sealed, epoch, file }), _) => {
                file.map(|file| (epoch, file)).ok_or_else(file_not_found)
            }
            (Some(KeyRow { home: HomeState::Closed, .. }) | None, Hop::Direct) => {
                self.check_bucket(&name.bucket).await?;
                self.homes.not_elsewhere(name).await.map_err(|error| of_home(&error))?;
                Err(file_not_found())
            }
            // A home that this log closed may be another cluster's by now; one that it did not close is still here, and empty.
            (Some(KeyRow { home: HomeState::Closed, epoch, .. }), Hop::Forwarded(told) | Hop::Redirected(told))
                if told <= epoch =>
            {
                Err(of_refusal(&Refusal::WrongHome))
            }
            (Some(KeyRow { home: HomeState::Closed, .. }) | None, Hop::Forwarded(told) | Hop::Redirected(told)) => {
                let floor = self.metadata.floor().map_err(|error| of_metadata(&error))?;
                Err(if told <= floor { of_refusal(&Refusal::WrongHome) } else { file_not_found() })
            }
        }
    }

    /// Answers GET and HEAD.
    pub async fn get(&self, name: &FileName, headers: &HeaderMap, head: bool, hop: Hop) -> Result<Response, ApiError> {
        let counted = self.under_way.count_one(hop.by());
        let (epoch, file) = self.find(name, hop).await?;
        let mut answer = file_headers(&self.cluster, epoch, &file);
        disposition::add(&mut answer, &name.key);
        let text = |name: std_header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let etag = file.etag.to_string();
        match of_read(headers, &file)? {
            ReadVerdict::Send => {}
            ReadVerdict::Failed => return Err(precondition_failed(Some(&file.etag))),
            ReadVerdict::NotModified => {
                answer.remove(std_header::CONTENT_TYPE);
                return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
            }
        }
        // A Range with an If-Range that names another version is no Range; nor is one with a date, since two versions can be of one
        // second (RFC 9110, section 13.1.5).
        let same = text(std_header::IF_RANGE).is_none_or(|held| held == quoted(&etag));
        let wanted = text(std_header::RANGE).filter(|_| same && !head);
        let whole = 0..file.size;
        let mut form = None;
        let (status, parts) = match range::resolve(wanted, file.size) {
            Wanted::Whole => (StatusCode::OK, Vec::from_iter([whole])),
            Wanted::Part(part) => {
                let text = format!("bytes {}-{}/{}", part.start, part.end - 1, file.size);
                answer.insert(std_header::CONTENT_RANGE, HeaderValue::try_from(text).expect("numbers are ASCII"));
                (StatusCode::PARTIAL_CONTENT, vec![part])
            }
            Wanted::Parts(parts) => {
                let media_type = answer.get(std_header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let multipart = Multipart::new(self.entropy.u128(), media_type.unwrap_or_default(), file.size);
                answer.insert(std_header::CONTENT_TYPE, multipart.content_type());
                form = Some(multipart);
                (StatusCode::PARTIAL_CONTENT, parts)
            }
            Wanted::Unsatisfiable => {
                let mut problem = Problem::new(Code::RangeInvalid, format!("the file has {} bytes", file.size));
                problem.size = Some(file.size);
                return Err(problem.into());
            }
        };
        let bytes = parts.iter().map(|part| part.end - part.start).sum::<u64>();
        let length = form.as_ref().map_or(bytes, |form| form.length(&parts));
        answer.insert(std_header::CONTENT_LENGTH, length.into());
        if head {
            return Ok((status, answer).into_response());
        }
        let crowded = || ApiError::new(Code::RateLimited, "the node holds too many bodies in memory");
        let held = self.budget.acquire_to_read(bytes).await.ok_or_else(crowded)?;
        let memory = Memory::of(self.budget.clone(), held);
        let (metadata, fetcher) = (self.metadata.clone(), self.fetcher.clone());
        let body = match form {
            None => {
                let part = parts.into_iter().next().unwrap_or_default();
                match download::one_piece(&metadata, &fetcher, &file, &part, &memory).await {
                    Ok(Some(bytes)) => return Ok((status, answer, Body::from(bytes)).into_response()),
                    Ok(None) => body(download::stream_range(metadata, fetcher, file, part, memory), 1).await?,
                    Err(error) => return Err(not_begun(&error)),
                }
            }
            Some(form) => {
                let parts = parts.into_iter().map(|part| (form.head(&part), part)).collect();
                body(download::stream_parts(metadata, fetcher, file, parts, form.tail(), memory), 2).await?
            }
        };
        let body = body.into_data_stream().inspect(move |_| {
            let _counted_to_the_end = &counted;
        });
        Ok((status, answer, Body::from_stream(body)).into_response())
    }

    /// Gives the epoch of a key's home, with or without a file; linearizable.
    pub(super) async fn home_of(&self, name: &FileName, hop: Hop) -> Result<Epoch, ApiError> {
        self.metadata.barrier().await.map_err(|error| of_metadata(&error))?;
        match self.metadata.key(name).map_err(|error| of_metadata(&error))? {
            Some(KeyRow { home: HomeState::Open | HomeState::Sealed, epoch, .. }) => Ok(epoch),
            Some(KeyRow { home: HomeState::Closed, .. }) | None => self.find(name, hop).await.map(|(epoch, _)| epoch),
        }
    }

    /// Lists one page of this cluster, linearizably; `next` is a plain name.
    pub async fn list(&self, request: &ListRequest) -> Result<ListPage, ApiError> {
        self.metadata.barrier().await.map_err(|error| of_metadata(&error))?;
        let (metadata, request) = (self.metadata.clone(), request.clone());
        let page = flotilla_env::blocking::spawn(move || metadata.list(&request)).await;
        let page = page.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
        let page = page.map_err(|error| of_metadata(&error))?;
        let mut answer = ListPage { next: page.next, ..ListPage::default() };
        for entry in page.entries {
            match entry {
                Entry::Prefix(prefix) => answer.prefixes.push(prefix),
                Entry::File(key, file) => match Key::try_from(key) {
                    Ok(key) => answer.items.push(list_item(&self.cluster, key, &file)),
                    Err(error) => tracing::error!(%error, "a stored key breaks a rule; it is not listed"),
                },
            }
        }
        Ok(answer)
    }
}

/// Makes a body of a download, whose first `lead` frames are fetched before the head is sent: a file without a copy is an error,
/// not a broken connection.
async fn body(
    stream: impl Stream<Item = Result<Bytes, download::Error>> + Send + 'static,
    lead: usize,
) -> Result<Body, ApiError> {
    let mut stream = Box::pin(stream);
    let mut first = Vec::with_capacity(lead);
    while first.len() < lead {
        match stream.next().await {
            None => break,
            Some(Ok(frame)) => first.push(Ok(frame)),
            Some(Err(error)) => return Err(not_begun(&error)),
        }
    }
    let rest = stream.inspect(|piece| {
        if let Err(error) = piece {
            tracing::error!(%error, "download broke off");
        }
    });
    Ok(Body::from_stream(futures::stream::iter(first).chain(rest)))
}

fn not_begun(error: &download::Error) -> ApiError {
    tracing::error!(%error, "download can't begin");
    of_download(error)
}

fn media_type(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(std_header::CONTENT_TYPE) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.len() <= MEDIA_TYPE_MAX => Ok(Some(text.to_owned())),
        Ok(_) | Err(_) => Err(ApiError::new(
            Code::HeaderInvalid,
            format!("a Content-Type is at most {MEDIA_TYPE_MAX} bytes of visible ASCII"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_a_supernode_sent_here_holds_no_credit_of_it() {
        let by = [Hop::Direct, Hop::Redirected(Epoch(1)), Hop::Forwarded(Epoch(1))].map(Hop::by);
        assert_eq!(by, [By::Client, By::Client, By::Supernode]);
    }
}
