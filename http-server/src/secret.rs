//! The fleet's secret in its file: read once at start, refused when others could read it too; and which files of secrets are private.

use std::{
    fs::Metadata,
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use flotilla_api::peer::auth::FleetSecret;

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
    #[error("fleet secret '{}' is readable by others (mode {mode:o}); run chmod 600 on it, or give it to root and a group of the server's, with mode 640", path.display())]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_what_root_gives_to_a_user() {
        let (root, user) = (Reader { user: 0, groups: vec![0] }, Reader { user: 7, groups: vec![8, 9] });
        for (mode, owner, group, reader, wanted) in [
            (0o400, 7, 9, &user, true),
            (0o600, 0, 0, &root, true),
            (0o440, 0, 8, &user, true),
            (0o640, 0, 9, &user, true),
            (0o640, 0, 4, &user, false),
            (0o440, 0, 0, &user, false),
            (0o440, 0, 0, &root, false),
            (0o440, 7, 9, &user, false),
            (0o460, 0, 9, &user, false),
            (0o444, 0, 9, &user, false),
            (0o404, 0, 9, &user, false),
        ] {
            let is = private(mode, owner, group, reader);
            assert_eq!(is, wanted, "{mode:o} of {owner}:{group} for {}", reader.user);
        }
    }

    #[test]
    fn a_process_knows_its_groups() {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("they are told");
        let mut groups: Vec<u32> = groups.split_whitespace().map(|group| group.parse().expect("a number")).collect();
        groups.push(std::fs::metadata("/proc/self").expect("it is there").gid());
        assert_eq!(Reader::own().groups, groups);
    }

    #[test]
    fn a_secret_is_private_and_long_enough() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("fleet.secret");
        assert!(matches!(read(&path), Err(Error::Io { .. })));
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("written");
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
        mode(0o644);
        assert!(matches!(read(&path), Err(Error::Exposed { mode: 0o644, .. })));
        mode(0o600);
        assert!(read(&path).is_ok());
        std::fs::write(&path, "short").expect("written");
        assert!(matches!(read(&path), Err(Error::Malformed { length: 5, .. })));
    }
}
