//! Places, greetings and rounds, on a group of one in memory.

use std::path::Path;

use flotilla_api::peer::{
    FormAnswer, FormRequest, GreetAnswer, GreetRequest, JoinAnswer, JoinRequest, auth::FleetSecret,
};
use flotilla_client::{Network, PeerClient};
use flotilla_env::{Disk, clock, disk::MemDisk, entropy};
use flotilla_member::{
    EXIT_CONFIG, Fatal, FormPeers, Period, Seams, Seat,
    membership::{Greeter, Kind, Membership as Over, Starts},
};
use flotilla_raft_store::{
    Member, Settings, alone,
    formation::{self, Formation, Peers, Plan},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::directory::{
    rows::JOINED_MAX,
    testing::{ALONE, form_alone, unformed},
};

/// The register of supernode 1, which leads.
async fn roster() -> Roster {
    let directory = unformed().await;
    form_alone(&directory).await;
    directory.barrier().await.expect("it leads");
    Roster::new(NodeId(1), directory, clock::system(), entropy::seeded(2))
}

fn peers() -> PeerClient {
    let entropy = entropy::seeded(3);
    let transport = Network::new(entropy.clone()).transport(ALONE);
    PeerClient::new(FleetSecret::new("of the test"), ALONE, clock::system(), &*entropy, transport)
}

fn over<R: Register>(register: R) -> Over<R> {
    let (kind, own) = (Kind::Supernode, ALONE.to_owned());
    Over {
        node: NodeId(1),
        uuid: Uuid::nil(),
        register,
        voter_grace: Period::secs(600),
        greeter: Greeter { kind, uuid: Uuid::nil(), own, known: Vec::new(), start: None, peers: peers() },
        unheard: Arc::default(),
        removed: CancellationToken::new(),
        clock: clock::system(),
    }
}

fn asks(disk: u128, peer: &str) -> JoinRequest {
    let (group, name) = ("supernodes".to_owned(), "new".to_owned());
    JoinRequest { group, disk: Uuid::from_u128(disk), name, peer: peer.to_owned() }
}

fn starts(id: u64) -> members::Command {
    let (peer, public) = (format!("h{id}:1"), format!("http://h{id}:2"));
    members::Command::Start { card: Supernode { id: NodeId(id), name: format!("s{id}"), peer, public }, after: None }
}

/// What supernode 2 is told that has an empty log, and says so of its last start.
async fn greeted(membership: &Over<Roster>, start: Option<u64>) -> GreetAnswer {
    let request = GreetRequest { uuid: Uuid::nil(), node: NodeId(2), term: 0, last_log_index: 0, start };
    membership.greeted(&request).await.expect("it leads")
}

#[tokio::test]
async fn a_copy_of_a_folder_gets_no_place_at_another_address() {
    let membership = over(roster().await);
    for _ in 0..2 {
        let placed = membership.place(&asks(1, "h2:1")).await.expect("it leads");
        assert_eq!(placed, JoinAnswer::Place { uuid: Uuid::nil(), node: NodeId(2) });
    }
    let copy = membership.place(&asks(1, "h3:1")).await.expect("it leads");
    assert!(
        matches!(&copy, JoinAnswer::Refused { why } if why.contains("supernode 2, which joined at h2:1")),
        "{copy:?}"
    );
    let member = membership.register.group().member(NodeId(2)).expect("it joined");
    assert_eq!(member.peer, "h2:1");
}

#[tokio::test]
async fn one_more_than_there_may_be_is_told_what_to_do() {
    let membership = over(roster().await);
    for disk in 1..=JOINED_MAX as u128 {
        let given = membership.register.place(Uuid::from_u128(disk), 2).await.expect("it leads");
        assert!(given.is_some(), "{disk}");
    }
    let answer = membership.place(&asks(99, "h99:1")).await.expect("it leads");
    assert!(matches!(&answer, JoinAnswer::Refused { why } if why.contains("supernode remove ID --lost")), "{answer:?}");
}

#[tokio::test]
async fn who_has_left_is_told_from_who_never_came() {
    let roster = roster().await;
    let left = || (0..=4).filter(|id| roster.directory.has_left(NodeId(*id)).expect("it serves")).collect::<Vec<u64>>();
    assert_eq!(left(), [0; 0]);
    assert_eq!(roster.place(Uuid::from_u128(1), 2).await.expect("it leads"), Some(NodeId(2)));
    assert_eq!(left(), [0; 0], "it joins");
    roster.step(starts(1)).await.expect("it leads");
    assert_eq!(roster.remove(NodeId(2)).await.expect("it leads"), Answer::Done);
    roster.forget(NodeId(2)).await.expect("it leads");
    assert_eq!(left(), [2], "for ever; 1 is a member, and 3 was never given");
}

#[tokio::test]
async fn a_folder_that_lost_its_database_is_found_out() {
    let (roster, empty) = (roster().await, unformed().await);
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    disk.create_dir_all(Path::new("/data")).expect("an empty disk");
    let folder = Starts { dir: "/data".into(), disk, kv: empty.group().view().clone() };
    let told = |last, group: &Group<DirectoryMachine>| folder.told(last, group).expect("a disk that works");
    assert_eq!(told(None, roster.group()), None, "what it has was written before starts were noted");
    assert_eq!(told(Some(7), roster.group()), Some(7));
    let lost = told(None, empty.group());

    let membership = over(roster.clone());
    membership.place(&asks(1, "h2:1")).await.expect("it leads");
    assert_eq!(greeted(&membership, lost).await, GreetAnswer::Welcome, "it never started");
    roster.step(starts(2)).await.expect("it leads");
    assert_eq!(greeted(&membership, lost).await, GreetAnswer::StartedSince);

    folder.begin().expect("a disk that works");
    let cut = told(None, empty.group());
    assert_eq!(greeted(&membership, cut).await, GreetAnswer::Welcome, "a start that was cut may have come nowhere");
}

/// The first of the initial members, and the only one, on an empty disk; told to ask `join`.
fn first(disk: &Arc<dyn Disk>, join: &[&str]) -> Formation {
    disk.create_dir_all(Path::new("/data")).expect("an empty disk");
    let plan = Plan {
        dir: "/data".into(),
        fleet: Uuid::nil(),
        group: "supernodes".to_owned(),
        name: "door".to_owned(),
        own: ALONE.to_owned(),
        members: vec![ALONE.to_owned()],
        join: join.iter().map(|&peer| peer.to_owned()).collect(),
    };
    Formation::open(plan, disk.clone(), entropy::seeded(4)).expect("an empty folder")
}

fn seat<'a>(seams: &'a Seams, peers: &'a PeerClient, fatal: &'a Fatal) -> Seat<'a> {
    let (group, dir) = ("supernodes".to_owned(), "/data".into());
    Seat { group, dir, seams, settings: Settings::default(), peers, elects: true, fatal }
}

