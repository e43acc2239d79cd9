//! Tickets at work: the supernode that leads lets them stand in its own queues and holds places for those whose turn
//! came; every supernode follows what is written of them.
//!
//! What a ticket is the directory decides. Here is nothing that a new leader would miss.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use flotilla_api::{
    ClusterName, RequestId,
    queue::{Class, Lane},
};
use flotilla_env::{Clock, Entropy};
use metrics::{counter, gauge};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use crate::{
    admission::{
        class::{Ask, Patience, Place},
        gate::{Gate, Permit},
        tickets::{Desk, Granted, Next, Step},
    },
    directory::{
        Answer, Command, Directory, Head, Standing,
        read::Error,
        rows::{Stage, TicketState, TicketsRow, Weight},
        tickets::{AT_ONCE_MAX, Change, Ending, Told},
    },
};

/// How often the leader looks whether something was written of tickets, and everybody who follows does.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it looks at all of them, whatever was written: time passes, and credits come and go.
const LOOK_ANYWAY: Duration = Duration::from_millis(500);
/// For each so many principals that have tickets it looks so much more seldom: a look at that many takes some ten
/// milliseconds.
const PRINCIPALS_AT_ONCE: u32 = 1024;
/// How long a used ticket is known after its use: so long the same request can be sent again under it.
const USED_FOR: Duration = Duration::from_secs(600);
/// How exactly that is counted.
const AGED_EVERY: Duration = Duration::from_secs(10);
/// The time over which turns are counted.
const PACE_OVER: Duration = Duration::from_secs(10);
/// How often they are.
const PACE_EVERY: Duration = Duration::from_secs(1);

/// Grants tickets. Works only while this supernode leads.
pub struct Granter {
    /// Where tickets are written down.
    pub directory: Directory,
    /// The queues that they stand in.
    pub gate: Gate,
    /// The monotonic clock.
    pub clock: Arc<dyn Clock>,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
    /// How long a place is held.
    pub hold: Duration,
}

/// What a leader has in its hands.
struct Leading {
    desk: Desk,
    waiting: JoinSet<(u64, Option<Permit>)>,
    entered: HashMap<u64, Entered>,
    ready: Vec<(u64, Option<Permit>)>,
    places: HashMap<u64, Permit>,
    ages: Ages,
    /// Where the log was when it began to lead.
    begun: u64,
    revision: Option<u64>,
    /// When it looks again if something is written, and when whatever is.
    look_from: Instant,
    look_at: Instant,
}

/// A ticket that stands in the queue.
struct Entered {
    task: AbortHandle,
    /// Whether it waits for the home of its key.
    at_home: bool,
}

