//! One queue that is fair between principals: each has its line, and lines are served by turns. Must not know what
//! waits in it.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    sync::Arc,
};

use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Units that a line may be given per turn: four small requests, so that one turn is short and a big request waits some
/// rounds.
pub const QUANTUM: u32 = 4;
/// The most principals with a line of their own; more share one. A queue holds no more requests than that as it is.
pub const PRINCIPALS_MAX: usize = 1024;
/// The line that they share. No principal's name has a star.
const OTHER: &str = "*other";

/// Something that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<T> {
    /// What waits.
    pub what: T,
    /// Whose it is.
    pub principal: Arc<str>,
    /// What it counts, from 1 on.
    pub units: u32,
    /// Bytes that it counts.
    pub bytes: u64,
    /// When it came; a line is in this order.
    pub at: Instant,
}

/// What makes a line long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// How many wait in it.
    Count,
    /// Their bytes.
    Bytes,
}

/// What is served before something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// How many of its own line.
    pub requests: usize,
    /// Units of all lines, as turns go.
    pub units: u64,
}

#[derive(Debug)]
struct Line<T> {
    /// Units of its turns that it has not used; fewer than the most of one item and one [`QUANTUM`] together.
    deficit: u32,
    /// Whether it has had this round's units.
    in_turn: bool,
    items: VecDeque<Item<T>>,
    units: u64,
    bytes: u64,
}

/// The queue: deficit round robin over the lines that are not empty.
///
/// # Bounds
/// Whoever pushes bounds it; lines are bounded here. Between two principals that always wait, the units served differ
/// by less than [`QUANTUM`] plus the most units of one item.
///
/// # Source
/// Shreedhar and Varghese, "Efficient fair queuing using deficit round robin", 1996.
#[derive(Debug)]
pub struct Fair<T> {
    lines: BTreeMap<Arc<str>, Line<T>>,
    /// The lines in the order of their turns, each once.
    ring: VecDeque<Arc<str>>,
    lines_max: usize,
    len: usize,
    units: u64,
    bytes: u64,
}

