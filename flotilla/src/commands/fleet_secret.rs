//! `flotilla fleet-secret`: makes the secret that all processes of a fleet share, for whoever has no `openssl` at hand.

use std::path::Path;

use flotilla_env::{Entropy, entropy};
use flotilla_http_server::secret;

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
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    secret::make_once(path, &text, entropy.u64()).map_err(|e| Failure::local(path.display(), &e))
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
