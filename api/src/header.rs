//! Header names, each written once.

/// The version of the file answered, 32 hex digits.
pub const VERSION: &str = "flotilla-version";
/// The home cluster of the file answered.
pub const CLUSTER: &str = "flotilla-cluster";
/// The epoch of the home; on a peer request, the epoch to commit under.
pub const EPOCH: &str = "flotilla-epoch";
/// The request's id, on every answer.
pub const REQUEST_ID: &str = "x-request-id";
/// The client's own id for a mutating request.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The ticket under which a request is sent, [`crate::TicketId`].
pub const TICKET: &str = "flotilla-ticket";
/// On a PATCH: `true` puts the bytes behind the last one.
pub const APPEND: &str = "flotilla-append";
/// On a copy or a move: the ETags that the source may have, as in `If-Match`.
pub const SOURCE_IF_MATCH: &str = "flotilla-source-if-match";
/// Peers: the source of a copy or a move, [`crate::FileName::to_header`].
pub const SOURCE: &str = "flotilla-source";
/// Peers: whether the source ends with the change, `true` or `false`.
pub const SOURCE_MOVES: &str = "flotilla-source-moves";
/// Peers: the signature of [`crate::peer::auth`].
pub const PEER: &str = "flotilla-peer";
/// Peers: the file's name, [`crate::FileName::to_header`].
pub const NAME: &str = "flotilla-name";
/// Peers: the command id of a mutating request, `id` or `id;seen=N`.
pub const COMMAND: &str = "flotilla-command";
/// Peers: the chunk a request is about.
pub const CHUNK: &str = "flotilla-chunk";
/// Peers: the chunk's offset in its tree, in bytes; in an answer, as the copy says.
pub const CHUNK_OFFSET: &str = "flotilla-chunk-offset";
/// Peers: what the reader knows of the chunk, which a copy must agree with: `LENGTH-OFFSET-CV-DEPTH`.
pub const CHUNK_FACTS: &str = "flotilla-chunk-facts";
/// Peers: the most bytes that the chunk can have; space is reserved for them.
pub const CHUNK_RESERVE: &str = "flotilla-chunk-reserve";
/// Peers: the rest of a replication chain, `ID@HOST:PORT,ID@HOST:PORT`.
pub const CHUNK_NEXT: &str = "flotilla-chunk-next";
/// Peers: how long an answer took at its node, in microseconds.
pub const TOOK: &str = "flotilla-took";
/// Peers: CRC32C of the block sums of a chunk's bytes as answered, in decimal.
pub const CHUNK_CRC: &str = "flotilla-chunk-crc";
