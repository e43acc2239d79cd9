//! What the tests of the directory share: a state that is a map and counts the rows touched, commands with the usual fields, and a
//! group of one in memory.

use std::{cell::Cell, collections::BTreeMap};

use flotilla_api::{ClusterName, Epoch, FileName, codec, peer::Home};
use flotilla_env::{clock, entropy};
use flotilla_kv::{Family, Row};
use flotilla_raft_store::{Fault, Machine, Position, Txn, alone};
use uuid::Uuid;

use super::{
    Answer, Command, Directory, DirectoryMachine,
    machine::Claim,
    rows::{HOMES, HomeRow},
};

/// The most rows that one command may touch, as for the metadata of clusters.
pub(super) const ROWS_MAX: usize = 1024;

#[derive(Default, Clone)]
pub(super) struct Map {
    pub(super) rows: BTreeMap<(Family, Vec<u8>), Vec<u8>>,
    pub(super) touched: Cell<usize>,
    index: u64,
}

impl Map {
    pub(super) fn count(&self, family: Family) -> usize {
        self.rows.keys().filter(|(held, _)| *held == family).count()
    }

    pub(super) fn home(&self, key: &str) -> Option<Home> {
        let bytes = self.rows.get(&(HOMES, name(key).to_row()))?;
        Some(codec::decode::<HomeRow>(bytes).expect("it was encoded").home)
    }

    /// Where in the log the last command stood.
    pub(super) fn index(&self) -> u64 {
        self.index
    }
}

impl Txn for Map {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.touched.set(self.touched.get() + 1);
        Ok(self.rows.get(&(family, key.to_vec())).cloned())
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Fault> {
        let within = |((held, key), _): &(&(Family, Vec<u8>), &Vec<u8>)| {
            *held == family && to.is_none_or(|to| key.as_slice() < to)
        };
        let rows = self.rows.range((family, from.to_vec())..).take_while(within).take(limit);
        let rows: Vec<Row> = rows.map(|((_, key), value)| (key.clone(), value.clone())).collect();
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

/// Applies a command at the next place of the log.
pub(super) fn apply(state: &mut Map, command: Command) -> Answer {
    state.index += 1;
    state.touched.set(0);
    let at = Position { index: state.index, term: 1 };
    let answer = DirectoryMachine.apply(state, command, at).expect("a map never fails");
    assert!(state.touched.get() <= ROWS_MAX, "{} rows touched", state.touched.get());
    answer
}

pub(crate) fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a good name")
}

pub(crate) fn name(key: &str) -> FileName {
    FileName { bucket: "demo".parse().expect("a good name"), key: key.parse().expect("a good key") }
}

/// The identity of a cluster that [`with_clusters`] makes.
pub(crate) fn uuid(name: &str) -> Uuid {
    Uuid::from_u128(name.bytes().map(u128::from).sum())
}

pub(super) fn register(state: &mut Map, name: &str) -> Answer {
    apply(state, Command::Register { cluster: cluster(name), uuid: uuid(name) })
}

/// A directory that knows the clusters `a` and `b`.
pub(super) fn with_clusters() -> Map {
    let mut state = Map::default();
    for name in ["a", "b"] {
        assert_eq!(register(&mut state, name), Answer::Done);
    }
    state
}

pub(super) fn claim(state: &mut Map, key: &str, by: &str) -> Answer {
    apply(state, Command::Claim { claims: vec![Claim { name: name(key), cluster: cluster(by) }] })
}

pub(crate) fn home(by: &str, epoch: u64) -> Home {
    Home { cluster: cluster(by), epoch: Epoch(epoch) }
}

/// Where the one of a group of one is.
pub(crate) const ALONE: &str = "127.0.0.1:1";

/// A directory whose group nobody has formed yet, so that nobody leads it.
pub(crate) async fn unformed() -> Directory {
    let group = alone::open("supernodes", DirectoryMachine).await.expect("an empty database");
    Directory::new(Uuid::nil(), group, clock::system(), entropy::seeded(1))
}

/// Forms the group of one.
pub(crate) async fn form_alone(directory: &Directory) {
    alone::form(directory.group(), ALONE).await.expect("formed");
}

/// Forms the group, and registers the clusters `a` and `b`.
pub(super) async fn form(directory: &Directory) {
    form_alone(directory).await;
    for name in ["a", "b"] {
        let register = Command::Register { cluster: cluster(name), uuid: uuid(name) };
        assert_eq!(directory.propose(rand::random(), register).await.expect("registered"), Answer::Done);
    }
}

/// A directory whose group is formed.
pub(super) async fn formed() -> Directory {
    let directory = unformed().await;
    form(&directory).await;
    directory
}
