//! What a cluster keeps of its nodes, as the rounds of their membership need it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use flotilla_api::NodeId;
use flotilla_env::Entropy;
use flotilla_member::membership::{Decided, Heard, Register};
use flotilla_raft_store::Group;
use uuid::Uuid;

pub use flotilla_member::membership::{Error, Kind, removed};

use crate::{
    board::Board,
    metadata::{Answer, Command, FileMachine, Metadata, life::queues, nodes, read},
};

/// Keeps a cluster's nodes as the rules want them.
pub type Membership = flotilla_member::membership::Membership<Nodes>;

/// The register of a cluster's nodes. Cheap to clone.
#[derive(Clone)]
pub struct Nodes {
    /// This node.
    pub node: NodeId,
    /// The cluster's metadata.
    pub metadata: Metadata,
    /// What the leader knows of the nodes.
    pub board: Board,
    /// Ids of commands.
    pub entropy: Arc<dyn Entropy>,
}

impl Nodes {
    async fn step(&self, command: nodes::Command) -> Result<Answer, Error> {
        let id = self.metadata.fresh_id(&*self.entropy);
        Ok(self.metadata.propose(id, Command::Nodes(command)).await?.answer)
    }
}

#[async_trait]
impl Register for Nodes {
    type Machine = FileMachine;

    fn group(&self) -> &Group<FileMachine> {
        self.metadata.group()
    }

    async fn barrier(&self) -> Result<(), Error> {
        Ok(self.metadata.barrier().await?)
    }

    async fn place(&self, disk: Uuid, floor: u64) -> Result<Option<NodeId>, Error> {
        match self.step(nodes::Command::Join { disk, floor }).await? {
            Answer::Node(node) => Ok(Some(node)),
            other => Err(Error::Register(format!("a step was answered with {other:?}").into())),
        }
    }

    async fn decided(&self) -> Result<BTreeMap<NodeId, Decided>, Error> {
        let rows = self.metadata.with_view(|view| nodes::decided(view)).await??;
        let decided = rows.into_iter().map(|(id, row)| (id, Decided { drains: row.draining, leaves: row.leaves }));
        Ok(decided.collect())
    }

    async fn noted(&self) -> Result<Vec<NodeId>, Error> {
        Ok(self.metadata.with_view(|view| nodes::writing(view)).await??)
    }

    async fn forget(&self, node: NodeId) -> Result<(), Error> {
        self.step(nodes::Command::Forget { node }).await.map(drop)
    }

    fn member_of(&self, disk: Uuid) -> Result<Option<NodeId>, Error> {
        Ok(self.metadata.node_of(disk)?)
    }

    fn start_of(&self, node: NodeId) -> Result<Option<u64>, Error> {
        Ok(self.metadata.writer_of(node)?.map(|writer| writer.0))
    }

    fn heard(&self) -> Vec<Heard> {
        let known = self.board.roll().into_iter().map(|known| Heard {
            node: known.candidate.node,
            zone: known.candidate.zone,
            silent_for: known.silent_for,
            serves: known.candidate.stats.serves,
        });
        known.collect()
    }

    fn steady_for(&self) -> Duration {
        self.board.steady_for(self.node)
    }
}

impl From<read::Error> for Error {
    fn from(error: read::Error) -> Self {
        match error {
            read::Error::Raft(error) => Self::Raft(error),
            read::Error::Kv(_) | read::Error::Gone | read::Error::Corrupt { .. } => Self::Register(Box::new(error)),
        }
    }
}

impl From<queues::Error> for Error {
    fn from(error: queues::Error) -> Self {
        Self::Register(Box::new(error))
    }
}
