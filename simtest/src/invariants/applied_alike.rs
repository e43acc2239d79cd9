//! Invariant 2: `apply` is pure, so at the same applied position all nodes have the same state, whichever way they got there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::Violations;
use crate::{kv::Watch, lock, note, trace::Trace};

/// The sum of the state at every position that any node was seen at.
#[derive(Clone)]
pub struct Sums {
    known: Arc<Mutex<BTreeMap<u64, (u64, u128)>>>,
    violations: Violations,
    trace: Trace,
}

impl Sums {
    /// Begins without any.
    #[must_use]
    pub fn new(violations: Violations, trace: Trace) -> Self {
        Self { known: Arc::default(), violations, trace }
    }

    /// Gives the watch of one node.
    #[must_use]
    pub fn of(&self, node: u64) -> Arc<dyn Watch> {
        Arc::new(OfNode { sums: self.clone(), node })
    }

    /// Gives how many positions were compared.
    #[must_use]
    pub fn positions(&self) -> usize {
        lock(&self.known).len()
    }
}

struct OfNode {
    sums: Sums,
    node: u64,
}

impl Watch for OfNode {
    fn applied(&self, index: u64, sum: u128) {
        let Self { sums, node } = self;
        note!(sums.trace, "n{node} applied {index} {:08x}", sum as u32);
        let (other, known) = *lock(&sums.known).entry(index).or_insert((*node, sum));
        if known != sum {
            let what = format!("after entry {index} the state of n{node} differs from that of n{other}");
            sums.violations.add("applied_alike", what);
        }
    }
}
