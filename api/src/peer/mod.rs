//! Messages between our own processes; bodies are [`crate::codec`] values.

pub mod auth;
mod messages;

pub use messages::{
    CORRUPT_TOLD_MAX, ChunkAck, ClaimAnswer, ClaimRequest, ClusterReport, Copy, Document, Documents, FailedCopy,
    FormAnswer, FormRequest, HOMES_MAX, Heartbeat, Home, InspectRequest, InventoryRequest, ListRequest, LocateAnswer,
    NodeReport, NodeStats, NodesAnswer, NodesRequest, PlaceAnswer, PlaceRequest, Principal, ReleaseRequest,
    ReportAnswer, SettleAnswer, SettleRequest, StoredCopy,
};
