//! What the members of a group agree on before it begins.

use std::path::Path;

use flotilla_env::{disk::MemDisk, entropy};

use super::*;
use crate::NAME_BYTES_MAX;

const MEMBERS: [&str; 3] = ["a:1", "b:1", "c:1"];

/// A process called after its address, on `disk`.
fn opened(disk: &MemDisk, own: &str) -> Arc<Formation> {
    called(disk, own, &format!("at-{}", own.replace(':', "-")))
}

fn called(disk: &MemDisk, own: &str, name: &str) -> Arc<Formation> {
    disk.create_dir_all(Path::new("/data")).expect("there is room");
    let plan = Plan {
        dir: "/data".into(),
        fleet: Uuid::nil(),
        group: "g".to_owned(),
        name: name.to_owned(),
        own: own.to_owned(),
        members: MEMBERS.map(str::to_owned).to_vec(),
        join: Vec::new(),
    };
    Arc::new(Formation::open(plan, Arc::new(disk.clone()), entropy::seeded(1)).expect("a folder of its own"))
}

/// The other members, which answer at once.
struct Others(Vec<Arc<Formation>>);

#[async_trait]
impl Peers for Others {
    async fn ask(&self, address: &str, request: &FormRequest) -> Result<FormAnswer, String> {
        let other = self.0.iter().find(|other| other.plan.own == address);
        other.map(|other| other.answer(request)).ok_or_else(|| "it is down".to_owned())
    }
}

#[tokio::test]
async fn a_group_begins_with_the_names_that_its_members_have() {
    let [first, second, third] = [(); 3].map(|()| MemDisk::new());
    let others = Others(vec![opened(&second, "b:1"), opened(&third, "c:1")]);
    let identity = opened(&first, "a:1").run(&others).await.expect("all agree");
    assert_eq!(identity.node, NodeId(1));

    // The first one was killed before it initialised the group: it asks nobody again.
    let again = opened(&first, "a:1");
    again.run(&Others(Vec::new())).await.expect("it has its place");
    let founders = again.founders().expect("a disk that works").expect("the group is to be initialised");
    let named: Vec<_> = founders.values().map(|member| (member.name.as_str(), member.peer.as_str())).collect();
    assert_eq!(named, [("at-a-1", "a:1"), ("at-b-1", "b:1"), ("at-c-1", "c:1")]);

    again.end_forming();
    assert_eq!(again.founders().expect("a disk that works"), None);
}

#[tokio::test]
async fn a_group_does_not_begin_with_a_name_that_can_t_be_written_down() {
    for name in ["the second one", &"x".repeat(NAME_BYTES_MAX + 1), ""] {
        let [first, second, third] = [(); 3].map(|()| MemDisk::new());
        let others = Others(vec![called(&second, "b:1", name), opened(&third, "c:1")]);
        let error = opened(&first, "a:1").run(&others).await.expect_err("it could not be read back");
        assert!(matches!(&error, Error::Name { peer, .. } if peer == "b:1"), "{error}");
        assert!(error.to_string().len() < 300, "{error}");
    }
}

#[test]
fn the_longest_proposal_can_be_read_back() {
    let (disk, path) = (MemDisk::new(), Path::new("/data/forming"));
    disk.create_dir_all(Path::new("/data")).expect("there is room");
    // As many as form a group at most.
    let names: BTreeMap<_, _> = (1..=5).map(|id| (NodeId(id), "x".repeat(NAME_BYTES_MAX))).collect();
    identity::write_synced(&disk, path, &Proposal { uuid: Uuid::max(), names: names.clone() }).expect("there is room");
    let read: Proposal = identity::read(&disk, path).expect("it is whole").expect("it is there");
    assert_eq!(read.names, names);
}

#[test]
fn a_proposal_that_can_t_be_read_is_called_one() {
    let disk = MemDisk::new();
    let formation = opened(&disk, "a:1");
    identity::write_synced(&disk, Path::new("/data/forming"), &"not a proposal").expect("there is room");
    let error = formation.founders().expect_err("it says nothing");
    assert!(matches!(error, Error::Proposal { .. }), "{error}");
    assert!(error.to_string().contains("'/data/forming' is not the proposal of a group"), "{error}");
}