impl Granter {
    /// Works for as long as it is polled.
    pub async fn run(self) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leading: Option<Leading> = None;
        loop {
            match &mut leading {
                None => {
                    every.tick().await;
                }
                Some(leading) => tokio::select! {
                    _ = every.tick() => {}
                    Some(ready) = leading.waiting.join_next() => leading.ready.extend(ready.ok()),
                },
            }
            let status = self.directory.group().status();
            if !status.is_leader || status.catching_up {
                if leading.take().is_some() {
                    show(&TicketsRow::default());
                }
                continue;
            }
            let leading = leading.get_or_insert_with(|| self.lead());
            if let Err(error) = self.round(leading).await {
                tracing::debug!(%error, "tickets have to wait");
            }
        }
    }

    fn lead(&self) -> Leading {
        let (begun, now) = (self.directory.group().applied_index(), self.clock.now());
        tracing::info!(begun, "tickets are granted here");
        Leading {
            desk: Desk::new(self.hold),
            waiting: JoinSet::new(),
            entered: HashMap::new(),
            ready: Vec::new(),
            places: HashMap::new(),
            ages: Ages::default(),
            begun,
            revision: None,
            look_from: now,
            look_at: now,
        }
    }

    async fn round(&self, leading: &mut Leading) -> Result<(), Error> {
        while let Some(ready) = leading.waiting.try_join_next() {
            leading.ready.extend(ready.ok());
        }
        self.grant(leading).await?;
        let (revision, now) = (self.directory.tickets()?.revision, self.clock.now());
        if now < leading.look_from || (leading.revision == Some(revision) && now < leading.look_at) {
            return Ok(());
        }
        let mut standing = self.directory.standing_tickets()?;
        (leading.revision, leading.look_at) = (Some(standing.all.revision), now + LOOK_ANYWAY);
        leading.look_from = now + LOOK_EVERY * (standing.all.owners / PRINCIPALS_AT_ONCE);
        show(&standing.all);
        standing.heads.retain(|head| is_remembered(head.number, leading.begun));
        self.dismiss(&mut standing).await?;
        self.rehome(&mut standing)?;
        self.look(leading, &standing).await;
        let old = leading.ages.see(self.directory.group().applied_index(), now);
        if let (Some(upto), Some(oldest)) = (old, standing.oldest_used)
            && oldest <= upto
        {
            self.change(Change::Clear { upto }).await?;
        }
        Ok(())
    }

    /// Has the turn come of those that have got a place.
    async fn grant(&self, leading: &mut Leading) -> Result<(), Error> {
        let mut places: Vec<(Granted, Permit)> = Vec::new();
        for (number, permit) in std::mem::take(&mut leading.ready) {
            // One that was withdrawn gives its place back.
            let Some(Entered { at_home, .. }) = leading.entered.remove(&number) else { continue };
            match permit.and_then(|permit| Some((permit.cluster.clone()?, permit))) {
                Some((cluster, permit)) => {
                    leading.desk.left(number);
                    places.push((Granted { number, cluster, at_home }, permit));
                }
                None => leading.desk.refused(number, self.clock.now()),
            }
        }
        while !places.is_empty() {
            let batch = places.split_off(places.len().saturating_sub(AT_ONCE_MAX));
            let grants = batch.iter().map(|(granted, _)| (granted.number, granted.cluster.clone())).collect();
            let Told::Granted(done) = self.change(Change::Grant { grants }).await? else { continue };
            let now = self.clock.now();
            for ((granted, permit), _) in batch.into_iter().zip(done).filter(|(_, done)| *done) {
                count("granted", 1);
                leading.places.insert(granted.number, permit);
                leading.desk.granted(granted, now);
            }
        }
        Ok(())
    }

    /// Cancels tickets of principals that are no more.
    async fn dismiss(&self, standing: &mut Standing) -> Result<(), Error> {
        let mut gone = Vec::new();
        for head in &standing.heads {
            if !self.directory.has_principal(&head.row.principal)? {
                gone.push(head.row.principal.clone());
            }
        }
        standing.heads.retain(|head| !gone.contains(&head.row.principal));
        for principal in gone {
            let numbers = self.directory.line(&principal)?;
            let told = self.change(Change::End { numbers, why: Ending::Cancelled }).await?;
            count("cancelled", done(&told));
        }
        Ok(())
    }

    /// Lets tickets have their turns anywhere whose keys were at home in a cluster that was forgotten or given up since.
    fn rehome(&self, standing: &mut Standing) -> Result<(), Error> {
        for head in &mut standing.heads {
            let Some(home) = &head.row.home else { continue };
            let row = self.directory.cluster(home)?;
            if row.is_none_or(|row| matches!(row.stage, Stage::Fenced { .. })) {
                head.row.home = None;
            }
        }
        Ok(())
    }

    async fn look(&self, leading: &mut Leading, standing: &Standing) {
        let next: Vec<Next> =
            standing.heads.iter().map(|head| Next { number: head.number, home: head.row.home.clone() }).collect();
        let granted: Vec<Granted> = standing.granted.iter().filter_map(granted).collect();
        let credits: BTreeMap<ClusterName, u32> =
            self.gate.status().into_iter().filter_map(|side| Some((side.cluster?, side.credits))).collect();
        for step in leading.desk.look(&next, &granted, &credits, self.clock.now()) {
            match step {
                Step::Enter(number) => {
                    let Some(head) = standing.heads.iter().find(|head| head.number == number) else { continue };
                    let place = head.row.home.clone().map_or(Place::Any, Place::Home);
                    let (gate, ask) = (self.gate.clone(), ask(head, place, Patience::Ticket));
                    let task = leading.waiting.spawn(async move { (number, gate.admit(ask).await.ok()) });
                    leading.entered.insert(number, Entered { task, at_home: head.row.home.is_some() });
                }
                Step::Withdraw(number) => {
                    if let Some(entered) = leading.entered.remove(&number) {
                        entered.task.abort();
                    }
                }
                Step::Hold(Granted { number, cluster, .. }) => {
                    let Some(head) = standing.granted.iter().find(|head| head.number == number) else { continue };
                    // Only a supernode that stops refuses one that is due.
                    if let Ok(permit) = self.gate.admit(ask(head, Place::Home(cluster), Patience::Due)).await {
                        leading.places.insert(number, permit);
                    }
                }
                Step::Release(number) => drop(leading.places.remove(&number)),
                // What the desk believes done must be done, so that nothing here ends the others.
                Step::Lose(numbers) => match self.change(Change::End { numbers, why: Ending::Lost }).await {
                    Ok(told) => count("lost", done(&told)),
                    Err(error) => tracing::debug!(%error, "tickets could not be ended"),
                },
            }
        }
    }

    async fn change(&self, change: Change) -> Result<Told, Error> {
        match self.directory.propose(self.entropy.u128(), Command::Ticket(change)).await? {
            Answer::Ticket(told) => Ok(told),
            answer => {
                tracing::error!(?answer, "tickets were answered with something else");
                Ok(Told::Unknown)
            }
        }
    }
}

