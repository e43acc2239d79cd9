//! The clusters' addresses as the command line knew them last: so that files can be read while no supernode answers.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// The longest file that is read: 64 clusters with three addresses each are far below.
const BYTES_MAX: u64 = 64 << 10;
/// How old it gets before the addresses are asked for again.
const OLD_AFTER: Duration = Duration::from_secs(10 * 60);
/// How old it is when an address may be somebody else's by now, who must not get a token.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A file of addresses for one list of supernodes.
#[derive(Debug)]
pub struct Known(PathBuf);

impl Known {
    /// Gives the file for these addresses of the API, in XDG_CACHE_HOME or ~/.cache; none if there is neither.
    pub fn of(api: &[String], env: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
        let name = blake3::hash(api.join(",").as_bytes()).to_hex();
        Some(Self(base.join("flotilla").join(format!("nodes-{}.json", &name[..16]))))
    }

    /// Whether the addresses should be asked for again.
    pub fn is_old(&self) -> bool {
        self.age().is_none_or(|age| age >= OLD_AFTER)
    }

    fn age(&self) -> Option<Duration> {
        fs::metadata(&self.0).ok()?.modified().ok()?.elapsed().ok()
    }

    /// Gives what was written last; nothing if that can't be read, or is old.
    pub fn read(&self) -> Vec<Vec<String>> {
        let fit = fs::metadata(&self.0).is_ok_and(|file| file.len() <= BYTES_MAX)
            && self.age().is_some_and(|age| age < FORGOTTEN_AFTER);
        let text = if fit { fs::read_to_string(&self.0).ok() } else { None };
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Writes addresses in place of those before. It is a convenience: what goes wrong is left for a debug line.
    pub fn write(&self, nodes: &[Vec<String>]) {
        if let Err(error) = self.replace(nodes) {
            tracing::debug!(path = %self.0.display(), %error, "the clusters' addresses are not remembered");
        }
    }

    fn replace(&self, nodes: &[Vec<String>]) -> std::io::Result<()> {
        let dir = self.0.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let temporary = self.0.with_extension(format!("tmp-{}", std::process::id()));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(nodes)?)?;
        // Half a file after a crash reads as nothing known.
        fs::rename(&temporary, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_for_each_list_of_supernodes() {
        let dir = tempfile::tempdir().expect("a folder");
        let env = |name: &str| (name == "XDG_CACHE_HOME").then(|| dir.path().to_string_lossy().into_owned());
        let of = |api: &str| Known::of(&[api.to_owned()], &env).expect("there is a folder");
        let nodes = vec![vec!["http://a:1".to_owned()], vec!["http://b:1".to_owned(), "http://b:2".to_owned()]];
        assert_eq!(of("http://s:1").read(), Vec::<Vec<String>>::new());
        assert!(of("http://s:1").is_old());
        of("http://s:1").write(&nodes);
        assert!(!of("http://s:1").is_old());
        assert_eq!(of("http://s:1").read(), nodes);
        assert_eq!(of("http://s:2").read(), Vec::<Vec<String>>::new());
        fs::write(&of("http://s:1").0, b"{").expect("written");
        assert_eq!(of("http://s:1").read(), Vec::<Vec<String>>::new());
        assert!(Known::of(&[], &|_| None).is_none());
    }
}
