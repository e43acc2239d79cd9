//! Clients: each sends one request after the other to nodes of its choice, and notes what it was told.
//!
//! They speak as a supernode does: they look a key up, or claim it, and send its epoch along.

mod call;
mod content;
mod history;

use std::{sync::Arc, time::Duration};

use flotilla_api::{Epoch, FileName};
use flotilla_client::PeerClient;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

pub use content::{Content, Value};
pub use history::{Action, History, Op, Outcome};

use crate::{directory::Directory, host::address, note, plan::Plan, trace::Trace};
use call::Told;

/// How often a client sends a request again of which it does not know what became.
const AGAIN_MAX: u32 = 2;
/// Of a hundred steps, how many are claims that nobody uses, and of a hundred requests, how many come long after their claim.
const LEFT_PERCENT: u32 = 3;
const SLOW_PERCENT: u32 = 6;

/// What all clients share.
#[derive(Clone)]
pub struct Office {
    /// What they did and were told.
    pub history: History,
    /// The run's trace.
    pub trace: Trace,
    /// Where keys are at home.
    pub directory: Directory,
    /// How many keys there are.
    pub keys: u64,
    /// How many nodes.
    pub nodes: u64,
}

/// One client.
pub struct Client {
    office: Office,
    peers: PeerClient,
    rng: StdRng,
    number: u64,
    made: u64,
}

impl Client {
    /// Makes client `number` of a run.
    #[must_use]
    pub fn new(number: u64, plan: &Plan, office: Office, peers: PeerClient) -> Self {
        let rng = StdRng::seed_from_u64(plan.seed.rotate_left(17) ^ number);
        Self { office, peers, rng, number, made: 0 }
    }

    /// Works until `end`.
    pub async fn work(mut self, end: Instant) {
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(5..250))).await;
            self.step().await;
        }
    }

    /// Reads every key at every node, for the record.
    pub async fn read_all(mut self) {
        for key in 0..self.office.keys {
            for node in 1..=self.office.nodes {
                self.act(key, Action::Get, node).await;
            }
        }
    }

    /// Asks for files and neither reads the answers nor lets go of them.
    pub async fn hold_a_body(self) {
        for key in 0..self.office.keys {
            if let Ok(home) = self.look_up(key, &Action::Get) {
                call::hold(&self.peers, &address(1), &home).await;
            }
        }
    }

    async fn step(&mut self) {
        let (key, node) = (self.rng.random_range(0..self.office.keys), self.rng.random_range(1..=self.office.nodes));
        if self.rng.random_range(0..100) < LEFT_PERCENT {
            // The supernode ended between the claim and what it was for.
            let _never_used = self.office.directory.claim(&call::name(key));
            return;
        }
        let action = match self.rng.random_range(0..100) {
            0..45 => Action::Put(self.content()),
            45..85 => Action::Get,
            85..93 => Action::Delete,
            _ => Action::Copy { from: (key + self.rng.random_range(1..self.office.keys)) % self.office.keys },
        };
        self.act(key, action, node).await;
    }

    fn content(&mut self) -> Arc<Content> {
        self.made += 1;
        let length = match self.rng.random_range(0..10) {
            0..3 => self.rng.random_range(24..4096),
            3..6 => self.rng.random_range(4097..8192),
            _ => self.rng.random_range(8192..24_000),
        };
        Arc::new(Content::new((self.number << 32) | self.made, length))
    }

    async fn act(&mut self, key: u64, action: Action, node: u64) {
        let op = self.office.history.begin(self.number, key, action.clone());
        let id = format!("c{}-{op}", self.number);
        let mut node = node;
        let mut unknown = false;
        for _ in 0..=AGAIN_MAX {
            let told = match self.look_up(key, &action) {
                Ok(home) => {
                    if self.rng.random_range(0..100) < SLOW_PERCENT {
                        tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..4_000))).await;
                    }
                    note!(self.office.trace, "{id} asks n{node}: k{key} {action} under {}", home.1);
                    call::send(&self.peers, &address(node), &home, &action, &id).await
                }
                Err(told) => told,
            };
            note!(self.office.trace, "{id} is told {told}");
            let outcome = match told {
                Told::Done(found) => Outcome::Done(found),
                Told::Not(_) | Told::Absent if unknown => Outcome::Unknown,
                Told::Absent => Outcome::Absent,
                Told::Not(_) => Outcome::Not,
                Told::Unknown(_) => {
                    unknown = true;
                    node = self.rng.random_range(1..=self.office.nodes);
                    tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..500))).await;
                    if self.rng.random_bool(0.5) {
                        continue; // under the same id: it must not be done twice
                    }
                    Outcome::Unknown
                }
            };
            self.office.history.end(op, outcome);
            return;
        }
        self.office.history.end(op, Outcome::Unknown);
    }

    /// Finds the key's home; writes claim it. A key without one has no file here, and what is at home elsewhere is not written.
    fn look_up(&self, key: u64, action: &Action) -> Result<(FileName, Epoch), Told> {
        let (name, directory) = (call::name(key), &self.office.directory);
        let home = match action {
            Action::Copy { from } if directory.home(&call::name(*from)).is_none() => return Err(Told::Absent),
            Action::Get | Action::Delete => directory.home(&name).ok_or(Told::Absent),
            Action::Put(_) | Action::Copy { .. } => {
                directory.claim(&name).ok_or_else(|| Told::Not("at home elsewhere".to_owned()))
            }
        };
        Ok((name, home?))
    }
}