#[tokio::test]
async fn a_group_is_formed_once_although_its_database_is_lost() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let formation = first(&disk, &[]);
    let (seams, peers, fatal) = (Seams { disk, ..Seams::system() }, peers(), Fatal::default());
    formation.run(&FormPeers(peers.clone())).await.expect("nobody else is asked");
    let seat = seat(&seams, &peers, &fatal);

    // Until it is known to be at work, the last step is repeated.
    for _ in 0..2 {
        let directory = unformed().await;
        seat.form(directory.group(), &formation).await.expect("an empty database");
        directory.barrier().await.expect("it leads");
    }
    for _ in 0..2 {
        formation.end_forming();
        assert_eq!(formation.founders().expect("a disk that works"), None);
    }
    let lost = unformed().await;
    let error = seat.form(lost.group(), &formation).await.expect_err("its homes would be forgotten");
    assert_eq!(error.exit_code(), EXIT_CONFIG, "{error}");
    assert!(!lost.group().is_formed());
}

/// Supernodes that have formed the group without this one.
struct AtWork;

#[async_trait]
impl Peers for AtWork {
    async fn ask(&self, _address: &str, _request: &FormRequest) -> Result<FormAnswer, String> {
        Ok(FormAnswer::Formed { uuid: Uuid::from_u128(7) })
    }
}

#[tokio::test]
async fn a_first_member_that_joins_with_a_new_disk_forms_no_second_group() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let formation = first(&disk, &["h2:1"]);
    let (seams, peers, fatal) = (Seams { disk, ..Seams::system() }, peers(), Fatal::default());
    let found = formation.run(&AtWork).await;
    assert!(matches!(found, Err(formation::Error::EmptyButKnown { .. })), "{found:?}");
    formation.adopt(Uuid::from_u128(7), NodeId(4), Uuid::from_u128(8)).expect("a disk that works");
    assert!(formation.is_first());
    assert!(formation.founders().expect("a disk that works").is_some(), "what it proposed before is still there");

    let joined = alone::open_as(NodeId(4), "supernodes", DirectoryMachine).await.expect("an empty database");
    seat(&seams, &peers, &fatal).form(&joined, &formation).await.expect("there is nothing to do");
    assert!(!joined.is_formed(), "the group that gave it the id is its group");
}

/// A register whose group gets a member, which starts at once, while somebody reads who has started.
#[derive(Clone)]
struct JoinedMeanwhile(Roster);

#[async_trait]
impl Register for JoinedMeanwhile {
    type Machine = DirectoryMachine;

    fn group(&self) -> &Group<DirectoryMachine> {
        self.0.group()
    }

    async fn barrier(&self) -> Result<(), Error> {
        self.0.barrier().await
    }

    async fn place(&self, disk: Uuid, floor: u64) -> Result<Option<NodeId>, Error> {
        self.0.place(disk, floor).await
    }

    async fn decided(&self) -> Result<BTreeMap<NodeId, Decided>, Error> {
        self.0.decided().await
    }

    async fn noted(&self) -> Result<Vec<NodeId>, Error> {
        if self.group().member(NodeId(2)).is_none() {
            let member = Member { name: "s2".to_owned(), peer: "h2:1".to_owned() };
            self.group().add_learner(NodeId(2), member).await?;
            self.0.step(starts(2)).await?;
        }
        self.0.noted().await
    }

    async fn forget(&self, node: NodeId) -> Result<(), Error> {
        self.0.forget(node).await
    }

    fn member_of(&self, disk: Uuid) -> Result<Option<NodeId>, Error> {
        self.0.member_of(disk)
    }

    fn start_of(&self, node: NodeId) -> Result<Option<u64>, Error> {
        self.0.start_of(node)
    }

    fn heard(&self) -> Vec<Heard> {
        self.0.heard()
    }

    fn steady_for(&self) -> Duration {
        self.0.steady_for()
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_joins_and_starts_while_a_round_looks_is_not_forgotten() {
    let roster = roster().await;
    let rounds = over(JoinedMeanwhile(roster.clone())).run(CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(5), rounds).await.expect_err("they go on until they are stopped");
    assert!(roster.group().member(NodeId(2)).is_some(), "a round has looked");
    assert_eq!(roster.start_of(NodeId(2)).expect("a map"), Some(1));
}
