//! What a supernode is told at start; plain data, checked once.

use std::{net::SocketAddr, path::PathBuf};

use flotilla_member::{Addresses, Error, Period, addresses};
use serde::{Deserialize, Serialize};

/// A supernode's settings, from flags, environment, a TOML file and these defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The process's name in logs and on `/healthz`, for example `supernode-1`.
    pub name: String,
    /// The folder that holds everything the supernode stores; made if it is missing.
    pub data_dir: PathBuf,
    /// Where clients are served.
    pub public: SocketAddr,
    /// Where other Flotilla processes are served.
    pub peer: SocketAddr,
    /// Where health and metrics are served.
    pub ops: SocketAddr,
    /// The peer address that others use, `HOST:PORT`; `peer` if empty.
    #[serde(default)]
    pub advertise_peer: Option<String>,
    /// The public address that others use, as a URL; made from `public` if empty.
    #[serde(default)]
    pub advertise_public: Option<String>,
    /// Peer addresses of the supernodes that form the group, this one among them; the first one forms it.
    pub initial_members: Vec<String>,
    /// The file with the fleet's secret.
    pub fleet_secret_file: PathBuf,
    /// The file with the root key; made at the group's first start if it is missing.
    pub root_key_file: PathBuf,
    /// How old a claim gets before its cluster is asked whether it was ever used.
    #[serde(default = "Settings::default_claim_idle")]
    pub claim_idle: Period,
}

impl Settings {
    fn default_claim_idle() -> Period {
        Period::secs(60 * 60)
    }

    /// Checks what the types don't.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the setting and its bounds.
    pub fn check(&self) -> Result<Addresses, Error> {
        addresses::members(&self.initial_members)?;
        addresses::advertised(self.public, self.peer, self.advertise_public.as_deref(), self.advertise_peer.as_deref())
    }
}
