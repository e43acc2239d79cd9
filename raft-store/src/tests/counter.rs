//! The machine of the tests: named numbers that are added to, so that a command applied twice shows.

use flotilla_kv::{Family, View};
use serde::{Deserialize, Serialize};

use crate::{Fault, Machine, Position, Txn};

pub(crate) const ROWS: Family = "test_rows";

/// Numbers by name.
#[derive(Debug, Default)]
pub(crate) struct Counter;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Adds to a number and answers the sum.
    Add { name: String, number: u64 },
    /// Sets many numbers to one value.
    Fill { from: u64, to: u64, number: u64 },
    /// Makes the machine panic.
    Panic,
}

impl Machine for Counter {
    type Command = Command;
    type Answer = u64;
    const FAMILIES: &'static [Family] = &[ROWS];

    fn apply(&self, state: &mut dyn Txn, command: Command, at: Position) -> Result<u64, Fault> {
        match command {
            Command::Add { name, number } => {
                let before = state.get(ROWS, name.as_bytes())?.map_or(0, |bytes| read(&bytes));
                state.put(ROWS, name.into_bytes(), (before + number).to_be_bytes().into());
                Ok(before + number)
            }
            Command::Fill { from, to, number } => {
                for name in from..to {
                    state.put(ROWS, format!("fill-{name:08}").into_bytes(), number.to_be_bytes().into());
                }
                Ok(at.index)
            }
            Command::Panic => panic!("the test asked for it"),
        }
    }
}

pub(crate) fn add(name: &str, number: u64) -> Command {
    Command::Add { name: name.into(), number }
}

/// Reads a number from a state.
pub(crate) fn get(view: &dyn View, name: &str) -> Option<u64> {
    view.get(ROWS, name.as_bytes()).unwrap().map(|bytes| read(&bytes))
}

fn read(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}
