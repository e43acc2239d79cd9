//! Whether a folder knows of its node's last start: each start is granted a writer id in the log, so a folder that has an older
//! one is an older copy.
//!
//! While a start is not known to have come into this folder, a file says so: a crash in between is no older copy.

use std::{io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

use flotilla_api::{NodeId, WriterId};
use flotilla_env::{Disk, blocking};
use flotilla_kv::Kv;
use flotilla_member::Error;
use flotilla_raft_store::identity;

use crate::metadata::{Metadata, keys};

/// The file that stands while a start is under way.
const FILE: &str = "starting";
/// Between two tries to note a start.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A folder's record of starts.
pub struct Starts {
    /// The data folder.
    pub dir: PathBuf,
    /// Its disk.
    pub disk: Arc<dyn Disk>,
    /// The node's database.
    pub kv: Arc<dyn Kv>,
}

impl Starts {
    /// Gives the writer id of the last start, if this folder is sure to know it.
    ///
    /// # Errors
    /// [`Error`] of the disk.
    pub fn last(&self, node: NodeId) -> Result<Option<WriterId>, Error> {
        if identity::read::<()>(&*self.disk, &self.dir.join(FILE))?.is_some() {
            return Ok(None);
        }
        let row = self.kv.get(keys::WRITERS, &keys::node(node)).map_err(Error::Kv)?;
        let writer = row.map(|row| flotilla_api::codec::decode(&row));
        writer.transpose().map_err(|error| Error::Metadata(format!("writers are corrupt: {error}")))
    }

    /// Begins a start, which is not granted its writer id before.
    ///
    /// # Errors
    /// [`Error`] of the disk.
    ///
    /// # Durability
    /// Ok means: a crash from now on is known as one of this start.
    pub fn begin(&self) -> Result<(), Error> {
        Ok(identity::write_synced(&*self.disk, &self.dir.join(FILE), &())?)
    }

    /// Notes that the folder knows of this start, once that is applied here and synced; tried until it is. A node that is killed
    /// as soon as it serves has come so far.
    pub async fn end(&self, metadata: &Metadata) {
        while let Err(error) = self.note(metadata).await {
            tracing::warn!(%error, "it is not known yet that this start came into the folder");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn note(&self, metadata: &Metadata) -> Result<(), String> {
        metadata.barrier().await.map_err(|error| error.to_string())?;
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
