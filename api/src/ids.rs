//! Ids and counters as types of their own, so that none is mistaken for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}")]
pub struct ParseError {
    what: &'static str,
    text: String,
}

impl ParseError {
    pub(crate) fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: text.chars().take(64).collect() }
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                text.parse().map(Self).map_err(|_| ParseError::new($what, text))
            }
        }
    };
}

number!(
    /// A node's number within its group; given by the state machine (or at formation) and never reused.
    NodeId,
    "node id"
);
number!(
    /// The identity of one process start that may write chunks; granted by Raft, never reused.
    WriterId,
    "writer id"
);
number!(
    /// A value of the directory's epoch counter; a new one for every grant of a home, never reused.
    Epoch,
    "epoch"
);

/// The identity of a chunk, unique for ever.
///
/// # Shape
/// As text and as a file name: `WWWWWWWWWWWWWWWW-SSSSSSSSSSSSSSSS`, writer and sequence in 16 lower hex digits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The process start that made the chunk.
    pub writer: WriterId,
    /// The chunk's number within that process start.
    pub seq: u64,
}

impl ChunkId {
    /// Length of [`ChunkId::to_bytes`] in bytes.
    pub const LEN: usize = 16;

    /// Gives the id as a database key that sorts by writer, then by sequence.
    ///
    /// # Shape
    /// `[writer u64 BE][seq u64 BE]`
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&self.writer.0.to_be_bytes());
        out[8..].copy_from_slice(&self.seq.to_be_bytes());
        out
    }

    /// Reads an id back from [`ChunkId::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let value = u128::from_be_bytes(bytes);
        Self { writer: WriterId((value >> 64) as u64), seq: value as u64 }
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.writer.0, self.seq)
    }
}

impl FromStr for ChunkId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new("chunk id", text);
        let (writer, seq) = text.split_once('-').ok_or_else(wrong)?;
        let hex = |part: &str| {
            let digits = part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if part.len() == 16 && digits { u64::from_str_radix(part, 16).map_err(|_| wrong()) } else { Err(wrong()) }
        };
        Ok(Self { writer: WriterId(hex(writer)?), seq: hex(seq)? })
    }
}

/// The place of a commit in a key's history; compared by epoch, then by log index.
///
/// # Shape
/// As text: 32 lower hex digits, epoch then index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Version {
    /// The home's epoch at the commit.
    pub epoch: Epoch,
    /// The commit's index in its cluster's log.
    pub index: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.epoch.0, self.index)
    }
}

impl FromStr for Version {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new("version", text);
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let hex = |part: &str| u64::from_str_radix(part, 16).map_err(|_| wrong());
        Ok(Self { epoch: Epoch(hex(&text[..16])?), index: hex(&text[16..])? })
    }
}

/// A cluster's name: 1 to 32 of `a-z`, `0-9` and `-`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    /// The longest cluster name, in bytes; names become metric labels and folder names.
    pub const LEN_MAX: usize = 32;

    /// Gives the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClusterName {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        let tail = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good = text.len() <= Self::LEN_MAX
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && text.bytes().all(tail);
        if good { Ok(Self(text)) } else { Err(ParseError::new("cluster name (1 to 32 of a-z, 0-9, -)", &text)) }
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl FromStr for ClusterName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What follows one request through all processes and logs: 1 to 64 of `A-Z a-z 0-9 . _ : -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

impl RequestId {
    /// The longest request id or Idempotency-Key, in bytes; ids become database keys.
    pub const LEN_MAX: usize = 64;

    /// Makes an id from 128 random bits.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// Gives the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RequestId {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        let good = !text.is_empty()
            && text.len() <= Self::LEN_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
        if good { Ok(Self(text)) } else { Err(ParseError::new("request id (1 to 64 of A-Z a-z 0-9 . _ : -)", &text)) }
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl FromStr for RequestId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of a replicated command: a command applied once is answered, not applied, when it comes again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommandId {
    /// The request, or a name that the proposer made unique.
    pub id: RequestId,
    /// The applied index that the maker of the id had seen; `None` for a client's own Idempotency-Key.
    ///
    /// An id older than the oldest kept result can't be told from a new one: it answers `indeterminate`.
    pub seen: Option<u64>,
}

impl CommandId {
    /// Encodes the id for a header between our processes.
    ///
    /// # Shape
    /// `ID` or `ID;seen=N`.
    #[must_use]
    pub fn to_header(&self) -> String {
        self.seen.map_or_else(|| self.id.to_string(), |seen| format!("{};seen={seen}", self.id))
    }

    /// Reads an id back from [`CommandId::to_header`].
    ///
    /// # Errors
    /// The text is something else.
    pub fn from_header(text: &str) -> Result<Self, ParseError> {
        let Some((id, seen)) = text.split_once(";seen=") else { return Ok(Self { id: text.parse()?, seen: None }) };
        let seen = seen.parse().map_err(|_| ParseError::new("command id", text))?;
        Ok(Self { id: id.parse()?, seen: Some(seen) })
    }
}
