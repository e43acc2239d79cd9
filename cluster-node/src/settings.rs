//! What a node is told at start; plain data, checked once.

use std::{net::SocketAddr, path::PathBuf};

use bytesize::ByteSize;
use flotilla_api::ClusterName;
use flotilla_member::{Addresses, Error, addresses};
use serde::{Deserialize, Serialize};

/// A node's settings, from flags, environment, a TOML file and these defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The process's name in logs and on `/healthz`, for example `a-n1`.
    pub name: String,
    /// The cluster that the node belongs to.
    pub cluster: ClusterName,
    /// The folder that holds everything the node stores; made if it is missing.
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
    /// Peer addresses of the nodes that form the cluster, this one among them; the first one forms it.
    pub initial_members: Vec<String>,
    /// Peer addresses of the supernodes.
    #[serde(default)]
    pub supernodes: Vec<String>,
    /// The file with the fleet's secret.
    pub fleet_secret_file: PathBuf,
    /// The size of every chunk but a file's last; a power of two from 4 KiB to 64 MiB.
    #[serde(default = "Settings::default_chunk_size")]
    pub chunk_size: ByteSize,
    /// The budget of the chunk cache.
    #[serde(default = "Settings::default_cache_bytes")]
    pub cache_bytes: ByteSize,
    /// How many synced copies every chunk has before a write is acked.
    #[serde(default = "Settings::default_replicas")]
    pub replicas: u32,
    /// The node's zone; a node without one is a zone of its own.
    #[serde(default)]
    pub zone: Option<String>,
}

impl Settings {
    fn default_chunk_size() -> ByteSize {
        ByteSize::mib(8)
    }

    fn default_cache_bytes() -> ByteSize {
        ByteSize::mib(64)
    }

    fn default_replicas() -> u32 {
        2
    }
}

impl Settings {
    /// Checks what the types don't.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the setting and its bounds.
    pub fn check(&self) -> Result<Addresses, Error> {
        let wrong = |name, why: String| Err(Error::Setting { name, why });
        let chunk_size = self.chunk_size.as_u64();
        if !chunk_size.is_power_of_two() || !(4 << 10..=64 << 20).contains(&chunk_size) {
            return wrong("chunk_size", format!("is a power of two from 4KiB to 64MiB, not {}", self.chunk_size));
        }
        if !(1..=5).contains(&self.replicas) {
            return wrong("replicas", format!("is a number from 1 to 5, not {}", self.replicas));
        }
        addresses::members(&self.initial_members)?;
        addresses::advertised(self.public, self.peer, self.advertise_public.as_deref(), self.advertise_peer.as_deref())
    }
}
