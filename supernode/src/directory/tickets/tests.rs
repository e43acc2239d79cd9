//! The rules of tickets, one by one and under any order of changes, on a map.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_api::codec;
use flotilla_kv::{Family, Row};
use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Map(BTreeMap<(Family, Vec<u8>), Vec<u8>>);

impl Txn for Map {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.0.get(&(family, key.to_vec())).cloned())
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Fault> {
        let rows = self.0.range((family, from.to_vec())..);
        let rows = rows.take_while(|((f, key), _)| *f == family && to.is_none_or(|to| key.as_slice() < to));
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.0.insert((family, key), value);
    }

    fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.0.remove(&(family, key));
    }
}

/// A state, and where its log ends.
#[derive(Default)]
struct Lab {
    state: Map,
    index: u64,
}

const WHAT: [u8; 16] = [7; 16];

impl Lab {
    fn change(&mut self, change: Change) -> Answer {
        self.index += 1;
        apply(&mut self.state, change, Position { index: self.index, term: 1 }).expect("a map never fails")
    }

    fn told(&mut self, change: Change) -> Told {
        match self.change(change) {
            Answer::Ticket(told) => told,
            answer => panic!("{answer:?}"),
        }
    }

    fn issue(&mut self, principal: &str) -> u64 {
        match self.told(Change::Issue(issue_of(principal))) {
            Told::Issued(number) => number,
            told => panic!("{told:?}"),
        }
    }

    fn grant(&mut self, numbers: &[u64]) -> Told {
        self.told(Change::Grant { grants: numbers.iter().map(|number| (*number, cluster())).collect() })
    }

    fn use_it(&mut self, number: u64, principal: &str) -> Told {
        self.told(Change::Use { number, secret: 9, principal: name(principal), what: WHAT })
    }

    fn end(&mut self, number: u64, why: Ending) -> bool {
        self.told(Change::End { numbers: vec![number], why }) == Told::Ended(vec![true])
    }

    fn all(&self) -> TicketsRow {
        get(&self.state, SYSTEM, TICKETS_STANDING).expect("a map").unwrap_or_default()
    }

    fn rows(&self, of: Family) -> usize {
        self.state.0.keys().filter(|(family, _)| *family == of).count()
    }
}

fn name(principal: &str) -> PrincipalName {
    principal.parse().expect("a good name")
}

fn cluster() -> ClusterName {
    "a".parse().expect("a good name")
}

fn weight() -> Weight {
    Weight { big: true, units: 2, bytes: 300 }
}

fn issue_of(principal: &str) -> Issue {
    Issue { secret: 9, principal: name(principal), what: WHAT, weight: weight(), home: None }
}

fn used(times: u8) -> Told {
    Told::Used { cluster: cluster(), times }
}

#[test]
fn turns_come_in_order_per_principal_and_in_no_order_between_them() {
    let mut lab = Lab::default();
    let (one, two, other) = (lab.issue("p"), lab.issue("p"), lab.issue("q"));
    assert_eq!(lab.grant(&[two]), Told::Granted(vec![false]), "one waits before it");
    assert_eq!(lab.grant(&[other, one, two, one, 99]), Told::Granted(vec![true, true, true, false, false]));
    assert_eq!((lab.all().granted, lab.all().turns, lab.all().waiting), (vec![other, one, two], 3, 0));
}

#[test]
fn who_leaves_lets_the_next_one_go_first() {
    let mut lab = Lab::default();
    let (one, two, three) = (lab.issue("p"), lab.issue("p"), lab.issue("p"));
    assert!(!lab.end(one, Ending::Lost), "its turn has not come");
    assert!(lab.end(one, Ending::Cancelled) && lab.end(two, Ending::Cancelled));
    assert!(!lab.end(two, Ending::Cancelled), "it ends once");
    assert_eq!(lab.grant(&[three]), Told::Granted(vec![true]));
    assert!(lab.end(three, Ending::Lost));
    assert_eq!((lab.all().owners, lab.rows(TICKETS), lab.rows(TICKET_OWNERS), lab.rows(TICKET_LINES)), (0, 0, 0, 0));
    let again = lab.issue("p");
    assert_eq!(lab.grant(&[again]), Told::Granted(vec![true]), "a principal that comes back begins anew");
}

