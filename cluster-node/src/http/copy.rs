//! Files made from other files of the cluster, without their bytes: copy and move.

use axum::response::Response;
use flotilla_api::{Code, CommandId, Epoch, FileName, RequestId, header};
use flotilla_http_server::{
    ApiError,
    conditions::{WriteConditions, etag_list},
    files::Source,
};
use http::{HeaderMap, HeaderName};

use super::{
    conditions::{precondition, strong},
    error::{of_home, of_metadata, of_refusal, of_upload, source_not_found},
    files::{FileService, Hop},
};
use crate::{
    gateway::upload::{self, Committed},
    metadata::{Answer, Command, Copy, Precondition, Refusal},
};

/// A copy or move that is about to be made.
pub struct Make {
    /// The file that is made.
    pub name: FileName,
    /// Its home's epoch.
    pub epoch: Epoch,
    /// The file that it is made from.
    pub source: Source,
    /// The command's id.
    pub command: CommandId,
    /// The request's id.
    pub request_id: RequestId,
    /// What the client asks of the file that is made.
    pub conditions: WriteConditions,
    /// Where the epoch comes from.
    pub hop: Hop,
}

/// Reads what the client asks of the source.
///
/// # Errors
/// 400 `header_invalid`.
pub fn source_precondition(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    let list = etag_list(headers, &HeaderName::from_static(header::SOURCE_IF_MATCH))?;
    Ok(list.map_or(Precondition::Always, |list| Precondition::Etags { matches: Some(strong(&list)), differs: None }))
}

impl FileService {
    /// Copies or moves a file within the cluster; one command decides all of it.
    pub async fn make(&self, request: Make, headers: &HeaderMap) -> Result<Response, ApiError> {
        let Make { name, epoch, source, command, request_id, conditions, hop } = request;
        let _counted = self.under_way.count_one(hop.by());
        if source.name == name {
            return Err(ApiError::new(Code::HeaderInvalid, "a file is not made from itself"));
        }
        let mut copy = Copy {
            from: source.name,
            from_precondition: source_precondition(headers)?,
            moves: source.moves,
            to: name.clone(),
            epoch,
            precondition: precondition(&conditions),
            now_ms: self.clock.wall_ms(),
        };
        let propose = async |command, copy: &Copy| {
            let applied = self.metadata.propose(command, Command::Copy(Box::new(copy.clone()))).await;
            applied.map_err(|error| of_metadata(&error))
        };
        let mut applied = propose(command.clone(), &copy).await?;
        if let Answer::Refused(Refusal::WrongHome | Refusal::BelowFloor) = applied.answer {
            // The home ended meanwhile. A refusal that was kept tells of an earlier epoch: the one at hand is to be tried first.
            if !applied.replayed {
                copy.epoch = self.homes.again(&name, epoch).await.map_err(|error| of_home(&error))?;
            }
            applied = propose(upload::again(&command), &copy).await?;
        }
        match applied.answer {
            Answer::Made { version, created, size, etag } => {
                Ok(self.made(name, &request_id, Committed { version, created, size, etag: etag.to_string() }))
            }
            Answer::Refused(Refusal::NotFound) => Err(source_not_found()),
            Answer::Refused(refusal) => Err(of_refusal(&refusal)),
            other => Err(of_upload(&upload::Error::Unknown(format!("a copy was answered with {other:?}")))),
        }
    }
}
