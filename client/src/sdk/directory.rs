//! Clusters on their way out, and the directory as a whole; for the root principal.

use flotilla_api::{
    ClusterName,
    directory::{Entry, Forgotten, Line, Retirement},
    route,
};
use futures::stream::BoxStream;
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;

use super::{
    client::Client,
    content::Content,
    error::Error,
    exchange::{ANSWER_MAX_BYTES, Call},
    fsck::lines,
    list::read,
};
use crate::transport::Lane;

impl Client {
    /// Asks how far a cluster is on its way out.
    ///
    /// # Errors
    /// See [`Error::kind`].
    pub async fn retirement(&self, cluster: &ClusterName) -> Result<Retirement, Error> {
        self.run_json(&of_cluster(Method::GET, cluster, route::RETIRE), ANSWER_MAX_BYTES).await
    }

    /// Lets a cluster get no new keys, or some again. Doing it again changes nothing.
    ///
    /// # Errors
    /// See [`Error::kind`].
    ///
    /// # Cancel safety
    /// A dropped call may have changed it.
    pub async fn retire(&self, cluster: &ClusterName, on: bool) -> Result<Retirement, Error> {
        let method = if on { Method::POST } else { Method::DELETE };
        self.run_json(&of_cluster(method, cluster, route::RETIRE), ANSWER_MAX_BYTES).await
    }

    /// Ends a cluster that has no home left; with `fence` one that is lost, whatever it had.
    ///
    /// # Errors
    /// See [`Error::kind`]; 409 `conflict` for one that has homes, or that reports although it was said to be lost. 404 after a
    /// retry can mean that the first try ended it.
    ///
    /// # Cancel safety
    /// A dropped call may have ended it.
    pub async fn forget_cluster(&self, cluster: &ClusterName, fence: bool) -> Result<Forgotten, Error> {
        let what = if fence { format!("{}?fence=true", route::FORGET) } else { route::FORGET.to_owned() };
        self.run_json(&of_cluster(Method::POST, cluster, &what), ANSWER_MAX_BYTES).await
    }

    /// Makes a directory that was lost anew from its clusters; `fence` are given up for ever. The last line is a summary or a
    /// failure.
    ///
    /// # Errors
    /// See [`Error::kind`]; 409 `conflict` for a directory that has homes. A stream that ends without a last line was cut off; it can
    /// be begun again.
    ///
    /// # Cancel safety
    /// The work ends with the stream, and leaves the directory as one that is being made anew.
    pub async fn rebuild_directory(
        &self,
        fence: &[ClusterName],
    ) -> Result<BoxStream<'static, Result<Line, Error>>, Error> {
        let names: Vec<&str> = fence.iter().map(ClusterName::as_str).collect();
        let route = format!("{}?fence={}", route::DIRECTORY_REBUILD, names.join(","));
        self.stream_lines(Method::POST, route).await
    }

    /// Holds the directory against its clusters. The last line is a summary or a failure.
    ///
    /// # Errors
    /// See [`Error::kind`]; a stream that ends without a last line was cut off.
    pub async fn verify_directory(&self) -> Result<BoxStream<'static, Result<Line, Error>>, Error> {
        self.stream_lines(Method::GET, route::DIRECTORY_VERIFY.to_owned()).await
    }

    /// Asks for all that the directory knows. The last line is the end or a failure.
    ///
    /// # Errors
    /// See [`Error::kind`]; a stream that ends without a last line was cut off.
    pub async fn dump_directory(&self) -> Result<BoxStream<'static, Result<Entry, Error>>, Error> {
        self.stream_lines(Method::GET, route::DIRECTORY_DUMP.to_owned()).await
    }

    async fn stream_lines<T: DeserializeOwned + Send + 'static>(
        &self,
        method: Method,
        route: String,
    ) -> Result<BoxStream<'static, Result<T, Error>>, Error> {
        let call = Call { method, lane: Lane::Data, route, headers: HeaderMap::new(), key: None };
        let content = Content::none(self.0.clock.clone());
        let response = self.run(&call, &content, |response| async move { Ok(response) }).await?;
        Ok(lines(response.into_body()))
    }
}

fn of_cluster(method: Method, cluster: &ClusterName, what: &str) -> Call {
    Call { method, ..read(format!("{}/{cluster}/{what}", route::CLUSTERS)) }
}
