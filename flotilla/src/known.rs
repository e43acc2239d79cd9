//! The clusters' addresses as the command line knew them last: so that files can be read while no supernode answers.
//!
//! The token is sent to them, so a file counts only if this user alone can have written it, and only for the addresses of the API
//! and the token with which it was learned.

use std::{
    cmp::Reverse,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flotilla_api::ClusterName;
use flotilla_client::{ClusterNodes, NODES_GOOD_FOR};
use flotilla_env::Clock;
use serde::{Deserialize, Serialize};

/// The longest file that is read: 64 clusters with three addresses each are far below.
const BYTES_MAX: u64 = 64 << 10;
/// How old it gets before the addresses are asked for again.
const OLD_AFTER: Duration = Duration::from_secs(10 * 60);
/// Files that are kept, each of a list of supernodes and a token: more than anybody works with in a day.
const FILES_MAX: usize = 32;
/// Names in the folder that are looked at to find those of files that are no longer needed.
const NAMES_MAX: usize = 10_000;
/// The form of the file; one of another form is learned anew.
const SCHEMA: u32 = 1;

/// A file of addresses for one list of supernodes and one token.
#[derive(Debug)]
pub struct Known {
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    schema: u32,
    clusters: Vec<Cluster>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Cluster {
    name: ClusterName,
    nodes: Vec<String>,
    /// When a supernode told them, in milliseconds since 1970.
    learned_ms: u64,
}

impl Known {
    /// Gives the file for these addresses of the API and this token, in XDG_CACHE_HOME or ~/.cache; none if there is neither.
    pub fn of(
        api: &[String],
        token: &str,
        env: &dyn Fn(&str) -> Option<String>,
        clock: Arc<dyn Clock>,
    ) -> Option<Self> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
        // Two deployments can have had the same addresses, as those on loopback have; they don't have the same token.
        let mut name = blake3::Hasher::new_derive_key("flotilla cli known nodes v1");
        name.update(api.join(",").as_bytes()).update(b"\n").update(token.as_bytes());
        let name = name.finalize().to_hex();
        Some(Self { path: base.join("flotilla").join(format!("nodes-{}.json", &name[..16])), clock })
    }

    /// Whether addresses that were read should be asked for again.
    pub fn is_old(nodes: &[ClusterNodes]) -> bool {
        nodes.iter().map(|cluster| cluster.age).min().is_none_or(|age| age >= OLD_AFTER)
    }

    /// Gives what was written last and is not too old; nothing if that can't be read, or another user can have written it.
    pub fn read(&self) -> Vec<ClusterNodes> {
        let file = match self.read_file() {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "the clusters' addresses are not used");
                return Vec::new();
            }
        };
        let now_ms = self.clock.wall_ms();
        let aged = |Cluster { name, nodes, learned_ms }: Cluster| {
            // What was learned in the future is as old as anything can be.
            let age = Duration::from_millis(now_ms.checked_sub(learned_ms)?);
            (age < NODES_GOOD_FOR).then_some(ClusterNodes { cluster: name, nodes, age })
        };
        file.clusters.into_iter().filter_map(aged).collect()
    }

    fn read_file(&self) -> io::Result<File> {
        let file = fs::File::open(&self.path)?;
        let about = file.metadata()?;
        let own = about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o022 == 0;
        if !own || about.len() > BYTES_MAX {
            return Err(io::Error::other("the file is not this user's alone, or too long"));
        }
        let mut text = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut text)?;
        let file: File = serde_json::from_slice(&text)?;
        match file.schema == SCHEMA {
            true => Ok(file),
            false => Err(io::Error::other("the file is of another version")),
        }
    }

    /// Writes addresses in place of those before. It is a convenience: what goes wrong is left for a debug line.
    pub fn write(&self, nodes: &[ClusterNodes]) {
        if let Err(error) = self.replace(nodes) {
            tracing::debug!(path = %self.path.display(), %error, "the clusters' addresses are not remembered");
        }
    }

    fn replace(&self, nodes: &[ClusterNodes]) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        sweep(dir)?;
        let now_ms = self.clock.wall_ms();
        let dated = |ClusterNodes { cluster, nodes, age }: &ClusterNodes| {
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            Cluster { name: cluster.clone(), nodes: nodes.clone(), learned_ms: now_ms.saturating_sub(age_ms) }
        };
        let file = File { schema: SCHEMA, clusters: nodes.iter().map(dated).collect() };
        let temporary = self.path.with_extension(format!("tmp-{}", std::process::id()));
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        out.write_all(&serde_json::to_vec(&file)?)?;
        // Half a file after a crash reads as nothing known.
        fs::rename(&temporary, &self.path)
    }
}

/// Removes files that are too old to be read, and the oldest of those beyond [`FILES_MAX`], this time's new one counted.
fn sweep(dir: &Path) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir)?.take(NAMES_MAX) {
        let entry = entry?;
        if !is_ours(&entry.file_name().to_string_lossy()) {
            continue;
        }
        // Another command may have removed it just now.
        let Ok(modified) = entry.metadata().and_then(|about| about.modified()) else { continue };
        match modified.elapsed() {
            Ok(age) if age >= NODES_GOOD_FOR => remove(&entry.path())?,
            Ok(_) | Err(_) => kept.push((modified, entry.path())),
        }
    }
    kept.sort_by_key(|(modified, _)| Reverse(*modified));
    kept.iter().skip(FILES_MAX - 1).try_for_each(|(_, path)| remove(path))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether a name is that of a file of addresses, or of one that was being written; other programs of ours use the folder, too.
fn is_ours(name: &str) -> bool {
    let rest = name.strip_prefix("nodes-").and_then(|rest| rest.split_once('.'));
    rest.is_some_and(|(hash, kind)| {
        hash.len() == 16
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            && (kind == "json" || kind.starts_with("tmp-"))
    })
}

#[cfg(test)]
mod tests;
