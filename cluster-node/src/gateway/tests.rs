//! Uploads while the nodes under them fail, at every point of a chunk.

pub(crate) mod lab;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use flotilla_api::{CommandId, Epoch, NodeId};
use flotilla_env::disk::{Call, Fault, When};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use self::lab::{CHUNK, FRAME, Lab, content, host, name};
use super::{
    places,
    upload::{BodyError, Error},
};
use crate::{
    http::stuck_routes,
    metadata::{
        Answer, Command, Commit, Precondition, Refusal,
        commit::Body,
        life,
        rows::{ChunkRef, Etag},
        segments::PlacedChunk,
    },
};

/// Three chunks, the last one short.
const LENGTH: usize = 2 * CHUNK as usize + 1_200_000;
const FRAMES: usize = LENGTH.div_ceil(FRAME);
/// Before the first frame, in the middle of the first chunk, at a chunk's end, in the second one, and behind the last frame.
const POINTS: [usize; 6] = [0, 3, 15, 16, 20, FRAMES];

/// What befalls node 2.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Stopped,
    Dead,
}

async fn upload_survives(fate: Fate, point: usize) {
    let lab = Lab::start(3).await;
    let begun = Instant::now();
    let committed = lab.put(LENGTH, |frame| {
        if frame == point {
            match fate {
                Fate::Stopped => lab.network.stall(host(2)),
                Fate::Dead => lab.network.isolate(host(2)),
            }
        }
    });
    let committed = committed.await.unwrap_or_else(|error| panic!("{fate:?} at {point}: {error}"));
    assert_eq!(committed.etag, blake3::hash(&content(LENGTH)).to_hex().to_string());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{fate:?} at {point}: {took:?}");
    let nodes = lab.verify(LENGTH).await;
    let first_after = point.div_ceil(CHUNK as usize / FRAME).min(nodes.len());
    for (n, nodes) in nodes.iter().enumerate().skip(first_after) {
        assert!(!nodes.contains(&2), "{fate:?} at {point}: chunk {n} names the failed node: {nodes:?}");
    }
    if point < FRAMES {
        assert_eq!(lab.leader.suspects(), [2], "the leader is told");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_is_replaced_within_the_upload() {
    for point in POINTS {
        upload_survives(Fate::Stopped, point).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_dies_is_replaced_within_the_upload() {
    for point in POINTS {
        upload_survives(Fate::Dead, point).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_disk_fails_or_is_full_is_replaced() {
    for (call, fault) in [
        (Call::Allocate, Fault::Full),
        (Call::Create, Fault::Io),
        (Call::Write, Fault::Io),
        (Call::SyncData, Fault::Io),
        (Call::Rename, Fault::Io),
        (Call::SyncDir, Fault::Io),
    ] {
        let lab = Lab::start(3).await;
        lab.nodes[&2].disk.on(call, When::From(2), fault.clone());
        lab.put(LENGTH, |_| ()).await.unwrap_or_else(|error| panic!("{call:?}: {error}"));
        let nodes = lab.verify(LENGTH).await;
        // Chunks end side by side: the one that was spared may be any of them.
        assert!(nodes.iter().filter(|nodes| **nodes == [1, 3]).count() >= 2, "{call:?}: {nodes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_gateways_own_disk_may_fail_or_be_full() {
    for (call, fault) in [
        (Call::Allocate, Fault::Full),
        (Call::Create, Fault::Io),
        (Call::Write, Fault::Io),
        (Call::SyncData, Fault::Io),
        (Call::SyncDir, Fault::Io),
    ] {
        let lab = Lab::start(3).await;
        lab.nodes[&1].disk.on(call, When::From(2), fault.clone());
        lab.put(LENGTH, |_| ()).await.unwrap_or_else(|error| panic!("{call:?}: {error}"));
        let nodes = lab.verify(LENGTH).await;
        // Chunks end side by side: the one that was spared may be any of them.
        assert!(nodes.iter().filter(|nodes| **nodes == [2, 3]).count() >= 2, "{call:?}: {nodes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_stores_nothing_keeps_the_chunk_until_it_is_acked() {
    for point in POINTS {
        let lab = Lab::start(4).await;
        *lab.leader.eligible.lock().expect("no panic") = vec![2, 3, 4];
        let stop = |frame| {
            if frame == point {
                lab.network.stall(host(2));
            }
        };
        lab.put(LENGTH, stop).await.unwrap_or_else(|error| panic!("at {point}: {error}"));
        let nodes = lab.verify(LENGTH).await;
        assert!(!nodes.concat().contains(&1));
        if point == 0 {
            assert_eq!(nodes[0], [3, 4]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_of_three_nodes_are_enough_and_one_is_not() {
    let lab = Lab::start(3).await;
    lab.network.isolate(host(3));
    *lab.leader.eligible.lock().expect("no panic") = vec![1, 2];
    lab.put(LENGTH, |_| ()).await.expect("two nodes are left");
    assert_eq!(lab.verify(LENGTH).await, vec![vec![1, 2]; 3]);

    *lab.leader.eligible.lock().expect("no panic") = vec![1];
    tokio::time::sleep(Duration::from_secs(2)).await; // what was placed before is stale by then
    let error = lab.put_as("c2", LENGTH, |_| ()).await.expect_err("one copy is never acked");
    assert!(matches!(error, Error::Place(places::Error::TooFew { eligible: 1, needed: 2 })), "{error}");
    *lab.leader.full.lock().expect("no panic") = true;
    let error = lab.put_as("c3", LENGTH, |_| ()).await.expect_err("one copy is never acked");
    assert!(matches!(error, Error::Place(places::Error::Full)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_only_away_for_a_moment_is_used_again_when_there_is_no_other() {
    let lab = Lab::start(2).await;
    let network = lab.network.clone();
    let blink = |frame| {
        if frame == FRAMES {
            network.stall(host(2));
            let network = network.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                network.resume(&host(2));
            });
        }
    };
    lab.put(LENGTH, blink).await.expect("node 2 came back");
    assert_eq!(lab.verify(LENGTH).await, vec![vec![1, 2]; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_makes_no_hop_look_failed() {
    let lab = Lab::start(3).await;
    let content = content(LENGTH);
    let frames: Vec<Vec<u8>> = content.chunks(FRAME).map(<[u8]>::to_vec).collect();
    let slow = stream::iter(frames).then(|frame| async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Ok::<_, BodyError>(frame.into())
    });
    lab.put_body("c1", Some(LENGTH as u64), slow).await.expect("slow is not failed");
    assert_eq!(lab.verify(LENGTH).await, vec![vec![1, 2]; 3]);
    assert_eq!(lab.leader.suspects(), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_lives_but_takes_nothing_is_given_up_later() {
    let lab = Lab::start(3).await;
    lab.network.serve(host(2), stuck_routes());
    let begun = Instant::now();
    lab.put(LENGTH, |_| ()).await.expect("node 3 takes its place");
    assert!((5..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(lab.verify(LENGTH).await, vec![vec![1, 3]; 3]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_waits_for_the_next_leader() {
    let lab = Lab::start(3).await;
    *lab.leader.gone.lock().expect("no panic") = true;
    let leader = Arc::clone(&lab.leader);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        *leader.gone.lock().expect("no panic") = false;
    });
    lab.put(LENGTH, |_| ()).await.expect("there is a leader after 4 s");
    lab.verify(LENGTH).await;

    *lab.leader.gone.lock().expect("no panic") = true;
    tokio::time::sleep(Duration::from_secs(2)).await; // what was placed before is stale by then
    let begun = Instant::now();
    let error = lab.put_as("c2", LENGTH, |_| ()).await.expect_err("there is none");
    assert!(matches!(error, Error::Place(places::Error::NoLeader(_))), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_costs_nothing_any_more() {
    for point in [1, 5, 16, 20, FRAMES - 1] {
        let lab = Lab::start(3).await;
        let left = Arc::new(tokio::sync::Notify::new());
        {
            let content = content(LENGTH);
            let frames: Vec<Vec<u8>> = content.chunks(FRAME).take(point).map(<[u8]>::to_vec).collect();
            let leave = Arc::clone(&left);
            let silence = stream::once(async move {
                leave.notify_one();
                std::future::pending().await
            });
            let body = stream::iter(frames).map(|frame| Ok::<_, BodyError>(frame.into())).chain(silence);
            let put = lab.put_body("c1", Some(LENGTH as u64), body);
            tokio::select! {
                done = put => panic!("nothing ends this upload: {done:?}"),
                () = left.notified() => {}
            }
        }
        // Some turns of the runtime for the tasks that were told to end; no clock moves.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lab.budget.held_bytes(), 0, "after {point} frames");
        for (id, node) in &lab.nodes {
            // Files are taken away on blocking threads, for which the paused clock waits.
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(node.store.usage().reserved_bytes, 0, "node {id} after {point} frames");
        }
        assert!(lab.metadata.key(&lab::name()).expect("read").is_none(), "nothing was committed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_upload_is_answered_and_not_made_again() {
    let lab = Lab::start(3).await;
    let first = lab.put_as("mine", LENGTH, |_| ()).await.expect("stored");
    let other = lab.put_as("other", 10, |_| ()).await.expect("stored");
    let again = lab.put_as("mine", LENGTH, |_| ()).await.expect("answered");
    assert_eq!((again.version, again.created), (first.version, true));
    let file = lab.metadata.key(&lab::name()).expect("read").expect("there").file.expect("live");
    assert_eq!(file.version, other.version, "a retry that comes late changes nothing");
}

#[tokio::test(start_paused = true)]
async fn more_uploads_than_memory_are_served_in_turn() {
    let lab = Lab::start(3).await;
    let spare = lab.budget.acquire(None, (80 << 20) - 2_400_000).await.expect("all but one chunk's worth");
    let puts = (0..40).map(|n| {
        let lab = &lab;
        async move {
            let content = content(LENGTH);
            let frames: Vec<Vec<u8>> = content.chunks(FRAME).map(<[u8]>::to_vec).collect();
            let slow = stream::iter(frames).then(|frame| async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, BodyError>(frame.into())
            });
            lab.put_body(&format!("c{n}"), Some(LENGTH as u64), slow).await
        }
    });
    for done in futures::future::join_all(puts).await {
        done.expect("waits as long as others get on");
    }
    let stuck = lab.budget.acquire(None, 2_400_000).await.expect("the rest");
    let error = lab.put_as("late", LENGTH, |_| ()).await.expect_err("nobody gets on");
    assert!(matches!(error, Error::Busy), "{error}");
    drop((spare, stuck));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_never_named_and_its_retry_is_made_of_other_chunks() {
    let lab = Lab::start(3).await;
    let parts = lab.uploads.parts();
    // Two attempts whose commits come to the log after it has heard that their chunks were given up.
    let id = CommandId { id: "mine".parse().expect("a good id"), seen: None };
    for _ in 0..2 {
        let cut = stream::iter([Ok(Bytes::from(content(LENGTH))), Err(BodyError::from("cut"))]);
        lab.put_body("other", None, cut).await.expect_err("a body that broke off");
        let remains = parts.released.next().expect("chunks that nothing names");
        let (node, writer) = (parts.node, parts.writer);
        let release = life::Command::Release { node, writer, upload: None, chunks: remains.chunks.clone() };
        let fresh = parts.metadata.fresh_id(&*parts.entropy);
        parts.metadata.propose(fresh, Command::Life(release)).await.expect("released");
        let placed = PlacedChunk {
            chunk: ChunkRef { id: remains.chunks[0].0, length: CHUNK as u32, cv: [1; 32] },
            replicas: vec![NodeId(1), NodeId(2)],
        };
        let late = Command::Commit(Box::new(Commit {
            name: name(),
            epoch: Epoch(1),
            precondition: Precondition::Always,
            node,
            writer,
            now_ms: 0,
            size: CHUNK,
            etag: Etag::Root([1; 32]),
            media_type: None,
            body: Body::Tree {
                root: [1; 32],
                chunk_shift: CHUNK.trailing_zeros() as u8,
                upload: None,
                tail: vec![placed],
            },
        }));
        let refused = parts.metadata.propose(id.clone(), late).await.expect("applied");
        assert_eq!(refused.answer, Answer::Refused(Refusal::ChunkGone));
    }
    lab.put_as("mine", LENGTH, |_| ()).await.expect("the retry's own chunks are there");
    lab.verify(LENGTH).await;
}
