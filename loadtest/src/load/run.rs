//! What a load asks of a store, and what it learns from the answers: the files of a run, their names, contents and fates.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flotilla_api::files::ListPage;
use flotilla_env::Clock;
use tokio::time::Instant;

use super::{
    catalog::{Catalog, Content, FOLDER, Item, Written},
    counts::{Done, Failure},
    dialect::{Store, Verb},
    operation::Operation,
    profile::Profile,
    random::Random,
    request::{Failed, Line, Outcome},
    sizes::Sizes,
    trace::Request,
};
use crate::pool::{File, Pool};

/// One upload in so many is also checked by the BLAKE3 root that its ETag must be.
const HASHED_EVERY: u64 = 100;

/// A run: its files and how to reach the store.
pub(crate) struct Run {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sizes: Sizes,
    pub(crate) store: Store,
    timeout: Duration,
    /// The number of the first client among those of all runners.
    first_line: usize,
    prefix: String,
    seed: u64,
    /// Makes contents of this run unlike those of every other.
    tag: u64,
    pool: Arc<Pool>,
    mix: BTreeMap<Operation, f64>,
    mix_total: f64,
    catalog: Mutex<Catalog>,
    lost: AtomicU64,
    corrupt: AtomicU64,
}

/// A request that was answered, or failed.
pub(crate) struct Asked {
    operation: Operation,
    class: Option<usize>,
    file: Option<(u64, u64)>,
    bytes: u64,
    head: Option<Instant>,
    ended: Option<Instant>,
    failure: Option<Failed>,
}

impl Asked {
    fn new(operation: Operation, class: Option<usize>, bytes: u64, result: Result<Outcome, Failed>) -> Self {
        let file = None;
        match result {
            Ok(Outcome { head, ended, .. }) => Self { operation, class, file, bytes, head, ended, failure: None },
            Err(failed) => Self { operation, class, file, bytes: 0, head: None, ended: None, failure: Some(failed) },
        }
    }

    /// Says why it failed, if it did.
    pub(crate) fn why(self) -> Option<String> {
        self.failure.map(|(_, why)| why)
    }

    /// Adds the times.
    pub(crate) fn done(self, start: Instant, intended: Duration, sent: Duration, ended: Duration) -> Done {
        let head = self.head.map(|head| head.saturating_duration_since(start));
        let ended = self.ended.map_or(ended, |ended| ended.saturating_duration_since(start));
        let Self { operation, class, file, bytes, failure, .. } = self;
        Done { operation, class, file, intended, sent, head, ended, bytes, failure }
    }
}

impl Run {
    /// Makes a run without files, at a moment that makes its names and contents its own.
    pub(crate) fn new(profile: &Profile, store: Store, seed: u64, clock: Arc<dyn Clock>) -> Arc<Self> {
        let unique = clock.wall_ms();
        let mut catalog = Catalog::new(profile.popularity);
        if let Some(file) = &profile.trace {
            catalog.reserve(file.trace.files);
        }
        Arc::new(Self {
            clock,
            sizes: profile.sizes(),
            store,
            timeout: profile.timeout,
            first_line: profile.first_client,
            prefix: format!("loadtest/{seed}-{unique:x}"),
            seed,
            tag: Random::of(seed, unique).u64(),
            pool: Pool::new(seed),
            mix_total: profile.mix.values().sum(),
            mix: profile.mix.clone(),
            catalog: Mutex::new(catalog),
            lost: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
        })
    }

    /// Makes a client's way to the store; clients are spread over all addresses.
    pub(crate) fn line(&self, index: usize) -> Line {
        let endpoints = &self.store.endpoints;
        let endpoint = endpoints[index.wrapping_add(self.first_line) % endpoints.len()].clone();
        Line::new(endpoint, self.clock.clone(), self.timeout)
    }

