//! `flotilla fsck`: metadata against the disks of all nodes, cluster by cluster.

use flotilla_api::{
    ClusterName,
    fsck::{Finding, Line, Summary},
};
use futures::StreamExt;

use crate::{
    cli::FsckArgs,
    connect::Session,
    exit::{Exit, Failure},
    output,
};

/// Runs the command: 8 if anything was found, 6 if a node did not answer.
///
/// # Errors
/// A cluster can't be asked, or its answer breaks off.
pub async fn run(args: FsckArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let clusters = session.clusters(args.cluster).await?;
    let mut summaries = Vec::new();
    for cluster in &clusters {
        summaries.push(check(&session, cluster, args.verify).await?);
    }
    Ok(exit(&summaries))
}

async fn check(session: &Session, cluster: &ClusterName, verify: bool) -> Result<Summary, Failure> {
    let mut lines = session.client.fsck(cluster, verify).await?;
    while let Some(line) = lines.next().await {
        let line = line?;
        match &line {
            Line::Progress { .. } => continue,
            Line::Finding(_) | Line::Summary(_) if session.report.is_json() => output::json(&line)?,
            Line::Finding(finding) => output::line(text(finding))?,
            Line::Summary(summary) => output::line(summed(summary))?,
            Line::Failed { detail } => return Err(Failure::new(Exit::Unavailable, detail.clone()).about(cluster)),
        }
        if let Line::Summary(summary) = line {
            for node in &summary.silent {
                session.report.warning(format_args!("cluster {cluster}: node {node} does not answer"));
            }
            return Ok(summary);
        }
    }
    Err(Failure::new(Exit::Unavailable, "the answer broke off").about(cluster))
}

fn exit(summaries: &[Summary]) -> Exit {
    let found = summaries.iter().any(|summary| summary.findings > 0);
    let silent = summaries.iter().any(|summary| !summary.silent.is_empty());
    match (found, silent) {
        (true, _) => Exit::Verification,
        (false, true) => Exit::Unavailable,
        (false, false) => Exit::Ok,
    }
}

fn text(finding: &Finding) -> String {
    let Finding { what, cluster, chunk, node, file, keys, detail } = finding;
    let file = if file.is_empty() { "-" } else { file };
    let needed = match keys.is_empty() {
        true => String::new(),
        false => format!("; needed by {}", keys.join(", ")),
    };
    format!("{what} {chunk} {cluster}/{node} {file}: {detail}{needed}")
}

fn summed(summary: &Summary) -> String {
    let Summary { cluster, chunks, copies, in_flight, purging, findings, silent: _ } = summary;
    format!(
        "cluster {cluster}: {chunks} chunks, {copies} copies, {in_flight} in flight, {purging} being purged, {findings} findings"
    )
}

#[cfg(test)]
mod tests {
    use flotilla_api::{NodeId, fsck::What};

    use super::*;

    fn summary(findings: u64, silent: &[u64]) -> Summary {
        let cluster = "a".parse().expect("a good name");
        let silent = silent.iter().map(|id| NodeId(*id)).collect();
        Summary { cluster, chunks: 2, copies: 4, in_flight: 0, purging: 0, findings, silent }
    }

    #[test]
    fn a_finding_outweighs_a_silent_node() {
        assert_eq!(exit(&[summary(0, &[]), summary(0, &[])]), Exit::Ok);
        assert_eq!(exit(&[summary(0, &[]), summary(0, &[2])]), Exit::Unavailable);
        assert_eq!(exit(&[summary(0, &[2]), summary(1, &[])]), Exit::Verification);
    }

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding {
            what: What::Missing,
            cluster: "a".parse().expect("a good name"),
            chunk: "c".into(),
            node: NodeId(2),
            file: String::new(),
            keys: vec!["demo/k".into()],
            detail: "it is not there".into(),
        };
        assert_eq!(text(&finding), "MISSING c a/2 -: it is not there; needed by demo/k");
    }
}
