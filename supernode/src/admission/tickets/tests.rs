//! The leader's desk, rule by rule, and under any order of what happens around it.

use proptest::prelude::*;

use super::*;

const HOLD: Duration = Duration::from_secs(10);

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a good name")
}

fn credits(of: &[(&str, u32)]) -> BTreeMap<ClusterName, u32> {
    of.iter().map(|(name, credits)| (cluster(name), *credits)).collect()
}

fn next(numbers: &[u64]) -> Vec<Next> {
    numbers.iter().map(|number| Next { number: *number, home: None }).collect()
}

fn at_home(number: u64, home: &str) -> Next {
    Next { number, home: Some(cluster(home)) }
}

/// A ticket that was granted where its key is at home.
fn one(number: u64) -> Granted {
    Granted { number, cluster: cluster("a"), at_home: true }
}

fn granted(numbers: &[u64]) -> Vec<Granted> {
    numbers.iter().map(|number| one(*number)).collect()
}

/// Those that go on to the queue.
fn entered(steps: &[Step]) -> Vec<u64> {
    let entered = |step: &Step| if let Step::Enter(number) = step { Some(*number) } else { None };
    steps.iter().filter_map(entered).collect()
}

#[test]
fn the_next_of_each_principal_stands_in_the_queue_until_it_is_no_more_the_next() {
    let (mut desk, now, credits) = (Desk::new(HOLD), Instant::now(), credits(&[("a", 40)]));
    assert_eq!(desk.look(&next(&[3, 5]), &[], &credits, now), [Step::Enter(3), Step::Enter(5)]);
    assert_eq!(desk.look(&next(&[3, 5]), &[], &credits, now), []);
    assert_eq!(desk.look(&next(&[4, 5]), &[], &credits, now), [Step::Withdraw(3), Step::Enter(4)]);
    desk.refused(4, now);
    desk.left(5);
    assert_eq!(desk.look(&next(&[4, 5]), &[], &credits, now), [Step::Enter(5)]);
    assert_eq!(desk.look(&next(&[4, 5]), &[], &credits, now + AGAIN_AFTER), [Step::Enter(4)]);
}

#[test]
fn a_place_is_held_until_it_is_used_or_its_time_is_over() {
    let (mut desk, now, credits) = (Desk::new(HOLD), Instant::now(), credits(&[("a", 40)]));
    desk.look(&next(&[3, 5]), &[], &credits, now);
    desk.granted(one(3), now);
    desk.granted(one(5), now);
    assert_eq!(desk.look(&[], &granted(&[3, 5]), &credits, now), [], "its maker holds it");
    assert_eq!(desk.look(&[], &granted(&[5]), &credits, now), [Step::Release(3)], "used, or cancelled");
    let before = now + HOLD - Duration::from_millis(1);
    assert_eq!(desk.look(&[], &granted(&[5]), &credits, before), []);
    assert_eq!(desk.look(&[], &granted(&[5]), &credits, now + HOLD), [Step::Lose(vec![5])]);
    assert_eq!(desk.look(&[], &granted(&[5]), &credits, now + HOLD), [Step::Lose(vec![5])], "until it is written down");
    assert_eq!(desk.look(&[], &[], &credits, now + HOLD), [Step::Release(5)]);
}

#[test]
fn a_new_leader_holds_what_another_one_granted_for_the_whole_time() {
    let (mut desk, now, credits) = (Desk::new(HOLD), Instant::now(), credits(&[]));
    let steps = desk.look(&next(&[9]), &granted(&[3]), &credits, now);
    assert_eq!(steps, [Step::Hold(one(3))], "and the one place that there may be is taken");
    assert_eq!(desk.look(&[], &granted(&[3]), &credits, now + HOLD / 2), []);
    assert_eq!(desk.look(&[], &granted(&[3]), &credits, now + HOLD), [Step::Lose(vec![3])]);
}

#[test]
fn a_quarter_of_the_credits_is_held_at_most_and_of_a_home_no_more_of_its_own() {
    let (mut desk, now, credits) = (Desk::new(HOLD), Instant::now(), credits(&[("a", 8), ("b", 8)]));
    let held = granted(&[1, 2]);
    desk.look(&[], &held, &credits, now);
    let next = [at_home(5, "a"), at_home(6, "b"), Next { number: 7, home: None }];
    assert_eq!(desk.look(&next, &held, &credits, now), [Step::Enter(6), Step::Enter(7)]);
    let more = granted(&[1, 2, 3, 4]);
    desk.look(&next, &more, &credits, now);
    assert_eq!(desk.look(&[at_home(8, "b")], &more, &credits, now), [Step::Withdraw(6), Step::Withdraw(7)]);
}

#[test]
fn places_of_new_keys_keep_nobody_from_the_home_of_its_key() {
    let (mut desk, now, credits) = (Desk::new(HOLD), Instant::now(), credits(&[("a", 8), ("b", 8)]));
    // Of one principal, all of them at a, since b takes no new keys; it has more of them.
    let mut held: Vec<Granted> = (1..=4).map(|number| Granted { at_home: false, ..one(number) }).collect();
    let next = [at_home(5, "a"), Next { number: 6, home: None }];
    assert!(entered(&desk.look(&next, &held, &credits, now)).is_empty(), "a quarter of all is held");
    held.pop();
    assert_eq!(entered(&desk.look(&next, &held, &credits, now)), [5u64, 6], "nobody is passed for ever");
}

