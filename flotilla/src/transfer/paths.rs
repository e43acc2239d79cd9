//! Which keys can be files below a folder, and under which path; pure.

/// The longest name of one file, in bytes; what Linux file systems take.
const NAME_MAX: usize = 255;

/// Why a key can't be a file below a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two slashes follow each other, or one stands at either end.
    #[error("the key has an empty segment and can't be a file's path")]
    Empty,
    /// A segment leads out of its folder.
    #[error("the key has a segment '{0}' and would leave its folder")]
    Leaves(String),
    /// A segment has a zero byte.
    #[error("the key has a zero byte and can't be a file's path")]
    Zero,
    /// A segment is longer than a file's name can be.
    #[error("the key has a segment of {0} bytes, a file's name has at most {NAME_MAX}")]
    Long(usize),
}

/// Splits the rest of a key into folders and, last, the file's name; every one of them is a plain name.
///
/// # Errors
/// See [`Error`]; the key can be fetched alone, under another name.
pub fn segments(relative: &str) -> Result<Vec<&str>, Error> {
    let segments: Vec<&str> = relative.split('/').collect();
    for segment in &segments {
        match *segment {
            "" => return Err(Error::Empty),
            "." | ".." => return Err(Error::Leaves((*segment).to_owned())),
            other if other.contains('\0') => return Err(Error::Zero),
            other if other.len() > NAME_MAX => return Err(Error::Long(other.len())),
            _ => {}
        }
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_that_would_leave_their_folder_are_refused() {
        for key in ["", "/", "/etc/passwd", "a//b", "a/", "../x", "a/../../x", "./x", "a/.", "..", "a\0b"] {
            assert!(segments(key).is_err(), "{key:?}");
        }
        assert_eq!(segments(&"x".repeat(256)), Err(Error::Long(256)));
    }

    #[test]
    fn odd_but_harmless_keys_pass() {
        for key in ["a", "a/b/c", "...", "..a", "a..", "C:\\x", "a b", "~", "-rf", "ä/☃"] {
            assert!(segments(key).is_ok(), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_stays_below_its_folder(
            parts in prop::collection::vec(prop::sample::select(vec!["a", "..", ".", "", "...", "a\\b", "\0", "~"]), 1..5)
        ) {
            let key = parts.join("/");
            if let Ok(segments) = segments(&key) {
                let path: std::path::PathBuf = segments.iter().collect();
                let plain = |c| matches!(c, std::path::Component::Normal(_));
                prop_assert!(path.is_relative() && path.components().all(plain));
                prop_assert_eq!(path.components().count(), segments.len());
            }
        }
    }
}
