//! What became of the last requests, for `flotilla explain`: soft state of one supernode, gone with it. Decides
//! nothing.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use flotilla_api::{
    RequestId,
    explain::{Claimed, Considered, Explanation, Seen, Step, What},
};
use tokio::time::Instant;

use super::class::{Ask, Place};

/// The most requests that are remembered: some ten seconds of a supernode that is pushed hard, hours of a calm one.
pub const RECORDS_MAX: usize = 8192;
/// The most bytes of them together; a request that was moved remembers all that was seen of every cluster.
const BYTES_MAX: usize = 8 << 20;
/// The most clusters that a choice is remembered with; the best ones.
pub const CANDIDATES_MAX: usize = 8;
/// The most steps of one request; what comes later is not remembered, since the first ones tell why.
const STEPS_MAX: usize = 16;
/// The most nodes of one request; as many as it is tried on.
const NODES_MAX: usize = 8;

/// The last requests.
///
/// # Bounds
/// As many requests as was said when it was made, and 8 MiB; the oldest go first.
#[derive(Debug)]
pub struct Records {
    records_max: usize,
    ring: VecDeque<Entry>,
    /// The number of the first entry of the ring; they are numbered in order.
    first: u64,
    /// The newest entry of each id, since a client may use one twice.
    index: HashMap<RequestId, u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    bytes: usize,
    told: Explanation,
}

impl Records {
    /// Makes room for so many requests.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self { records_max, ring: VecDeque::new(), first: 0, index: HashMap::new(), bytes: 0 }
    }

    /// Remembers a request that came; one that comes again goes on with what is remembered.
    pub fn arrived(&mut self, ask: &Ask, candidates: Vec<Considered>, now: Instant) {
        if ask.first.is_some() && self.index.contains_key(&ask.request) {
            return;
        }
        let home = match &ask.place {
            Place::Home(cluster) => Some(cluster.clone()),
            Place::Any | Place::Everywhere => None,
        };
        let told = Explanation {
            request: ask.request.clone(),
            principal: String::from(&*ask.principal),
            op: ask.op.to_owned(),
            age_ms: 0,
            class: ask.class,
            home,
            candidates,
            steps: Vec::new(),
            claim: None,
            nodes: Vec::new(),
            status: None,
        };
        let bytes = bytes(&told);
        self.bytes += bytes;
        self.index.insert(told.request.clone(), self.first + self.ring.len() as u64);
        self.ring.push_back(Entry { at: now, bytes, told });
        self.trim();
    }

    /// Remembers what happened to a request.
    pub fn happened(&mut self, request: &RequestId, what: What, now: Instant) {
        self.change(request, |told, at| {
            if told.steps.len() < STEPS_MAX {
                told.steps.push(Step { after_ms: millis(now.duration_since(at)), what });
            }
        });
    }

    /// Remembers the claim that was made for a request.
    pub fn claimed(&mut self, request: &RequestId, claim: Claimed) {
        self.change(request, |told, _| told.claim = Some(claim));
    }

    /// Remembers that a request was sent to a node.
    pub fn tried(&mut self, request: &RequestId, node: &str) {
        self.change(request, |told, _| {
            if told.nodes.len() < NODES_MAX {
                told.nodes.push(node.to_owned());
            }
        });
    }

    /// Remembers how a request was answered.
    pub fn answered(&mut self, request: &RequestId, status: u16) {
        self.change(request, |told, _| told.status = Some(status));
    }

    /// Tells what is remembered of a request.
    #[must_use]
    pub fn explain(&self, request: &RequestId, now: Instant) -> Option<Explanation> {
        let entry = self.ring.get(self.place(request)?)?;
        Some(Explanation { age_ms: millis(now.duration_since(entry.at)), ..entry.told.clone() })
    }

    fn change(&mut self, request: &RequestId, change: impl FnOnce(&mut Explanation, Instant)) {
        let Some(place) = self.place(request) else { return };
        let Some(entry) = self.ring.get_mut(place) else { return };
        change(&mut entry.told, entry.at);
        self.bytes -= entry.bytes;
        entry.bytes = bytes(&entry.told);
        self.bytes += entry.bytes;
        self.trim();
    }

    fn place(&self, request: &RequestId) -> Option<usize> {
        usize::try_from(self.index.get(request)?.checked_sub(self.first)?).ok()
    }

    fn trim(&mut self) {
        while self.ring.len() > self.records_max || self.bytes > BYTES_MAX {
            let Some(oldest) = self.ring.pop_front() else { return };
            self.bytes -= oldest.bytes;
            if self.index.get(&oldest.told.request) == Some(&self.first) {
                self.index.remove(&oldest.told.request);
            }
            self.first += 1;
        }
    }
}

