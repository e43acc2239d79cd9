//! Which files exist, as far as answers tell: what may be read, and what must be there in the end. Knows no network.
//!
//! A file is three bytes here: its length follows from its number, and its content from number and generation.

use super::{profile::Popularity, random::Random};

/// How often a file is drawn before giving up: most are free nearly always.
const TRIES: usize = 32;
/// Files of one folder.
pub(crate) const FOLDER: u64 = 256;

/// Its upload was acked, and no deletion.
const LIVE: u16 = 1 << 15;
/// A write is under way.
const WRITING: u16 = 1 << 14;
/// The last write's outcome is not known.
const UNKNOWN: u16 = 1 << 13;
/// That write was a deletion.
const DELETING: u16 = 1 << 12;
/// An acked deletion.
const DELETED: u16 = 1 << 11;
/// It was lost or wrong, and counted.
const FOUND_BAD: u16 = 1 << 10;
/// How many are reading it.
const READERS: u16 = FOUND_BAD - 1;

/// A file and one of its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its number.
    pub(crate) number: u64,
    /// How often it was replaced.
    pub(crate) generation: u8,
}

/// What must be true of a file when all is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It has this content.
    Content(Item),
    /// It has this content or the one after it.
    Either(Item),
    /// It has this content, or is not there.
    MaybeGone(Item),
    /// It is not there.
    Gone(Item),
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It was acked.
    Acked,
    /// It was refused and has no effect.
    Refused,
    /// It may have had an effect, or may have one later.
    Unknown,
}

/// All files of a run.
#[derive(Debug)]
pub(crate) struct Catalog {
    states: Vec<u16>,
    generations: Vec<u8>,
    popularity: Popularity,
    /// The next file in turn, for [`Popularity::Sequential`].
    next: u64,
}

impl Catalog {
    /// Makes an empty one.
    pub(crate) fn new(popularity: Popularity) -> Self {
        Self { states: Vec::new(), generations: Vec::new(), popularity, next: 0 }
    }

    /// Gives how many files were ever begun.
    pub(crate) fn begun(&self) -> u64 {
        self.states.len() as u64
    }

    /// Begins a new file.
    pub(crate) fn begin_new(&mut self) -> Item {
        self.states.push(WRITING);
        self.generations.push(0);
        Item { number: self.begun() - 1, generation: 0 }
    }

    /// Ends what [`Catalog::begin_new`] began.
    pub(crate) fn end_new(&mut self, item: Item, written: Written) {
        let state = &mut self.states[at(item.number)];
        *state = match written {
            Written::Acked => LIVE,
            Written::Refused => 0,
            Written::Unknown => UNKNOWN,
        };
    }

    /// Chooses a file to read, which nobody writes until [`Catalog::end_read`].
    pub(crate) fn begin_read(&mut self, random: &mut Random) -> Option<Item> {
        let number = self.choose(random, |state| state & !READERS == LIVE && state & READERS < READERS)?;
        self.states[at(number)] += 1;
        Some(self.item(number))
    }

    /// Ends a read.
    pub(crate) fn end_read(&mut self, item: Item) {
        self.states[at(item.number)] -= 1;
    }

    /// Chooses a file that nobody reads or writes, to be replaced or deleted; gives its content now.
    pub(crate) fn begin_write(&mut self, random: &mut Random) -> Option<Item> {
        let number = self.choose(random, |state| state == LIVE)?;
        // The last generation is kept: another one would look like the first.
        (self.generations[at(number)] < u8::MAX).then(|| {
            self.states[at(number)] |= WRITING;
            self.item(number)
        })
    }

    /// Ends a replacement.
    pub(crate) fn end_replace(&mut self, item: Item, written: Written) {
        let state = &mut self.states[at(item.number)];
        *state = LIVE | if written == Written::Unknown { UNKNOWN } else { 0 };
        if written == Written::Acked {
            self.generations[at(item.number)] += 1;
        }
    }