#[test]
fn a_ticket_is_for_one_request_of_one_principal_and_passes_it_however_often_it_comes() {
    let mut lab = Lab::default();
    let number = lab.issue("p");
    assert_eq!(lab.use_it(number, "p"), Told::Waits);
    lab.grant(&[number]);
    assert_eq!(lab.use_it(number, "q"), Told::Unknown);
    let wrong = Change::Use { number, secret: 8, principal: name("p"), what: WHAT };
    assert_eq!(lab.told(wrong), Told::Unknown);
    let other = Change::Use { number, secret: 9, principal: name("p"), what: [8; 16] };
    assert_eq!(lab.told(other), Told::Other);
    assert_eq!((lab.use_it(number, "p"), lab.use_it(number, "p")), (used(1), used(2)));
    assert!(!lab.end(number, Ending::Lost) && !lab.end(number, Ending::Cancelled), "it was used");
    assert_eq!((lab.all().granted.len(), lab.all().used, lab.all().owners), (0, 1, 0));
    for _ in 0..300 {
        lab.use_it(number, "p");
    }
    assert_eq!(lab.use_it(number, "p"), used(u8::MAX));
}

#[test]
fn used_ones_are_forgotten_in_the_order_of_their_use() {
    let mut lab = Lab::default();
    let (one, two) = (lab.issue("p"), lab.issue("q"));
    lab.grant(&[one, two]);
    lab.use_it(two, "q");
    let upto = lab.index;
    lab.use_it(one, "p");
    assert_eq!(lab.told(Change::Clear { upto }), Told::Cleared(1));
    assert_eq!((lab.use_it(two, "q"), lab.use_it(one, "p")), (Told::Unknown, used(2)));
    let upto = lab.index;
    assert_eq!(
        (lab.told(Change::Clear { upto }), lab.told(Change::Clear { upto })),
        (Told::Cleared(1), Told::Cleared(0))
    );
    assert_eq!((lab.all().used, lab.rows(TICKETS), lab.rows(TICKETS_USED)), (0, 0, 0));
}

#[test]
fn tickets_are_bounded_for_one_principal_and_for_all() {
    let mut lab = Lab::default();
    for _ in 0..OWNED_MAX {
        lab.issue("p");
    }
    assert_eq!(lab.change(Change::Issue(issue_of("p"))), Answer::Refused(Refusal::TicketsOfOne));
    for n in 1..STANDING_MAX / OWNED_MAX as usize {
        for _ in 0..OWNED_MAX {
            lab.issue(&format!("p{n}"));
        }
    }
    assert_eq!(lab.change(Change::Issue(issue_of("q"))), Answer::Refused(Refusal::TicketsFull));
    let first = lab.state.scan(TICKETS, &[], None, 1).expect("a map");
    let first = number(&first[0].0).expect("a number");
    assert!(lab.end(first, Ending::Cancelled));
    lab.issue("q");
    let numbers: Vec<u64> = (0..100).map(|n| first + 1 + n).collect();
    let Told::Granted(done) = lab.grant(&numbers) else { panic!("not granted") };
    assert_eq!((done.len(), done.contains(&false)), (AT_ONCE_MAX, false), "what is beyond the bound is not looked at");
}

#[test]
fn stored_tickets_are_pinned_by_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let what = "07".repeat(16);
    let row = |state| TicketRow {
        secret: 9,
        principal: name("p"),
        what: WHAT,
        weight: weight(),
        home: Some(cluster()),
        state,
    };
    let head = format!("01090170{what}0102ac02010161");
    assert_eq!(hex(&codec::encode(&row(TicketState::Waiting))), format!("{head}00"));
    let granted = TicketState::Granted { cluster: cluster(), turn: 300 };
    assert_eq!(hex(&codec::encode(&row(granted))), format!("{head}010161ac02"));
    let used = TicketState::Used { cluster: cluster(), turn: 300, times: 2 };
    assert_eq!(hex(&codec::encode(&row(used))), format!("{head}020161ac0202"));
    assert_eq!(hex(&codec::encode(&OwnerRow { standing: 2, from: 300 })), "0102ac02");
    let all = TicketsRow { revision: 1, waiting: 2, owners: 3, used: 4, used_from: 5, turns: 6, granted: vec![300] };
    assert_eq!(hex(&codec::encode(&all)), "0101020304050601ac02");
    assert_eq!(hex(&line_key(&name("p"), 300)), "7000000000000000012c");
    let change = Change::Use { number: 300, secret: 9, principal: name("p"), what: WHAT };
    assert_eq!(hex(&codec::encode(&change)), format!("0102ac02090170{what}"));
}

