//! The operator: gives orders about members to nodes of its choice, and repeats them until they are carried out.

use std::time::Duration;

use flotilla_api::{
    NodeId,
    admin::{Node, NodeList, Request},
    route,
};
use flotilla_client::{Lane, PeerClient};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};

use crate::{
    host::address,
    note,
    plan::{Order, Plan},
    roster::{Place, Roster},
    trace::Trace,
};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// Between two looks at what became of an order.
const LOOK_EVERY: Duration = Duration::from_millis(700);

/// Someone who keeps the cluster's members as they are wanted.
pub struct Operator {
    peers: PeerClient,
    rng: StdRng,
    machines: u64,
    roster: Roster,
    trace: Trace,
}

impl Operator {
    /// Makes the operator of a run.
    #[must_use]
    pub fn new(plan: &Plan, peers: PeerClient, roster: Roster, trace: Trace) -> Self {
        let rng = StdRng::seed_from_u64(plan.seed.rotate_left(41));
        Self { peers, rng, machines: plan.machines(), roster, trace }
    }

    /// Carries out one order after the other until there will be none any more.
    pub async fn work(mut self, mut orders: UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            let place = match order {
                Order::Join(_) => Place::Member,
                Order::Retire(_) | Order::Lose(_) => Place::Gone,
            };
            while !self.is_done(order).await {
                sleep(LOOK_EVERY).await;
            }
            note!(self.trace, "done: {order:?}");
            self.roster.set(order.machine(), place);
        }
    }

    /// Makes the order's next step; tells whether nothing is left to do.
    async fn is_done(&mut self, order: Order) -> bool {
        let Some(members) = self.ask(&Request::Nodes).await else { return false };
        let Ok(NodeList { items }) = serde_json::from_str::<NodeList>(&members) else { return false };
        let node = NodeId(order.machine());
        let found: Option<&Node> = items.iter().find(|member| member.id == node);
        let next = match (order, found) {
            (Order::Join(id), found) => return found.is_some_and(|member| member.peer == address(id)),
            (Order::Retire(_) | Order::Lose(_), None) => return true,
            (_, Some(member)) if member.leaves => return false,
            (Order::Lose(_), Some(_)) => Request::Remove { node, lost: true },
            (Order::Retire(_), Some(member)) => match member.drain {
                None => Request::Drain { node, on: true },
                Some(drain) if drain.empty => Request::Remove { node, lost: false },
                Some(_) => return false,
            },
        };
        let answer = self.ask(&next).await;
        note!(self.trace, "operator: {next:?}: {answer:?}");
        false
    }

    async fn ask(&mut self, request: &Request) -> Option<String> {
        let node = address(self.rng.random_range(1..=self.machines));
        self.peers.post(Lane::Control, &node, route::PEER_ADMIN, request, PATIENCE).await.ok()
    }
}
