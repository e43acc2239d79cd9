//! Changes of a part of a file, and appends.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use flotilla_api::{Code, CommandId, FileName, RequestId};
use flotilla_http_server::{
    ApiError,
    conditions::WriteConditions,
    files::{Place, place},
};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, header};

use super::{
    conditions::precondition,
    error::{of_upload, precondition_failed},
    files::{FileService, Hop},
};
use crate::{gateway::upload, metadata::Precondition};

/// A PATCH that is about to be made.
pub struct Patch {
    /// The file.
    pub name: FileName,
    /// The key of the commit.
    pub command: CommandId,
    /// The request's id.
    pub request_id: RequestId,
    /// What the client asks of the current version.
    pub conditions: WriteConditions,
    /// Who found out about the home.
    pub hop: Hop,
}

impl FileService {
    /// Makes a new version from the current one and the bytes that the request brings.
    pub async fn patch(&self, request: Patch, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
        let Patch { name, command, request_id, conditions, hop } = request;
        let _counted = self.under_way.count_one(hop.by());
        let place = place(headers)?;
        let (epoch, base) = match self.find(&name, hop).await {
            Ok(found) => found,
            Err(error) if error.code == Code::FileNotFound && conditions.if_match.is_some() => {
                return Err(precondition_failed(None));
            }
            Err(error) => return Err(error),
        };
        let asked = precondition(&conditions);
        if asked.check(Some(&base)).is_err() {
            self.probe(&name, epoch, &asked, &command).await?;
        }
        let (first, length, size) = match place {
            Place::At { first, length, size } => (first, length, size),
            Place::End { length } => (base.size, length, None),
        };
        let after = first.checked_add(length).map(|end| end.max(base.size));
        let Some(after) = after.filter(|after| first <= base.size && size.is_none_or(|size| size == *after)) else {
            return Ok(outside(base.size));
        };
        let request = upload::Request {
            name: name.clone(),
            epoch,
            command,
            precondition: Precondition::Version(base.version),
            media_type: base.media_type.clone(),
            length: Some(after),
        };
        let body = body.into_data_stream().map(|frame| frame.map_err(Into::into));
        let done = self.uploads.patch(&self.fetcher, request, base, (first, length), body).await;
        Ok(self.made(name, &request_id, done.map_err(|error| of_upload(&error))?))
    }
}

/// The answer to a PATCH that would leave a hole, or expects another length of the file.
fn outside(size: u64) -> Response {
    let detail = format!("the file has {size} bytes; a change begins at its end or before it and leaves no hole");
    let size = HeaderValue::try_from(format!("bytes */{size}")).expect("numbers are ASCII");
    ([(header::CONTENT_RANGE, size)], ApiError::new(Code::RangeInvalid, detail)).into_response()
}
