//! Which machines are meant to belong to the cluster: what operators asked for, and what came of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::{lock, plan::Plan};

/// How a machine stands with the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// It is there for later.
    Spare,
    /// It was told to join.
    Joins,
    /// It is a member.
    Member,
    /// It was told to leave.
    Leaves,
    /// It is none any more, and never will be.
    Gone,
}

/// The places of all machines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Roster(Arc<Mutex<BTreeMap<u64, Place>>>);

impl Roster {
    /// Makes the roster that a plan begins with.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let place = |id| if id <= plan.nodes { Place::Member } else { Place::Spare };
        Self(Arc::new(Mutex::new((1..=plan.machines()).map(|id| (id, place(id))).collect())))
    }

    /// Gives a machine's place.
    #[must_use]
    pub fn place(&self, id: u64) -> Place {
        lock(&self.0).get(&id).copied().unwrap_or(Place::Gone)
    }

    /// Changes a machine's place; nobody comes back.
    pub fn set(&self, id: u64, place: Place) {
        let mut places = lock(&self.0);
        let held = places.entry(id).or_insert(place);
        *held = place.max(*held);
    }

    /// Gives the machines whose place is one of these.
    #[must_use]
    pub fn with(&self, places: &[Place]) -> Vec<u64> {
        lock(&self.0).iter().filter(|(_, place)| places.contains(place)).map(|(id, _)| *id).collect()
    }
}