/// What happens; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Issue(usize),
    Grant(Vec<usize>),
    Use(usize),
    End(usize, bool),
    Clear(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nth = any::<u16>().prop_map(usize::from);
    let step = prop_oneof![
        5 => (0..3usize).prop_map(Step::Issue),
        5 => prop::collection::vec(nth.clone(), 1..5).prop_map(Step::Grant),
        3 => nth.clone().prop_map(Step::Use),
        2 => (nth, any::<bool>()).prop_map(|(nth, lost)| Step::End(nth, lost)),
        1 => (0..20u64).prop_map(Step::Clear),
    ];
    prop::collection::vec(step, 1..200)
}

/// How a ticket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Used,
    Lost,
    Cancelled,
}

/// A plain account of all tickets that were ever issued.
#[derive(Default)]
struct Model {
    lab: Lab,
    owners: BTreeMap<u64, usize>,
    granted: Vec<u64>,
    ends: BTreeMap<u64, End>,
}

const OWNERS: [&str; 3] = ["p", "p-1", "q"];

impl Model {
    /// The nth ticket that was ever issued.
    fn nth(&self, nth: usize) -> u64 {
        self.owners.keys().nth(nth % self.owners.len().max(1)).copied().unwrap_or(u64::MAX)
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Issue(owner) => {
                let number = self.lab.issue(OWNERS[owner]);
                self.owners.insert(number, owner);
            }
            Step::Grant(nths) => {
                let numbers: Vec<u64> = nths.into_iter().map(|nth| self.nth(nth)).collect();
                let Told::Granted(done) = self.lab.grant(&numbers) else { panic!("not granted") };
                for number in numbers.into_iter().zip(done).filter_map(|(number, done)| done.then_some(number)) {
                    let before = |other: &u64| {
                        self.owners[other] == self.owners[&number]
                            && !self.granted.contains(other)
                            && !self.ends.contains_key(other)
                    };
                    prop_assert!(!self.owners.range(..number).any(|(other, _)| before(other)), "{} passed one", number);
                    prop_assert!(!self.granted.contains(&number) && !self.ends.contains_key(&number));
                    self.granted.push(number);
                }
            }
            Step::Use(nth) => {
                let number = self.nth(nth);
                let owner = self.owners.get(&number).map_or("p", |owner| OWNERS[*owner]);
                if let Told::Used { times, .. } = self.lab.use_it(number, owner) {
                    prop_assert!(self.granted.contains(&number), "its turn had not come");
                    let before = self.ends.insert(number, End::Used);
                    prop_assert_eq!(before, (times > 1).then_some(End::Used), "it ends once");
                }
            }
            Step::End(nth, lost) => {
                let number = self.nth(nth);
                let (why, end) = if lost { (Ending::Lost, End::Lost) } else { (Ending::Cancelled, End::Cancelled) };
                if self.lab.end(number, why) {
                    prop_assert_eq!(self.ends.insert(number, end), None, "it ends once");
                    prop_assert!(!lost || self.granted.contains(&number), "its turn had not come");
                }
            }
            Step::Clear(ago) => {
                let upto = self.lab.index.saturating_sub(ago);
                self.lab.told(Change::Clear { upto });
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let all = self.lab.all();
        let open: BTreeSet<u64> =
            self.owners.keys().filter(|number| !self.ends.contains_key(number)).copied().collect();
        let granted: BTreeSet<u64> = self.granted.iter().filter(|number| open.contains(number)).copied().collect();
        prop_assert_eq!(all.granted.iter().copied().collect::<BTreeSet<_>>(), granted.clone());
        prop_assert_eq!(all.waiting as usize, open.len() - granted.len());
        prop_assert_eq!(all.turns as usize, self.granted.len());
        prop_assert_eq!(self.lab.rows(TICKET_LINES), all.waiting as usize);
        prop_assert_eq!(self.lab.rows(TICKETS_USED), all.used as usize);
        prop_assert_eq!(self.lab.rows(TICKETS), open.len() + all.used as usize);
        let owners: BTreeSet<usize> = open.iter().map(|number| self.owners[number]).collect();
        prop_assert_eq!((all.owners as usize, self.lab.rows(TICKET_OWNERS)), (owners.len(), owners.len()));
        Ok(())
    }

    /// Everything that waits has its turn when nothing else happens any more.
    fn finish(mut self) -> Result<(), TestCaseError> {
        for number in self.owners.keys().copied().collect::<Vec<_>>() {
            let waits = !self.granted.contains(&number) && !self.ends.contains_key(&number);
            prop_assert_eq!(self.lab.grant(&[number]), Told::Granted(vec![waits]));
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn tickets_end_once_and_in_order(steps in steps()) {
        let mut model = Model::default();
        for step in steps {
            model.step(step)?;
        }
        model.finish()?;
    }
}
