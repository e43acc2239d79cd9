//! Answers that come line by line, and the first of them: a cluster's metadata against its disks.

use bytes::{Bytes, BytesMut};
use flotilla_api::{ClusterName, fsck::Line, route};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, Method};
use http_body_util::BodyDataStream;
use serde::de::DeserializeOwned;

use super::{
    client::Client,
    content::Content,
    error::Error,
    exchange::{Call, STALL},
};
use crate::{body::Body, transport::Lane};

/// The longest line: a finding with a few keys of 1 KiB in escapes.
const LINE_MAX_BYTES: usize = 64 << 10;

impl Client {
    /// Compares a cluster's metadata with the disks of its nodes; for the root principal. The last line is a summary or a failure.
    ///
    /// # Errors
    /// See [`Error::kind`]; a stream that ends without either was cut off.
    pub async fn fsck(
        &self,
        cluster: &ClusterName,
        verify: bool,
    ) -> Result<BoxStream<'static, Result<Line, Error>>, Error> {
        let query = if verify { "?verify=true" } else { "" };
        let route = format!("{}/{cluster}/{}{query}", route::CLUSTERS, route::FSCK);
        let call = Call { method: Method::GET, lane: Lane::Data, route, headers: HeaderMap::new(), key: None };
        let content = Content::none(self.0.clock.clone());
        let response = self.run(&call, &content, |response| async move { Ok(response) }).await?;
        Ok(lines(response.into_body()))
    }
}

struct Reader {
    frames: BodyDataStream<Body>,
    held: BytesMut,
}

/// Reads an answer of JSON lines.
pub(super) fn lines<T: DeserializeOwned + Send + 'static>(body: Body) -> BoxStream<'static, Result<T, Error>> {
    let reader = Reader { frames: BodyDataStream::new(body), held: BytesMut::new() };
    stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next::<T>().await {
            Ok(Some(line)) => Some((Ok(line), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

impl Reader {
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(end + 1).freeze();
                return parse(&line).map(Some);
            }
            if self.held.len() > LINE_MAX_BYTES {
                return Err(Error::Malformed("a line of the answer is too long".into()));
            }
            match tokio::time::timeout(STALL, self.frames.next()).await {
                Err(_) => return Err(Error::Malformed(format!("no line within {STALL:?}"))),
                Ok(Some(Err(error))) => return Err(Error::Malformed(format!("the answer broke off: {error}"))),
                Ok(Some(Ok(bytes))) => self.held.extend_from_slice(&bytes),
                Ok(None) if self.held.is_empty() => return Ok(None),
                Ok(None) => return Err(Error::Malformed("the answer ends within a line".into())),
            }
        }
    }
}

fn parse<T: DeserializeOwned>(line: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(line).map_err(|error| Error::Malformed(error.to_string()))
}
