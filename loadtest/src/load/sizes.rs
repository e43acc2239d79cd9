//! Sizes of files: weighted, fixed, spread over powers of two, or those of files that there are.

use std::{io, path::Path, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::random::Random;

/// The largest file of a load: 1 TB.
const BYTES_MAX: f64 = 1e12;

/// A size, or a range of sizes, in bytes; both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SizeRange {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl SizeRange {
    /// Names it for people, in powers of ten.
    pub(crate) fn name(self) -> String {
        let Self { from, to } = self;
        if from == to { size_name(from) } else { format!("{} to {}", size_name(from), size_name(to)) }
    }
}

impl FromStr for SizeRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = match text.split_once('-') {
            Some((from, to)) => (bytes(from)?, bytes(to)?),
            None => (bytes(text)?, bytes(text)?),
        };
        if from > to { Err(format!("size '{text}' ends before it begins")) } else { Ok(Self { from, to }) }
    }
}

impl<'de> Deserialize<'de> for SizeRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Reads `10KB`, `1.5 MB`, `64KiB`, `0` or `17 B`.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size like \"10KB\", \"64KiB\" or \"1KB-1MB\"");
    let text = text.trim();
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        _ => return Err(wrong()),
    };
    let bytes = (number.parse::<f64>().map_err(|_| wrong())? * unit).round();
    if (0.0..=BYTES_MAX).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Names a size for people, in powers of ten.
pub(crate) fn size_name(bytes: u64) -> String {
    let (unit, name) = match bytes {
        1_000_000_000.. => (1e9, "GB"),
        1_000_000.. => (1e6, "MB"),
        1_000.. => (1e3, "KB"),
        _ => (1.0, "B"),
    };
    let number = format!("{:.1}", bytes as f64 / unit);
    format!("{} {name}", number.trim_end_matches(".0"))
}

/// The sizes that a load draws from. A file's size depends on its id alone, so that nobody has to remember it.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    classes: Vec<(SizeRange, f64)>,
    total: f64,
    /// Lengths of files that there are, to draw from instead.
    examples: Vec<u64>,
}

/// How many files of a folder are looked at.
const EXAMPLES_MAX: usize = 1_000_000;

impl Sizes {
    /// Makes them of classes and their weights, of which at least one is above 0.
    pub(crate) fn new(classes: Vec<(SizeRange, f64)>) -> Self {
        let total = classes.iter().map(|(_, weight)| weight).sum();
        Self { classes, total, examples: Vec::new() }
    }

    /// Makes classes of a power of ten each, for lengths that come from elsewhere.
    pub(crate) fn decades() -> Self {
        let decade =
            |power| SizeRange { from: if power == 0 { 0 } else { 10_u64.pow(power) }, to: 10_u64.pow(power + 1) - 1 };
        Self::new((0..13).map(|power| (decade(power), 1.0)).collect())
    }

    /// Makes those of the files that there are in a folder and below it, the first million of them.
    ///
    /// # Errors
    /// As of reading folders; `NotFound` if there is no file.
    pub(crate) fn of_folder(folder: &Path) -> io::Result<Self> {
        let (mut folders, mut examples) = (vec![folder.to_owned()], Vec::new());
        while let Some(folder) = folders.pop().filter(|_| examples.len() < EXAMPLES_MAX) {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                // Neither links nor devices: what is meant is what would be uploaded.
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && examples.len() < EXAMPLES_MAX {
                    examples.push(entry.metadata()?.len());
                }
            }
        }
        if examples.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(Self { examples, ..Self::decades() }) }
    }

    /// Gives the class of a length that was not drawn: the first that has it, else the last.
    pub(crate) fn class_of(&self, length: u64) -> usize {
        let has = |(range, _): &(SizeRange, f64)| (range.from..=range.to).contains(&length);
        self.classes.iter().position(has).unwrap_or(self.classes.len() - 1)
    }

    /// Gives the class and the length of the file with an id, under a seed.
    pub(crate) fn of(&self, seed: u64, id: u64) -> (usize, u64) {
        let mut random = Random::of(seed, id);
        if !self.examples.is_empty() {
            let length = self.examples[random.below(self.examples.len() as u64) as usize];
            return (self.class_of(length), length);
        }
        let classes = self.classes.iter().enumerate().map(|(class, (_, weight))| (class, *weight));
        let chosen = random.weighted(classes, self.total).expect("a profile has sizes");
        let SizeRange { from, to } = self.classes[chosen].0;
        if from == to {
            return (chosen, from);
        }
        // Spread evenly over powers of two: as many from 1 to 2 KB as from 512 KB to 1 MB.
        let (low, high) = ((from.max(1) as f64).ln(), (to as f64).ln());
        let length = (low + random.unit() * (high - low)).exp().round() as u64;
        (chosen, length.clamp(from, to))
    }

    /// Gives the name of a class.
    pub(crate) fn name(&self, class: usize) -> String {
        self.classes[class].0.name()
    }
}

