//! The rules that a group replicates: a pure function of state, command and log position.

use std::fmt::Debug;

use flotilla_kv::{Family, Row};
use serde::{Serialize, de::DeserializeOwned};

/// Where a command stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The entry's index.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
}

/// The state could not be read: the process must end, since applying on would let the replicas drift.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database failed.
    #[error(transparent)]
    Kv(#[from] flotilla_kv::Error),
    /// A stored value does not decode.
    #[error("stored value of '{family}' is corrupt")]
    Corrupt {
        /// The family it stands in.
        family: Family,
        /// What is wrong with it.
        #[source]
        source: flotilla_api::codec::Error,
    },
}

/// State as `apply` sees it: reads see every earlier write of the same batch of entries.
pub trait Txn {
    /// Reads one value.
    ///
    /// # Errors
    /// A [`Fault`] is handed on with `?`.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;

    /// Reads at most `limit` rows with `from <= key` and, where given, `key < to`, in order.
    ///
    /// # Errors
    /// As [`Txn::get`].
    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Fault>;

    /// Sets a value.
    fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>);

    /// Removes a key.
    fn delete(&mut self, family: Family, key: Vec<u8>);
}

/// Replicated rules.
///
/// `apply` must be pure: no clock, no randomness, no I/O but the given state, nothing that differs between builds of the same
/// command version. What a command needs of time, ids or statistics its proposer chose and put into it.
pub trait Machine: Send + Sync + 'static {
    /// What is proposed. Its encoding is stored in the log: change it only by adding variants at the end.
    type Command: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static;
    /// What `apply` answers. Kept for the idempotency of later retries.
    type Answer: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static;

    /// The families that hold the machine's state; all of them and no others go into snapshots.
    const FAMILIES: &'static [Family];

    /// The newest version of [`Machine::Command`] that this build understands; it stands in every command's envelope. Raise it
    /// with every new variant: a build that meets a newer version in its log stops, since a guess would let replicas drift.
    const COMMAND_VERSION: u8 = 1;

    /// Applies one command.
    ///
    /// # Errors
    /// A [`Fault`] ends the process; a refusal is an `Answer`, not an error.
    fn apply(&self, state: &mut dyn Txn, command: Self::Command, at: Position) -> Result<Self::Answer, Fault>;

    /// Whether an answer is kept for retries under the same id. Of one that is not the command is applied anew under its id, and so is
    /// another one that a retry sends under it: either nothing was changed and never can be by that command, or making the change
    /// again does no harm.
    fn is_kept(_answer: &Self::Answer) -> bool {
        true
    }
}
