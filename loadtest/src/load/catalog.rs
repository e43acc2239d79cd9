//! Which files exist, as far as answers tell: what may be read, and what must be there in the end. Knows no network.
//!
//! A file is four bytes here: its length and its content follow from its number and its generation, but for copies and for files
//! of a trace, which need some more.

use std::collections::HashMap;

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
    pub(crate) generation: u16,
}

/// A content and, where it does not follow from it, its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// Two different contents of a run have different ones.
    pub(crate) id: u64,
    /// In bytes.
    pub(crate) length: Option<u64>,
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
    /// It is not there: it was deleted, or its upload was refused.
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
    generations: Vec<u16>,
    /// What those files hold in their first generation that were made as copies.
    copied: HashMap<u64, Content>,
    /// So many first files are those of a trace.
    reserved: u64,
    /// Of files of a trace, the lengths of this generation and the next one.
    lengths: HashMap<u64, [u64; 2]>,
    popularity: Popularity,
    /// The next file in turn, for [`Popularity::Sequential`].
    next: u64,
}

impl Catalog {
    /// Makes an empty one.
    pub(crate) fn new(popularity: Popularity) -> Self {
        let (states, generations, copied, lengths) = (Vec::new(), Vec::new(), HashMap::new(), HashMap::new());
        Self { states, generations, copied, reserved: 0, lengths, popularity, next: 0 }
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

    /// Begins a new file that gets the content of another one, which is being read.
    pub(crate) fn begin_copy(&mut self, source: Item) -> Item {
        let (content, item) = (self.content(source), self.begin_new());
        self.copied.insert(item.number, content);
        item
    }

    /// Ends what [`Catalog::begin_new`], [`Catalog::begin_copy`] or [`Catalog::begin_upload`] of no file began.
    pub(crate) fn end_new(&mut self, item: Item, written: Written) {
        let state = &mut self.states[at(item.number)];
        *state = match written {
            Written::Acked => LIVE,
            Written::Refused => DELETED,
            Written::Unknown => UNKNOWN,
        };
    }

    /// Makes room for the files of a trace, of which none is there yet: numbers from 0 on.
    pub(crate) fn reserve(&mut self, files: usize) {
        self.states = vec![DELETED; files];
        self.generations = vec![0; files];
        self.reserved = files as u64;
    }

    /// Begins the upload of a file of a trace; tells whether there is none yet. None if it is being read or written, or if it is
    /// not known what it holds.
    pub(crate) fn begin_upload(&mut self, number: u64, length: u64) -> Option<(Item, bool)> {
        let (state, generation) = (self.states[at(number)], self.generations[at(number)]);
        let first = state == DELETED;
        if !(first || state == LIVE) || generation == u16::MAX {
            return None;
        }
        if first {
            // Another content than the one that was deleted.
            self.generations[at(number)] += 1;
            self.states[at(number)] = WRITING;
            self.lengths.insert(number, [length; 2]);
        } else {
            self.states[at(number)] |= WRITING;
            self.lengths.entry(number).or_insert([length; 2])[1] = length;
        }
        Some((self.item(number), first))
    }

    /// Begins the first upload of a file once more, with the same content, after one whose outcome is not known.
    pub(crate) fn begin_again(&mut self, number: u64) -> Option<Item> {
        let state = &mut self.states[at(number)];
        let fits = *state == UNKNOWN;
        *state = if fits { WRITING } else { *state };
        fits.then(|| self.item(number))
    }

    /// As [`Catalog::begin_read`], of one certain file.
    pub(crate) fn begin_read_of(&mut self, number: u64) -> Option<Item> {
        let state = &mut self.states[at(number)];
        let fits = is_readable(*state);
        *state += u16::from(fits);
        fits.then(|| self.item(number))
    }

    /// As [`Catalog::begin_write`], of one certain file.
    pub(crate) fn begin_write_of(&mut self, number: u64) -> Option<Item> {
        let state = &mut self.states[at(number)];
        let fits = *state == LIVE;
        *state |= if fits { WRITING } else { 0 };
        fits.then(|| self.item(number))
    }

    /// Gives what a file holds in one of its generations.
    pub(crate) fn content(&self, item: Item) -> Content {
        let Item { number, generation } = item;
        if generation == 0
            && let Some(content) = self.copied.get(&number)
        {
            return *content;
        }
        let later = usize::from(generation > self.generations[at(number)]);
        let length = self.lengths.get(&number).map(|lengths| lengths[later]);
        Content { id: number << 16 | u64::from(generation), length }
    }

    /// Chooses a file to read, which nobody writes until [`Catalog::end_read`].
    pub(crate) fn begin_read(&mut self, random: &mut Random) -> Option<Item> {
        let number = self.choose(random, is_readable)?;
        self.begin_read_of(number)
    }

    /// Ends a read.
    pub(crate) fn end_read(&mut self, item: Item) {
        self.states[at(item.number)] -= 1;
    }

    /// Chooses a file that nobody reads or writes, to be replaced or deleted; gives its content now.
    pub(crate) fn begin_write(&mut self, random: &mut Random) -> Option<Item> {
        let number = self.choose(random, |state| state == LIVE)?;
        // The last generation is kept: another one would look like the first.
        if self.generations[at(number)] < u16::MAX { self.begin_write_of(number) } else { None }
    }

    /// Ends a replacement.
    pub(crate) fn end_replace(&mut self, item: Item, written: Written) {
        let state = &mut self.states[at(item.number)];
        *state = LIVE | if written == Written::Unknown { UNKNOWN } else { 0 };
        if written == Written::Acked {
            self.generations[at(item.number)] += 1;
            if let Some(lengths) = self.lengths.get_mut(&item.number) {
                lengths[0] = lengths[1];
            }
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

    /// Says what must be true of a file now; none of one that was counted as bad, or of one of a trace that was never begun.
    ///
    /// What is under way counts as unknown.
    pub(crate) fn expected(&self, number: u64) -> Option<Expected> {
        let (state, item) = (self.states[at(number)], self.item(number));
        // Uploads of files of a trace begin with the first generation after none.
        if state & FOUND_BAD != 0 || (number < self.reserved && item.generation == 0) {
            return None;
        }
        let open = state & (WRITING | UNKNOWN) != 0;
        match (state & LIVE != 0, open) {
            (true, false) => Some(Expected::Content(item)),
            // A write under way may be either kind, so both are allowed.
            (true, true) if state & DELETING != 0 => Some(Expected::MaybeGone(item)),
            (true, true) => Some(Expected::Either(item)),
            (false, true) => Some(Expected::MaybeGone(item)),
            (false, false) => Some(Expected::Gone(item)),
        }
    }

    /// Whether a file may be there, whatever is expected of it.
    pub(crate) fn may_be_there(&self, number: u64) -> bool {
        self.states[at(number)] != DELETED
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

fn is_readable(state: u16) -> bool {
    state & !READERS == LIVE && state & READERS < READERS
}

fn at(number: u64) -> usize {
    usize::try_from(number).expect("a file that has four bytes in memory has an index")
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
mod tests;