#[cfg(test)]
mod tests {
    use super::{SizeRange, Sizes, size_name};

    #[test]
    fn sizes_are_read_and_named() {
        let range = |text: &str| text.parse::<SizeRange>();
        assert_eq!(range("10KB"), Ok(SizeRange { from: 10_000, to: 10_000 }));
        assert_eq!(range("1 KiB-1.5 MB"), Ok(SizeRange { from: 1024, to: 1_500_000 }));
        assert_eq!(range("0").expect("a size").name(), "0 B");
        for wrong in ["", "x", "10 XB", "-1", "5MB-1MB", "1e99GB"] {
            range(wrong).expect_err(wrong);
        }
        assert_eq!((size_name(999), size_name(10_000)), ("999 B".to_owned(), "10 KB".to_owned()));
    }

    #[test]
    fn shares_and_spread_are_as_asked_and_the_same_again() {
        let classes = vec![("10KB".parse().expect("a size"), 3.0), ("1KB-1MB".parse().expect("a size"), 1.0)];
        let sizes = Sizes::new(classes);
        let drawn: Vec<_> = (0..8000).map(|id| sizes.of(7, id)).collect();
        let spread: Vec<u64> = drawn.iter().filter(|(class, _)| *class == 1).map(|(_, length)| *length).collect();
        assert!((1800..2200).contains(&spread.len()), "{}", spread.len());
        assert!(spread.iter().all(|length| (1000..=1_000_000).contains(length)));
        let small = spread.iter().filter(|length| **length < 31_623).count(); // the geometric middle
        assert!((900..1100).contains(&(small * 2000 / spread.len())), "{small} of {}", spread.len());
        assert_eq!(drawn, (0..8000).map(|id| sizes.of(7, id)).collect::<Vec<_>>());
    }

    #[test]
    fn files_that_there_are_give_their_lengths() {
        let folder = tempfile::TempDir::new().expect("a folder");
        assert!(Sizes::of_folder(folder.path()).is_err(), "there is none");
        std::fs::create_dir(folder.path().join("below")).expect("made");
        for (name, length) in [("a", 5), ("b", 70_000), ("below/c", 70_000), ("below/d", 0)] {
            std::fs::write(folder.path().join(name), vec![0; length]).expect("written");
        }
        let sizes = Sizes::of_folder(folder.path()).expect("there are four");
        let drawn: Vec<_> = (0..1000).map(|id| sizes.of(1, id)).collect();
        let share = |length| drawn.iter().filter(|(_, drawn)| *drawn == length).count();
        assert!(share(70_000).abs_diff(500) < 60 && share(5).abs_diff(250) < 60 && share(0).abs_diff(250) < 60);
        let named: Vec<_> = [0, 9, 10, 70_000].iter().map(|length| sizes.name(sizes.class_of(*length))).collect();
        assert_eq!(named, ["0 B to 9 B", "0 B to 9 B", "10 B to 99 B", "10 KB to 100 KB"]);
    }
}
