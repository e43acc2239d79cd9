//! The names of a [`super::MemDisk`]: as the process sees them, as a power cut leaves them, and the changes between.

use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    data::{Budget, Inode},
    power::Fate,
};
use crate::disk::Entry;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Dir,
    File(Arc<Inode>),
}

/// A change of names; a rename is one change, so a power cut never keeps half of it.
#[derive(Debug)]
pub(super) enum Change {
    Set(PathBuf, Node),
    Remove(PathBuf),
    Rename { from: PathBuf, to: PathBuf, inode: Arc<Inode> },
}

type Tree = BTreeMap<PathBuf, Node>;

/// All names. The root folder is always there.
#[derive(Debug, Default)]
pub(super) struct Names {
    live: Tree,
    synced: Tree,
    unsynced: Vec<Change>,
}

impl Change {
    fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Set(path, node) => drop(tree.insert(path.clone(), node.clone())),
            Self::Remove(path) => drop(tree.remove(path)),
            Self::Rename { from, to, inode } => {
                tree.remove(from);
                tree.insert(to.clone(), Node::File(inode.clone()));
            }
        }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            Self::Set(path, _) | Self::Remove(path) => (path, None),
            Self::Rename { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(first.as_path()).chain(second.map(PathBuf::as_path))
    }
}

impl Names {
    pub(super) fn node(&self, path: &Path) -> Option<&Node> {
        if path.parent().is_none() { Some(&Node::Dir) } else { self.live.get(path) }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<Inode>> {
        match self.node(path) {
            Some(Node::File(inode)) => Ok(inode.clone()),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Checks that the folder of `path` is there.
    pub(super) fn folder_of(&self, path: &Path) -> io::Result<()> {
        self.folder(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }

    fn folder(&self, path: &Path) -> io::Result<()> {
        match self.node(path) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }

    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        self.folder(folder)?;
        // Paths sort by component, so all that lies under a folder follows it directly.
        let below = self.live.range::<Path, _>((Bound::Excluded(folder), Bound::Unbounded));
        let inside = below.take_while(|(path, _)| path.starts_with(folder));
        let entry = |(path, node): (&PathBuf, &Node)| match node {
            Node::Dir => Entry { path: path.clone(), dir: true, length: 0 },
            Node::File(inode) => Entry { path: path.clone(), dir: false, length: inode.length() },
        };
        Ok(inside.filter(|(path, _)| path.parent() == Some(folder)).map(entry).collect())
    }

    /// Makes durable every change of a name in `folder`, and what those changes rest on: earlier changes of the same names.
    pub(super) fn sync(&mut self, folder: &Path) -> io::Result<()> {
        self.folder(folder)?;
        let mut names: Vec<PathBuf> = Vec::new();
        let mut chosen = vec![false; self.unsynced.len()];
        for (change, chosen) in self.unsynced.iter().zip(&mut chosen).rev() {
            *chosen = change.paths().any(|path| path.parent() == Some(folder) || names.iter().any(|name| name == path));
            if *chosen {
                names.extend(change.paths().filter(|path| path.parent() != Some(folder)).map(Path::to_owned));
            }
        }
        let mut chosen = chosen.into_iter();
        let synced = &mut self.synced;
        self.unsynced.retain(|change| {
            let durable = chosen.next().unwrap_or(false);
            if durable {
                change.apply(synced);
            }
            !durable
        });
        Ok(())
    }

    /// Gives the names and contents as the next start finds them, all of it synced.
    pub(super) fn after_crash(&self, fate: &mut Fate, budget: &Budget) -> Self {
        let mut tree = self.synced.clone();
        for change in &self.unsynced {
            if fate.keeps() {
                change.apply(&mut tree);
            }
        }
        let mut left = Tree::new();
        for (path, node) in tree {
            // Parents sort before their children, so a lost folder takes all below it along.
            let parent = path.parent();
            if !parent.is_some_and(|parent| parent.parent().is_none() || matches!(left.get(parent), Some(Node::Dir))) {
                continue;
            }
            let node = match node {
                Node::Dir => Node::Dir,
                Node::File(inode) => Node::File(Arc::new(inode.after_crash(fate, budget))),
            };
            left.insert(path, node);
        }
        Self { live: left.clone(), synced: left, unsynced: Vec::new() }
    }
}
