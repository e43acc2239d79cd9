//! Whether the directory is flat: what a claim, a look-up and a page of homes cost with ten thousand, a hundred thousand and a
//! million keys, on a group of one on RocksDB. Homes are confirmed, as clusters do within a second. Ends with 1 if any of them costs
//! half as much again with more keys, and more than rows from tables explain.
//!
//! `cargo bench -p flotilla-supernode --bench flat`; the folder is TMPDIR's, `FLAT_KEYS` names other sizes, parted by commas.

#![allow(clippy::print_stdout, clippy::print_stderr)] // its figures are its output

mod alone;

use std::{fs, process::ExitCode, time::Duration};

use flotilla_api::{Epoch, FileName, peer::HOMES_MAX};
use flotilla_supernode::directory::{
    Answer, Command, Directory,
    machine::{CLAIMS_MAX, Claim},
};

const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];
/// Each cost is the best of so many rounds: a compaction beside one is not what is asked about.
const ROUNDS: usize = 5;
const CLAIMS: usize = 20 * CLAIMS_MAX;
const LOOKUPS: usize = 20_000;
const PAGES: usize = 50;
const PAGE: usize = 512;
const RATIO_MAX: f64 = 1.5;
/// Microseconds by which a row may cost more than that: it comes from a table, for which the cache may be too small, and not from
/// memory. That is a few in any number of keys.
const ROW_SLACK_US: f64 = 5.0;
/// Rows that a claim, a look-up and a page read.
const ROWS: [usize; 3] = [2, 1, 2 * PAGE];

/// Processor time so far of all threads but those of compactions: pages are read on threads of their own, and the disk of this
/// machine is not what is asked about.
fn cpu() -> Duration {
    let threads =
        fs::read_dir("/proc/self/task").expect("Linux has it").map(|thread| thread.expect("it can be listed").path());
    let nanos = threads.filter_map(|thread| {
        let name = fs::read_to_string(thread.join("comm")).ok()?;
        let stat = fs::read_to_string(thread.join("schedstat")).ok()?;
        (!name.starts_with("rocksdb")).then(|| stat.split_whitespace().next()?.parse::<u64>().ok())?
    });
    Duration::from_nanos(nanos.sum())
}

/// Numbers are spread over the keys, as names of many folders are.
fn name(number: usize) -> FileName {
    let spread = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let key = format!("{:02x}/{spread:016x}", spread >> 56).parse().expect("a good key");
    FileName { bucket: "demo".parse().expect("a good name"), key }
}

async fn claim(directory: &Directory, from: usize, count: usize) -> Vec<Epoch> {
    let mut epochs = Vec::with_capacity(count);
    for begin in (from..from + count).step_by(CLAIMS_MAX) {
        let end = (begin + CLAIMS_MAX).min(from + count);
        let claims = (begin..end).map(|number| Claim { name: name(number), cluster: alone::cluster() }).collect();
        let applied = directory.propose(rand::random(), Command::Claim { claims }).await.expect("applied");
        let Answer::Claimed(answers) = applied else { panic!("claims are answered with {applied:?}") };
        epochs.extend(answers.into_iter().map(|answer| answer.expect("granted").home.epoch));
    }
    epochs
}

async fn confirm(directory: &Directory, epochs: &[Epoch]) {
    for some in epochs.chunks(HOMES_MAX) {
        directory.propose(rand::random(), Command::Confirm { epochs: some.to_vec() }).await.expect("applied");
    }
}

/// Microseconds of one claim, one look-up and one page, with `keys` keys.
async fn costs(directory: &Directory, keys: &mut usize) -> [f64; 3] {
    let mut best = [f64::MAX; 3];
    let mut note = |which: usize, began: Duration, count: usize| {
        let each = (cpu() - began).as_secs_f64() * 1e6 / count as f64;
        best[which] = best[which].min(each);
    };
    for round in 0..ROUNDS {
        let began = cpu();
        let epochs = claim(directory, *keys, CLAIMS).await;
        *keys += CLAIMS;
        note(0, began, CLAIMS);
        confirm(directory, &epochs).await;
        let began = cpu();
        for n in 0..LOOKUPS {
            let number = (round + n).wrapping_mul(7919) % *keys;
            assert!(directory.applied_home(&name(number)).expect("it can be read").is_some());
        }
        note(1, began, LOOKUPS);
        let began = cpu();
        for n in 0..PAGES {
            let after = name((round + n).wrapping_mul(104_729) % *keys);
            assert!(directory.page(Some(after), PAGE).await.expect("it can be read").len() <= PAGE);
        }
        note(2, began, PAGES);
    }
    best
}

fn main() -> ExitCode {
    // A thread that ended would take its time out of the sum.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().thread_keep_alive(Duration::from_secs(24 * 3600)).build();
    runtime.expect("a runtime").block_on(run())
}

async fn run() -> ExitCode {
    let sizes: Vec<usize> = match std::env::var("FLAT_KEYS") {
        Ok(text) => text.split(',').map(|size| size.parse().expect("FLAT_KEYS has numbers")).collect(),
        Err(_) => SIZES.to_vec(),
    };
    let dir = tempfile::tempdir().expect("a folder");
    let (directory, _) = alone::directory(dir.path()).await;

    let (mut keys, mut first, mut flat) = (0, None, true);
    for size in sizes {
        let epochs = claim(&directory, keys, size.saturating_sub(keys)).await;
        confirm(&directory, &epochs).await;
        keys = keys.max(size);
        let at = keys;
        let now = costs(&directory, &mut keys).await;
        let before = *first.get_or_insert(now);
        let ratios: Vec<f64> = now.iter().zip(before).map(|(now, before)| now / before).collect();
        let most = before.iter().zip(ROWS).map(|(before, rows)| before * RATIO_MAX + ROW_SLACK_US * rows as f64);
        flat &= now.iter().zip(most).all(|(now, most)| *now <= most);
        println!(
            "{at} keys: claim {:.2} us ({:.2}), look-up {:.2} us ({:.2}), page of {PAGE} {:.0} us ({:.2})",
            now[0], ratios[0], now[1], ratios[1], now[2], ratios[2],
        );
    }
    println!("{}", if flat { "flat" } else { "not flat" });
    if flat { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
