//! Every setting with its value and where it came from, for people; secrets are never part of it.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Error, Sources, explain, known, merged};

/// What stands in the place of a secret.
const HIDDEN: &str = "(set, not shown)";

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its name.
    pub setting: String,
    /// Its value; none where it is not set and has no default.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: String,
}

/// Puts settings together and tells each one's value and origin, in the order of their declaration.
///
/// # Errors
/// As [`super::load`].
pub fn shown<T: DeserializeOwned + Serialize>(sources: &Sources) -> Result<Vec<Shown>, Error> {
    let figment = merged::<T>(sources)?;
    let settings: T = figment.extract().map_err(|errors| explain(errors.into_iter().next()))?;
    let values = serde_json::to_value(settings).expect("settings are plain data");
    let one = |key: &&str| {
        let given = figment.find_metadata(key).map(|metadata| metadata.name.to_string());
        let value = if is_secret(key) { Some(HIDDEN.to_owned()) } else { text(&values[*key]) };
        Shown { setting: (*key).to_owned(), value, origin: given.unwrap_or_else(|| "default".to_owned()) }
    };
    Ok(known::<T>().iter().map(one).collect())
}

/// Says whether a setting's value is a secret by its name; the name of a file with a secret is none.
fn is_secret(key: &str) -> bool {
    let parts = key.split('_').any(|part| matches!(part, "token" | "secret" | "key" | "password"));
    parts && !key.ends_with("_file")
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => Some(all.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        name: String,
        members: Vec<String>,
        #[serde(default)]
        token: Option<String>,
        #[serde(default = "three")]
        copies: u32,
        #[serde(default)]
        zone: Option<String>,
    }

    fn three() -> u32 {
        3
    }

    #[test]
    fn each_setting_says_where_it_came_from() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "name = \"f\"\ntoken = \"hush\"").expect("it is writable");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let sources = Sources {
            file: Some(file.path().to_owned()),
            env: vec![pair("FLOTILLA_MEMBERS", "a:1,b:2")],
            flags: vec![pair("name", "n")],
        };
        let all = shown::<Settings>(&sources).expect("all is given");
        let row = |row: &Shown| (row.setting.clone(), row.value.clone().unwrap_or_default(), row.origin.clone());
        let own = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        let in_file = format!("in {}", file.path().display());
        let expected = [
            own("name", "n", "on the command line"),
            own("members", "a:1,b:2", "from FLOTILLA_MEMBERS"),
            own("token", HIDDEN, &in_file),
            own("copies", "3", "default"),
            own("zone", "", "default"),
        ];
        assert_eq!(all.iter().map(row).collect::<Vec<_>>(), expected);
        assert!(!serde_json::to_string(&all).expect("plain data").contains("hush"));
    }

    #[test]
    fn secrets_are_told_by_their_names() {
        assert!(is_secret("token") && is_secret("fleet_secret") && is_secret("root_key"));
        assert!(
            !is_secret("token_file") && !is_secret("root_key_file") && !is_secret("keyboard") && !is_secret("name")
        );
    }
}
