//! Invariant 8: an error never claims more than is known. What a client was told not to have happened is never seen.

use std::collections::BTreeMap;

use super::Violations;
use crate::clients::{Action, Op, Outcome, Value};

const NAME: &str = "not_done";

/// Looks for contents that were read although their writers were told that they were not stored.
pub fn check(ops: &[Op], violations: &Violations) {
    let mut denied: BTreeMap<Value, &Op> = BTreeMap::new();
    for op in ops {
        if let (Action::Put(content), Outcome::Not) = (&op.action, op.outcome) {
            denied.insert(content.value, op);
        }
    }
    for op in ops {
        if let (Action::Get, Outcome::Done(Some(value))) = (&op.action, op.outcome)
            && let Some(writer) = denied.get(&value)
        {
            let what = format!(
                "c{} read {value} from k{}, which c{} was told is not stored",
                op.client, op.key, writer.client
            );
            violations.add(NAME, what);
        }
    }
}
