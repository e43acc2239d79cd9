//! One test per verdict, and a model: a correct store is never accused, a lost ack always.

use bytes::Bytes;
use proptest::prelude::{Strategy, prop, prop_oneof, proptest};

use super::{Finding, Listed, Read, Verdict, judge};
use crate::{
    content::content,
    ledger::{
        history::{History, State},
        line::{Line, Op},
    },
};

const KEY: &str = "ledger/k";
const SIZE: u64 = 33;

/// A change: the write's seed, or none for DELETE; and the status of its answer.
type Step = (Option<u64>, Option<u16>);

fn history(steps: &[Step]) -> History {
    let mut history = History::default();
    for (number, &(seed, status)) in steps.iter().enumerate() {
        let line = Line {
            op: if seed.is_some() { Op::Put } else { Op::Delete },
            key: KEY.to_owned(),
            size: if seed.is_some() { SIZE } else { 0 },
            seed: seed.unwrap_or(0),
            request_id: number.to_string(),
            sent_ns: 0,
            answered_ns: None,
            status: None,
            version: None,
            etag: None,
        };
        history.add(&line);
        if status.is_some() {
            history.add(&Line { status, ..line });
        }
    }
    history
}

fn file(bytes: Bytes) -> (Read, Option<Listed>) {
    let etag = blake3::hash(&bytes).to_hex().to_string();
    let listed = Listed { size: bytes.len() as u64, etag: etag.clone() };
    (Read::File { content: bytes, etag }, Some(listed))
}

fn of_seed(seed: u64) -> (Read, Option<Listed>) {
    file(content(seed, KEY, SIZE))
}

fn check(steps: &[Step], (read, listed): (Read, Option<Listed>), expect: Option<Verdict>) {
    let found = judge(KEY, &history(steps), &read, listed.as_ref());
    assert_eq!(found.as_ref().map(|finding: &Finding| finding.verdict), expect, "{steps:?}: {found:?}");
}

const ABSENT: (Read, Option<Listed>) = (Read::Absent, None);
const PUT_1: Step = (Some(1), Some(201));
const PUT_2: Step = (Some(2), Some(200));
const DELETED: Step = (None, Some(204));

#[test]
fn what_was_acked_last_is_allowed() {
    check(&[PUT_1], of_seed(1), None);
    check(&[PUT_1, PUT_2], of_seed(2), None);
    check(&[PUT_1, DELETED], ABSENT, None);
    check(&[(None, Some(404))], ABSENT, None);
}

#[test]
fn missing_acked_file_is_lost() {
    check(&[PUT_1], ABSENT, Some(Verdict::Lost));
    check(&[PUT_1, (Some(2), None)], ABSENT, Some(Verdict::Lost));
    check(&[PUT_1, (None, Some(503))], ABSENT, Some(Verdict::Lost));
}

#[test]
fn delete_that_misses_an_acked_file_is_lost() {
    check(&[PUT_1, (None, Some(404))], ABSENT, Some(Verdict::Lost));
    check(&[PUT_1, (None, None), (None, Some(404))], ABSENT, None);
}

#[test]
fn replaced_content_is_stale() {
    check(&[PUT_1, PUT_2], of_seed(1), Some(Verdict::Stale));
    check(&[PUT_1, (Some(3), Some(412))], of_seed(3), Some(Verdict::Stale));
}

#[test]
fn deleted_content_is_resurrected() {
    check(&[PUT_1, DELETED], of_seed(1), Some(Verdict::Resurrected));
    check(&[PUT_1, DELETED, (Some(2), None)], of_seed(1), Some(Verdict::Resurrected));
    check(&[(Some(1), Some(503))], of_seed(1), Some(Verdict::Resurrected));
}

#[test]
fn content_that_nobody_sent_is_corrupt() {
    let mut bytes = content(1, KEY, SIZE).to_vec();
    bytes[7] ^= 1;
    check(&[PUT_1], file(bytes.into()), Some(Verdict::Corrupt));
    check(&[PUT_1], file(content(1, KEY, SIZE).slice(..32)), Some(Verdict::Corrupt));
    check(&[PUT_1, DELETED], of_seed(9), Some(Verdict::Corrupt));
    check(&[PUT_1], (Read::Broken("no good copy is left".to_owned()), None), Some(Verdict::Corrupt));
}

#[test]
fn etag_that_is_not_the_contents_hash_is_corrupt() {
    let (_, listed) = of_seed(2);
    let etag = listed.as_ref().expect("it is listed").etag.clone();
    check(&[PUT_1], (Read::File { content: content(1, KEY, SIZE), etag }, listed), Some(Verdict::Corrupt));
}

#[test]
fn unknown_change_may_have_happened_or_not_until_a_later_ack() {
    let replaced = [PUT_1, (Some(2), None)];
    check(&replaced, of_seed(1), None);
    check(&replaced, of_seed(2), None);
    let deleted = [PUT_1, (None, Some(504))];
    check(&deleted, of_seed(1), None);
    check(&deleted, ABSENT, None);
    check(&[PUT_1, (Some(3), Some(0)), PUT_2], of_seed(3), Some(Verdict::Stale));
}

#[test]
fn list_must_agree_with_what_is_read() {
    check(&[PUT_1], (of_seed(1).0, None), Some(Verdict::Lost));
    check(&[PUT_1, DELETED], (Read::Absent, of_seed(1).1), Some(Verdict::Resurrected));
    check(&[PUT_1, PUT_2], (of_seed(2).0, of_seed(1).1), Some(Verdict::Stale));
}

/// What became of a request in the model.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Acked,
    Refused,
    Applied,
    Dropped,
}

/// Runs a correct store: every change, refused or unknown ones too, takes effect now or never.
fn model(changes: &[(bool, Fate)]) -> (Vec<Step>, State) {
    let (mut steps, mut state) = (Vec::new(), State::Absent);
    for (number, &(put, fate)) in changes.iter().enumerate() {
        let seed = put.then_some(number as u64);
        let next = seed.map_or(State::Absent, |seed| State::File { seed, size: SIZE });
        let status = match fate {
            Fate::Acked if !put && state == State::Absent => Some(404),
            Fate::Acked => Some(200),
            Fate::Refused => Some(503),
            Fate::Applied | Fate::Dropped => None,
        };
        if matches!(fate, Fate::Acked | Fate::Applied) {
            state = next;
        }
        steps.push((seed, status));
    }
    (steps, state)
}

fn changes() -> impl Strategy<Value = Vec<(bool, Fate)>> {
    let just = proptest::strategy::Just::<Fate>;
    let fate = prop_oneof![3 => just(Fate::Acked), 1 => just(Fate::Refused), 1 => just(Fate::Applied), 1 => just(Fate::Dropped)];
    prop::collection::vec((prop::bool::weighted(0.7), fate), 0..12)
}

fn seen(state: State) -> (Read, Option<Listed>) {
    match state {
        State::Absent => ABSENT,
        State::File { seed, .. } => of_seed(seed),
    }
}

proptest! {
    #[test]
    fn correct_store_is_never_accused(changes in changes()) {
        let (steps, state) = model(&changes);
        check(&steps, seen(state), None);
    }

    #[test]
    fn store_that_forgets_its_last_ack_is_always_accused(changes in changes()) {
        let (mut steps, before) = model(&changes);
        steps.push((Some(99), Some(200)));
        let (read, listed) = seen(before);
        assert!(judge(KEY, &history(&steps), &read, listed.as_ref()).is_some());
    }
}
