//! Files that are ended.

use axum::response::{IntoResponse, Response};
use flotilla_api::{Code, CommandId, FileName, header};
use flotilla_http_server::{ApiError, conditions::WriteConditions};
use http::StatusCode;

use super::{
    answer::set,
    conditions::precondition,
    error::{of_metadata, of_refusal, of_upload, precondition_failed},
    files::{FileService, Hop},
};
use crate::{
    gateway::upload,
    metadata::{Answer, Command, Delete, Refusal},
};

impl FileService {
    /// Ends a file.
    pub async fn delete(
        &self,
        name: FileName,
        command: CommandId,
        conditions: &WriteConditions,
        hop: Hop,
    ) -> Result<Response, ApiError> {
        let _counted = self.under_way.count_one(hop.by());
        let mut answer = self.try_delete(&name, command.clone(), conditions, hop).await?;
        if matches!(answer, Answer::Refused(Refusal::WrongHome | Refusal::BelowFloor)) {
            // The home ended after it was looked at: another look tells what there is now.
            answer = self.try_delete(&name, upload::again(&command), conditions, hop).await?;
        }
        match answer {
            Answer::Deleted { version } => {
                let mut response = StatusCode::NO_CONTENT.into_response();
                set(response.headers_mut(), header::VERSION, version.to_string());
                set(response.headers_mut(), header::CLUSTER, self.cluster.to_string());
                set(response.headers_mut(), header::EPOCH, version.epoch.to_string());
                Ok(response)
            }
            Answer::Refused(refusal) => Err(of_refusal(&refusal)),
            other => Err(of_upload(&upload::Error::Unknown(format!("a delete was answered with {other:?}")))),
        }
    }

    async fn try_delete(
        &self,
        name: &FileName,
        command: CommandId,
        conditions: &WriteConditions,
        hop: Hop,
    ) -> Result<Answer, ApiError> {
        let epoch = match self.home_of(name, hop).await {
            Ok(epoch) => epoch,
            Err(error) => {
                let asked = error.code == Code::FileNotFound && conditions.if_match.is_some();
                return Err(if asked { precondition_failed(None) } else { error });
            }
        };
        flotilla_env::failpoint!("gateway.before_delete", |_| Err(ApiError::new(Code::NoLeader, "a failpoint")));
        let delete = Delete { name: name.clone(), epoch, precondition: precondition(conditions) };
        let applied = self.metadata.propose(command, Command::Delete(delete)).await;
        Ok(applied.map_err(|error| of_metadata(&error))?.answer)
    }
}
