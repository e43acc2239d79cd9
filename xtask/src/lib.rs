//! `cargo xtask tidy`: rules of the repository that neither rustc nor clippy knows.
//!
//! Every rule is a pure function over paths and texts; only [`tree`] touches the file system. A rule must not know any
//! other rule, and none of them knows what Flotilla does.

pub mod checks;
mod finding;
mod source;
pub mod tree;

pub use finding::{Finding, Severity};
pub use tree::File;