impl<T: PartialEq> Fair<T> {
    /// Makes an empty queue of at most so many lines, and the shared one.
    #[must_use]
    pub fn new(lines_max: usize) -> Self {
        Self { lines: BTreeMap::new(), ring: VecDeque::new(), lines_max, len: 0, units: 0, bytes: 0 }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Units of all that wait.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Bytes of all that wait.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts an item into its principal's line, behind all that came before it.
    pub fn push(&mut self, item: Item<T>) {
        let shares = self.line_of(&item.principal) == OTHER;
        let name: Arc<str> = if shares { OTHER.into() } else { Arc::clone(&item.principal) };
        let line = match self.lines.entry(name) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.ring.push_back(Arc::clone(entry.key()));
                entry.insert(Line { deficit: 0, in_turn: false, items: VecDeque::new(), units: 0, bytes: 0 })
            }
        };
        line.units += u64::from(item.units);
        line.bytes += item.bytes;
        self.len += 1;
        self.units += u64::from(item.units);
        self.bytes += item.bytes;
        let place = line.items.iter().rposition(|before| before.at <= item.at).map_or(0, |before| before + 1);
        line.items.insert(place, item);
    }

    /// Takes the oldest item that fits of the principal whose turn it is. A line with nothing that fits keeps its turn.
    pub fn pop(&mut self, fit: impl Fn(&T) -> bool) -> Option<Item<T>> {
        let mut turn = 0;
        loop {
            let name = Arc::clone(self.ring.get(turn)?);
            let line = self.lines.get_mut(&name).expect("the ring names the lines that there are");
            let Some(found) = line.items.iter().position(|item| fit(&item.what)) else {
                turn += 1;
                continue;
            };
            if !line.in_turn {
                line.in_turn = true;
                line.deficit += QUANTUM;
            }
            let units = line.items[found].units;
            if line.deficit >= units {
                line.deficit -= units;
                return self.take(&name, found);
            }
            line.in_turn = false;
            self.ring.remove(turn);
            self.ring.push_back(name);
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, principal: &str, what: &T) -> Option<Item<T>> {
        let name = self.line_of(principal);
        let found = self.lines.get(name)?.items.iter().position(|item| item.what == *what)?;
        self.take(name, found)
    }

    /// Takes out the newest of a line that [`Fair::longest`] named, of those that are not spared if there are any.
    pub fn drop_newest(&mut self, line: &str, spared: impl Fn(&T) -> bool) -> Option<Item<T>> {
        let items = &self.lines.get(line)?.items;
        let newest = items.iter().rposition(|item| !spared(&item.what));
        let newest = newest.or_else(|| items.len().checked_sub(1))?;
        self.take(line, newest)
    }

    /// Takes out all that `leaves` tells, the oldest first.
    pub fn drain(&mut self, leaves: impl Fn(&Item<T>) -> bool) -> Vec<Item<T>> {
        let mut out: Vec<Item<T>> = Vec::new();
        for line in self.lines.values_mut() {
            if !line.items.iter().any(&leaves) {
                continue;
            }
            let (left, stay): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut line.items).into_iter().partition(&leaves);
            line.items = stay;
            line.units -= left.iter().map(|item| u64::from(item.units)).sum::<u64>();
            line.bytes -= left.iter().map(|item| item.bytes).sum::<u64>();
            out.extend(left);
        }
        self.lines.retain(|_, line| !line.items.is_empty());
        let lines = &self.lines;
        self.ring.retain(|name| lines.contains_key(name));
        self.len -= out.len();
        self.units -= out.iter().map(|item| u64::from(item.units)).sum::<u64>();
        self.bytes -= out.iter().map(|item| item.bytes).sum::<u64>();
        out.sort_by_key(|item| item.at);
        out
    }

    /// The longest line and how long it is.
    #[must_use]
    pub fn longest(&self, by: Measure) -> Option<(&str, u64)> {
        self.lines.iter().map(|(name, line)| (&**name, line.measure(by))).max_by_key(|(_, long)| *long)
    }

    /// How long the line is that a principal stands in, or would.
    #[must_use]
    pub fn line_length(&self, principal: &str, by: Measure) -> u64 {
        self.lines.get(self.line_of(principal)).map_or(0, |line| line.measure(by))
    }

    /// When the oldest came that fits.
    #[must_use]
    pub fn oldest(&self, fit: impl Fn(&T) -> bool) -> Option<Instant> {
        self.lines.values().filter_map(|line| line.items.iter().find(|item| fit(&item.what))).map(|item| item.at).min()
    }

    /// What would be served before an item that came now.
    #[must_use]
    pub fn ahead(&self, principal: &str, units: u32) -> Ahead {
        let name = self.line_of(principal);
        let (requests, own) = self.lines.get(name).map_or((0, 0), |line| (line.items.len(), line.units));
        Ahead { requests, units: self.beside(name, own, units) }
    }

    /// What is served before one that waits; none if it doesn't.
    #[must_use]
    pub fn before(&self, principal: &str, what: &T) -> Option<Ahead> {
        let name = self.line_of(principal);
        let line = self.lines.get(name)?;
        let requests = line.items.iter().position(|item| item.what == *what)?;
        let own = line.items.iter().take(requests).map(|item| u64::from(item.units)).sum();
        Some(Ahead { requests, units: self.beside(name, own, line.items[requests].units) })
    }

    /// Units served before an item that has `own` units of its own line before it: while a line is served so many,
    /// every other one is served as many, if it has them.
    fn beside(&self, name: &str, own: u64, units: u32) -> u64 {
        let served = (own + u64::from(units)).next_multiple_of(u64::from(QUANTUM));
        let others = self.lines.iter().filter(|(other, _)| ***other != *name);
        own + others.map(|(_, line)| line.units.min(served)).sum::<u64>()
    }

    /// The line that a principal stands in, or would: never two at a time, or its requests would pass each other.
    fn line_of<'a>(&self, principal: &'a str) -> &'a str {
        if self.lines.contains_key(principal) {
            return principal;
        }
        let shared = self.lines.get(OTHER);
        let full = self.lines.len() - usize::from(shared.is_some()) >= self.lines_max;
        let shares = |line: &Line<T>| line.items.iter().any(|item| *item.principal == *principal);
        if full || shared.is_some_and(shares) { OTHER } else { principal }
    }

    fn take(&mut self, name: &str, place: usize) -> Option<Item<T>> {
        let line = self.lines.get_mut(name)?;
        let item = line.items.remove(place)?;
        line.units -= u64::from(item.units);
        line.bytes -= item.bytes;
        let empty = line.items.is_empty();
        self.len -= 1;
        self.units -= u64::from(item.units);
        self.bytes -= item.bytes;
        if empty {
            // What it had left of its turns goes with it: who comes again begins anew.
            self.lines.remove(name);
            self.ring.retain(|other| **other != *name);
        }
        Some(item)
    }
}

impl<T> Line<T> {
    fn measure(&self, by: Measure) -> u64 {
        match by {
            Measure::Count => self.items.len() as u64,
            Measure::Bytes => self.bytes,
        }
    }
}
