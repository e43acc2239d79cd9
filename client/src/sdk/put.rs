//! Changes of files: PUT and DELETE, with preconditions and Idempotency-Keys.

use bytes::Bytes;
use flotilla_api::{FileName, RequestId, TicketAnswer, TicketId, files::PutAnswer, header};
use futures::TryStreamExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{IF_MATCH, IF_NONE_MATCH},
};

use super::{
    client::Client,
    content::{Content, PutBody},
    error::Error,
    exchange::{ANSWER_MAX_BYTES, Call, json, whole},
    tickets::{Queue, is_lost},
};
use crate::transport::Lane;

/// How many tickets of one PUT may be lost: whoever is too late for so many turns is too slow for any.
const LOST_MAX: u32 = 3;

/// What a PUT was answered with.
enum Sent {
    Stored(Put),
    Waits(TicketAnswer),
}

/// How a PUT is done.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// The id under which the change is made at most once; made from random bits where there is none.
    pub idempotency_key: Option<RequestId>,
    /// Only if the file has this ETag (with or without quotes), or exists at all (`*`).
    pub if_match: Option<String>,
    /// Only if the file does not have this ETag, or does not exist (`*`).
    pub if_none_match: Option<String>,
    /// What it does if it would have to wait for its place at a cluster.
    pub queue: Queue,
    /// The ticket under which it is sent, whose turn has come: see [`Error::Granted`].
    pub ticket: Option<TicketId>,
}

/// How a DELETE is done; the fields mean what those of [`PutOptions`] do.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// The id under which the change is made at most once; made from random bits where there is none.
    pub idempotency_key: Option<RequestId>,
    /// Only if the file has this ETag (with or without quotes).
    pub if_match: Option<String>,
    /// Only if the file does not have this ETag.
    pub if_none_match: Option<String>,
}

/// A PUT that was acked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// What the server answered.
    pub answer: PutAnswer,
    /// Whether the file is new; otherwise it was replaced.
    pub created: bool,
}

/// A DELETE that was acked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The version of the deletion, 32 hex digits, if the server told it.
    pub version: Option<String>,
}

impl Client {
    /// Stores a file.
    ///
    /// # Durability
    /// `Ok` means that the version is committed and every chunk of it synced on as many nodes as the answer's `replicas` says.
    ///
    /// # Bounds
    /// Bytes are sent again, a stream only if nothing was taken from it, a bounded number of times and always under the same key.
    /// With a ticket it waits for its turn however long that takes; a ticket that is lost is replaced, three times at most, and one
    /// that can't be waited for is given back.
    ///
    /// # Errors
    /// See [`Error::kind`]. [`Error::Source`]: the stream failed or its length is not the announced one; nothing is stored.
    /// [`Error::Indeterminate`]: the file may have been stored, or be stored later; the same body under the same key settles it.
    /// [`Error::Granted`]: the turn of its ticket has come, and the stream was begun; send it anew under the ticket.
    ///
    /// # Cancel safety
    /// A dropped PUT may have been stored if its whole body was sent. One that waits leaves its ticket, whose turn others wait for:
    /// see [`Queue::Told`] and [`Client::cancel_ticket`].
    pub async fn put(&self, name: &FileName, body: PutBody, options: &PutOptions) -> Result<Put, Error> {
        let body = check_empty(body).await?;
        let content = Content::new(body, self.0.clock.clone());
        let mut headers = HeaderMap::new();
        condition(&mut headers, IF_MATCH, options.if_match.as_deref())?;
        condition(&mut headers, IF_NONE_MATCH, options.if_none_match.as_deref())?;
        if options.queue.takes_ticket() {
            headers.insert(HeaderName::from_static("prefer"), HeaderValue::from_static("respond-async"));
        }
        let key = options.idempotency_key.clone().unwrap_or_else(|| self.new_key());
        let mut call = Call { method: Method::PUT, lane: Lane::Data, route: name.to_path(), headers, key: Some(key) };
        let (mut ticket, mut lost) = (options.ticket, 0);
        loop {
            let asked = self.send_under(&mut call, &content, ticket).await;
            let waited = match asked {
                Ok(Sent::Stored(put)) => return Ok(put),
                Ok(Sent::Waits(answer)) => {
                    ticket = Some(answer.id);
                    self.wait_for_turn(answer, &options.queue).await
                }
                Err(error) => Err(error),
            };
            match (waited, ticket) {
                (Ok(()), _) if content.reopens() => {}
                (Ok(()), Some(ticket)) => return Err(Error::Granted { ticket }),
                (Err(error), Some(_)) if is_lost(&error) && lost < LOST_MAX && content.reopens() => {
                    lost += 1;
                    ticket = None;
                }
                (Err(error), _) => return Err(error),
                (Ok(()), None) => unreachable!("it was a ticket's turn that was waited for"),
            }
        }
    }