/// Whether a leader goes by a ticket: by all of them, also those of earlier leaders.
fn is_remembered(number: u64, begun: u64) -> bool {
    flotilla_env::failpoint!("tickets.forget", |_| number > begun);
    let _only_the_fault_asks = (number, begun);
    true
}

fn granted(head: &Head) -> Option<Granted> {
    match &head.row.state {
        TicketState::Granted { cluster, .. } => {
            let at_home = head.row.home.as_ref() == Some(cluster);
            Some(Granted { number: head.number, cluster: cluster.clone(), at_home })
        }
        TicketState::Waiting | TicketState::Used { .. } => None,
    }
}

fn ask(head: &Head, place: Place, patience: Patience) -> Ask {
    let Weight { big, units, bytes } = head.row.weight;
    let class = Class { lane: if big { Lane::Big } else { Lane::Small }, units, bytes };
    // Its secret is for nobody who looks at the queue.
    let request: RequestId = format!("ticket-{}", head.number).parse().expect("a word, a dash and digits are an id");
    let principal = head.row.principal.as_str().into();
    // The request that uses it brings a key; tickets of principals that are no more end by themselves.
    Ask { request, principal, key: None, op: "ticket", class, place, first: None, patience }
}

/// How many ended.
fn done(told: &Told) -> u64 {
    match told {
        Told::Ended(done) => done.iter().filter(|done| **done).count() as u64,
        Told::Issued(_)
        | Told::Granted(_)
        | Told::Used { .. }
        | Told::Waits
        | Told::Other
        | Told::Unknown
        | Told::Cleared(_) => 0,
    }
}

/// Counts what became of tickets, where it was asked for.
pub fn count(how: &'static str, tickets: u64) {
    counter!("flotilla_tickets_total", "how" => how).increment(tickets);
}

fn show(all: &TicketsRow) {
    let granted = u32::try_from(all.granted.len()).unwrap_or(u32::MAX);
    for (state, count) in [("waiting", all.waiting), ("granted", granted), ("used", all.used)] {
        gauge!("flotilla_tickets", "state" => state).set(f64::from(count));
    }
}

/// Where the log was seen when: tells which entries are old. Soft, begun anew by every leader.
#[derive(Debug, Default)]
struct Ages(VecDeque<(Instant, u64)>);

impl Ages {
    /// Notes the last entry, and gives the last one that is at least [`USED_FOR`] old.
    fn see(&mut self, last: u64, now: Instant) -> Option<u64> {
        if self.0.back().is_none_or(|(at, _)| now.duration_since(*at) >= AGED_EVERY) {
            self.0.push_back((now, last));
        }
        let mut old = None;
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) >= USED_FOR) {
            old = self.0.pop_front();
        }
        // Kept, so that the next look finds it again.
        if let Some(entry) = old {
            self.0.push_front(entry);
        }
        old.map(|(_, index)| index)
    }
}

