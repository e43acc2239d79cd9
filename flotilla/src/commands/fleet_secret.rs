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
    let temporary = path.with_extension("secret.tmp");
    let write = || -> io::Result<()> {
        // One that was left behind may be readable by others.
        match std::fs::remove_file(&temporary) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|e| Failure::local(path.display(), &e))?;
    Ok(true)
}
