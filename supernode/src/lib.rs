//! A supernode: the directory of homes and the one address in front of all clusters.

mod settings;

pub use settings::Settings;