    /// Gives the files.
    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the number of acked files that were not there.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Gives the number of files that were not what was acked.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt.load(Ordering::Relaxed)
    }

    /// Gives the class of a file's size and the file.
    pub(crate) fn file(&self, item: Item) -> (usize, File) {
        let Content { id, length } = self.catalog().content(item);
        let (class, length) = match length {
            Some(length) => (self.sizes.class_of(length), length),
            None => self.sizes.of(self.seed, id),
        };
        (class, File::new(self.pool.clone(), Random::of(self.tag, id).u64(), length))
    }

    /// Gives the path of a request for a file.
    pub(crate) fn path(&self, verb: Verb, number: u64) -> String {
        self.store.path(verb, &self.key(number))
    }

    fn key(&self, number: u64) -> String {
        format!("{}{:02x}", self.folder(number / FOLDER), number % FOLDER)
    }

    fn folder(&self, folder: u64) -> String {
        format!("{}/{folder:06x}/", self.prefix)
    }

    /// Sends one request of the mix.
    ///
    /// # Cancel safety
    /// Dropped, a write under way stays marked as such in the catalog.
    pub(crate) async fn ask(&self, line: &mut Line, random: &mut Random) -> Asked {
        match self.draw(random) {
            Operation::Put => self.put(line).await,
            operation @ (Operation::Get | Operation::Range | Operation::Head) => {
                let item = self.catalog().begin_read(random);
                match item {
                    Some(item) => self.read(operation, item, line, random).await,
                    // Nothing there to read (yet): one file more helps.
                    None => self.put(line).await,
                }
            }
            operation @ (Operation::Replace | Operation::Delete) => {
                let item = self.catalog().begin_write(random);
                match item {
                    Some(item) if operation == Operation::Replace => self.replace(item, line).await,
                    Some(item) => self.delete(item, line).await,
                    None => self.put(line).await,
                }
            }
            Operation::Copy => {
                let source = self.catalog().begin_read(random);
                match source {
                    Some(source) => self.copy(source, line).await,
                    None => self.put(line).await,
                }
            }
            Operation::List => {
                let folder = self.catalog().folder(random);
                match folder {
                    Some((folder, items)) => self.list(folder, &items, line).await,
                    None => self.put(line).await,
                }
            }
        }
    }

    fn draw(&self, random: &mut Random) -> Operation {
        let mix = self.mix.iter().map(|(operation, weight)| (*operation, *weight));
        random.weighted(mix, self.mix_total).expect("a profile has operations")
    }

    /// Sends a request of a trace; none if its file is not there, or if another request is using it.
    ///
    /// # Cancel safety
    /// As [`Run::ask`].
    pub(crate) async fn replay(&self, request: Request, line: &mut Line, random: &mut Random) -> Option<Asked> {
        let Request { operation, file, length, .. } = request;
        match operation {
            Operation::Put | Operation::Replace => {
                let (item, first) = self.catalog().begin_upload(file, length)?;
                Some(if first { self.put_new(item, line).await } else { self.replace(item, line).await })
            }
            Operation::Delete => {
                let item = self.catalog().begin_write_of(file)?;
                Some(self.delete(item, line).await)
            }
            Operation::Get | Operation::Range | Operation::Head => {
                let item = self.catalog().begin_read_of(file)?;
                Some(self.read(operation, item, line, random).await)
            }
            Operation::List | Operation::Copy => None,
        }
    }

    /// Uploads a new file.
    pub(crate) async fn put(&self, line: &mut Line) -> Asked {
        let item = self.catalog().begin_new();
        self.put_new(item, line).await
    }

    /// Uploads a file that a trace reads without having uploaded it; tells why that failed.
    pub(crate) async fn put_of(&self, number: u64, length: u64, line: &mut Line) -> Option<String> {
        let begun = {
            let mut catalog = self.catalog();
            catalog.begin_upload(number, length).map(|(item, _)| item).or_else(|| catalog.begin_again(number))
        };
        match begun {
            Some(item) => self.put_new(item, line).await.why(),
            None => Some(format!("the file {} is in use", self.key(number))),
        }
    }

    async fn put_new(&self, item: Item, line: &mut Line) -> Asked {
        let (class, result, length) = self.upload(item, line).await;
        self.catalog().end_new(item, self.written(&result));
        self.asked(Operation::Put, (class, length), length, item.number, result)
    }

    async fn replace(&self, item: Item, line: &mut Line) -> Asked {
        let next = Item { generation: item.generation + 1, ..item };
        let (class, result, length) = self.upload(next, line).await;
        self.catalog().end_replace(item, self.written(&result));
        self.asked(Operation::Replace, (class, length), length, item.number, result)
    }

    async fn copy(&self, source: Item, line: &mut Line) -> Asked {
        let item = self.catalog().begin_copy(source);
        let (class, file) = self.file(item);
        let path = self.store.copy_path(&self.key(item.number), &self.key(source.number));
        let path = path.expect("a profile with copies is refused elsewhere");
        let mut result = line.copy(&path).await;
        let written = self.written(&result);
        // A copy that may still come about takes what the source holds then, so the source stays as it is for good.
        if written != Written::Unknown {
            self.catalog().end_read(source);
        }
        self.catalog().end_new(item, written);
        // A 404 is the source's.
        let number = if matches!(result, Err((Failure::Lost, _))) { source.number } else { item.number };
        if let Ok(outcome) = &mut result
            && item.number.is_multiple_of(HASHED_EVERY)
        {
            result = self.hashed(std::mem::take(outcome), &file, number).await;
        }
        self.asked(Operation::Copy, (class, file.length()), 0, number, result)
    }

    async fn upload(&self, item: Item, line: &mut Line) -> (usize, Result<Outcome, Failed>, u64) {
        let number = item.number;
        let (class, file) = self.file(item);
        let mut result = line.put(&self.path(Verb::Put, number), &file).await;
        if let Err((failure @ Failure::Lost, _)) = &mut result {
            *failure = Failure::ClientError; // a 404 here is the bucket's
        }
        if let Ok(outcome) = &mut result
            && number.is_multiple_of(HASHED_EVERY)
            && self.store.has_content_etag()
        {
            result = self.hashed(std::mem::take(outcome), &file, number).await;
        }
        (class, result, file.length())
    }

    /// Compares the ETag of an answer with the content's hash; the time for that is not the request's.
    async fn hashed(&self, mut outcome: Outcome, file: &File, number: u64) -> Result<Outcome, Failed> {
        outcome.ended = Some(self.clock.now());
        let hashed = file.clone();
        let hash = tokio::task::spawn_blocking(move || hashed.hash()).await.expect("hashing does not panic");
        if outcome.etag == *hash.to_hex() {
            Ok(outcome)
        } else {
            Err((Failure::Wrong, format!("the ETag of {} is '{}'", self.key(number), outcome.etag)))
        }
    }

    async fn read(&self, operation: Operation, item: Item, line: &mut Line, random: &mut Random) -> Asked {
        let (class, file) = self.file(item);
        let verb = if operation == Operation::Head { Verb::Head } else { Verb::Get };
        let path = self.path(verb, item.number);
        let (mut bytes, length) = (0, file.length());
        let result = match operation {
            Operation::Head => line.head(&path, &file).await,
            Operation::Range if length > 0 => {
                let from = random.below(length);
                let to = from + 1 + random.below(length - from);
                bytes = to - from;
                line.get(&path, &file, Some((from, to))).await
            }
            _ => {
                bytes = length;
                line.get(&path, &file, None).await
            }
        };
        self.catalog().end_read(item);
        self.asked(operation, (class, length), bytes, item.number, result)
    }

    async fn delete(&self, item: Item, line: &mut Line) -> Asked {
        let (class, file) = self.file(item);
        let result = line.delete(&self.path(Verb::Delete, item.number)).await;
        self.catalog().end_delete(item, self.written(&result));
        self.asked(Operation::Delete, (class, file.length()), 0, item.number, result)
    }

    async fn list(&self, folder: u64, items: &[Item], line: &mut Line) -> Asked {
        let path =
            self.store.list_path(&self.folder(folder), FOLDER).expect("a profile with lists is refused elsewhere");
        let mut result = line.list(&path).await;
        let mut missing = None;
        if let Ok(outcome) = &result {
            match serde_json::from_slice::<ListPage>(&outcome.document) {
                Ok(page) => missing = self.missing(&page, items),
                Err(error) => result = Err((Failure::Malformed, error.to_string())),
            }
        }
        if let Some(number) = missing {
            let why = format!("{} is not in its list", self.key(number));
            return Asked::new(Operation::List, None, 0, Err(self.found(Failure::Lost, why, number)));
        }
        let result =
            result.map_err(|(failure, why)| (if failure.is_loss() { Failure::ClientError } else { failure }, why));
        Asked::new(Operation::List, None, 0, result)
    }

    /// Gives the first file that must be in a list and is not.
    fn missing(&self, page: &ListPage, items: &[Item]) -> Option<u64> {
        let listed: BTreeMap<&str, u64> = page.items.iter().map(|item| (item.key.as_str(), item.size)).collect();
        let absent = items.iter().find(|item| {
            let there = listed.get(self.key(item.number).as_str()) == Some(&self.file(**item).1.length());
            !there && self.catalog().is_still(**item)
        });
        absent.map(|item| item.number)
    }

    /// Counts what a request found out about its file, of which the class of its size and the length are known.
    fn asked(
        &self,
        operation: Operation,
        (class, length): (usize, u64),
        bytes: u64,
        number: u64,
        result: Result<Outcome, Failed>,
    ) -> Asked {
        let result = result.map_err(|(failure, why)| self.found(failure, format!("{operation:?}: {why}"), number));
        Asked { file: Some((number, length)), ..Asked::new(operation, Some(class), bytes, result) }
    }

    /// Counts a file that is lost or wrong, once.
    pub(crate) fn found(&self, failure: Failure, why: String, number: u64) -> Failed {
        if (failure.is_loss() || failure.is_corruption()) && self.catalog().found_bad(number) {
            let counter = if failure.is_loss() { &self.lost } else { &self.corrupt };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let name = self.key(number);
        (failure, if why.contains(&name) { why } else { format!("{why} ({name})") })
    }

    /// Says what is known of a write by its answer: see docs/SEMANTICS.md. Others than Flotilla promise nothing for a 503.
    fn written(&self, result: &Result<Outcome, Failed>) -> Written {
        match result {
            Ok(_) => Written::Acked,
            Err((Failure::Refused | Failure::ClientError, _)) => Written::Refused,
            Err((Failure::Busy | Failure::BusyWithRetryAfter, _)) if self.store.refusals_are_final() => {
                Written::Refused
            }
            // An upload whose ETag is wrong was acked with wrong bytes; it is counted, and nothing more is expected of it.
            Err(_) => Written::Unknown,
        }
    }
}
