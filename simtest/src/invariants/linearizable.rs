//! Invariants 5 and 8: per key there is one order of all operations that explains every answer, and what was told not to have
//! happened is not in it.
//!
//! The search is that of Wing and Gong (1993), with the states it has been in remembered (Lowe, 2017).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Violations;
use crate::clients::{Action, Op, Outcome, Value};

const NAME: &str = "linearizable";

/// What an operation does to a key, if it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Effect {
    /// It sees this.
    Sees(Option<Value>),
    /// It leaves this.
    Leaves(Option<Value>),
    /// It leaves what some other key had.
    LeavesAny,
}

/// An operation on one key.
#[derive(Debug, Clone)]
struct Step {
    effect: Effect,
    call: u64,
    /// Behind everything for one that may happen any time, or never.
    answer: u64,
    /// For people.
    told: String,
}

/// What a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Has(Option<Value>),
    /// What a copy left that nobody was told of.
    HasAny,
}

/// Checks all keys.
pub fn check(ops: &[Op], violations: &Violations) {
    let made: BTreeSet<Value> = ops.iter().filter_map(|op| put_value(&op.action)).collect();
    let mut keys: BTreeMap<u64, Vec<Step>> = BTreeMap::new();
    for op in ops {
        for (key, step) in steps(op) {
            if let Effect::Sees(Some(value)) | Effect::Leaves(Some(value)) = step.effect
                && !made.contains(&value)
            {
                violations.add(NAME, format!("{}: nobody made this content", step.told));
            }
            keys.entry(key).or_default().push(step);
        }
    }
    for (key, steps) in keys {
        if let Some(stuck) = unexplained(steps) {
            violations.add(NAME, format!("k{key}: no order explains {stuck}"));
        }
    }
}

fn put_value(action: &Action) -> Option<Value> {
    match action {
        Action::Put(content) => Some(content.value),
        Action::Get | Action::Delete | Action::Copy { .. } => None,
    }
}

/// Gives what an operation is to the keys that it touches.
fn steps(op: &Op) -> Vec<(u64, Step)> {
    let answer = op.answer.unwrap_or(u64::MAX);
    let step = |key: u64, effect: Effect, answer: u64| {
        let told = format!("[{}..{}] c{} {} -> {:?}", op.call, answer, op.client, op.action, op.outcome);
        (key, Step { effect, call: op.call, answer, told })
    };
    let own = |effect: Effect, answer: u64| vec![step(op.key, effect, answer)];
    match (&op.action, op.outcome) {
        (_, Outcome::Not) | (Action::Get, Outcome::Unknown) => Vec::new(),
        (Action::Get, Outcome::Done(found)) => own(Effect::Sees(found), answer),
        (Action::Get | Action::Delete, Outcome::Absent) => own(Effect::Sees(None), answer),
        (Action::Delete, Outcome::Done(_)) => own(Effect::Leaves(None), answer),
        (Action::Delete, Outcome::Unknown) => own(Effect::Leaves(None), u64::MAX),
        (Action::Put(content), Outcome::Unknown) => own(Effect::Leaves(Some(content.value)), u64::MAX),
        (Action::Put(content), Outcome::Done(_)) => own(Effect::Leaves(Some(content.value)), answer),
        (Action::Copy { from }, Outcome::Done(value)) => {
            vec![step(*from, Effect::Sees(value), answer), step(op.key, Effect::Leaves(value), answer)]
        }
        (Action::Copy { .. }, Outcome::Unknown) => own(Effect::LeavesAny, u64::MAX),
        (Action::Copy { from }, Outcome::Absent) => vec![step(*from, Effect::Sees(None), answer)],
        (Action::Put(_), Outcome::Absent) => Vec::new(),
    }
}

/// Looks for an order; gives what could not be put into one, if there is none.
fn unexplained(mut steps: Vec<Step>) -> Option<String> {
    let seen: HashSet<Value> = steps
        .iter()
        .filter_map(|step| match step.effect {
            Effect::Sees(value) => value,
            Effect::Leaves(_) | Effect::LeavesAny => None,
        })
        .collect();
    // What may never have happened and was never seen need not have happened.
    steps.retain(|step| match step.effect {
        Effect::Leaves(Some(value)) => step.answer != u64::MAX || seen.contains(&value),
        Effect::Sees(_) | Effect::Leaves(None) | Effect::LeavesAny => true,
    });
    steps.sort_by_key(|step| step.call);
    let mut search = Search { steps: &steps, been: HashSet::new(), furthest: 0, stuck: String::new() };
    let mut done = vec![false; steps.len()];
    if search.explains(&mut done, State::Has(None)) { None } else { Some(search.stuck) }
}

struct Search<'a> {
    steps: &'a [Step],
    been: HashSet<(Vec<bool>, State)>,
    furthest: u64,
    stuck: String,
}