    /// Ends a deletion.
    pub(crate) fn end_delete(&mut self, item: Item, written: Written) {
        self.states[at(item.number)] = match written {
            Written::Acked => DELETED,
            Written::Refused => LIVE,
            Written::Unknown => LIVE | UNKNOWN | DELETING,
        };
    }

    /// Notes that a file is lost or wrong, after which it is left alone. Tells whether that is news.
    pub(crate) fn found_bad(&mut self, number: u64) -> bool {
        let state = &mut self.states[at(number)];
        let news = *state & FOUND_BAD == 0;
        *state |= FOUND_BAD;
        news
    }

    /// Chooses a folder and gives it with the files that must be in its list, if nobody writes them meanwhile.
    pub(crate) fn folder(&self, random: &mut Random) -> Option<(u64, Vec<Item>)> {
        let folders = self.begun().div_ceil(FOLDER);
        let folder = (folders > 0).then(|| random.below(folders))?;
        let end = self.begun().min((folder + 1) * FOLDER);
        Some((folder, (folder * FOLDER..end).filter(|number| self.is_settled(*number)).map(|n| self.item(n)).collect()))
    }

    /// Tells whether a file still is as it was, and nobody began to write it.
    pub(crate) fn is_still(&self, item: Item) -> bool {
        self.is_settled(item.number) && self.generations[at(item.number)] == item.generation
    }

    /// Says what must be true of a file now; none of one that was refused, or was counted as bad.
    ///
    /// What is under way counts as unknown.
    pub(crate) fn expected(&self, number: u64) -> Option<Expected> {
        let (state, item) = (self.states[at(number)], self.item(number));
        if state & FOUND_BAD != 0 {
            return None;
        }
        let open = state & (WRITING | UNKNOWN) != 0;
        match (state & LIVE != 0, open) {
            (true, false) => Some(Expected::Content(item)),
            // A write under way may be either kind, so both are allowed.
            (true, true) if state & DELETING != 0 => Some(Expected::MaybeGone(item)),
            (true, true) => Some(Expected::Either(item)),
            (false, true) => Some(Expected::MaybeGone(item)),
            (false, false) if state & DELETED != 0 => Some(Expected::Gone(item)),
            (false, false) => None,
        }
    }

    /// Marks what is under way as unknown: its requests were cut off.
    pub(crate) fn cut_off(&mut self) {
        for state in &mut self.states {
            if *state & WRITING != 0 {
                // Whether it was a deletion is not known here, so nothing is expected of it but the right bytes.
                *state = (*state & !WRITING) | UNKNOWN | DELETING;
            }
            *state &= !READERS;
        }
    }

    fn is_settled(&self, number: u64) -> bool {
        self.states[at(number)] & (LIVE | WRITING | UNKNOWN | FOUND_BAD) == LIVE
    }

    fn item(&self, number: u64) -> Item {
        Item { number, generation: self.generations[at(number)] }
    }

    fn choose(&mut self, random: &mut Random, fits: impl Fn(u16) -> bool) -> Option<u64> {
        let count = self.begun();
        if count == 0 {
            return None;
        }
        for _ in 0..TRIES {
            let number = match self.popularity {
                Popularity::Uniform => random.below(count),
                Popularity::Zipf { exponent } => zipf(random.unit(), count, exponent),
                Popularity::Sequential => {
                    self.next = (self.next + 1) % count;
                    self.next
                }
            };
            if fits(self.states[at(number)]) {
                return Some(number);
            }
        }
        None
    }
}

fn at(number: u64) -> usize {
    usize::try_from(number).expect("a file that has three bytes in memory has an index")
}

