//! What a supernode is told at start; plain data, checked once.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use flotilla_api::capability::LIFETIME_MAX_MS;
use flotilla_http_server::Limits;
use flotilla_member::{Addresses, Error, Period, addresses, limits, name};
use serde::{Deserialize, Serialize};

/// A leader that is not sure of the others moves no votes.
const VOTER_GRACE_MIN: Duration = Duration::from_secs(2);

/// A supernode's settings, from flags, environment, a TOML file and these defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The process's name in logs, in lists and on `/healthz`, for example `supernode-1`: 1 to 255 letters, digits, `.`, `-` and
    /// `_`.
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
    #[serde(default)]
    pub initial_members: Vec<String>,
    /// Peer addresses of supernodes that serve: with an empty folder, and not an initial member, this one asks them for a place in
    /// the group.
    #[serde(default)]
    pub join: Vec<String>,
    /// The file with the fleet's secret.
    pub fleet_secret_file: PathBuf,
    /// The file with the root key. The first of the initial members makes it if it is missing; others do without it then, and one
    /// that joins needs none.
    #[serde(default)]
    pub root_key_file: Option<PathBuf>,
    /// Whether the key in that file replaces the group's, instead of being one that the group may know already. It does so once:
    /// later starts with the same key don't.
    #[serde(default)]
    pub replace_root_key: bool,
    /// How old a claim gets before its cluster is asked whether it was ever used.
    #[serde(default = "Settings::default_claim_idle")]
    pub claim_idle: Period,
    /// How long a voter may be away before another supernode gets its vote.
    #[serde(default = "Settings::default_voter_grace")]
    pub voter_grace: Period,
    /// How long a request may wait for a cluster.
    #[serde(default = "Settings::default_queue_wait")]
    pub queue_wait: Period,
    /// Whether idle clusters take new files out of the queues of others.
    #[serde(default = "Settings::default_stealing")]
    pub stealing: bool,
    /// How long a place is held for a ticket whose turn has come.
    #[serde(default = "Settings::default_ticket_hold")]
    pub ticket_hold: Period,
    /// How long a client that is redirected may use the address that it got.
    #[serde(default = "Settings::default_capability_lifetime")]
    pub capability_lifetime: Period,
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
    fn default_claim_idle() -> Period {
        Period::secs(60 * 60)
    }

    fn default_voter_grace() -> Period {
        Period::secs(10 * 60)
    }

    fn default_queue_wait() -> Period {
        Period::secs(5)
    }

    fn default_stealing() -> bool {
        true
    }

    fn default_ticket_hold() -> Period {
        Period::secs(10)
    }

    fn default_capability_lifetime() -> Period {
        Period::secs(300)
    }

    /// Checks what the types don't.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the setting and its bounds.
    pub fn check(&self) -> Result<Addresses, Error> {
        name::check(&self.name)?;
        if !(1000..=LIFETIME_MAX_MS).contains(&self.capability_lifetime.as_ms()) {
            let why = format!("is from 1s to 15min, not {}", self.capability_lifetime);
            return Err(Error::Setting { name: "capability_lifetime", why });
        }
        if !(100..=60_000).contains(&self.queue_wait.as_ms()) {
            let why = format!("is from 100ms to 1min, not {}", self.queue_wait);
            return Err(Error::Setting { name: "queue_wait", why });
        }
        if !(1000..=60_000).contains(&self.ticket_hold.as_ms()) {
            let why = format!("is from 1s to 1min, not {}", self.ticket_hold);
            return Err(Error::Setting { name: "ticket_hold", why });
        }
        if self.voter_grace.0 < VOTER_GRACE_MIN {
            let why = format!("is at least 2s, not {}", self.voter_grace);
            return Err(Error::Setting { name: "voter_grace", why });
        }
        if self.join.is_empty() || !self.initial_members.is_empty() {
            addresses::members(&self.initial_members)?;
            if self.root_key_file.is_none() {
                let why = "is needed by those that form the group; one that joins does without".to_owned();
                return Err(Error::Setting { name: "root_key_file", why });
            }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_supernode_has_a_name_that_can_be_written_down() {
        let check = |name: &str| {
            let settings = json!({
                "name": name,
                "data_dir": "/data",
                "public": "127.0.0.1:1",
                "peer": "127.0.0.1:2",
                "ops": "127.0.0.1:3",
                "initial_members": ["127.0.0.1:2"],
                "fleet_secret_file": "/secret",
                "root_key_file": "/root.key",
            });
            serde_json::from_value::<Settings>(settings).expect("the others have defaults").check().map(drop)
        };
        check("supernode-1").expect("a good name");
        let error = check("").expect_err("names stand in lists");
        assert!(matches!(error, Error::Setting { name: "name", .. }), "{error}");
    }
}
