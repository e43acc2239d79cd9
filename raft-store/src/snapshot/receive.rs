//! Receives a snapshot: one at a time, part by part, each checked and synced before the next.
//!
//! It must not install anything: a whole snapshot goes to openraft, which knows whether its sender still leads.

use std::{
    io::IoSlice,
    sync::{Arc, Mutex},
};

use flotilla_env::DiskFile;
use tokio::sync::watch;

use super::{
    files::{Name, Snapshots, Staged},
    manifest::Manifest,
};
use crate::{
    network::messages::{Place, SnapshotPart, Ticket, Wanted},
    store::{StoreError, lock, types::Vote},
};

/// The result of an installation: the node's vote, or why it failed; none while it works.
pub(crate) type Installed = Option<Result<Vote, String>>;

/// What is to be done about a request to install.
pub(crate) enum Installing {
    /// Start it, and tell the result.
    Start(Staged, watch::Sender<Installed>),
    /// It is under way or over.
    Wait(watch::Receiver<Installed>),
    /// The snapshot is not here, or not whole.
    Gone,
}

/// The place where snapshots arrive. Its calls block.
pub(crate) struct Inbox {
    snapshots: Arc<Snapshots>,
    /// Held while a message is handled, on a blocking thread: messages of one snapshot come one after the other anyway.
    slot: Mutex<Slot>,
}

enum Slot {
    Empty,
    Receiving(Receiving),
    Whole { ticket: Ticket, staged: Staged, install: Option<(Vote, watch::Receiver<Installed>)> },
}

struct Receiving {
    ticket: Ticket,
    staged: Staged,
    next: Place,
    file: Option<Arc<dyn DiskFile>>,
}

impl Inbox {
    pub(crate) fn new(snapshots: Arc<Snapshots>) -> Self {
        Self { snapshots, slot: Mutex::new(Slot::Empty) }
    }

    /// Starts or resumes receiving a snapshot; another one that is not whole yet is given up for it.
    pub(crate) fn begin(&self, manifest: Manifest) -> Result<Wanted, StoreError> {
        manifest.check()?;
        let ticket = manifest.ticket();
        let mut slot = lock(&self.slot);
        match &*slot {
            Slot::Receiving(receiving) if receiving.ticket == ticket => return Ok(Wanted::Next(receiving.next)),
            Slot::Whole { ticket: whole, staged, .. } if *whole == ticket => return Ok(Wanted::Next(end(staged))),
            Slot::Whole { install: Some((_, installed)), .. } if installed.borrow().is_none() => {
                return Ok(Wanted::Busy);
            }
            Slot::Empty | Slot::Receiving(_) | Slot::Whole { .. } => {}
        }
        *slot = Slot::Empty; // lets go of the files that the sweep is to remove
        self.snapshots.sweep()?;
        if let Some(current) = self.snapshots.current().filter(|current| current.manifest.ticket() == ticket) {
            let wanted = Wanted::Next(end(&current));
            *slot = Slot::Whole { ticket, staged: current, install: None };
            return Ok(wanted);
        }
        let staged = self.snapshots.stage(Name::received(ticket.at), manifest);
        let next = Place { part: 0, offset: 0 };
        *slot = Slot::Receiving(Receiving { ticket, staged, next, file: None });
        self.seal_if_whole(&mut slot)?;
        Ok(Wanted::Next(next))
    }

    /// Takes bytes of a part. Bytes for another place than the next are dropped, and the sender is told the place.
    pub(crate) fn part(&self, message: &SnapshotPart) -> Result<Wanted, StoreError> {
        let mut slot = lock(&self.slot);
        let next = match &mut *slot {
            Slot::Receiving(receiving) if receiving.ticket == message.ticket => {
                if let Err(error) = receiving.take(&self.snapshots, message) {
                    receiving.start_part_anew(); // after a failed write or sync nothing is known of the file
                    return Err(error);
                }
                receiving.next
            }
            Slot::Whole { ticket, staged, .. } if *ticket == message.ticket => end(staged),
            Slot::Empty | Slot::Receiving(_) | Slot::Whole { .. } => return Ok(Wanted::Gone),
        };
        self.seal_if_whole(&mut slot)?;
        Ok(Wanted::Next(next))
    }

    /// Says what is to be done about a request to install.
    pub(crate) fn end(&self, ticket: Ticket, vote: Vote) -> Installing {
        let mut slot = lock(&self.slot);
        let Slot::Whole { ticket: whole, staged, install } = &mut *slot else { return Installing::Gone };
        if *whole != ticket {
            return Installing::Gone;
        }
        match install {
            // A result under another vote says nothing of this sender's.
            Some((asked, installed)) if *asked == vote || installed.borrow().is_none() => {
                Installing::Wait(installed.clone())
            }
            Some(_) | None => {
                let (result, installed) = watch::channel(None);
                *install = Some((vote, installed));
                Installing::Start(staged.clone(), result)
            }
        }
    }

    fn seal_if_whole(&self, slot: &mut Slot) -> Result<(), StoreError> {
        let Slot::Receiving(receiving) = &*slot else { return Ok(()) };
        if receiving.next != end(&receiving.staged) {
            return Ok(());
        }
        let (ticket, staged) = (receiving.ticket, receiving.staged.clone());
        let sealed = self.snapshots.seal(&staged);
        // After a failed sync nothing is known of any of the files: all of it has to come again.
        *slot = if sealed.is_ok() { Slot::Whole { ticket, staged, install: None } } else { Slot::Empty };
        sealed
    }
}

/// The place behind the last part.
fn end(staged: &Staged) -> Place {
    let part = u32::try_from(staged.manifest.parts.len()).expect("the number of parts is limited");
    Place { part, offset: 0 }
}

impl Receiving {
    fn take(&mut self, snapshots: &Snapshots, message: &SnapshotPart) -> Result<(), StoreError> {
        flotilla_env::failpoint!("snapshot.before_receive", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
        let number = usize::try_from(self.next.part).expect("the number of parts is limited");
        let Some(info) = self.staged.manifest.parts.get(number) else { return Ok(()) };
        let length = u64::try_from(message.bytes.len()).expect("a usize has at most 64 bits");
        if message.place != self.next || length > info.bytes - self.next.offset {
            return Ok(());
        }
        if self.next.offset == 0 {
            self.file = Some(snapshots.create_part(&self.staged.name, number)?);
        }
        let Some(file) = &self.file else { return Ok(()) };
        file.write_at(self.next.offset, &[IoSlice::new(&message.bytes)])?;
        self.next.offset += length;
        if self.next.offset < info.bytes {
            return Ok(());
        }
        file.sync_data()?;
        flotilla_env::failpoint!("snapshot.part_received", |arg| Err(flotilla_env::failpoint::io_error(arg).into()));
        match snapshots.read_part(&self.staged, number) {
            Ok(_) => {
                self.file = None;
                self.next = Place { part: self.next.part + 1, offset: 0 };
            }
            Err(error) => {
                tracing::warn!(%error, part = number, "snapshot part arrived damaged; asking for it again");
                self.start_part_anew();
            }
        }
        Ok(())
    }

    fn start_part_anew(&mut self) {
        self.next.offset = 0;
        self.file = None;
    }
}
