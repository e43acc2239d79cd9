//! One use of one volume file: its name, its epoch, and its handle, which is opened when it is first needed.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use flotilla_env::disk::{Disk, DiskFile};

use super::record::{Epoch, VolumeHeader};

/// A volume in one epoch. Whoever holds it pins it: it is not written over while anybody reads from it.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) number: u32,
    pub(crate) epoch: Epoch,
    pub(crate) capacity: u64,
    pub(crate) path: PathBuf,
    file: OnceLock<Arc<dyn DiskFile>>,
}

impl Volume {
    /// Names a volume that is opened when it is needed.
    pub(crate) fn lazy(number: u32, epoch: Epoch, capacity: u64, path: PathBuf) -> Self {
        Self { number, epoch, capacity, path, file: OnceLock::new() }
    }

    /// Gives the same volume in another epoch.
    pub(crate) fn renewed(&self, epoch: Epoch) -> Self {
        Self {
            number: self.number,
            epoch,
            capacity: self.capacity,
            path: self.path.clone(),
            file: self.file.get().map_or_else(OnceLock::new, |file| OnceLock::from(file.clone())),
        }
    }

    /// Gives the handle if the volume is open.
    pub(crate) fn opened(&self) -> Option<&Arc<dyn DiskFile>> {
        self.file.get()
    }

    /// Gives the handle, and opens the volume for that; blocks.
    pub(crate) fn file(&self, disk: &dyn Disk) -> io::Result<&Arc<dyn DiskFile>> {
        if self.file.get().is_none() {
            let _ = self.file.set(disk.open_rw(&self.path)?); // another reader may have been faster
        }
        Ok(self.file.get().expect("set above"))
    }

    /// Takes over a handle.
    pub(crate) fn with_file(self, file: Arc<dyn DiskFile>) -> Self {
        Self { file: OnceLock::from(file), ..self }
    }

    pub(crate) fn header(&self) -> VolumeHeader {
        VolumeHeader { number: self.number, epoch: self.epoch, capacity: self.capacity }
    }
}
