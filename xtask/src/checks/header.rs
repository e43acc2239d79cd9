//! Every Rust file says first what its one job is.

use crate::{File, Finding};

const RULE: &str = "header";

/// Checks that a Rust file opens with a module comment.
pub fn check(file: &File) -> Vec<Finding> {
    if !file.is("rs") || file.text.lines().next().is_some_and(|first| first.starts_with("//! ")) {
        return Vec::new();
    }
    vec![Finding::error(RULE, &file.path, 1, "the first line must be `//! ` and say the file's one job")]
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::File;

    #[test]
    fn file_without_a_header_is_found() {
        assert_eq!(check(&File::new("api/src/lib.rs", "use std::fmt;\n//! late")).len(), 1);
        assert_eq!(check(&File::new("api/src/lib.rs", "")).len(), 1);
        assert_eq!(check(&File::new("api/src/lib.rs", "//!")).len(), 1);
    }

    #[test]
    fn file_with_a_header_passes() {
        assert_eq!(check(&File::new("api/src/lib.rs", "//! Routes.\n")), []);
        assert_eq!(check(&File::new("ci/setup.sh", "#!/bin/sh")), []);
    }
}
