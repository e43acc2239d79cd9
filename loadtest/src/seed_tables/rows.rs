//! The rows themselves: what is uploaded, read back and deleted in which order. Every file is compared once, then deleted.

use std::sync::Arc;

use super::{
    bench::Bench,
    plan::{Batch, Big, Crowd, Plan, Small},
    report::{Report, Shape},
    supply::{Action, Supply},
};
use crate::{load::size_name, pool::File};

/// Sends one file of the smallest size there and back, so that the first row does not pay for what happens once.
pub(super) async fn warm_up(bench: &Arc<Bench>, plan: &Plan, report: &mut Report) {
    let bytes = plan.big.iter().map(|big| big.bytes).min().unwrap_or(1);
    let uploaded = bench.unmeasured(Action::Put, bench.files(1, bytes)).await;
    let files = report.check(uploaded);
    read_back_and_delete(bench, files, report).await;
}

/// One client uploads files of a size, then downloads them.
pub(super) async fn big(bench: &Arc<Bench>, big: &Big, report: &mut Report) {
    let name = size_name(big.bytes);
    let files = bench.files(big.files, big.bytes);
    let uploaded = bench.measure(Action::Put, 1, Supply::once(files)).await;
    let files = report.add(format!("upload {name}"), Shape::Bytes, uploaded);
    let downloaded = bench.measure(Action::Get, 1, Supply::once(files.clone())).await;
    report.add(format!("download {name}"), Shape::Bytes, downloaded);
    delete(bench, files, report).await;
}

/// Several clients upload one file each at once.
pub(super) async fn crowd(bench: &Arc<Bench>, crowd: &Crowd, report: &mut Report) {
    let files = bench.files(crowd.clients as u64, crowd.bytes);
    let uploaded = bench.measure(Action::Put, crowd.clients, Supply::once(files)).await;
    let name = format!("{} clients x {} upload", crowd.clients, size_name(crowd.bytes));
    let files = report.add(name, Shape::Crowd, uploaded);
    read_back_and_delete(bench, files, report).await;
}

/// As many small files for each client, by one client and by several at once: several should not take several times as long.
pub(super) async fn batch(bench: &Arc<Bench>, batch: &Batch, report: &mut Report) {
    for clients in batch.clients {
        let files = bench.files(clients as u64 * batch.files, batch.bytes);
        let uploaded = bench.measure(Action::Put, clients, Supply::once(files)).await;
        let plural = if clients == 1 { "" } else { "s" };
        let name = format!("{clients} client{plural} x {} x {} upload", batch.files, size_name(batch.bytes));
        let files = report.add(name, Shape::Batch, uploaded);
        read_back_and_delete(bench, files, report).await;
    }
}

/// Small files: uploads by more and more clients, then downloads of the last row's files over many connections.
pub(super) async fn small(bench: &Arc<Bench>, small: &Small, report: &mut Report) {
    let name = size_name(small.bytes);
    let mut last: Vec<File> = Vec::new();
    for clients in small.upload_clients {
        delete(bench, std::mem::take(&mut last), report).await;
        let files = bench.files(small.uploads_max, small.bytes);
        let supply = Supply::bounded(files, small.uploads_max, small.time_max);
        let uploaded = bench.measure(Action::Put, clients, supply).await;
        let plural = if clients == 1 { "" } else { "s" };
        last = report.add(format!("{name} uploads, {clients} client{plural}"), Shape::Operations, uploaded);
        read_back(bench, &last, report).await;
    }
    let connections = small.download_connections;
    let supply = Supply::bounded(last.clone(), small.downloads_max, small.time_max);
    let downloaded = bench.measure(Action::Get, connections, supply).await;
    report.add(format!("{name} downloads, {connections} connections"), Shape::Operations, downloaded);
    delete(bench, last, report).await;
}

async fn read_back_and_delete(bench: &Arc<Bench>, files: Vec<File>, report: &mut Report) {
    read_back(bench, &files, report).await;
    delete(bench, files, report).await;
}

async fn read_back(bench: &Arc<Bench>, files: &[File], report: &mut Report) {
    let read = bench.unmeasured(Action::Get, files.to_vec()).await;
    report.check(read);
}

async fn delete(bench: &Arc<Bench>, files: Vec<File>, report: &mut Report) {
    let deleted = bench.unmeasured(Action::Delete, files).await;
    report.check(deleted);
}
