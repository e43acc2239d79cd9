//! The fleet's secret in its file: read once at start, refused when others could read it too; which files of secrets are private,
//! and how one is made.

use std::{
    fs::{File, Metadata, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use flotilla_api::peer::auth::FleetSecret;

#[cfg(test)]
mod tests;

/// The shortest secret, in bytes: 128 bits in hex.
const LENGTH_MIN: usize = 32;
/// The longest secret file, in bytes.
const LENGTH_MAX: u64 = 4096;

/// Why there is no secret: configuration, so exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("fleet secret '{}': {source}; make one of 64 random hex digits and give every process the same", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// Others can read the file.
    #[error("fleet secret '{}': {}", path.display(), exposed(*mode))]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file does not hold a secret.
    #[error("fleet secret '{}' has {length} bytes; it needs 32 to 4096 characters without spaces", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Length of its text.
        length: usize,
    },
}

/// Reads the fleet's secret.
///
/// # Errors
/// [`Error`]; each says what to do.
pub fn read(path: &Path) -> Result<FleetSecret, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !is_private(&metadata) {
        return Err(Error::Exposed { path: path.to_owned(), mode: metadata.permissions().mode() & 0o777 });
    }
    let malformed = |length| Error::Malformed { path: path.to_owned(), length };
    if metadata.len() > LENGTH_MAX {
        return Err(malformed(usize::try_from(metadata.len()).unwrap_or(usize::MAX)));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    let secret = text.trim();
    if secret.len() < LENGTH_MIN || secret.contains(char::is_whitespace) {
        return Err(malformed(secret.len()));
    }
    Ok(FleetSecret::new(secret))
}

/// Whether a file with a secret can be read by this process alone.
///
/// A file of root may be readable by its group, for a process that is in that group and not root's: that is how a volume of secrets
/// is mounted into a container, and there is no other way to give it to a user of its own.
#[must_use]
pub fn is_private(metadata: &Metadata) -> bool {
    private(metadata.permissions().mode(), metadata.uid(), metadata.gid(), &Reader::own())
}

/// Says why a file with a secret is refused that is not [private](is_private), and the two ways to mend that; `mode` is its
/// permissions.
#[must_use]
pub fn exposed(mode: u32) -> String {
    format!(
        "others can read it (mode {mode:o}); run chmod 600 on it, or give it to root and a group that the server's user is in, with \
         mode 640, and run the server as another user than root"
    )
}

/// Makes a file with a secret that its owner alone can read, unless there is one by now; says whether it did. Blocks.
///
/// `unique` tells the temporary file, which lies beside it for a moment, from that of another process.
///
/// # Errors
/// The folder takes no file; nothing is left of what was begun, unless the folder can't be written to any more.
///
/// # Durability
/// Ok means: the file and its name are synced, whoever made it.
pub fn make_once(path: &Path, text: &str, unique: u64) -> io::Result<bool> {
    let temporary = path.with_extension(format!("tmp-{unique:016x}"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    // Processes that start together have one secret: a link, unlike a rename, never replaces what another one made.
    let linked = fill(file, text).and_then(|()| std::fs::hard_link(&temporary, path));
    // Whether the secret is there is known by now, so this decides nothing.
    if let Err(error) = std::fs::remove_file(&temporary) {
        tracing::warn!(file = %temporary.display(), %error, "a temporary file with a secret stays; remove it");
    }
    let made = match linked {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    File::open(folder(path))?.sync_all()?;
    Ok(made)
}

/// Whatever the process's mask is, the owner reads and writes the file.
fn fill(mut file: File, text: &str) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Gives the folder that a file is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Who reads a file.
struct Reader {
    user: u32,
    groups: Vec<u32>,
}

impl Reader {
    /// This process. Groups that can't be told are none of its own.
    fn own() -> Self {
        let others = rustix::process::getgroups().unwrap_or_default();
        let groups = others.into_iter().chain([rustix::process::getegid()]).map(|group| group.as_raw());
        Self { user: rustix::process::geteuid().as_raw(), groups: groups.collect() }
    }
}

/// `mode` is the file's, `owner` and `group` are its ids.
fn private(mode: u32, owner: u32, group: u32, reader: &Reader) -> bool {
    let given = owner == 0 && reader.user != 0 && reader.groups.contains(&group);
    let allowed = if given { 0o040 } else { 0 };
    mode & 0o077 & !allowed == 0
}
