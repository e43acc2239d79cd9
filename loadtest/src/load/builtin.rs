//! The profiles that come with the program.

/// Names and texts.
pub(crate) const ALL: &[(&str, &str)] = &[
    ("smoke", include_str!("../../profiles/smoke.toml")),
    ("spike", include_str!("../../profiles/spike.toml")),
    ("burst", include_str!("../../profiles/burst.toml")),
    ("ramp", include_str!("../../profiles/ramp.toml")),
    ("knee", include_str!("../../profiles/knee.toml")),
    ("knee-put", include_str!("../../profiles/knee-put.toml")),
    ("soak", include_str!("../../profiles/soak.toml")),
    ("small-files", include_str!("../../profiles/small-files.toml")),
    ("big-files", include_str!("../../profiles/big-files.toml")),
    ("duel", include_str!("../../profiles/duel.toml")),
    ("failover", include_str!("../../profiles/failover.toml")),
];

/// Gives the text of one.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