impl Search<'_> {
    fn explains(&mut self, done: &mut Vec<bool>, state: State) -> bool {
        let open = || self.steps.iter().zip(done.iter()).filter(|(_, done)| !**done);
        // Nothing that is called after another one's answer may come before it.
        let first_answer = open().map(|(step, _)| step.answer).min().unwrap_or(u64::MAX);
        if first_answer == u64::MAX {
            return true; // what is left may never happen
        }
        if !self.been.insert((done.clone(), state)) {
            return false;
        }
        if first_answer > self.furthest {
            self.furthest = first_answer;
            let waits: Vec<&str> =
                open().filter(|(step, _)| step.call <= first_answer).map(|(step, _)| step.told.as_str()).collect();
            self.stuck = format!("{} in {state:?}", waits.join(", "));
        }
        for at in 0..self.steps.len() {
            let step = &self.steps[at];
            if step.call > first_answer {
                break;
            }
            if done[at] {
                continue;
            }
            let next = match (&step.effect, state) {
                (Effect::Sees(value), State::Has(has)) if *value == has => state,
                (Effect::Sees(Some(value)), State::HasAny) => State::Has(Some(*value)),
                (Effect::Sees(_), _) => continue,
                (Effect::Leaves(value), _) => State::Has(*value),
                (Effect::LeavesAny, _) => State::HasAny,
            };
            done[at] = true;
            if self.explains(done, next) {
                return true;
            }
            done[at] = false;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clients::Content;

    /// Operations in the order of their calls; each is answered at once unless it overlaps.
    fn violations(ops: &[(u64, Action, u64, u64, Outcome)]) -> usize {
        let ops: Vec<Op> = ops
            .iter()
            .map(|(key, action, call, answer, outcome)| Op {
                client: 1,
                key: *key,
                action: action.clone(),
                call: *call,
                answer: Some(*answer),
                outcome: *outcome,
            })
            .collect();
        let violations = Violations::default();
        check(&ops, &violations);
        violations.all().len()
    }

    fn content(number: u64) -> (Action, Outcome) {
        let content = Arc::new(Content::new(number, 64));
        let value = content.value;
        (Action::Put(content), Outcome::Done(Some(value)))
    }

    #[test]
    fn reads_see_the_last_write_or_one_under_way() {
        let ((put_a, a), (put_b, b)) = (content(1), content(2));
        let (get, gone) = (Action::Get, Outcome::Absent);
        let first = (0, put_a.clone(), 1, 2, a);
        assert_eq!(violations(&[first.clone(), (0, get.clone(), 3, 4, a)]), 0);
        assert_eq!(violations(&[first.clone(), (0, get.clone(), 3, 4, gone)]), 1, "a lost write");
        let second = (0, put_b.clone(), 3, 9, b);
        let overlapping = [first.clone(), second.clone(), (0, get.clone(), 4, 5, a), (0, get.clone(), 6, 7, b)];
        assert_eq!(violations(&overlapping), 0);
        let back = [first.clone(), second, (0, get.clone(), 4, 5, b), (0, get.clone(), 6, 7, a)];
        assert_eq!(violations(&back), 1, "time does not go back");
        let deleted = [first.clone(), (0, Action::Delete, 3, 4, Outcome::Done(None)), (0, get.clone(), 5, 6, a)];
        assert_eq!(violations(&deleted), 1, "a resurrection");
        let maybe = [first, (0, put_b, 3, 4, Outcome::Unknown), (0, get.clone(), 5, 6, a), (0, get, 7, 8, b)];
        assert_eq!(violations(&maybe), 0, "it may happen late");
    }

    #[test]
    fn what_was_told_not_to_have_happened_must_not_be_seen() {
        let (put, done) = content(1);
        assert_eq!(violations(&[(0, put, 1, 2, Outcome::Not), (0, Action::Get, 3, 4, done)]), 1);
        let foreign = Outcome::Done(Some(Content::new(9, 64).value));
        assert!(violations(&[(0, Action::Get, 1, 2, foreign)]) > 0, "nobody's bytes");
    }

    #[test]
    fn a_copy_reads_one_key_and_writes_another() {
        let ((put_a, a), (put_b, b)) = (content(1), content(2));
        let base = [(0, put_a, 1, 2, a), (1, put_b, 3, 4, b)];
        let copy = |outcome| (1, Action::Copy { from: 0 }, 5, 6, outcome);
        let get = |outcome| (1, Action::Get, 7, 8, outcome);
        let with = |more: [(u64, Action, u64, u64, Outcome); 2]| violations(&[&base[..], &more[..]].concat());
        assert_eq!(with([copy(a), get(a)]), 0);
        assert_eq!(with([copy(a), get(b)]), 1);
        assert_eq!(with([copy(b), get(b)]), 1, "the source never had that");
        assert_eq!(with([copy(Outcome::Unknown), get(a)]), 0);
        assert_eq!(with([copy(Outcome::Unknown), get(b)]), 0);
    }
}
