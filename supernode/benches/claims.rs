//! What a claim costs: processor time and syncs of a group of one on RocksDB, claimed by 16 tasks, in batches and one by one.
//!
//! `cargo bench -p flotilla-supernode --bench claims`; the folder is TMPDIR's.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its figures are its output

mod alone;

use std::{sync::Arc, time::Duration};

use flotilla_api::{ClusterName, FileName};
use flotilla_env::clock;
use flotilla_kv::{Kv, RocksKv};
use flotilla_supernode::directory::{Command, Directory, machine::Claim};

const TASKS: usize = 16;
const CLAIMS: usize = 32_000;
const ROUNDS: usize = 3;

/// Processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("it names the process").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|field| fields[*field].parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

fn claim(round: usize, number: usize) -> (FileName, ClusterName) {
    let key = format!("bench/{round}/{number}").parse().expect("a good key");
    (FileName { bucket: "demo".parse().expect("a good name"), key }, alone::cluster())
}

async fn measure(what: &str, directory: &Directory, kv: &Arc<RocksKv>, round: usize, together: bool) {
    let (syncs, entries, begun, used) = (kv.syncs(), directory.group().applied_index(), clock::system().now(), cpu());
    let tasks = (0..TASKS).map(|task| {
        let directory = directory.clone();
        tokio::spawn(async move {
            for number in (task..CLAIMS).step_by(TASKS) {
                let (name, cluster) = claim(round, number);
                if together {
                    directory.claim(name, cluster).await.expect("applied").expect("granted");
                } else {
                    let claims = vec![Claim { name, cluster }];
                    directory.propose(rand::random(), Command::Claim { claims }).await.expect("applied");
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
    let each = |count: u64| count as f64 / CLAIMS as f64;
    println!(
        "{what}: {:.1} us of processor, {:.3} syncs, {:.3} entries a claim; {:.0} claims a second",
        (cpu() - used).as_micros() as f64 / CLAIMS as f64,
        each(kv.syncs() - syncs),
        each(directory.group().applied_index() - entries),
        CLAIMS as f64 / begun.elapsed().as_secs_f64(),
    );
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    let (directory, kv) = alone::directory(dir.path()).await;
    for round in 0..ROUNDS {
        measure("together", &directory, &kv, 2 * round, true).await;
        measure("one by one", &directory, &kv, 2 * round + 1, false).await;
    }
}
