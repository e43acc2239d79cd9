//! The members of the supernode group, as operators see them: answers of `/v1/supernodes` as JSON.

use serde::{Deserialize, Serialize};

use crate::{
    NodeId,
    admin::{Role, Standing},
};

/// The answer to `GET /v1/supernodes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SupernodeList {
    /// The members, by id.
    pub items: Vec<Supernode>,
}

/// A member of the supernode group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supernode {
    /// Its id; never given to another one.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its peer address.
    pub peer: String,
    /// Its public address, as a URL; none before its first start was noted.
    pub public: Option<String>,
    /// What it is in the Raft group.
    pub role: Role,
    /// Whether the leader hears of it.
    pub standing: Standing,
    /// For how long it has been silent, as far as this leader can know, in milliseconds.
    pub silent_ms: u64,
    /// Whether it leaves the group for ever.
    pub leaves: bool,
}
