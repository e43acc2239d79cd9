//! What must hold of the current version for a change to be made; evaluated in apply, so that nothing comes in between. Pure.

use flotilla_api::Version;
use serde::{Deserialize, Serialize};

use super::{
    machine::Refusal,
    rows::{Etag, FileRow},
};

/// What must hold of the current version for a change to be made. Stored in the log: variants are only added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precondition {
    /// Nothing.
    Always,
    /// What a client asked for; both parts must hold.
    Etags {
        /// The current version is one of these.
        matches: Option<Etags>,
        /// The current version is none of these.
        differs: Option<Etags>,
    },
    /// The version that a change was made from is still the current one.
    Version(Version),
}

/// ETags that a client named. One that no file of ours can have is left out: it equals none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Etags {
    /// Whatever is there.
    Any,
    /// These.
    These(Vec<Etag>),
}

impl Etags {
    fn names(&self, etag: &Etag) -> bool {
        match self {
            Self::Any => true,
            Self::These(etags) => etags.contains(etag),
        }
    }
}

impl Precondition {
    /// Evaluates it against the current version.
    ///
    /// # Errors
    /// [`Refusal::PreconditionFailed`] or, for a version, [`Refusal::Changed`], with the current ETag.
    pub fn check(&self, current: Option<&FileRow>) -> Result<(), Refusal> {
        let etag = || current.map(|file| file.etag.clone());
        match self {
            Self::Always => Ok(()),
            Self::Etags { matches, differs } => {
                let named = |etags: &Etags| current.is_some_and(|file| etags.names(&file.etag));
                let holds = matches.as_ref().is_none_or(named) && !differs.as_ref().is_some_and(named);
                if holds { Ok(()) } else { Err(Refusal::PreconditionFailed(etag())) }
            }
            Self::Version(version) => match current.is_some_and(|file| file.version == *version) {
                true => Ok(()),
                false => Err(Refusal::Changed(etag())),
            },
        }
    }
}

#[cfg(test)]
mod tests;
