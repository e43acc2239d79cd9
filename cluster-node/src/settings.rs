//! What a node is told at start; plain data, checked once.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use flotilla_api::{ClusterName, peer::SUPERNODES};
use flotilla_http_server::Limits;
use flotilla_member::{Addresses, Error, Period, addresses, limits, name};
use serde::{Deserialize, Deserializer, Serialize};

/// More often than this, looking for garbage would be all that a node does.
const PURGE_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A node that lives is silent for so long between two heartbeats at times.
const DOWN_GRACE_MIN: Duration = Duration::from_secs(2);
/// Slower than this, a piece would wait for longer than a holder does.
const REPAIR_RATE_MIN: u64 = 1 << 20;

/// A node's settings, from flags, environment, a TOML file and these defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The process's name in logs, in lists and on `/healthz`, for example `a-n1`: 1 to 255 letters, digits, `.`, `-` and `_`.
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
    #[serde(default)]
    pub initial_members: Vec<String>,
    /// Peer addresses of nodes that serve: with an empty folder, and not an initial member, this node asks them for a place in
    /// the cluster.
    #[serde(default)]
    pub join: Vec<String>,
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
    /// The node's zone; a node without one is a zone of its own, and an empty text is none.
    #[serde(default, deserialize_with = "filled")]
    pub zone: Option<String>,
    /// How long a replaced or deleted version stays readable for downloads that began before.
    #[serde(default = "Settings::default_version_linger")]
    pub version_linger: Period,
    /// How long a key without a file keeps its home.
    #[serde(default = "Settings::default_claim_idle")]
    pub claim_idle: Period,
    /// How often garbage is marked, and the disk compared with the metadata.
    #[serde(default = "Settings::default_purge_interval")]
    pub purge_interval: Period,
    /// How long a node may be silent before copies of its chunks are made on others.
    #[serde(default = "Settings::default_down_grace")]
    pub down_grace: Period,
    /// How long a voter may be away before another node gets its vote.
    #[serde(default = "Settings::default_voter_grace")]
    pub voter_grace: Period,
    /// How fast this node copies chunks to mend what was lost, per second; it yields to clients.
    #[serde(default = "Settings::default_repair_rate")]
    pub repair_rate: ByteSize,
    /// How long a client may take for a request's head.
    #[serde(default = "limits::header_timeout")]
    pub header_timeout: Period,
    /// How long a connection may rest between two requests.
    #[serde(default = "limits::idle_timeout")]
    pub idle_timeout: Period,
    /// How long a body may rest or creep, in either direction.
    #[serde(default = "limits::stall_timeout")]
    pub stall_timeout: Period,
    /// How long running requests have at a stop.
    #[serde(default = "limits::drain_timeout")]
    pub drain_timeout: Period,
    /// Clients' connections at once, if the process may open four times as many files.
    #[serde(default = "limits::connections_max")]
    pub connections_max: usize,
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

    fn default_version_linger() -> Period {
        Period::secs(15 * 60)
    }

    fn default_claim_idle() -> Period {
        Period::secs(60 * 60)
    }

    fn default_down_grace() -> Period {
        Period::secs(5 * 60)
    }

    fn default_voter_grace() -> Period {
        Period::secs(10 * 60)
    }

    fn default_repair_rate() -> ByteSize {
        ByteSize::mib(64)
    }

    fn default_purge_interval() -> Period {
        Period::secs(60)
    }
}

impl Settings {
    /// Checks what the types don't.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the setting and its bounds.
    pub fn check(&self) -> Result<Addresses, Error> {
        name::check(&self.name)?;
        let wrong = |name, why: String| Err(Error::Setting { name, why });
        if self.cluster.as_str() == SUPERNODES {
            // It would be given a place among the supernodes, and a vote.
            return wrong("cluster", format!("is not '{SUPERNODES}', which is what the supernodes' group is called"));
        }
        let chunk_size = self.chunk_size.as_u64();
        if !chunk_size.is_power_of_two() || !(4 << 10..=64 << 20).contains(&chunk_size) {
            return wrong("chunk_size", format!("is a power of two from 4KiB to 64MiB, not {}", self.chunk_size));
        }
        if !(1..=5).contains(&self.replicas) {
            return wrong("replicas", format!("is a number from 1 to 5, not {}", self.replicas));
        }
        if self.purge_interval.0 < PURGE_INTERVAL_MIN {
            return wrong("purge_interval", format!("is at least 100ms, not {}", self.purge_interval));
        }
        if self.down_grace.0 < DOWN_GRACE_MIN {
            return wrong("down_grace", format!("is at least 2s, not {}", self.down_grace));
        }
        if self.repair_rate.as_u64() < REPAIR_RATE_MIN {
            return wrong("repair_rate", format!("is at least 1MiB, not {}", self.repair_rate));
        }
        if self.voter_grace.0 < DOWN_GRACE_MIN {
            return wrong("voter_grace", format!("is at least 2s, not {}", self.voter_grace));
        }
        if self.join.is_empty() || !self.initial_members.is_empty() {
            addresses::members(&self.initial_members)?;
        }
        addresses::advertised(self.public, self.peer, self.advertise_public.as_deref(), self.advertise_peer.as_deref())
    }

    /// The limits of clients' connections.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the setting and its bounds.
    pub fn limits(&self) -> Result<Limits, Error> {
        let Self { header_timeout, idle_timeout, stall_timeout, drain_timeout, connections_max, .. } = *self;
        limits::checked(header_timeout, idle_timeout, stall_timeout, drain_timeout, connections_max)
    }
}

/// Takes an empty text for none: whoever passes on a label that is not there has no other way to say so.
fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(name: &str, cluster: &str) -> Result<(), Error> {
        let settings = json!({
            "name": name,
            "cluster": cluster,
            "data_dir": "/data",
            "public": "127.0.0.1:1",
            "peer": "127.0.0.1:2",
            "ops": "127.0.0.1:3",
            "initial_members": ["127.0.0.1:2"],
            "fleet_secret_file": "/secret",
        });
        serde_json::from_value::<Settings>(settings).expect("the others have defaults").check().map(drop)
    }

    #[test]
    fn no_cluster_is_called_as_the_group_of_the_supernodes_is() {
        checked("a-n1", "a").expect("a good name");
        let error = checked("a-n1", SUPERNODES).expect_err("it would join the supernodes");
        assert!(matches!(error, Error::Setting { name: "cluster", .. }), "{error}");
    }

    #[test]
    fn a_node_has_a_name_that_can_be_written_down() {
        let error = checked("the first one", "a").expect_err("names stand in lists");
        assert!(matches!(error, Error::Setting { name: "name", .. }), "{error}");
    }
}
