//! `flotilla transfers`: copies on their way between nodes, the last ones that ended, and what went over each link.

use flotilla_api::{
    ClusterName,
    admin::{ChunkState, ChunkTransfer, Transfer, TransferList},
};

use crate::{
    cli::TransfersArgs,
    connect::Session,
    exit::{Exit, Failure},
    output::{self, OfCluster},
};

/// Runs the command.
///
/// # Errors
/// A cluster can't be asked.
pub async fn run(args: TransfersArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    for cluster in session.clusters(args.cluster).await? {
        let list = session.client.transfers(&cluster).await?;
        match session.report.is_json() {
            true => output::json(&OfCluster { cluster: &cluster, of: &list })?,
            false => output::line(text(&cluster, &list, args.chunks))?,
        }
        for node in &list.silent {
            session.report.warning(format_args!("cluster {cluster}: node {node} does not answer"));
        }
    }
    Ok(Exit::Ok)
}

fn text(cluster: &ClusterName, list: &TransferList, chunks: bool) -> String {
    if list.items.is_empty() && list.links.is_empty() {
        return format!("cluster {cluster}: no transfers since the nodes started");
    }
    let owned = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut rows = vec![owned(&["CLUSTER", "TASK", "TO", "STATE", "DONE", "FAILED", "CHUNKS", "BYTES"])];
    for transfer in &list.items {
        rows.push(row(cluster, transfer));
        if chunks {
            rows.extend(transfer.chunks.iter().map(chunk_row));
        }
    }
    let mut links = vec![owned(&["FROM", "TO", "COPIES", "BYTES", "FAILURES"])];
    links.extend(list.links.iter().map(|link| {
        vec![
            link.from.to_string(),
            link.to.to_string(),
            link.transfers.to_string(),
            output::size(link.bytes),
            link.failures.to_string(),
        ]
    }));
    format!("{}\n\n{}", output::table(&rows), output::table(&links))
}

fn row(cluster: &ClusterName, transfer: &Transfer) -> Vec<String> {
    let count = |state| transfer.chunks.iter().filter(|chunk| chunk.state == state).count().to_string();
    let state = match transfer.took_ms {
        None => format!("running for {:.1} s", transfer.age_ms as f64 / 1000.0),
        Some(took_ms) => format!("took {:.1} s", took_ms as f64 / 1000.0),
    };
    vec![
        cluster.to_string(),
        transfer.task.clone(),
        transfer.to.to_string(),
        state,
        count(ChunkState::Done),
        count(ChunkState::Failed),
        transfer.chunks.len().to_string(),
        output::size(transfer.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum()),
    ]
}

fn chunk_row(chunk: &ChunkTransfer) -> Vec<String> {
    let state = match chunk.state {
        ChunkState::Waiting => "waiting",
        ChunkState::Copying => "copying",
        ChunkState::Done => "done",
        ChunkState::Gone => "gone",
        ChunkState::Failed => "failed",
    };
    let from = chunk.from.map_or_else(|| "-".to_owned(), |node| format!("from {node}"));
    let why = chunk.why.clone().unwrap_or_default();
    vec![String::new(), chunk.chunk.clone(), from, state.to_owned(), why]
}

#[cfg(test)]
mod tests {
    use flotilla_api::{NodeId, admin::Link};

    use super::*;

    #[test]
    fn running_transfers_links_and_chunks_are_shown() {
        let cluster: ClusterName = "a".parse().expect("a good name");
        assert_eq!(text(&cluster, &TransferList::default(), false), "cluster a: no transfers since the nodes started");
        let chunk = |state, from| ChunkTransfer { chunk: "1-1".to_owned(), bytes: 1 << 20, state, from, why: None };
        let chunks = vec![chunk(ChunkState::Done, Some(NodeId(2))), chunk(ChunkState::Copying, None)];
        let transfer = Transfer { task: "7-0".to_owned(), to: NodeId(3), age_ms: 1500, took_ms: None, chunks };
        let link = Link { from: NodeId(2), to: NodeId(3), transfers: 1, bytes: 1 << 20, failures: 4 };
        let list = TransferList { items: vec![transfer], links: vec![link], silent: Vec::new() };
        let shown = text(&cluster, &list, true);
        let words =
            |n: usize| shown.lines().nth(n).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(1), "a 7-0 3 running for 1.5 s 1 0 2 2.0 MiB");
        assert_eq!((words(2), words(3)), ("1-1 from 2 done".to_owned(), "1-1 - copying".to_owned()));
        assert_eq!(words(6), "2 3 1 1.0 MiB 4");
    }
}
