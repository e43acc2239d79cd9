//! Which processes a deployment has, and on which ports; pure, but for the file in which the plan is kept.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use flotilla_api::ClusterName;
use serde::{Deserialize, Serialize};

use super::deployment::{Role, replace};
use crate::{
    cli::UpArgs,
    exit::{Exit, Failure, chain},
};

/// Supernode ports at the beginning of the range: three kinds for three supernodes, and one port left free.
const SUPERNODE_PORTS: u32 = 10;
/// Each kind of port of the supernodes has room for so many.
const SUPERNODES_MAX: u32 = 3;
/// The file's name in the deployment's folder.
const FILE: &str = "plan.json";

/// The shape of a deployment; kept in its folder, so that the next start has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Number of clusters.
    pub clusters: u16,
    /// Nodes of each cluster.
    pub nodes: u16,
    /// Number of supernodes.
    pub supernodes: u16,
    /// The first port.
    pub port_base: u16,
}

impl Default for Plan {
    fn default() -> Self {
        Self { clusters: 2, nodes: 3, supernodes: 1, port_base: 7400 }
    }
}

/// One process of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Which server it is.
    pub role: Role,
    /// The cluster of a node.
    pub cluster: Option<ClusterName>,
    /// Where clients are served.
    pub public: SocketAddr,
    /// Where other Flotilla processes are served.
    pub peer: SocketAddr,
    /// Where health and metrics are served.
    pub ops: SocketAddr,
    /// The folder with its data, below the deployment's.
    pub data: PathBuf,
}

