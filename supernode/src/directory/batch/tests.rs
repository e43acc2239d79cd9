//! Claims together, on a group of one in memory.

use std::collections::BTreeMap;

use flotilla_api::peer::Home;
use futures::future::join_all;

use super::{
    super::testing::{form, formed, unformed},
    *,
};

/// A claim for cluster `a`, and where its claimant waits for what came of it.
fn waiting(key: usize, until: Instant) -> (Waiting, oneshot::Receiver<Told>) {
    let (told, answer) = oneshot::channel();
    (Waiting { claim: Claim { name: name(key), cluster: cluster("a") }, until, told }, answer)
}

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a good name")
}

fn name(key: usize) -> FileName {
    FileName { bucket: "demo".parse().expect("a good name"), key: format!("k{key}").parse().expect("a good key") }
}

#[tokio::test]
async fn claims_that_come_together_share_entries_and_each_has_its_own_answer() {
    let directory = formed().await;
    let before = directory.group().applied_index();
    let keys = 500;
    let claims = (0..2 * keys).map(|n| {
        let by = if n % 3 == 0 { "a" } else { "b" };
        directory.claim(name(n % keys), cluster(by))
    });
    let mut homes: BTreeMap<usize, Vec<Claimed>> = BTreeMap::new();
    for (n, answer) in join_all(claims).await.into_iter().enumerate() {
        homes.entry(n % keys).or_default().push(answer.expect("applied").expect("registered"));
    }
    for (key, claimed) in homes {
        let home: Home = directory.applied_home(&name(key)).expect("a map").expect("claimed");
        assert!(claimed.iter().all(|claimed| claimed.home == home), "{key}: {claimed:?}");
        assert_eq!(claimed.iter().filter(|claimed| claimed.granted).count(), 1, "{key}: {claimed:?}");
    }
    let entries = directory.group().applied_index() - before;
    assert!(entries <= 40, "{entries} entries for 1,000 claims");
    let unknown = directory.claim(name(keys), cluster("unknown")).await.expect("applied");
    assert_eq!(unknown, Err(Refusal::UnknownCluster));
}

#[tokio::test(start_paused = true)]
async fn claims_whose_time_went_by_before_their_turn_were_not_made() {
    let directory = formed().await;
    let now = Instant::now();
    let (late, answer) = waiting(1, now);
    send_one(directory.group(), RequestId::from_bits(1), vec![late], now).await;
    let error = answer.await.expect("told").expect_err("too late");
    assert!(matches!(&*error, Error::Raft(flotilla_raft_store::Error::NoLeader)), "{error}");
    assert_eq!(directory.applied_home(&name(1)).expect("a map"), None);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_is_told_to_all_its_claimants_and_the_next_one_is_sent() {
    let directory = unformed().await;
    let claims = join_all((1..=3).map(|key| directory.claim(name(key), cluster("a")))).await;
    let errors: Vec<Arc<Error>> = claims.into_iter().map(|claim| claim.expect_err("nobody leads")).collect();
    assert!(matches!(&*errors[0], Error::Raft(flotilla_raft_store::Error::NoLeader)), "{}", errors[0]);
    assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])), "they were one batch: {errors:?}");

    form(&directory).await;
    assert_eq!(directory.applied_home(&name(1)).expect("a map"), None, "what failed so was not made");
    let claimed = directory.claim(name(1), cluster("a")).await.expect("applied").expect("registered");
    assert!(claimed.granted);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_claimant_left_before_its_turn_is_not_made() {
    let directory = formed().await;
    let now = Instant::now();
    let ((gone, left), (stays, answer)) = (waiting(1, now + DEADLINE), waiting(2, now + DEADLINE));
    drop(left);
    send_one(directory.group(), RequestId::from_bits(1), vec![gone, stays], now).await;
    assert!(answer.await.expect("told").expect("applied").expect("registered").granted);
    assert_eq!(directory.applied_home(&name(1)).expect("a map"), None);

    let before = directory.group().applied_index();
    let (gone, left) = waiting(3, now + DEADLINE);
    drop(left);
    send_one(directory.group(), RequestId::from_bits(2), vec![gone], now).await;
    assert_eq!(directory.group().applied_index(), before, "a batch of nobody is not sent");
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_claimant_left_on_the_way_is_made_and_holds_up_nobody() {
    let directory = formed().await;
    let now = Instant::now();
    let ((goes, leaves), (stays, answer)) = (waiting(1, now + DEADLINE), waiting(2, now + DEADLINE));
    let sending = send_one(directory.group(), RequestId::from_bits(1), vec![goes, stays], now);
    tokio::pin!(sending);
    tokio::select! {
        biased;
        () = &mut sending => panic!("the group can't have answered yet"),
        () = std::future::ready(()) => {}
    }
    drop(leaves);
    sending.await;
    assert!(answer.await.expect("told").expect("applied").expect("registered").granted);
    let made = directory.applied_home(&name(1)).expect("a map").expect("it was on its way");
    // It can be repeated: the home is the same one.
    let again = directory.claim(name(1), cluster("a")).await.expect("applied").expect("registered");
    assert_eq!(again, Claimed { home: made, granted: false });
}