    async fn send_under(&self, call: &mut Call, content: &Content, ticket: Option<TicketId>) -> Result<Sent, Error> {
        let name = HeaderName::from_static(header::TICKET);
        match ticket {
            Some(id) => {
                let value = HeaderValue::try_from(id.to_string()).expect("hex digits are ASCII");
                call.headers.insert(name, value);
            }
            None => {
                call.headers.remove(name);
            }
        }
        self.run(call, content, |response| async move {
            let (parts, bytes) = whole(response, ANSWER_MAX_BYTES).await?;
            Ok(match parts.status {
                StatusCode::ACCEPTED => Sent::Waits(json(bytes)?),
                status => Sent::Stored(Put { answer: json(bytes)?, created: status == StatusCode::CREATED }),
            })
        })
        .await
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// See [`Error::kind`]. [`Error::Indeterminate`]: the file may have been deleted; the same key settles it.
    ///
    /// # Cancel safety
    /// A dropped DELETE may have been done.
    pub async fn delete(&self, name: &FileName, options: &DeleteOptions) -> Result<Deleted, Error> {
        let mut headers = HeaderMap::new();
        condition(&mut headers, IF_MATCH, options.if_match.as_deref())?;
        condition(&mut headers, IF_NONE_MATCH, options.if_none_match.as_deref())?;
        let key = options.idempotency_key.clone().unwrap_or_else(|| self.new_key());
        let call = Call { method: Method::DELETE, lane: Lane::Control, route: name.to_path(), headers, key: Some(key) };
        self.run(&call, &Content::none(self.0.clock.clone()), |response| async move {
            let (parts, _) = whole(response, ANSWER_MAX_BYTES).await?;
            let version = parts.headers.get(header::VERSION).and_then(|v| v.to_str().ok());
            Ok(Deleted { version: version.map(str::to_owned) })
        })
        .await
    }
}

/// Reads a stream that is announced as empty, since no connection would: a body of 0 bytes is never asked for any.
async fn check_empty(body: PutBody) -> Result<PutBody, Error> {
    let PutBody::Stream { mut stream, length: Some(0) } = body else { return Ok(body) };
    while let Some(bytes) = stream.try_next().await.map_err(Error::Source)? {
        if !bytes.is_empty() {
            let why = "the source has more than the 0 bytes announced";
            return Err(Error::Source(std::io::Error::new(std::io::ErrorKind::InvalidData, why)));
        }
    }
    Ok(PutBody::Bytes(Bytes::new()))
}

pub(super) fn condition(headers: &mut HeaderMap, name: HeaderName, etag: Option<&str>) -> Result<(), Error> {
    let Some(etag) = etag else { return Ok(()) };
    let text = if etag == "*" || etag.contains('"') { etag.to_owned() } else { format!("\"{etag}\"") };
    let value = HeaderValue::try_from(text).map_err(|_| Error::Invalid(format!("'{etag}' is not an ETag")))?;
    headers.insert(name, value);
    Ok(())
}
