//! What a group's machine and its leader keep of the members, as the rounds need it.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use flotilla_api::NodeId;
use flotilla_raft_store::{Group, Machine};
use uuid::Uuid;

use super::Error;

/// What the log has decided about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decided {
    /// Its data goes to others.
    pub drains: bool,
    /// It leaves for ever.
    pub leaves: bool,
}

/// A member as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The member.
    pub node: NodeId,
    /// Its zone; one without is a zone of its own.
    pub zone: Option<String>,
    /// How long ago it was heard of.
    pub silent_for: Duration,
    /// Whether it serves at once: it installs no snapshot.
    pub serves: bool,
}

/// The register of a group's members.
#[async_trait]
pub trait Register: Clone + Send + Sync + 'static {
    /// The group's machine.
    type Machine: Machine;

    /// The group.
    fn group(&self) -> &Group<Self::Machine>;

    /// Waits until the local state holds everything that was acked before the call.
    ///
    /// # Errors
    /// [`Error`]; the caller may try again.
    async fn barrier(&self) -> Result<(), Error>;

    /// Gives a disk's member its id: always the same one for the same disk, and never below `floor`; none if as many have joined as
    /// there may be.
    ///
    /// # Errors
    /// [`Error`]; asked again, the id is the same.
    async fn place(&self, disk: Uuid, floor: u64) -> Result<Option<NodeId>, Error>;

    /// Gives what was decided about members; no entry for an ordinary one.
    ///
    /// # Errors
    /// [`Error`].
    async fn decided(&self) -> Result<BTreeMap<NodeId, Decided>, Error>;

    /// Gives those of whom a start is noted.
    ///
    /// # Errors
    /// [`Error`].
    async fn noted(&self) -> Result<Vec<NodeId>, Error>;

    /// Forgets one that is no member any more.
    ///
    /// # Errors
    /// [`Error`]; the next round tries again.
    async fn forget(&self, node: NodeId) -> Result<(), Error>;

    /// Gives the member that a disk which joined belongs to, as it is applied here.
    ///
    /// # Errors
    /// [`Error`].
    fn member_of(&self, disk: Uuid) -> Result<Option<NodeId>, Error>;

    /// Gives the number of a member's last start, as it is applied here.
    ///
    /// # Errors
    /// [`Error`].
    fn start_of(&self, node: NodeId) -> Result<Option<u64>, Error>;

    /// Gives the members that this one, as the leader, has heard of.
    fn heard(&self) -> Vec<Heard>;

    /// For how long this one knows what it knows: a leader that slept has heard nobody.
    fn steady_for(&self) -> Duration;
}
