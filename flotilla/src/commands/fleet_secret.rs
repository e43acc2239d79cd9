//! `flotilla fleet-secret`: makes the secret that all processes of a fleet share, for whoever has no `openssl` at hand.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use flotilla_env::{Entropy, entropy};

use crate::{
    cli::FleetSecretArgs,
    exit::{Exit, Failure},
    output,
};

/// Runs the command.
///
/// # Errors
/// The folder takes no file.
pub fn run(args: &FleetSecretArgs) -> Result<Exit, Failure> {
    let made = make(&args.file, &*entropy::system())?;
    let what = if made { "made" } else { "was there already, and stays" };
    output::note(format_args!("{}: {what}", args.file.display()));
    Ok(Exit::Ok)
}

/// Makes the fleet's secret if there is none: 32 random bytes in hex, readable by their owner alone. Says whether it did.
///
/// # Errors
/// The folder takes no file.
///
/// # Durability
/// Ok means: the secret and its name are synced.
pub fn make(path: &Path, entropy: &dyn Entropy) -> Result<bool, Failure> {
    if path.exists() {
        return Ok(false);
    }
    let mut secret = [0; 32];
    entropy.fill(&mut secret);
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    put(path, &text, entropy.u64()).map_err(|e| Failure::local(path.display(), &e))
}

/// Gives the file its text, unless it is there by now; says whether it did. `unique` tells the temporary file from that of another
/// process.
fn put(path: &Path, text: &str, unique: u64) -> io::Result<bool> {
    let temporary = path.with_extension(format!("tmp-{unique:016x}"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // Processes that start together have one secret: a link, unlike a rename, never replaces what another one made.
    let linked = written.and_then(|()| std::fs::hard_link(&temporary, path));
    std::fs::remove_file(&temporary)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    match linked {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Another process, which makes the secret while this one is at it.
    #[derive(Debug)]
    struct Other(PathBuf);

    impl Entropy for Other {
        fn fill(&self, out: &mut [u8]) {
            out.fill(7);
            std::fs::write(&self.0, "theirs").expect("the folder is writable");
        }
    }

    #[test]
    fn a_secret_that_another_process_made_meanwhile_stays() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("fleet.secret");
        let made = make(&path, &Other(path.clone())).expect("the folder is writable");
        assert!(!made, "it is another one's");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "theirs");
        assert_eq!(std::fs::read_dir(dir.path()).expect("it is a folder").count(), 1, "nothing else is left there");
    }
}
