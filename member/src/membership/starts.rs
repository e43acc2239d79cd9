//! Whether a folder knows of its process's last start: each start is granted a number in the log, so a folder that has an older
//! one is an older copy.
//!
//! While a start is not known to have come into this folder, a file says so: a crash in between is no older copy.

use std::{io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

use flotilla_env::{Disk, blocking};
use flotilla_kv::Kv;
use flotilla_raft_store::{Group, Machine, identity};

use crate::Error;

/// The file that stands while a start is under way.
const FILE: &str = "starting";
/// Between two tries to note a start.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a read barrier may take; a new leader is elected well within it.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// A folder's record of starts.
pub struct Starts {
    /// The data folder.
    pub dir: PathBuf,
    /// Its disk.
    pub disk: Arc<dyn Disk>,
    /// The process's database.
    pub kv: Arc<dyn Kv>,
}

impl Starts {
    /// Gives the number of the last start, which `row` reads from the database, if this folder is sure to know it.
    ///
    /// # Errors
    /// [`Error`] of the disk, and what `row` gives.
    pub fn last(&self, row: impl FnOnce(&dyn Kv) -> Result<Option<u64>, Error>) -> Result<Option<u64>, Error> {
        if self.is_under_way()? {
            return Ok(None);
        }
        row(&*self.kv)
    }

    /// Gives what the folder is greeted with as its last start, once its group is open: 0 if it should know of every start, and has
    /// nothing of the group at all. One that never started is welcome with that; one whose database was lost is found out, also by
    /// those who don't lead.
    ///
    /// # Errors
    /// [`Error`] of the disk.
    pub fn told<M: Machine>(&self, last: Option<u64>, group: &Group<M>) -> Result<Option<u64>, Error> {
        // A snapshot whose installation was cut has no rows before the group is open; such a group is formed.
        let nothing = last.is_none() && !group.is_formed() && !self.is_under_way()?;
        Ok(if nothing { Some(0) } else { last })
    }

    fn is_under_way(&self) -> Result<bool, Error> {
        Ok(identity::read::<()>(&*self.disk, &self.dir.join(FILE))?.is_some())
    }

    /// Begins a start, which is not granted its number before.
    ///
    /// # Errors
    /// [`Error`] of the disk.
    ///
    /// # Durability
    /// Ok means: a crash from now on is known as one of this start.
    pub fn begin(&self) -> Result<(), Error> {
        Ok(identity::write_synced(&*self.disk, &self.dir.join(FILE), &())?)
    }

    /// Notes that the folder knows of this start, once that is applied here and synced; tried until it is. A process that is killed
    /// as soon as it serves has come so far.
    pub async fn end<M: Machine>(&self, group: &Group<M>) {
        while let Err(error) = self.note(group).await {
            tracing::warn!(%error, "it is not known yet that this start came into the folder");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn note<M: Machine>(&self, group: &Group<M>) -> Result<(), String> {
        group.read(READ_DEADLINE).await.map_err(|error| error.to_string())?;
        flotilla_kv::sync(&*self.kv).await.map_err(|error| error.to_string())?;
        let (dir, disk) = (self.dir.clone(), self.disk.clone());
        // A try whose sync failed has removed it already. Whether that lasts is no matter: a file that comes back says too little.
        let work = move || match disk.remove(&dir.join(FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => disk.sync_dir(&dir),
        };
        let done = blocking::spawn(work).await.map_err(|error| error.to_string())?;
        done.map_err(|error| error.to_string())
    }
}
