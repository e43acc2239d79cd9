//! A process's name, checked.

use flotilla_raft_store::{NAME_RULE, is_name};

use crate::Error;

/// How much of a wrong name is told, in characters.
const TOLD_MAX: usize = 64;

/// Checks what a process is called.
///
/// # Errors
/// [`Error::Setting`], saying what a name is.
pub fn check(name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    let told: String = name.chars().take(TOLD_MAX).collect();
    let why = format!("is {NAME_RULE}, not '{told}' ({} bytes); give the process another name", name.len());
    Err(Error::Setting { name: "name", why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        let pod = format!("{}-0", "a".repeat(251));
        for good in ["a", "a-n1", "supernode-1", "Rack_7.host-2.example.org", &pod, &"x".repeat(255)] {
            check(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for wrong in ["", &"x".repeat(256), "a b", "a/b", "a\n", "zwölf", "a:7402"] {
            let error = check(wrong).expect_err(wrong);
            assert!(matches!(error, Error::Setting { name: "name", .. }), "{error}");
            assert!(error.to_string().contains("1 to 255 letters"), "{error}");
        }
    }
}