#[test]
fn no_more_are_held_than_may_be_granted() {
    const { assert!(HELD_MAX <= crate::directory::tickets::GRANTED_MAX, "who is not granted would try again for ever") };
    let (mut desk, now, credits) = (Desk::new(HOLD), Instant::now(), credits(&[("a", 60_000)]));
    let mut held: Vec<Granted> = (0..HELD_MAX as u64).map(one).collect();
    let next = next(&[HELD_MAX as u64]);
    assert!(entered(&desk.look(&next, &held, &credits, now)).is_empty());
    held.pop();
    assert_eq!(entered(&desk.look(&next, &held, &credits, now)), [HELD_MAX as u64]);
}

/// What happens; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Turn {
    Issue(usize),
    Grant(usize),
    Refuse(usize),
    Use(usize),
    Pass(u64),
    NewLeader,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let nth = any::<u16>().prop_map(usize::from);
    let turn = prop_oneof![
        6 => (0..4usize).prop_map(Turn::Issue),
        6 => nth.clone().prop_map(Turn::Grant),
        1 => nth.clone().prop_map(Turn::Refuse),
        4 => nth.prop_map(Turn::Use),
        4 => (0..4usize).prop_map(|n| Turn::Pass([10, 400, 3000, 11_000][n])),
        1 => Just(Turn::NewLeader),
    ];
    prop::collection::vec(turn, 1..200)
}

/// Tickets as they are written down, and the desk of who leads.
struct Model {
    desk: Desk,
    now: Instant,
    issued: u64,
    waiting: [Vec<u64>; 4],
    granted: BTreeMap<u64, Instant>,
    entered: BTreeSet<u64>,
    places: BTreeSet<u64>,
}

impl Model {
    fn turn(&mut self, turn: Turn) -> Result<(), TestCaseError> {
        let nth = |set: &mut dyn Iterator<Item = u64>, nth: usize| {
            let all: Vec<u64> = set.collect();
            all.get(nth % all.len().max(1)).copied()
        };
        match turn {
            Turn::Issue(principal) => {
                self.issued += 1;
                self.waiting[principal].push(self.issued);
            }
            Turn::Grant(n) => {
                if let Some(number) = nth(&mut self.entered.iter().copied(), n) {
                    let line = self.waiting.iter_mut().find(|line| line.first() == Some(&number));
                    let line = line.expect("who stands in the queue is the next of its principal");
                    line.remove(0);
                    self.entered.remove(&number);
                    self.desk.granted(one(number), self.now);
                    self.granted.insert(number, self.now);
                    self.places.insert(number);
                }
            }
            Turn::Refuse(n) => {
                if let Some(number) = nth(&mut self.entered.iter().copied(), n) {
                    self.entered.remove(&number);
                    self.desk.refused(number, self.now);
                }
            }
            Turn::Use(n) => {
                if let Some(number) = nth(&mut self.granted.keys().copied(), n) {
                    self.granted.remove(&number);
                }
            }
            Turn::Pass(ms) => self.now += Duration::from_millis(ms),
            Turn::NewLeader => {
                self.desk = Desk::new(HOLD);
                self.entered.clear();
                self.places.clear();
            }
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), TestCaseError> {
        let firsts: Vec<u64> = self.waiting.iter().filter_map(|line| line.first().copied()).collect();
        let standing: Vec<u64> = self.granted.keys().copied().collect();
        let credits = credits(&[("a", 8)]);
        for step in self.desk.look(&next(&firsts), &granted(&standing), &credits, self.now) {
            match step {
                Step::Enter(number) => {
                    prop_assert!(self.places.len() < 2, "a quarter of 8 is held already");
                    prop_assert!(self.entered.insert(number));
                }
                Step::Withdraw(number) => prop_assert!(self.entered.remove(&number)),
                Step::Hold(one) => prop_assert!(self.places.insert(one.number)),
                Step::Release(number) => prop_assert!(self.places.remove(&number)),
                Step::Lose(numbers) => {
                    for number in numbers {
                        let since = self.granted.remove(&number);
                        prop_assert!(since.is_some_and(|since| self.now - since >= HOLD), "{} went too early", number);
                    }
                }
            }
        }
        let granted: BTreeSet<u64> = self.granted.keys().copied().collect();
        prop_assert!(granted.is_subset(&self.places), "a ticket has no place: {:?} {:?}", granted, self.places);
        prop_assert!(self.entered.iter().all(|number| firsts.contains(number)));
        prop_assert!(self.places.len() <= 2 + self.waiting.len());
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_ticket_has_its_turn_and_its_time(turns in turns()) {
        let (desk, now) = (Desk::new(HOLD), Instant::now());
        let mut model = Model {
            desk,
            now,
            issued: 0,
            waiting: Default::default(),
            granted: BTreeMap::new(),
            entered: BTreeSet::new(),
            places: BTreeSet::new(),
        };
        for turn in turns {
            model.turn(turn)?;
        }
        // Nobody uses anything any more: all have their turns nevertheless, one after the other.
        for _ in 0..model.issued * 4 + 4 {
            model.turn(Turn::Grant(0))?;
            model.turn(Turn::Pass(11_000))?;
        }
        prop_assert!(model.waiting.iter().all(Vec::is_empty), "{:?} wait for ever", model.waiting);
        prop_assert!(model.granted.is_empty() && model.places.is_empty());
    }
}
