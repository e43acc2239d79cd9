//! Which deployment a client command talks to, and with which credential; sends nothing.

use std::path::{Path, PathBuf};

use flotilla_client::{Client, Options};
use flotilla_env::{clock, entropy};
use serde::Deserialize;

use crate::{
    cli::{ClientArgs, ConnectionArgs},
    commands::dev::deployment::{self, Deployment, State},
    exit::{Exit, Failure},
    output::Report,
    settings::{self, Sources},
};

#[cfg(test)]
mod tests;

/// A deployment's addresses and a credential for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// Addresses of the API.
    pub api: Vec<String>,
    /// The token.
    pub token: String,
    /// The description of the dev deployment, if it is one.
    pub dev_json: Option<PathBuf>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("api", &self.api).field("dev_json", &self.dev_json).finish_non_exhaustive()
    }
}

/// What a client command works with.
#[derive(Debug, Clone)]
pub struct Session {
    /// The client.
    pub client: Client,
    /// How failures are told.
    pub report: Report,
}

impl Session {
    /// Finds the deployment and makes a client for it.
    ///
    /// # Errors
    /// See [`resolve`].
    pub fn open(args: &ClientArgs) -> Result<Self, Failure> {
        let connection = resolve(&args.connection, &|name| std::env::var(name).ok())?;
        let options = Options { api: connection.api, token: connection.token, ..Options::default() };
        let client = Client::new(options, clock::system(), entropy::system())?;
        Ok(Self { client, report: Report::new(args.json) })
    }
}

/// The client's settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    api: Vec<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    token_file: Option<PathBuf>,
}

/// Finds addresses and token: flags, then the environment, then the settings file, then a running dev deployment.
///
/// A token of the settings file or of a dev deployment goes only to the addresses beside it, one of a dev deployment also to
/// other loopback addresses (its nodes): a token must not reach a server that it was not made for.
///
/// # Errors
/// No address or no token is known, or a file that was named can't be read.
pub fn resolve(args: &ConnectionArgs, env: &dyn Fn(&str) -> Option<String>) -> Result<Connection, Failure> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let file = read_file(args, &set)?;
    // A folder named by a flag comes before the environment, like every flag.
    let named = args.dir.as_deref().map(running).transpose()?;
    let found = if named.is_some() { None } else { deployment::find(&set).and_then(|dir| running(&dir).ok()) };
    let listed = |text: String| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();

    let api = [
        (Origin::Given, args.api.clone()),
        (Origin::Dev, named.as_ref().map(|dev| dev.api.clone()).unwrap_or_default()),
        (Origin::Given, set("FLOTILLA_API").map(listed).unwrap_or_default()),
        (Origin::File, file.api.clone()),
        (Origin::Dev, found.as_ref().map(|dev| dev.api.clone()).unwrap_or_default()),
    ];
    let (origin, api) = api.into_iter().find(|(_, api)| !api.is_empty()).ok_or_else(|| {
        Failure::new(Exit::Usage, "no deployment is known")
            .hint("give --api URL or FLOTILLA_API, or start one here with `flotilla dev up`")
    })?;
    let dev_fits = origin == Origin::Dev || api.iter().all(|address| is_loopback(address));
    let token = match (&args.token_file, set("FLOTILLA_TOKEN")) {
        (Some(path), _) => Some(read_token(path)?),
        (None, _) if named.is_some() && dev_fits => {
            named.as_ref().map(|dev| read_token(&dev.token_file)).transpose()?
        }
        (None, Some(token)) => Some(token.trim().to_owned()),
        (None, None) if origin == Origin::File => match (&file.token, &file.token_file) {
            (Some(token), _) => Some(token.trim().to_owned()),
            (None, Some(path)) => Some(read_token(path)?),
            (None, None) => None,
        },
        (None, None) => found.as_ref().filter(|_| dev_fits).map(|dev| read_token(&dev.token_file)).transpose()?,
    };
    let token = token.filter(|token| !token.is_empty()).ok_or_else(|| {
        Failure::new(Exit::Denied, format!("no token is known for {}", api.join(", ")))
            .hint("give --token-file FILE or FLOTILLA_TOKEN")
    })?;
    let dev_json = named.or(found).filter(|_| dev_fits).map(|dev| dev.path());
    Ok(Connection { api, token, dev_json })
}

/// Where the addresses came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Given,
    File,
    Dev,
}

fn read_file(args: &ConnectionArgs, env: &dyn Fn(&str) -> Option<String>) -> Result<File, Failure> {
    let usual = || {
        let base =
            env("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env("HOME")?).join(".config")));
        base.map(|base| base.join("flotilla/config.toml")).filter(|path| path.exists())
    };
    let Some(path) = args.config.clone().or_else(usual) else { return Ok(File::default()) };
    let sources = Sources { file: Some(path), ..Sources::default() };
    settings::load(&sources).map_err(|e| Failure::new(Exit::Usage, crate::exit::chain(&e)))
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::new(Exit::Denied, format!("token file '{}' can't be read: {e}", path.display())))?;
    Ok(text.trim().to_owned())
}

/// Reads a deployment that can be talked to.
fn running(dir: &Path) -> Result<Deployment, Failure> {
    let deployment = Deployment::read(dir)?;
    match deployment.document.state {
        State::Ready | State::Starting => Ok(deployment),
        State::Stopping | State::Stopped => {
            let hint = format!("start it with `flotilla dev up --dir {}`", dir.display());
            Err(Failure::new(Exit::Unavailable, format!("the deployment in {} is stopped", dir.display())).hint(hint))
        }
    }
}

fn is_loopback(address: &str) -> bool {
    let Some(rest) = address.strip_prefix("http://") else { return false };
    // What stands before an `@` is no host.
    if rest.contains('@') {
        return false;
    }
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
