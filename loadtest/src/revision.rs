//! Which revision the servers of a dev deployment run.

use std::collections::BTreeSet;

use flotilla_api::route;

use crate::{
    dev::Dev,
    wire::{Connection, Endpoint, Error},
};

/// Asks all server processes; several revisions are joined with a comma, none is `unknown`.
pub(crate) async fn of(dev: &Dev) -> String {
    let mut revs = BTreeSet::new();
    for process in &dev.processes {
        match ask(&process.ops).await {
            Ok(rev) => drop(revs.insert(rev)),
            Err(error) => tracing::warn!(process = process.name, %error, "revision is not known"),
        }
    }
    if revs.is_empty() { "unknown".to_owned() } else { revs.into_iter().collect::<Vec<_>>().join(",") }
}

async fn ask(ops: &str) -> Result<String, Error> {
    let document = Connection::open(&Endpoint::new(ops, None)?).await?.document(route::HEALTHZ).await?;
    let health: serde_json::Value =
        serde_json::from_slice(&document).map_err(|error| Error::Answer(error.to_string()))?;
    let rev = health.get("rev").and_then(serde_json::Value::as_str);
    rev.map(str::to_owned).ok_or_else(|| Error::Answer("it has no 'rev'".to_owned()))
}
