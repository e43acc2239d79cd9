//! A group of one in memory, for the tests of what is built on groups: it has the rules of a group, no other member, and nothing of
//! the machine.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_api::NodeId;
use flotilla_env::{clock, disk::MemDisk};
use flotilla_kv::{Family, MemKv};
use uuid::Uuid;

use crate::{Error, Group, Machine, Member, Options, Rpc, Settings, Transport, TransportError, families};

/// The one member.
pub const MEMBER: NodeId = NodeId(1);

/// The way to other members, of whom there are none.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

#[async_trait]
impl Transport for Alone {
    async fn call(&self, _: NodeId, _: &Member, _: Rpc, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable("there is no other member".into()))
    }
}

/// Opens the group of [`MEMBER`] on an empty database. Nobody has formed it yet, so nobody leads it.
///
/// # Errors
/// As [`Group::open`].
pub async fn open<M: Machine>(group: &str, machine: M) -> Result<Group<M>, Error> {
    open_as(MEMBER, group, machine).await
}

/// Opens a group as [`open`] does, for a member with this id.
///
/// # Errors
/// As [`Group::open`].
pub async fn open_as<M: Machine>(id: NodeId, group: &str, machine: M) -> Result<Group<M>, Error> {
    let families: Vec<Family> = families::<M>().iter().map(|family| family.name).collect();
    let options = Options {
        id,
        group: group.to_owned(),
        uuid: Uuid::nil(),
        elects: true,
        settings: Settings::default(),
        kv: Arc::new(MemKv::inline(&families)),
        disk: Arc::new(MemDisk::new()),
        snapshot_dir: "/snapshots".into(),
        machine: Arc::new(machine),
        transport: Arc::new(Alone),
        clock: clock::system(),
        on_fatal: Arc::new(drop), // also called when a test ends and its tasks are dropped
    };
    Group::open(options).await
}

/// Forms the group of [`MEMBER`], at this peer address.
///
/// # Errors
/// As [`Group::form`].
pub async fn form<M: Machine>(group: &Group<M>, peer: &str) -> Result<(), Error> {
    let member = Member { name: "alone".to_owned(), peer: peer.to_owned() };
    group.form(BTreeMap::from([(MEMBER, member)])).await
}
