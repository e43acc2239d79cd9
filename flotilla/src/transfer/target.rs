//! A folder that files are written to, as a handle: names are resolved below it, and symbolic links never.
//!
//! Paths would be resolved anew by every call, so that a link put in their way in between would lead outside.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// A folder.
#[derive(Debug)]
pub struct Folder {
    handle: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder that the user named; links in that name are followed, since the user made it.
    ///
    /// # Errors
    /// It is not there or not a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self { handle: rustix::fs::openat(CWD, path, flags, Mode::empty())?, path: path.to_owned() })
    }

    /// Opens a folder in this one, made if it is missing.
    ///
    /// # Errors
    /// Something else has the name, a symbolic link included.
    pub fn enter(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&self.handle, name, flags, Mode::empty())?;
        Ok(Self { handle, path: self.path.join(name) })
    }

    /// Enters one folder after the other, made where they are missing; without any, opens this folder once more.
    ///
    /// # Errors
    /// As [`Folder::enter`].
    pub fn descend(&self, names: &[String]) -> io::Result<Self> {
        let mut folder = Self { handle: self.handle.try_clone()?, path: self.path.clone() };
        for name in names {
            folder = folder.enter(name).map_err(|e| {
                let path = folder.path_of(Path::new(name));
                io::Error::new(e.kind(), format!("{} is no folder (links are not followed): {e}", path.display()))
            })?;
        }
        Ok(folder)
    }

    /// Makes a new file; nothing that exists is opened.
    ///
    /// # Errors
    /// The name is taken, or the file system takes no file.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(0o666))?.into())
    }

    /// Opens a file of our own making to read and write it, made if it is missing; whatever else has other names or is no plain
    /// file is not touched.
    ///
    /// # Errors
    /// A symbolic link or no plain file has the name, or the file system takes no file.
    pub fn open_own(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = || rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(0o666)).map(File::from);
        let file = open()?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "something that is no file has the name"));
        }
        if metadata.nlink() <= 1 {
            return Ok(file);
        }
        // A file with a second name may be somebody's outside of this folder.
        self.remove_if_there(name)?;
        Ok(open()?)
    }

    /// Opens a plain file to read it; a link is not followed.
    ///
    /// # Errors
    /// There is none.
    pub fn open_to_read(&self, name: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(&self.handle, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
    }

    /// Reads a file whole.
    ///
    /// # Errors
    /// There is none, or it is longer than `bytes_max`.
    pub fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.open_to_read(Path::new(name))?;
        if file.metadata()?.len() > bytes_max {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Says whether a name stands for an open file.
    ///
    /// # Errors
    /// The file system gives no answer.
    pub fn is_same(&self, name: &str, file: &File) -> io::Result<bool> {
        let ours = file.metadata()?;
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (ours.dev(), ours.ino())),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives a file of this folder another name, in place of what had it; a link is replaced, not followed.
    ///
    /// # Errors
    /// A folder has the name.
    pub fn rename(&self, from: &str, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    /// Removes a file of this folder.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    /// Removes a file of this folder, if there is one.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove_if_there(&self, name: &str) -> io::Result<()> {
        match self.remove(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Gives the path of a name in this folder, for messages.
    pub fn path_of(&self, name: &Path) -> PathBuf {
        self.path.join(name)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::symlink};

    use super::*;

    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let all = tempfile::tempdir().expect("a temporary folder");
        let (inside, outside) = (all.path().join("in"), all.path().join("out"));
        for folder in [&inside, &outside] {
            std::fs::create_dir(folder).expect("the folder is writable");
        }
        (all, inside, outside)
    }

    #[test]
    fn links_below_the_folder_are_not_followed() {
        let (_all, inside, outside) = folders();
        symlink(&outside, inside.join("link")).expect("links can be made");
        let folder = Folder::open(&inside).expect("it is there");
        assert!(folder.enter("link").is_err());
        symlink(outside.join("victim"), inside.join("name")).expect("links can be made");
        assert!(folder.create("name").is_err());
        assert_eq!(std::fs::read_dir(&outside).expect("it is there").count(), 0);
    }

    #[test]
    fn a_link_is_replaced_by_the_file_that_takes_its_name() {
        let (_all, inside, outside) = folders();
        let victim = outside.join("victim");
        std::fs::write(&victim, "old").expect("the folder is writable");
        symlink(&victim, inside.join("name")).expect("links can be made");
        let folder = Folder::open(&inside).expect("it is there");
        folder.create("temporary").expect("the name is free").write_all(b"new").expect("there is space");
        folder.rename("temporary", Path::new("name")).expect("a link can be replaced");
        assert_eq!(std::fs::read(&victim).expect("it is there"), b"old");
        assert_eq!(std::fs::read(inside.join("name")).expect("it is there"), b"new");
    }

    #[test]
    fn folders_are_made_once_and_entered_again() {
        let (_all, inside, _) = folders();
        let folder = Folder::open(&inside).expect("it is there");
        for _ in 0..2 {
            folder.descend(&["a".to_owned(), "b".to_owned()]).expect("folders can be made");
        }
        assert!(inside.join("a/b").is_dir());
        std::fs::write(inside.join("file"), "").expect("the folder is writable");
        assert!(folder.enter("file").is_err());
    }
}