impl Plan {
    /// Takes the plan kept in the folder, or makes one and keeps it.
    ///
    /// # Errors
    /// The arguments ask for another shape than the kept one, or for ports that there are not.
    pub fn settle(dir: &Path, args: &UpArgs) -> Result<Self, Failure> {
        let path = dir.join(FILE);
        let kept: Option<Self> = match std::fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|e| Failure::local(path.display(), &e))?),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(Failure::local(path.display(), &e)),
        };
        let plan = kept.unwrap_or_default().with(args);
        if let Some(kept) = kept.filter(|kept| *kept != plan) {
            let detail = format!(
                "the deployment in {} has --clusters {} --nodes {} --supernodes {} --port-base {}, and keeps them",
                dir.display(),
                kept.clusters,
                kept.nodes,
                kept.supernodes,
                kept.port_base
            );
            return Err(Failure::new(Exit::Usage, detail).hint("start it without these flags, or give another --dir"));
        }
        if plan.last_port() > u16::MAX.into() {
            let detail = format!("the last port would be {}, beyond {}", plan.last_port(), u16::MAX);
            return Err(Failure::new(Exit::Usage, detail).hint("give a lower --port-base"));
        }
        if kept.is_none() {
            let text = serde_json::to_vec_pretty(&plan).expect("a plan is plain data");
            replace(&path, &text).map_err(|e| Failure::new(Exit::Other, chain(&e)).about(path.display()))?;
        }
        Ok(plan)
    }

    fn with(self, args: &UpArgs) -> Self {
        Self {
            clusters: args.clusters.unwrap_or(self.clusters),
            nodes: args.nodes.unwrap_or(self.nodes),
            supernodes: args.supernodes.unwrap_or(self.supernodes),
            port_base: args.port_base.unwrap_or(self.port_base),
        }
    }

    /// Gives the number of ports set aside for one cluster.
    fn block(self) -> u32 {
        (3 * u32::from(self.nodes) + 1).next_multiple_of(10)
    }

    fn last_port(self) -> u32 {
        u32::from(self.port_base) + SUPERNODE_PORTS + u32::from(self.clusters) * self.block() - 1
    }

    /// Gives all processes, supernodes first.
    pub fn members(self) -> Vec<Member> {
        let supernodes = (0..u32::from(self.supernodes)).map(|i| self.supernode(i));
        let clusters = 0..u32::from(self.clusters);
        let nodes = clusters.flat_map(|c| (1..=u32::from(self.nodes)).map(move |n| self.node(c, n)));
        supernodes.chain(nodes).collect()
    }

    fn supernode(self, index: u32) -> Member {
        let name = format!("supernode-{}", index + 1);
        Member {
            role: Role::Supernode,
            cluster: None,
            public: self.address(index),
            peer: self.address(SUPERNODES_MAX + index),
            ops: self.address(2 * SUPERNODES_MAX + index),
            data: PathBuf::from(&name),
            name,
        }
    }

    fn node(self, cluster: u32, number: u32) -> Member {
        let letter = char::from(b'a' + u8::try_from(cluster).expect("there are at most 26 clusters"));
        let (first, nodes) = (SUPERNODE_PORTS + cluster * self.block(), u32::from(self.nodes));
        Member {
            name: format!("{letter}-n{number}"),
            role: Role::Node,
            cluster: Some(letter.to_string().parse().expect("a letter is a cluster's name")),
            public: self.address(first + number),
            peer: self.address(first + nodes + number),
            ops: self.address(first + 2 * nodes + number),
            data: PathBuf::from(letter.to_string()).join(format!("n{number}")),
        }
    }

    fn address(self, offset: u32) -> SocketAddr {
        let port = u32::from(self.port_base) + offset;
        (Ipv4Addr::LOCALHOST, u16::try_from(port).expect("settle checked the last port")).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command, DevCommand};

    fn args(line: &str) -> UpArgs {
        let cli = Cli::try_parse_from(format!("flotilla dev up {line}").split_whitespace()).expect("it parses");
        match cli.command {
            Command::Dev(dev) => match dev.command {
                DevCommand::Up(up) => *up,
                other => panic!("{other:?} is not up"),
            },
            other => panic!("{other:?} is not dev"),
        }
    }

    #[test]
    fn the_usual_ports_are_those_of_the_help() {
        let members = Plan::default().members();
        let ports: Vec<_> = members
            .iter()
            .map(|m| (m.name.as_str(), m.public.port(), m.peer.port(), m.ops.port(), m.data.to_str().expect("ASCII")))
            .collect();
        assert_eq!(
            ports,
            [
                ("supernode-1", 7400, 7403, 7406, "supernode-1"),
                ("a-n1", 7411, 7414, 7417, "a/n1"),
                ("a-n2", 7412, 7415, 7418, "a/n2"),
                ("a-n3", 7413, 7416, 7419, "a/n3"),
                ("b-n1", 7421, 7424, 7427, "b/n1"),
                ("b-n2", 7422, 7425, 7428, "b/n2"),
                ("b-n3", 7423, 7426, 7429, "b/n3"),
            ]
        );
    }

    #[test]
    fn no_port_is_given_twice_and_all_lie_in_the_range() {
        for (clusters, nodes, supernodes) in [(1, 1, 1), (2, 3, 3), (26, 5, 3), (5, 5, 1)] {
            let plan = Plan { clusters, nodes, supernodes, port_base: 7400 };
            let members = plan.members();
            let ports: BTreeSet<_> =
                members.iter().flat_map(|m| [m.public, m.peer, m.ops]).map(|address| address.port()).collect();
            assert_eq!(ports.len(), 3 * members.len(), "{plan:?}");
            assert!(ports.iter().all(|port| (7400..=plan.last_port()).contains(&u32::from(*port))), "{plan:?}");
        }
    }

    #[test]
    fn a_later_start_has_the_same_plan_and_refuses_another() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let first = Plan::settle(dir.path(), &args("--nodes 1 --port-base 9400")).expect("a good plan");
        assert_eq!((first.nodes, first.clusters, first.port_base), (1, 2, 9400));
        assert_eq!(Plan::settle(dir.path(), &args("")).expect("the kept plan"), first);
        assert_eq!(Plan::settle(dir.path(), &args("--nodes 1")).expect("the kept plan"), first);
        let failure = Plan::settle(dir.path(), &args("--nodes 3")).expect_err("another plan");
        assert!(failure.to_string().contains("--nodes 1"), "{failure}");
    }

    #[test]
    fn ports_beyond_the_last_one_are_refused_and_not_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert!(Plan::settle(dir.path(), &args("--clusters 26 --nodes 5 --port-base 65500")).is_err());
        assert_eq!(Plan::settle(dir.path(), &args("")).expect("a good plan"), Plan::default());
    }
}
