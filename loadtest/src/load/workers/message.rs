//! What leader and runner say to each other: JSON, one message in a line.

use std::{io, time::Duration};

use futures::StreamExt;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_util::codec::{FramedRead, LinesCodec};

use crate::load::{found::Found, series::Step, times::Times};

/// The longest message: a report of all operations in many sizes has some megabytes.
const BYTES_MAX: usize = 64 << 20;
/// How long the other side may take to read what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The version of all of this; both sides must have the same.
pub(super) const PROTOCOL: u32 = 1;

/// What the leader says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Say what your clock shows.
    Ping(u32),
    /// This is your share: make its files.
    Task(Box<Task>),
    /// Begin when your clock shows this, in milliseconds since 1970.
    Go(u64),
    /// End, remove the files, and report what there is.
    Stop,
}

/// What a runner says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// The first word.
    Hello { protocol: u32, version: String, cpus: usize },
    /// The answer to a ping: its number and the clock, in milliseconds since 1970.
    Pong(u32, u64),
    /// Still there; said every few seconds.
    Alive,
    /// The files are made.
    Ready,
    /// A second of the load.
    Second(Box<(Step, Times)>),
    /// The load is over; everything is being read back.
    Measured,
    /// All is over: what was found, and how many seconds after the time of [`Order::Go`] the load began.
    Done(Box<Found>, f64),
    /// It can't be done.
    Failed(String),
}

/// A share of a load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) index: u64,
    pub(crate) shares: u64,
    pub(crate) name: String,
    /// The profile as it was written, and what the command line changed.
    pub(crate) profile: String,
    pub(crate) scale: f64,
    pub(crate) connections: Option<u32>,
    pub(crate) closed: bool,
    pub(crate) keep: bool,
    pub(crate) seed: u64,
    pub(crate) bucket: String,
    pub(crate) target: Option<String>,
    pub(crate) api: Vec<String>,
    pub(crate) token: String,
    /// The credentials for a target that takes them from the environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// The end of a connection on which messages come in.
pub(super) struct Input<T> {
    lines: FramedRead<Box<dyn AsyncRead + Send + Unpin>, LinesCodec>,
    kind: std::marker::PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Input<T> {
    pub(super) fn new(from: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let lines = FramedRead::new(Box::new(from) as Box<_>, LinesCodec::new_with_max_length(BYTES_MAX));
        Self { lines, kind: std::marker::PhantomData }
    }

    /// Gives the next message; none at the end.
    ///
    /// # Errors
    /// A line that is no message, or the connection's own; nothing more can be read then.
    ///
    /// # Cancel safety
    /// Dropped, nothing is lost.
    pub(super) async fn next(&mut self) -> io::Result<Option<T>> {
        match self.lines.next().await {
            None => Ok(None),
            Some(Err(error)) => Err(io::Error::other(error)),
            Some(Ok(line)) => serde_json::from_str(&line).map(Some).map_err(|error| {
                let line: String = line.chars().take(200).collect();
                io::Error::new(io::ErrorKind::InvalidData, format!("'{line}' is no message: {error}"))
            }),
        }
    }
}

/// The end of a connection on which messages go out.
pub(super) struct Output(Box<dyn AsyncWrite + Send + Unpin>);

impl Output {
    pub(super) fn new(to: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(to))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection's own, or `TimedOut`; nothing more can be sent then.
    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
        line.push(b'\n');
        let write = async {
            self.0.write_all(&line).await?;
            self.0.flush().await
        };
        timeout(WRITE_TIMEOUT, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
