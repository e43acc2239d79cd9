//! The root key: made once, shown to nobody but the owner of its file; the directory keeps its hash.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use flotilla_api::{keys::PrincipalName, peer::Principal};
use flotilla_env::Entropy;
use flotilla_member::Error;

/// The shortest key that is taken from a file, in bytes.
const LENGTH_MIN: usize = 32;

/// Reads the root key. If there is no file, `makes` tells whether one is made: 256 random bits in hex behind `flt_`.
///
/// # Durability
/// A key that was made is synced before it is used.
///
/// # Errors
/// [`Error::Setting`], naming what to do.
pub fn read_or_make(path: &Path, makes: bool, entropy: &dyn Entropy) -> Result<Option<Principal>, Error> {
    let wrong = |why: String| Error::Setting { name: "root_key_file", why };
    let text = match read(path) {
        Ok(Some(text)) => text,
        Ok(None) if !makes => return Ok(None),
        Ok(None) => {
            make(path, entropy).map_err(|error| wrong(format!("'{}' can't be written: {error}", path.display())))?
        }
        Err(error) => return Err(wrong(format!("'{}' can't be read: {error}", path.display()))),
    };
    let key = text.trim();
    if key.len() < LENGTH_MIN {
        let length = key.len();
        return Err(wrong(format!("'{}' holds {length} bytes; a root key has at least {LENGTH_MIN}", path.display())));
    }
    let key_hash = *blake3::hash(key.as_bytes()).as_bytes();
    Ok(Some(Principal { name: PrincipalName::root(), key_hash, root: true, created_ms: 0 }))
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let what = format!("others can read it (mode {mode:o}); run chmod 600 on it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text)?;
    Ok(Some(text))
}

fn make(path: &Path, entropy: &dyn Entropy) -> io::Result<String> {
    let text = format!("flt_{:032x}{:032x}\n", entropy.u128(), entropy.u128());
    let temporary = path.with_extension(format!("tmp-{:016x}", entropy.u64()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // Supernodes that start together make one key: a link, unlike a rename, never replaces what another one made.
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    match linked {
        Ok(()) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("root.key");
        let entropy = flotilla_env::entropy::seeded(1);
        assert_eq!(read_or_make(&path, false, &*entropy).expect("nothing is wrong"), None);
        let made = read_or_make(&path, true, &*entropy).expect("made");
        assert!(made.is_some());
        assert_eq!(read_or_make(&path, false, &*entropy).expect("read"), made);
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("changed");
        assert!(read_or_make(&path, true, &*entropy).is_err(), "an exposed key is refused");
    }
}
