//! What the tests of the rules share: a state that is a map and counts the rows touched, and commands with the usual fields.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_api::{ChunkId, Epoch, FileName, NodeId, WriterId, codec};
use flotilla_kv::{Family, Row};
use flotilla_raft_store::{Fault, Machine, Position, Txn};
use serde::Serialize;

use super::{
    commit::{Body, Commit},
    delete::Delete,
    keys, life,
    machine::{Answer, Command, FileMachine},
    precondition::Precondition,
    rows::{ChunkRef, Etag, KeyRow},
    segments::PlacedChunk,
};

#[derive(Default, Clone, PartialEq, Debug)]
pub(super) struct Map {
    pub(super) rows: BTreeMap<(Family, Vec<u8>), Vec<u8>>,
    pub(super) touched: std::cell::Cell<usize>,
}

impl Map {
    /// What a node says when it has unlinked what it was told to by now.
    pub(super) fn unlinked(&self, node: u64, ids: &[ChunkId]) -> Command {
        let told_at = |id: &ChunkId| self.rows.get(&(keys::UNLINKS, keys::unlink(NodeId(node), *id)));
        let at = |bytes: Option<&Vec<u8>>| bytes.map_or(0, |bytes| codec::decode(bytes).expect("it was encoded"));
        let ids = ids.iter().map(|id| (*id, at(told_at(id)))).collect();
        Command::Life(life::Command::Unlinked { node: NodeId(node), ids })
    }
}

impl Txn for Map {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.touched.set(self.touched.get() + 1);
        Ok(self.rows.get(&(family, key.to_vec())).cloned())
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Fault> {
        let rows = self
            .rows
            .range((family, from.to_vec())..)
            .take_while(|((f, k), _)| *f == family && to.is_none_or(|to| k.as_slice() < to));
        let rows: Vec<Row> = rows.take(limit).map(|((_, k), v)| (k.clone(), v.clone())).collect();
        self.touched.set(self.touched.get() + rows.len().max(1));
        Ok(rows)
    }

    fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.touched.set(self.touched.get() + 1);
        self.rows.insert((family, key), value);
    }

    fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.touched.set(self.touched.get() + 1);
        self.rows.remove(&(family, key));
    }
}

#[derive(Default)]
pub(super) struct Cluster {
    pub(super) state: Map,
    pub(super) index: u64,
}

impl Cluster {
    pub(super) fn apply(&mut self, command: Command) -> Answer {
        self.index += 1;
        let at = Position { index: self.index, term: 1 };
        FileMachine.apply(&mut self.state, command, at).expect("a map never fails")
    }

    pub(super) fn writer(&mut self, node: u64) -> WriterId {
        match self.grant(node, self.writer_of(node)) {
            Answer::Writer(writer) => writer,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn grant(&mut self, node: u64, after: Option<WriterId>) -> Answer {
        self.apply(Command::GrantWriter { node: NodeId(node), after })
    }

    pub(super) fn writer_of(&self, node: u64) -> Option<WriterId> {
        let row = self.state.rows.get(&(keys::WRITERS, keys::node(NodeId(node))));
        row.map(|row| codec::decode(row).expect("it was encoded"))
    }

    pub(super) fn key(&self) -> Option<KeyRow> {
        self.state.rows.get(&(keys::FILES, keys::file(&name()))).map(|b| codec::decode(b).expect("it was encoded"))
    }

    pub(super) fn set(&mut self, family: Family, key: &[u8], value: &impl Serialize) {
        self.state.rows.insert((family, key.to_vec()), codec::encode(value));
    }
}

pub(super) fn name() -> FileName {
    FileName { bucket: "demo".parse().expect("a good name"), key: "a/b".parse().expect("a good key") }
}

pub(super) fn commit(writer: WriterId, epoch: u64, body: Body) -> Command {
    Command::Commit(Box::new(Commit {
        name: name(),
        epoch: Epoch(epoch),
        precondition: Precondition::Always,
        node: NodeId(1),
        writer,
        now_ms: 5,
        size: 3,
        etag: Etag::Root([9; 32]),
        media_type: None,
        body,
    }))
}

pub(super) fn inline() -> Body {
    Body::Inline(Bytes::from_static(b"abc"))
}

pub(super) fn chunk(writer: WriterId, seq: u64) -> PlacedChunk {
    let id = ChunkId { writer, seq };
    PlacedChunk { chunk: ChunkRef { id, length: 3, cv: [1; 32] }, replicas: vec![NodeId(1), NodeId(2)] }
}

pub(super) fn delete(epoch: u64) -> Command {
    Command::Delete(Delete { name: name(), epoch: Epoch(epoch), precondition: Precondition::Always })
}
