//! Keys of principals, as the root principal makes, lists and revokes them: routes under `/v1/keys`, answers as JSON.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ids::ParseError;

/// A principal's name: 1 to 32 of `a-z`, `0-9` and `-`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrincipalName(String);

impl PrincipalName {
    /// The longest name, in bytes; names stand in logs and metrics.
    pub const LEN_MAX: usize = 32;

    /// The name of the principal that may do everything.
    #[must_use]
    pub fn root() -> Self {
        Self("root".to_owned())
    }

    /// Gives the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PrincipalName {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        let tail = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good = text.len() <= Self::LEN_MAX
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && text.bytes().all(tail);
        let what = "name of a principal (1 to 32 of a-z, 0-9, -, beginning with a letter)";
        if good { Ok(Self(text)) } else { Err(ParseError::new(what, &text)) }
    }
}

impl From<PrincipalName> for String {
    fn from(name: PrincipalName) -> Self {
        name.0
    }
}

impl FromStr for PrincipalName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells a key from others without telling it: the first 8 bytes of its hash.
///
/// # Shape
/// As text 16 lower hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(u64);

impl KeyId {
    /// Gives the id of the key that has this BLAKE3.
    #[must_use]
    pub fn of(key_hash: &[u8; 32]) -> Self {
        Self(u64::from_be_bytes(*key_hash.first_chunk().expect("32 bytes begin with 8")))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for KeyId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new("key id (16 lower hex digits)", text);
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !digits {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| wrong())
    }
}

/// The answer to `POST /v1/keys/{name}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// The principal.
    pub name: PrincipalName,
    /// Its key, a bearer token: told this once and kept nowhere.
    pub key: String,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The answer to `GET /v1/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyList {
    /// The principals, by name.
    pub items: Vec<KeyItem>,
}

/// A principal that has a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyItem {
    /// Its name.
    pub name: PrincipalName,
    /// Whether it may do everything.
    pub root: bool,
    /// When its key was made, in RFC 3339; none for root's, which lies in a file.
    pub created: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "backup-2", "ci", &"x".repeat(32)] {
            assert!(good.parse::<PrincipalName>().is_ok(), "{good}");
        }
        for bad in ["", "2a", "-a", "A", "a_b", "a b", "ä", &"x".repeat(33)] {
            assert!(bad.parse::<PrincipalName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_the_beginning_of_the_hash() {
        let hash: [u8; 32] = std::array::from_fn(|at| at as u8);
        let id = KeyId::of(&hash);
        assert_eq!(id.to_string(), "0001020304050607");
        assert_eq!(id.to_string().parse::<KeyId>(), Ok(id));
        for bad in
            ["", "000102030405060", "00010203040506070", "000102030405060A", "+001020304050607", "ä0010203040506"]
        {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_key_is_not_printed() {
        let made = NewKey { name: PrincipalName::root(), key: "flt_secret".to_owned() };
        assert!(!format!("{made:?}").contains("secret"));
    }
}
