//! What the members of a group agree on before it begins.

use std::path::Path;

use flotilla_env::{disk::MemDisk, entropy};

use super::*;

const MEMBERS: [&str; 3] = ["a:1", "b:1", "c:1"];

/// A process called after its address, on `disk`.
fn opened(disk: &MemDisk, own: &str) -> Arc<Formation> {
    disk.create_dir_all(Path::new("/data")).expect("there is room");
    let plan = Plan {
        dir: "/data".into(),
        fleet: Uuid::nil(),
        group: "g".to_owned(),
        name: format!("the one at {own}"),
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
    assert_eq!(named, [("the one at a:1", "a:1"), ("the one at b:1", "b:1"), ("the one at c:1", "c:1")]);

    again.end_forming();
    assert_eq!(again.founders().expect("a disk that works"), None);
}
