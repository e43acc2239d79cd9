//! What clients asked for and were told, in the order in which it happened.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use super::{Content, Value};
use crate::lock;

/// What a client wants done to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Store a content.
    Put(Arc<Content>),
    /// Read.
    Get,
    /// End the file.
    Delete,
    /// Store what another key has.
    Copy {
        /// That key.
        from: u64,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(content) => write!(f, "put {} of {}", content.value, content.bytes.len()),
            Self::Get => f.write_str("get"),
            Self::Delete => f.write_str("delete"),
            Self::Copy { from } => write!(f, "copy of k{from}"),
        }
    }
}

/// What became of it, as far as the client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, and this is what was read or is there now.
    Done(Option<Value>),
    /// There was nothing to read, copy or delete.
    Absent,
    /// It was not done and never will be.
    Not,
    /// Nobody knows: it may be done, or be done later.
    Unknown,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Who asked.
    pub client: u64,
    /// The key.
    pub key: u64,
    /// What was asked for.
    pub action: Action,
    /// When it was asked for, counted in calls and answers.
    pub call: u64,
    /// When it was answered; none while it is not.
    pub answer: Option<u64>,
    /// The answer.
    pub outcome: Outcome,
}

/// All operations of a run. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    clock: u64,
    ops: Vec<Op>,
}

impl History {
    /// Notes that something is asked for; gives its number.
    pub fn begin(&self, client: u64, key: u64, action: Action) -> usize {
        let mut state = lock(&self.0);
        state.clock += 1;
        let call = state.clock;
        state.ops.push(Op { client, key, action, call, answer: None, outcome: Outcome::Unknown });
        state.ops.len() - 1
    }

    /// Notes its answer.
    pub fn end(&self, op: usize, outcome: Outcome) {
        let mut state = lock(&self.0);
        state.clock += 1;
        let answer = state.clock;
        let op = &mut state.ops[op];
        (op.answer, op.outcome) = (Some(answer), outcome);
    }

    /// Gives all operations.
    #[must_use]
    pub fn ops(&self) -> Vec<Op> {
        lock(&self.0).ops.clone()
    }
}
