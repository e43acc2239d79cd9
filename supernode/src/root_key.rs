//! The root key: made once, shown to nobody but the owner of its file; the directory keeps its hash.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use flotilla_api::{keys::PrincipalName, peer::Principal};
use flotilla_env::Entropy;
use flotilla_http_server::secret;
use flotilla_member::Error;

/// The shortest key that is taken from a file, in bytes.
const LENGTH_MIN: usize = 32;
/// In the data folder: the hash of the key that this supernode put in place of the group's last, as the directory has it, in hex.
const PUT_FILE: &str = "root-key.put";

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

/// Whether this supernode has put this key in place of the group's before, and no other one since.
///
/// The order to do so may stand in a file or a unit that every start reads: done each time, it would undo what was put in place by
/// another supernode meanwhile.
///
/// # Errors
/// [`Error::Setting`], naming what to do.
pub fn was_put(dir: &Path, root: &Principal) -> Result<bool, Error> {
    let path = dir.join(PUT_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim() == hash_of(root)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(wrong_put(format!("is not followed, since '{}' can't be read: {error}", path.display()))),
    }
}

/// Takes note that this key is in place.
///
/// # Durability
/// The note is synced.
///
/// # Errors
/// [`Error::Setting`]; the key is in place, and the next start would put it there once more.
pub fn note_put(dir: &Path, root: &Principal) -> Result<(), Error> {
    let path = dir.join(PUT_FILE);
    let write = || {
        let temporary = path.with_extension("tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(hash_of(root).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| {
        wrong_put(format!(
            "was followed, but '{}' can't be written: {error}; take it out of the settings",
            path.display()
        ))
    })
}

fn hash_of(root: &Principal) -> String {
    blake3::Hash::from_bytes(root.key_hash).to_hex().to_string()
}

fn wrong_put(why: String) -> Error {
    Error::Setting { name: "replace_root_key", why }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !secret::is_private(&metadata) {
        let why = secret::exposed(metadata.permissions().mode() & 0o777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text)?;
    Ok(Some(text))
}

fn make(path: &Path, entropy: &dyn Entropy) -> io::Result<String> {
    let text = format!("flt_{:032x}{:032x}\n", entropy.u128(), entropy.u128());
    if secret::make_once(path, &text, entropy.u64())? {
        return Ok(text);
    }
    read(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

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
        std::fs::set_permissions(&path, Permissions::from_mode(0o604)).expect("changed");
        let error = read_or_make(&path, true, &*entropy).expect_err("an exposed key is refused").to_string();
        assert!(error.contains(&secret::exposed(0o604)), "{error}");
    }

    #[test]
    fn a_key_is_put_in_place_once_until_another_one_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let entropy = flotilla_env::entropy::seeded(1);
        let key = |name: &str| read_or_make(&dir.path().join(name), true, &*entropy).expect("made").expect("a key");
        let (one, other) = (key("one.key"), key("other.key"));
        let was_put = |root: &Principal| was_put(dir.path(), root).expect("nothing is wrong");
        assert!(!was_put(&one));
        note_put(dir.path(), &one).expect("noted");
        assert!(was_put(&one) && !was_put(&other));
        note_put(dir.path(), &other).expect("noted");
        assert!(!was_put(&one) && was_put(&other));
        note_put(&dir.path().join("none"), &one).expect_err("there is no such folder");
    }
}
