//! A machine without its types: bytes in, bytes out, so that one state machine serves every group.

use std::sync::Arc;

use flotilla_api::codec;
use flotilla_kv::Family;

use super::{StoreError, envelope};
use crate::machine::{Machine, Position, Txn};

/// What the state machine asks of a [`Machine`].
pub(crate) trait Rules: Send + Sync + 'static {
    /// The families that hold the state.
    fn families(&self) -> &'static [Family];
    /// The newest command version that this build knows.
    fn version(&self) -> u8;
    /// Applies an encoded command (without its envelope) and gives the encoded answer, and whether it is kept for retries.
    fn apply(&self, state: &mut dyn Txn, command: &[u8], at: Position) -> Result<(Vec<u8>, bool), StoreError>;
}

/// The rules of a machine.
pub(crate) struct Typed<M>(pub(crate) Arc<M>);

impl<M: Machine> Rules for Typed<M> {
    fn families(&self) -> &'static [Family] {
        M::FAMILIES
    }

    fn version(&self) -> u8 {
        M::COMMAND_VERSION
    }

    fn apply(&self, state: &mut dyn Txn, command: &[u8], at: Position) -> Result<(Vec<u8>, bool), StoreError> {
        let answer = self.0.apply(state, envelope::open(command)?, at)?;
        Ok((codec::encode(&answer), M::is_kept(&answer)))
    }
}
