//! `dev.json`: what a deployment consists of, for people and scripts; always replaced whole.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use flotilla_api::ClusterName;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// The version of the document's shape.
pub const SCHEMA: u32 = 1;
/// The document's name in the deployment's folder.
pub const FILE: &str = "dev.json";

/// What a deployment is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Processes are started and not all are ready.
    Starting,
    /// All processes were ready; one that ends later does not change this.
    Ready,
    /// Processes are being ended.
    Stopping,
    /// All processes were ended.
    Stopped,
}

/// Which server a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A node of a cluster.
    Node,
    /// A supernode.
    Supernode,
}

impl Role {
    /// Gives the command that starts it, which is also its name in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Supernode => "supernode",
        }
    }
}

/// The document.
///
/// # Shape
/// Pinned; fields are added only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevFile {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What the deployment is doing.
    pub state: State,
    /// Addresses of the supernodes, as URLs.
    pub api: Vec<String>,
    /// The file with the root key.
    pub token_file: PathBuf,
    /// A bucket that is there.
    pub bucket: String,
    /// All processes.
    pub processes: Vec<Process>,
}

/// One process of the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its name, for example `a-n1`.
    pub name: String,
    /// Which server it is.
    pub role: Role,
    /// The cluster of a node.
    pub cluster: Option<ClusterName>,
    /// The id that the cluster gave to the node, once it is known.
    pub node_id: Option<u64>,
    /// Its process id.
    pub pid: u32,
    /// When it began, in ticks since the machine's start; tells it from a later process with the same id.
    pub start_ticks: u64,
    /// What it was started with; the first one is the program.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// The folder it was started in.
    pub cwd: PathBuf,
    /// Where clients are served, as a URL.
    pub public: String,
    /// Where other Flotilla processes are served, `HOST:PORT`.
    pub peer: String,
    /// Where health and metrics are served, as a URL.
    pub ops: String,
    /// The folder with its data.
    pub data_dir: PathBuf,
    /// The file with its log.
    pub log_file: PathBuf,
}

/// A document and the folder it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The folder.
    pub dir: PathBuf,
    /// The document.
    pub document: DevFile,
}

impl std::ops::Deref for Deployment {
    type Target = DevFile;

    fn deref(&self) -> &DevFile {
        &self.document
    }
}

impl Deployment {
    /// Reads the deployment in a folder.
    ///
    /// # Errors
    /// There is none (exit code 3), or the document is not understood.
    pub fn read(dir: &Path) -> Result<Self, Failure> {
        let none = || {
            Failure::new(Exit::NotFound, format!("there is no deployment in {}", dir.display()))
                .hint("start one with `flotilla dev up`, or name its folder with --dir or FLOTILLA_DEV_DIR")
        };
        Self::read_if_there(dir)?.ok_or_else(none)
    }

    /// Reads the deployment in a folder, if there is one.
    ///
    /// # Errors
    /// The document is not understood.
    pub fn read_if_there(dir: &Path) -> Result<Option<Self>, Failure> {
        let path = dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(Failure::local(path.display(), &e)),
        };
        let document: DevFile =
            serde_json::from_slice(&bytes).map_err(|e| Failure::local(format_args!("{}", path.display()), &e))?;
        if document.schema != SCHEMA {
            let detail = format!("{} has schema {}, this build knows {SCHEMA}", path.display(), document.schema);
            return Err(Failure::new(Exit::Other, detail));
        }
        Ok(Some(Self { dir: dir.to_owned(), document }))
    }

    /// Gives the document's path.
    pub fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// Writes the document in the place of the one before.
    ///
    /// # Errors
    /// The folder takes no file.
    pub fn write(&self) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(&self.document).expect("the document is plain data");
        replace(&self.path(), &text).map_err(|e| Failure::local(self.path().display(), &e))
    }

    /// Changes the state and writes the document.
    ///
    /// # Errors
    /// As [`Deployment::write`].
    pub fn enter(&mut self, state: State) -> Result<(), Failure> {
        self.document.state = state;
        self.write()
    }
}

/// Writes a file so that a reader sees the old or the new content, never a part.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}

/// Gives the folder that the environment names.
pub fn named(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    env("FLOTILLA_DEV_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// Finds a folder that holds a deployment: the one of the environment, or the usual one.
pub fn find(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let dir = named(env).unwrap_or_else(|| PathBuf::from(super::DIR));
    dir.join(FILE).exists().then_some(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that scripts were written after.
    const PINNED: &str = r#"{"schema":1,"state":"ready","api":["http://127.0.0.1:7400"],"token_file":"DIR/root.key",
        "bucket":"demo","processes":[{"name":"a-n1","role":"node","cluster":"a","node_id":1,"pid":1,"start_ticks":1,
        "argv":[],"env":{},"cwd":"","public":"http://x","peer":"x","ops":"http://y","data_dir":"DIR/a/n1",
        "log_file":"DIR/log/a-n1.log"}]}"#;

    #[test]
    fn the_pinned_document_is_read_and_written_with_the_same_fields() {
        let document: DevFile = serde_json::from_str(PINNED).expect("the pinned document is understood");
        let written = serde_json::to_value(&document).expect("the document is plain data");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(PINNED).expect("it is JSON"));
        assert_eq!((document.state, document.processes[0].role), (State::Ready, Role::Node));
    }

    #[test]
    fn a_document_is_replaced_whole() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let document = serde_json::from_str(PINNED).expect("the pinned document is understood");
        let mut deployment = Deployment { dir: dir.path().to_owned(), document };
        deployment.write().expect("the folder is writable");
        deployment.enter(State::Stopped).expect("the folder is writable");
        assert_eq!(Deployment::read(dir.path()).expect("it was written"), deployment);
        assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 1);
    }

    #[test]
    fn a_folder_without_a_deployment_is_not_found() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(Deployment::read(dir.path()).expect_err("it is empty").exit(), Exit::NotFound);
        std::fs::write(dir.path().join(FILE), PINNED.replace("\"schema\":1", "\"schema\":2")).expect("it is writable");
        assert!(Deployment::read(dir.path()).expect_err("another schema").to_string().contains("schema 2"));
    }
}
