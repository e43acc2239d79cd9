//! The closed set of error codes and the problem document that carries one (RFC 9457).

use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{ClusterName, Epoch};

macro_rules! codes {
    ($($name:ident $text:literal $status:literal $retryable:literal $title:literal,)*) => {
        /// What went wrong, as clients and scripts see it. The set is closed: a test lists it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(missing_docs)] // each code's title says what it means
        pub enum Code {
            $(#[serde(rename = $text)] #[doc = $title] $name,)*
        }

        impl Code {
            /// Every code, in the order of the statuses.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code's text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The HTTP status that the code answers with.
            #[must_use]
            pub fn status(self) -> StatusCode {
                let number: u16 = match self { $(Code::$name => $status,)* };
                StatusCode::from_u16(number).expect("every status of the table is a valid one")
            }

            /// A short fixed text for people.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            /// Whether the same request, unchanged, can succeed later.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $(Code::$name => $retryable,)* }
            }
        }
    };
}

codes! {
    KeyInvalid "key_invalid" 400 false "The key breaks a rule",
    BucketInvalid "bucket_invalid" 400 false "The bucket's name breaks a rule",
    HeaderInvalid "header_invalid" 400 false "A header or query parameter is not understood",
    BodyInvalid "body_invalid" 400 false "The body is not what was announced",
    Unauthenticated "unauthenticated" 401 false "No valid credential",
    Forbidden "forbidden" 403 false "The credential does not allow this",
    BucketNotFound "bucket_not_found" 404 false "No such bucket",
    FileNotFound "file_not_found" 404 false "No such file",
    UploadNotFound "upload_not_found" 404 false "No such upload",
    RouteNotFound "route_not_found" 404 false "No such route",
    MethodNotAllowed "method_not_allowed" 405 false "The route does not take this method",
    Conflict "conflict" 409 false "Another change came first",
    ChunkGone "chunk_gone" 409 false "The upload's chunks are no longer held for it",
    TicketLost "ticket_lost" 410 false "The ticket is no longer known",
    LengthRequired "length_required" 411 false "The body's length must be given",
    PreconditionFailed "precondition_failed" 412 false "A precondition does not hold",
    TooLarge "too_large" 413 false "The body is too large",
    RangeInvalid "range_invalid" 416 false "The range lies outside the file",
    WrongHome "wrong_home" 421 true "The key is at home in another cluster",
    Locked "locked" 423 true "Another writer holds the upload",
    RateLimited "rate_limited" 429 true "Too many requests",
    QueueFull "queue_full" 429 true "The queue is full",
    Internal "internal" 500 false "A bug or a failed machine",
    DataCorrupt "data_corrupt" 500 false "No good copy is left",
    NotReady "not_ready" 503 true "The server is starting or stopping",
    NoLeader "no_leader" 503 true "The group has no leader",
    CatchingUp "catching_up" 503 true "The node is installing a snapshot",
    ReplicasUnavailable "replicas_unavailable" 503 true "Too few nodes can store a copy",
    DirectoryUnavailable "directory_unavailable" 503 true "No supernode answers",
    ClusterUnavailable "cluster_unavailable" 503 true "The home cluster does not answer",
    ListIncomplete "list_incomplete" 503 true "A cluster could not be listed",
    UploadInterrupted "upload_interrupted" 503 true "The upload was cut before its commit",
    Moving "moving" 503 true "The key is moving to another cluster",
    LeaseExpired "lease_expired" 503 true "The cluster's lease ran out",
    QueueTimeout "queue_timeout" 503 true "The request waited too long",
    Indeterminate "indeterminate" 504 false "The outcome is not known",
    DurabilityNotReached "durability_not_reached" 504 false "The asked durability was not reached in time",
    Full "full" 507 false "The disks are full",
    QuotaExceeded "quota_exceeded" 507 false "The quota is used up",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as it goes over the wire: `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Problem {
    /// `urn:flotilla:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's fixed title.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do; for the client's eyes.
    pub detail: String,
    /// The code.
    pub code: Code,
    /// The request's id; the same as in the header `X-Request-Id`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Whether the same request can succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What to change so that it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The file's current ETag (quoted), where a precondition failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The file's length in bytes, where a range lies outside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Where the key is at home, if it is not here and the server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<HomeElsewhere>,
}

/// The home that a key has elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeElsewhere {
    /// The cluster.
    pub cluster: ClusterName,
    /// The epoch of its home.
    pub epoch: Epoch,
    /// Addresses of its nodes, as URLs, the best one first; none if none is known.
    pub addresses: Vec<String>,
}

impl Problem {
    /// The media type of a problem document.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// Makes a problem from a code and a sentence for the client.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:flotilla:{code}"),
            title: code.title().to_owned(),
            status: code.status().as_u16(),
            detail: detail.into(),
            code,
            request_id: String::new(),
            retryable: code.retryable(),
            retry_after_ms: None,
            hint: None,
            etag: None,
            size: None,
            home: None,
        }
    }

    /// Adds what the client should change.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds when the client should try again.
    #[must_use]
    pub fn retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }
}
