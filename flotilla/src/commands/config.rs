//! `flotilla config`: every setting with its value and where it came from; secrets are never part of it.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use super::server;
use crate::{
    cli::{ConfigArgs, ConfigCommand, ConfigShowArgs, Whose},
    connect,
    exit::{Exit, Failure, chain},
    logging, output,
    settings::{self, Shown},
};

/// Runs the command.
///
/// # Errors
/// A setting is unknown, wrong or missing.
pub fn run(args: &ConfigArgs) -> Result<Exit, Failure> {
    let ConfigCommand::Show(args) = &args.command;
    if args.whose == Whose::Client && !args.set.is_empty() {
        return Err(Failure::new(Exit::Usage, "--set is for a server's settings").hint("name it: config show node"));
    }
    let all = match args.whose {
        Whose::Client => client(args, &|name| std::env::var(name).ok())?,
        Whose::Node => of_server::<flotilla_cluster_node::Settings>(args)?,
        Whose::Supernode => of_server::<flotilla_supernode::Settings>(args)?,
    };
    if args.client.json {
        all.iter().try_for_each(output::json)?;
    } else {
        output::line(text(&all, args.origin))?;
    }
    Ok(Exit::Ok)
}

fn of_server<T: DeserializeOwned + Serialize>(args: &ConfigShowArgs) -> Result<Vec<Shown>, Failure> {
    let wrong = |e: settings::Error| Failure::new(Exit::Usage, chain(&e));
    let sources = server::sources(args.client.connection.config.as_deref(), &args.set, Vec::new()).map_err(wrong)?;
    let mut all = settings::shown::<T>(&sources).map_err(wrong)?;
    all.push(log_level(&|name| std::env::var(name).ok(), logging::SERVER));
    Ok(all)
}

fn client(args: &ConfigShowArgs, env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Shown>, Failure> {
    let connection = &args.client.connection;
    let found = connect::resolve(connection, env)?;
    let row = |setting: &str, value: Option<String>, origin: &str| Shown {
        setting: setting.to_owned(),
        value,
        origin: origin.to_owned(),
    };
    let path = |path: &Path| path.display().to_string();
    let of_file = if connection.config.is_some() { "--config" } else { "default" };
    let of_dev = match (&connection.dir, env("FLOTILLA_DEV_DIR").filter(|dir| !dir.is_empty())) {
        (Some(_), _) => "--dir",
        (None, Some(_)) => "FLOTILLA_DEV_DIR",
        (None, None) => "default",
    };
    Ok(vec![
        row("api", Some(found.api.join(",")), &found.api_origin),
        row("token", Some("(set, not shown)".to_owned()), &found.token_origin),
        row("config", found.config.as_deref().map(path), of_file),
        row("dir", found.dev_json.as_deref().and_then(Path::parent).map(path), of_dev),
        log_level(env, logging::CLIENT),
    ])
}

fn log_level(env: &dyn Fn(&str) -> Option<String>, default: &str) -> Shown {
    let given = env(logging::VARIABLE).filter(|text| !text.trim().is_empty());
    let origin = if given.is_some() { logging::VARIABLE } else { "default" };
    Shown {
        setting: "log".to_owned(),
        value: Some(given.unwrap_or_else(|| default.to_owned())),
        origin: origin.to_owned(),
    }
}

fn text(all: &[Shown], origin: bool) -> String {
    let heading = ["SETTING", "VALUE", "ORIGIN"].map(str::to_owned).to_vec();
    let rows = all.iter().map(|row| {
        let value = row.value.clone().unwrap_or_else(|| "(not set)".to_owned());
        vec![row.setting.clone(), value, row.origin.clone()]
    });
    let mut rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    if !origin {
        rows.iter_mut().for_each(|row| row.truncate(2));
    }
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_clients_settings_are_shown_without_the_token() {
        let cli = Cli::try_parse_from(["flotilla", "config", "show", "--origin", "--api", "http://a:1"]);
        let Command::Config(args) = cli.expect("it parses").command else { panic!("config was asked for") };
        let ConfigCommand::Show(args) = args.command;
        let env = |name: &str| match name {
            "FLOTILLA_TOKEN" => Some("hush".to_owned()),
            "FLOTILLA_DEV_DIR" => Some("/none".to_owned()),
            _ => None,
        };
        let all = client(&args, &env).expect("all is given");
        let shown = text(&all, true);
        for part in ["http://a:1", "--api", "(set, not shown)", "FLOTILLA_TOKEN", "off"] {
            assert!(shown.contains(part), "'{part}' is missing in '{shown}'");
        }
        assert!(!shown.contains("hush") && !text(&all, false).contains("ORIGIN"));
    }
}