/// Gives a number below `count` by the inverse of the distribution function, taken as continuous.
fn zipf(unit: f64, count: u64, exponent: f64) -> u64 {
    let n = count as f64 + 1.0;
    let rank = if (exponent - 1.0).abs() < 1e-6 {
        n.powf(unit)
    } else {
        let power = 1.0 - exponent;
        ((n.powf(power) - 1.0) * unit + 1.0).powf(1.0 / power)
    };
    (rank as u64).saturating_sub(1).min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::{Catalog, Expected, Item, Written, zipf};
    use crate::load::{profile::Popularity, random::Random};

    fn with(files: u64) -> (Catalog, Random) {
        let mut catalog = Catalog::new(Popularity::Uniform);
        for _ in 0..files {
            let item = catalog.begin_new();
            catalog.end_new(item, Written::Acked);
        }
        (catalog, Random::of(1, 1))
    }

    #[test]
    fn what_is_read_is_not_written_and_what_is_written_not_read() {
        let (mut catalog, mut random) = with(1);
        let read = catalog.begin_read(&mut random).expect("a file");
        assert_eq!(catalog.begin_write(&mut random), None);
        catalog.begin_read(&mut random).expect("several may read");
        catalog.end_read(read);
        catalog.end_read(read);
        let written = catalog.begin_write(&mut random).expect("free again");
        assert_eq!((catalog.begin_read(&mut random), catalog.begin_write(&mut random)), (None, None));
        catalog.end_replace(written, Written::Acked);
        assert_eq!(catalog.begin_read(&mut random), Some(Item { number: 0, generation: 1 }));
    }

    #[test]
    fn expectations_follow_the_answers() {
        let (mut catalog, mut random) = with(1);
        let item = Item { number: 0, generation: 0 };
        assert_eq!(catalog.expected(0), Some(Expected::Content(item)));
        catalog.begin_write(&mut random).expect("a file");
        catalog.end_replace(item, Written::Unknown);
        assert_eq!(catalog.expected(0), Some(Expected::Either(item)));
        assert_eq!(catalog.begin_read(&mut random), None, "it is not known what a read must give");
        for (written, expected) in [
            (Written::Acked, Some(Expected::Gone(item))),
            (Written::Unknown, Some(Expected::MaybeGone(item))),
            (Written::Refused, Some(Expected::Content(item))),
        ] {
            let (mut catalog, mut random) = with(1);
            catalog.begin_write(&mut random).expect("a file");
            catalog.end_delete(item, written);
            assert_eq!(catalog.expected(0), expected);
        }
        let (mut catalog, _) = with(0);
        let item = catalog.begin_new();
        assert_eq!(catalog.expected(0), Some(Expected::MaybeGone(item)));
        catalog.end_new(item, Written::Refused);
        assert_eq!(catalog.expected(0), None);
    }

    #[test]
    fn cut_off_writes_are_unknown() {
        let (mut catalog, mut random) = with(1);
        let item = catalog.begin_write(&mut random).expect("a file");
        let new = catalog.begin_new();
        catalog.cut_off();
        assert_eq!(catalog.expected(0), Some(Expected::MaybeGone(item)));
        assert_eq!(catalog.expected(1), Some(Expected::MaybeGone(new)));
    }

    #[test]
    fn lists_expect_what_is_settled() {
        let (mut catalog, mut random) = with(300);
        let (folder, items) = catalog.folder(&mut random).expect("a folder");
        assert_eq!(items.len(), if folder == 0 { 256 } else { 44 });
        let written = catalog.begin_write(&mut random).expect("a file");
        assert!(!catalog.is_still(written));
        catalog.end_replace(written, Written::Acked);
        assert!(!catalog.is_still(written) && catalog.is_still(Item { generation: 1, ..written }));
    }

    #[test]
    fn zipf_prefers_the_first_and_stays_within() {
        let mut random = Random::of(1, 1);
        for exponent in [0.5, 1.0, 1.2] {
            let drawn: Vec<_> = (0..10_000).map(|_| zipf(random.unit(), 1000, exponent)).collect();
            let first = drawn.iter().filter(|rank| **rank < 10).count();
            let last = drawn.iter().filter(|rank| **rank >= 990).count();
            assert!(drawn.iter().all(|rank| *rank < 1000) && first > 5 * last.max(1), "{first} {last}");
        }
        assert_eq!((zipf(0.0, 1, 1.0), zipf(0.999_999, 1, 0.7)), (0, 0));
    }
}
