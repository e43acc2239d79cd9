//! Settings of the servers from four sources: flag before environment before TOML file before default.
//!
//! Which keys there are is read from the settings types themselves; this module knows none of them.

use std::{io, path::PathBuf};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};
use serde::de::DeserializeOwned;

mod known;
mod shown;
#[cfg(test)]
mod tests;

pub use known::{ALIKE, known, nearest};
pub use shown::{Shown, shown};

/// What an environment variable begins with.
const PREFIX: &str = "FLOTILLA_";
/// How much alike a variable and a key must be before the variable counts as a misspelt key; below that it belongs to
/// somebody else (Kubernetes puts variables named after services into every container).
const MISSPELT: f64 = 0.75;

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file, if one was named.
    pub file: Option<PathBuf>,
    /// The environment, whole.
    pub env: Vec<(String, String)>,
    /// Keys and values of the command line; a later one wins.
    pub flags: Vec<(String, String)>,
}

/// Why settings can't be used; all of them are for the user to mend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No setting has this name.
    #[error("setting '{key}' ({origin}) is unknown{}", did_you_mean(*nearest))]
    Unknown {
        /// The name given.
        key: String,
        /// Where it was given.
        origin: String,
        /// The name that is most like it.
        nearest: Option<&'static str>,
    },
    /// A text of the command line has no `=`.
    #[error("'{0}' is not KEY=VALUE")]
    NotPair(String),
    /// The file can't be read.
    #[error("settings file '{path}' can't be read")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("settings file '{path}' does not parse: {reason}")]
    Toml {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A value is not of the kind that its key takes.
    #[error("setting '{key}' ({origin}): {reason}")]
    Value {
        /// The key.
        key: String,
        /// Where it was given.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting without a default was given nowhere.
    #[error("setting '{key}' is missing: give --set {key}=VALUE, {}, or a line in the --config file", variable(key))]
    Missing {
        /// The key.
        key: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean '{key}'?"))
}

/// Gives the environment variable of a setting.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

/// Splits `KEY=VALUE` at the first `=`.
///
/// # Errors
/// [`Error::NotPair`].
pub fn pair(text: &str) -> Result<(String, String), Error> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(Error::NotPair(text.to_owned())),
    }
}

/// Puts settings together.
///
/// # Errors
/// See [`Error`]; the first thing that is wrong is told.
pub fn load<T: DeserializeOwned>(sources: &Sources) -> Result<T, Error> {
    merged::<T>(sources)?.extract().map_err(|errors| explain(errors.into_iter().next()))
}

fn merged<T: DeserializeOwned>(sources: &Sources) -> Result<Figment, Error> {
    let mut figment = Figment::new();
    if let Some(path) = &sources.file {
        figment = figment.merge(file::<T>(path)?);
    }
    for (name, text) in &sources.env {
        if let Some(layer) = env::<T>(name, text)? {
            figment = figment.merge(layer);
        }
    }
    for (key, text) in &sources.flags {
        figment = figment.merge(flag::<T>(key, text)?);
    }
    Ok(figment)
}

/// Checks one value of the command line without the other settings.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Value`].
pub fn check<T: DeserializeOwned>(key: &str, text: &str) -> Result<(), Error> {
    match Figment::from(flag::<T>(key, text)?).extract::<T>() {
        Ok(_) => Ok(()),
        Err(errors) => match errors.into_iter().find(|e| !e.missing()) {
            None => Ok(()),
            error => Err(explain(error)),
        },
    }
}

/// One source, or one key of it, with its name for messages.
#[derive(Debug, Clone)]
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

fn file<T: DeserializeOwned>(path: &PathBuf) -> Result<Layer, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.clone(), source })?;
    let wrong = |e: figment::Error| Error::Toml { path: path.clone(), reason: e.kind.to_string() };
    let mut data = Toml::string(&text).data().map_err(wrong)?;
    let layer =
        Layer { origin: format!("in {}", path.display()), values: data.remove(&Profile::Default).unwrap_or_default() };
    for key in layer.values.keys() {
        must_know::<T>(key, &layer.origin)?;
    }
    Ok(layer)
}

fn env<T: DeserializeOwned>(name: &str, text: &str) -> Result<Option<Layer>, Error> {
    let Some(key) = name.strip_prefix(PREFIX).map(str::to_lowercase) else { return Ok(None) };
    let origin = format!("from {name}");
    if known::<T>().contains(&key.as_str()) {
        return Ok(Some(layer::<T>(&key, text, origin)));
    }
    match nearest(&key, known::<T>(), MISSPELT) {
        Some(near) => Err(Error::Unknown { key, origin, nearest: Some(near) }),
        None => Ok(None),
    }
}

fn flag<T: DeserializeOwned>(key: &str, text: &str) -> Result<Layer, Error> {
    let origin = "on the command line".to_owned();
    must_know::<T>(key, &origin)?;
    Ok(layer::<T>(key, text, origin))
}

fn must_know<T: DeserializeOwned>(key: &str, origin: &str) -> Result<(), Error> {
    let keys = known::<T>();
    if keys.contains(&key) {
        return Ok(());
    }
    let nearest = nearest(key, keys, ALIKE);
    Err(Error::Unknown { key: key.to_owned(), origin: origin.to_owned(), nearest })
}

/// Makes a layer of a text: as a text where the key takes one, else as a number or list, else as a list of texts parted by commas.
fn layer<T: DeserializeOwned>(key: &str, text: &str, origin: String) -> Layer {
    let make = |value: Value| Layer { origin: origin.clone(), values: Dict::from([(key.to_owned(), value)]) };
    let plain = Value::from(text.to_owned());
    let parsed: Value = text.parse().unwrap_or_else(|never| match never {});
    let listed = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let listed = Value::from(listed.map(str::to_owned).collect::<Vec<_>>());
    let fits = |layer: &Layer| match Figment::from(layer).extract::<T>() {
        Ok(_) => true,
        Err(errors) => errors.into_iter().all(|e| e.missing()),
    };
    // A text that fits nowhere stays a text, so that the message shows it as it was written.
    [plain.clone(), parsed, listed].into_iter().map(make).find(fits).unwrap_or_else(|| make(plain))
}

fn explain(error: Option<figment::Error>) -> Error {
    let error = error.expect("an extraction that failed has an error");
    if let figment::error::Kind::MissingField(key) = &error.kind {
        return Error::Missing { key: key.to_string() };
    }
    let origin = error.metadata.as_ref().map_or_else(String::new, |metadata| metadata.name.to_string());
    Error::Value { key: error.path.join("."), origin, reason: error.kind.to_string() }
}
