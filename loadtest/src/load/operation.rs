//! The operations of a load. Pure.

use serde::{Deserialize, Serialize};

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// Upload a new file.
    Put,
    /// Upload another content under the name of a file.
    Replace,
    /// Download a file and compare every byte.
    Get,
    /// Download a part of a file and compare every byte.
    Range,
    /// Ask for a file's length.
    Head,
    /// List a folder of up to 256 files; every acked one must be there.
    List,
    /// Make a file from another one, without sending its bytes.
    Copy,
    /// Delete a file.
    Delete,
}

impl Operation {
    /// Its name in profiles and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Replace => "replace",
            Self::Get => "get",
            Self::Range => "range",
            Self::Head => "head",
            Self::List => "list",
            Self::Copy => "copy",
            Self::Delete => "delete",
        }
    }
}
