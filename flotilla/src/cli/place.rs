//! `BUCKET` or `BUCKET/KEY` as an argument.

use std::{fmt, str::FromStr};

use flotilla_api::{BucketName, FileName, Key, name};

use crate::exit::{Exit, Failure};

/// A bucket, or a key or the beginning of one in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: BucketName,
    /// What stands behind the bucket's slash; empty for the bucket itself.
    pub key: String,
}

impl Place {
    /// Gives the one file that is meant.
    ///
    /// # Errors
    /// The key is missing or breaks a rule; the command line must be another one.
    pub fn file(&self) -> Result<FileName, Failure> {
        self.under(&self.key)
    }

    /// Gives the file of a key in this bucket.
    ///
    /// # Errors
    /// As [`Place::file`].
    pub fn under(&self, key: &str) -> Result<FileName, Failure> {
        let wrong = |e: name::Error| {
            let failure = Failure::new(Exit::Usage, e.to_string()).about(format!("{}/{key}", self.bucket));
            if key.is_empty() { failure.hint("name a file: BUCKET/KEY") } else { failure }
        };
        let key = Key::try_from(key.to_owned()).map_err(wrong)?;
        Ok(FileName { bucket: self.bucket.clone(), key })
    }

    /// Gives what the keys of a tree begin with: the key with a slash at its end, or nothing for the whole bucket.
    pub fn tree_prefix(&self) -> String {
        // Nothing is trimmed: what is meant by `a//` must not grow to `a/`.
        if self.key.is_empty() || self.key.ends_with('/') { self.key.clone() } else { format!("{}/", self.key) }
    }
}

impl FromStr for Place {
    type Err = name::Error;

    fn from_str(text: &str) -> Result<Self, name::Error> {
        let (bucket, key) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { bucket: bucket.parse()?, key: key.to_owned() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { self.bucket.fmt(f) } else { write!(f, "{}/{}", self.bucket, self.key) }
    }
}
