//! Messages between our own processes; bodies are [`crate::codec`] values.

pub mod auth;
mod messages;

pub use messages::{
    ChunkAck, ClaimAnswer, ClaimRequest, ClusterReport, Document, Documents, FormAnswer, FormRequest, Heartbeat, Home,
    ListRequest, LocateAnswer, NodeReport, NodeStats, PlaceAnswer, PlaceRequest, Principal, ReportAnswer, StoredCopy,
};
