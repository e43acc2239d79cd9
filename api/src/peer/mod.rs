//! Messages between our own processes; bodies are [`crate::codec`] values.

pub mod auth;
mod credits;
mod homes;
mod messages;

pub use credits::{Answered, Felt, Offer};
pub use homes::{FenceAnswer, FenceRequest, HOME_RECORDS_MAX, HomeRecord, HomesAnswer, HomesRequest, RecordState};
pub use messages::{
    CORRUPT_TOLD_MAX, ChunkAck, ClaimAnswer, ClaimRequest, ClusterReport, Copy, Document, Documents, FailedCopy,
    FormAnswer, FormRequest, GreetAnswer, GreetRequest, HOMES_MAX, Heartbeat, HeartbeatAnswer, Home, Inspect,
    InspectRequest, InventoryRequest, JoinAnswer, JoinRequest, ListRequest, LocateAnswer, NodeReport, NodeStats,
    NodesAnswer, NodesRequest, PlaceAnswer, PlaceRequest, Principal, ReleaseRequest, ReportAnswer, SettleAnswer,
    SettleRequest, StoredCopy, Supernode,
};

/// The name of the supernodes' group, which no cluster may have: whoever forms or joins a group names it.
pub const SUPERNODES: &str = "supernodes";
