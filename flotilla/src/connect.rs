//! Which deployment a client command talks to, and with which credential; sends nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use flotilla_api::ClusterName;
use flotilla_client::{Client, ClusterNodes, Learn, Options};
use flotilla_env::{clock, entropy};
use serde::Deserialize;

use crate::{
    cli::{ClientArgs, ConnectionArgs},
    commands::dev::deployment::{self, Deployment, State},
    exit::{Exit, Failure},
    known::Known,
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
    /// Where they were given.
    pub api_origin: String,
    /// The token.
    pub token: String,
    /// Where it was given; never the token itself.
    pub token_origin: String,
    /// The settings file that was read, if there is one.
    pub config: Option<PathBuf>,
    /// The description of the dev deployment, if it is one.
    pub dev_json: Option<PathBuf>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Connection");
        shown.field("api", &self.api).field("api_origin", &self.api_origin).field("token_origin", &self.token_origin);
        shown.field("dev_json", &self.dev_json).finish_non_exhaustive()
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
    /// Gives the clusters that were named, or all that the deployment has.
    ///
    /// # Errors
    /// No supernode answers.
    pub async fn clusters(&self, named: Vec<ClusterName>) -> Result<Vec<ClusterName>, Failure> {
        match named.is_empty() {
            true => Ok(self.client.clusters().await?.clusters.into_iter().map(|cluster| cluster.name).collect()),
            false => Ok(named),
        }
    }

    /// Finds the deployment and makes a client for it.
    ///
    /// # Errors
    /// See [`resolve`].
    pub fn open(args: &ClientArgs) -> Result<Self, Failure> {
        let connection = resolve(&args.connection, &|name| std::env::var(name).ok())?;
        let env = |name: &str| std::env::var(name).ok();
        let known = Known::of(&connection.api, &connection.token, &env, clock::system());
        let nodes = known.as_ref().map(Known::read).unwrap_or_default();
        let learn = match known {
            Some(known) if Known::is_old(&nodes) => {
                Learn::Told(Arc::new(move |nodes: &[ClusterNodes]| known.write(nodes)))
            }
            Some(_) | None => Learn::Never,
        };
        let options = Options { nodes, learn, api: connection.api, token: connection.token, ..Options::default() };
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
    let config = settings_file(args, &set);
    let file = config.as_deref().map(read_file).transpose()?.unwrap_or_default();
    // A folder named by a flag comes before the environment, like every flag.
    let named = args.dir.as_deref().map(running).transpose()?;
    let found = if named.is_some() { None } else { deployment::find(&set).and_then(|dir| running(&dir).ok()) };
    let listed = |text: String| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
    let in_file = config.as_ref().map_or_else(String::new, |path| format!("in {}", path.display()));
    let of_dev = |dev: &Option<Deployment>| {
        dev.as_ref().map_or_else(String::new, |dev| format!("the dev deployment in {}", dev.dir.display()))
    };

    let api = [
        (Origin::Given, "--api".to_owned(), args.api.clone()),
        (Origin::Dev, of_dev(&named), named.as_ref().map(|dev| dev.api.clone()).unwrap_or_default()),
        (Origin::Given, "FLOTILLA_API".to_owned(), set("FLOTILLA_API").map(listed).unwrap_or_default()),
        (Origin::File, in_file.clone(), file.api.clone()),
        (Origin::Dev, of_dev(&found), found.as_ref().map(|dev| dev.api.clone()).unwrap_or_default()),
    ];
    let (origin, api_origin, api) = api.into_iter().find(|(_, _, api)| !api.is_empty()).ok_or_else(|| {
        Failure::new(Exit::Usage, "no deployment is known")
            .hint("give --api URL or FLOTILLA_API, or start one here with `flotilla dev up`")
    })?;
    let dev_fits = origin == Origin::Dev || api.iter().all(|address| is_loopback(address));
    let of_dev = |dev: &Deployment| Ok::<_, Failure>((read_token(&dev.token_file)?, path_text(&dev.token_file)));
    let token = match (&args.token_file, set("FLOTILLA_TOKEN")) {
        (Some(path), _) => Some((read_token(path)?, format!("{}, named by --token-file", path.display()))),
        (None, _) if named.is_some() && dev_fits => named.as_ref().map(of_dev).transpose()?,
        (None, Some(token)) => Some((token.trim().to_owned(), "FLOTILLA_TOKEN".to_owned())),
        (None, None) if origin == Origin::File => match (&file.token, &file.token_file) {
            (Some(token), _) => Some((token.trim().to_owned(), in_file)),
            (None, Some(path)) => Some((read_token(path)?, format!("{}, named {in_file}", path.display()))),
            (None, None) => None,
        },
        (None, None) => found.as_ref().filter(|_| dev_fits).map(of_dev).transpose()?,
    };
    let (token, token_origin) = token.filter(|(token, _)| !token.is_empty()).ok_or_else(|| {
        Failure::new(Exit::Denied, format!("no token is known for {}", api.join(", ")))
            .hint("give --token-file FILE or FLOTILLA_TOKEN")
    })?;
    let dev_json = named.or(found).filter(|_| dev_fits).map(|dev| dev.path());
    Ok(Connection { api, api_origin, token, token_origin, config, dev_json })
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

/// Where the addresses came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Given,
    File,
    Dev,
}

/// Gives the settings file: the flag's, or the usual one where it exists.
fn settings_file(args: &ConnectionArgs, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let usual = || {
        let base =
            env("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env("HOME")?).join(".config")));
        base.map(|base| base.join("flotilla/config.toml")).filter(|path| path.exists())
    };
    args.config.clone().or_else(usual)
}

fn read_file(path: &Path) -> Result<File, Failure> {
    let sources = Sources { file: Some(path.to_owned()), ..Sources::default() };
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