/// What is known of all tickets.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seen {
    /// Another one with every change.
    pub revision: u64,
    /// How many principals have tickets that stand.
    pub owners: u32,
    /// How many turns come per second; none while none does.
    pub per_second: Option<f64>,
}

impl Seen {
    /// How long the ticket at a position of its principal's line waits: turns go around between principals.
    #[must_use]
    pub fn wait(&self, position: u64) -> Option<Duration> {
        #[allow(clippy::cast_precision_loss)] // an estimate needs no more digits than a float has
        let turns = position as f64 * f64::from(self.owners.max(1));
        Duration::try_from_secs_f64(turns / self.per_second?).ok()
    }
}

/// Follows what is written of tickets, for those who wait for one to change.
pub struct Follower {
    directory: Directory,
    clock: Arc<dyn Clock>,
    seen: watch::Sender<Seen>,
}

impl Follower {
    /// Makes a follower, and what it tells. The channel ends with it.
    #[must_use]
    pub fn new(directory: Directory, clock: Arc<dyn Clock>) -> (Self, watch::Receiver<Seen>) {
        let (seen, told) = watch::channel(Seen::default());
        (Self { directory, clock, seen }, told)
    }

    /// Works for as long as it is polled.
    pub async fn run(self) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pace = Pace::default();
        loop {
            every.tick().await;
            // While a snapshot is installed nothing can be said of tickets.
            let Ok(all) = self.directory.tickets() else { continue };
            pace.see(all.turns, self.clock.now());
            let now = Seen { revision: all.revision, owners: all.owners, per_second: pace.per_second() };
            self.seen.send_if_modified(|before| {
                let changed = before.revision != now.revision;
                *before = now;
                changed
            });
        }
    }
}

/// How fast turns come.
#[derive(Debug, Default)]
struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    /// Notes how many turns there were, ever.
    fn see(&mut self, turns: u64, now: Instant) {
        if self.0.back().is_none_or(|(at, _)| now.duration_since(*at) >= PACE_EVERY) {
            self.0.push_back((now, turns));
        }
        while self.0.len() > 2 && self.0.front().is_some_and(|(at, _)| now.duration_since(*at) > PACE_OVER) {
            self.0.pop_front();
        }
    }

    /// Gives how many came per second.
    fn per_second(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.0.front()?, self.0.back()?);
        let (span, turns) = (to.duration_since(*from).as_secs_f64(), after.saturating_sub(*before));
        #[allow(clippy::cast_precision_loss)] // as `Seen::wait`
        let per_second = turns as f64 / span;
        (turns > 0 && span > 0.0).then_some(per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_of_long_ago_are_old() {
        let (begin, mut ages) = (Instant::now(), Ages::default());
        let mut see = |secs, last| ages.see(last, begin + Duration::from_secs(secs));
        assert_eq!(see(0, 5), None);
        for secs in 1..600 {
            assert_eq!(see(secs, 5 + secs), None);
        }
        assert_eq!(see(600, 700), Some(5));
        assert_eq!(see(615, 700), Some(15), "counted every ten seconds");
        assert_eq!(see(5000, 700), Some(700));
    }

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let (begin, mut pace) = (Instant::now(), Pace::default());
        for second in 0..60 {
            pace.see(second * 4, begin + Duration::from_secs(second));
        }
        assert!((pace.per_second().expect("turns came") - 4.0).abs() < 1e-9);
        let seen = Seen { revision: 1, owners: 3, per_second: pace.per_second() };
        assert_eq!(seen.wait(8), Some(Duration::from_secs(6)), "the eighth of one of three principals");
        for second in 60..80 {
            pace.see(240, begin + Duration::from_secs(second));
        }
        assert_eq!(pace.per_second(), None);
        assert_eq!(Seen { per_second: None, ..seen }.wait(8), None);
    }
}