/// About what a record takes in memory, with its place in the index.
fn bytes(told: &Explanation) -> usize {
    /// A short text behind a pointer, as names of clusters are.
    const TEXT: usize = 16;
    let seen = |step: &Step| match &step.what {
        What::Stolen { seen, .. } => seen.len() * (size_of::<Seen>() + TEXT),
        What::Queued { .. }
        | What::Rehoused { .. }
        | What::Granted { .. }
        | What::Refused { .. }
        | What::Moved { .. }
        | What::Left => 0,
    };
    size_of::<Entry>()
        + 2 * (size_of::<RequestId>() + told.request.as_str().len())
        + told.principal.len()
        + told.op.len()
        + told.candidates.len() * (size_of::<Considered>() + TEXT)
        + told.steps.iter().map(|step| size_of::<Step>() + 2 * TEXT + seen(step)).sum::<usize>()
        + told.nodes.iter().map(|node| size_of::<String>() + node.len()).sum::<usize>()
}

/// A time in milliseconds, for people.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use flotilla_api::{
        ClusterName, Epoch,
        explain::Routed,
        queue::{Class, Lane},
    };

    use super::*;
    use crate::admission::class::Patience;

    fn id(n: usize) -> RequestId {
        format!("r{n}").parse().expect("a good id")
    }

    fn ask(n: usize) -> Ask {
        let class = Class { lane: Lane::Small, units: 1, bytes: 0 };
        let (request, principal, place) = (id(n), "p".into(), Place::Any);
        Ask { request, principal, key: None, op: "put", class, place, first: None, patience: Patience::Queue }
    }

    #[test]
    fn a_request_is_explained_from_its_arrival_to_its_answer() {
        let start = Instant::now();
        let later = start + Duration::from_millis(20);
        let cluster: ClusterName = "a".parse().expect("a good name");
        let mut records = Records::new(RECORDS_MAX);
        records.arrived(&ask(1), Vec::new(), start);
        records.happened(&id(1), What::Granted { cluster: Some(cluster.clone()), why: Routed::New }, later);
        let claim = Claimed { cluster: cluster.clone(), epoch: Epoch(7), granted: true };
        records.claimed(&id(1), claim.clone());
        records.tried(&id(1), "h:1");
        records.arrived(&Ask { first: Some(start), ..ask(1) }, Vec::new(), later);
        records.answered(&id(1), 201);
        let told = records.explain(&id(1), later).expect("it is remembered");
        assert_eq!(
            (told.age_ms, told.status, told.claim, told.nodes),
            (20, Some(201), Some(claim), vec!["h:1".into()])
        );
        let granted = What::Granted { cluster: Some(cluster), why: Routed::New };
        assert_eq!(told.steps, [Step { after_ms: 20, what: granted }]);
        assert_eq!(records.explain(&id(2), later), None);
    }

    #[test]
    fn the_oldest_are_forgotten_first_by_number_and_by_bytes() {
        let now = Instant::now();
        let mut records = Records::new(RECORDS_MAX);
        for n in 0..RECORDS_MAX + 10 {
            records.arrived(&ask(n), Vec::new(), now);
        }
        assert!(records.explain(&id(9), now).is_none() && records.explain(&id(10), now).is_some());
        assert_eq!((records.ring.len(), records.index.len()), (RECORDS_MAX, RECORDS_MAX));
        let long = "n".repeat(16 << 10);
        for n in 10..RECORDS_MAX + 10 {
            records.tried(&id(n), &long);
        }
        assert!(records.bytes <= BYTES_MAX && records.ring.len() == records.index.len());
        assert!(records.explain(&id(RECORDS_MAX + 9), now).is_some(), "the newest stays");
        let sum: usize = records.ring.iter().map(|entry| bytes(&entry.told)).sum();
        assert_eq!(records.bytes, sum);
    }

    #[test]
    fn an_id_that_is_used_twice_is_explained_by_its_last_use() {
        let now = Instant::now();
        let mut records = Records::new(RECORDS_MAX);
        records.arrived(&ask(1), Vec::new(), now);
        records.answered(&id(1), 200);
        records.arrived(&ask(1), Vec::new(), now);
        assert_eq!(records.explain(&id(1), now).expect("it is remembered").status, None);
        for n in 2..=RECORDS_MAX {
            records.arrived(&ask(n), Vec::new(), now);
        }
        assert!(records.explain(&id(1), now).is_some(), "only its first use was forgotten");
    }
}
