//! `flotilla directory rebuild|verify|dump`: which cluster has which key, as a whole.

use flotilla_api::directory::{Entry, Finding, Line, Summary};
use flotilla_client::Error;
use futures::{Stream, StreamExt};

use crate::{
    cli::{DirectoryCommand, DumpArgs, RebuildArgs, VerifyArgs},
    connect::Session,
    exit::{Exit, Failure},
    output::{self, Report},
};

/// Runs the command.
///
/// # Errors
/// The supernodes refuse or can't be asked, or their answer breaks off.
pub async fn run(command: DirectoryCommand) -> Result<Exit, Failure> {
    match command {
        DirectoryCommand::Rebuild(args) => rebuild(&args).await,
        DirectoryCommand::Verify(args) => verify(&args).await,
        DirectoryCommand::Dump(args) => dump(&args).await,
    }
}

async fn rebuild(args: &RebuildArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let summary = follow(session.report, session.client.rebuild_directory(&args.fence).await?).await?;
    if summary.findings > 0 {
        let why = "the directory is not whole: new files, and what is not known yet, answer 503";
        return Err(Failure::new(Exit::Precondition, why).hint("do something about the findings and run it again"));
    }
    if !session.report.is_json() {
        let (homes, clusters) = (summary.homes, summary.clusters.len());
        output::line(format_args!("the directory is whole: {homes} homes in {clusters} clusters"))?;
    }
    Ok(Exit::Ok)
}

async fn verify(args: &VerifyArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let summary = follow(session.report, session.client.verify_directory().await?).await?;
    if !session.report.is_json() {
        let Summary { clusters, homes, unused, changing: _, findings } = &summary;
        let clusters = clusters.len();
        output::line(format_args!(
            "{clusters} clusters, {homes} homes, {unused} claims not used yet, {findings} findings"
        ))?;
    }
    verdict(&summary)
}

/// What a comparison has shown.
///
/// # Errors
/// Some keys could not be compared, and of the others none differs.
fn verdict(summary: &Summary) -> Result<Exit, Failure> {
    match summary {
        Summary { findings: 1.., .. } => Ok(Exit::Verification),
        Summary { changing: changing @ 1.., .. } => {
            let why = format!("{changing} keys changed whenever they were looked at, so they are not compared");
            Err(Failure::new(Exit::Unavailable, why).hint("run it again; nothing is lost by that"))
        }
        Summary { .. } => Ok(Exit::Ok),
    }
}

/// Tells lines as they come, up to the summary.
async fn follow(
    report: Report,
    mut lines: impl Stream<Item = Result<Line, Error>> + Unpin,
) -> Result<Summary, Failure> {
    let mut step = None;
    while let Some(line) = lines.next().await {
        let line = line?;
        match line {
            Line::Progress { step: now, cluster, homes: _ } => {
                let here = (now, cluster);
                if step.as_ref() != Some(&here) && !report.is_json() {
                    let of = here.1.as_ref().map_or_else(String::new, |cluster| format!(": cluster {cluster}"));
                    output::note(format_args!("{}{of}", here.0.as_str()));
                }
                step = Some(here);
            }
            Line::Finding(finding) if report.is_json() => output::json(&Line::Finding(finding))?,
            Line::Finding(finding) => output::line(text(&finding))?,
            Line::Summary(summary) => {
                if report.is_json() {
                    output::json(&Line::Summary(summary.clone()))?;
                }
                return Ok(summary);
            }
            Line::Failed { detail, retryable } => {
                let exit = if retryable { Exit::Unavailable } else { Exit::Other };
                return Err(Failure::new(exit, detail).hint("run it again; nothing is lost by that"));
            }
        }
    }
    Err(Failure::new(Exit::Unavailable, "the answer broke off").hint("run it again; nothing is lost by that"))
}

fn text(finding: &Finding) -> String {
    let Finding { what, key, clusters, detail } = finding;
    let names: Vec<&str> = clusters.iter().map(flotilla_api::ClusterName::as_str).collect();
    format!("{what} {} {}: {detail}", key.as_deref().unwrap_or("-"), names.join(","))
}

async fn dump(args: &DumpArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let mut entries = session.client.dump_directory().await?;
    while let Some(entry) = entries.next().await {
        match entry? {
            Entry::End { .. } => return Ok(Exit::Ok),
            Entry::Failed { detail } => return Err(Failure::new(Exit::Unavailable, detail)),
            entry => output::json(&entry)?,
        }
    }
    Err(Failure::new(Exit::Unavailable, "the answer broke off"))
}

#[cfg(test)]
mod tests {
    use flotilla_api::directory::{Step, What};
    use futures::stream;

    use super::*;

    fn finding() -> Finding {
        let clusters = ["a", "b"].map(|name| name.parse().expect("a good name")).to_vec();
        Finding { what: What::Twice, key: Some("demo/k".into()), clusters, detail: "why".into() }
    }

    #[test]
    fn a_finding_is_one_line() {
        assert_eq!(text(&finding()), "TWICE demo/k a,b: why");
        assert_eq!(text(&Finding { key: None, ..finding() }), "TWICE - a,b: why");
    }

    #[test]
    fn both_sides_are_equal_only_if_all_was_compared() {
        let exit = |changing, findings| {
            let summary = Summary { changing, findings, ..Summary::default() };
            verdict(&summary).unwrap_or_else(|failure| failure.exit())
        };
        assert_eq!(exit(0, 0), Exit::Ok);
        assert_eq!(exit(3, 0), Exit::Unavailable);
        assert_eq!(exit(3, 1), Exit::Verification);
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_none() {
        let progress = || Ok(Line::Progress { step: Step::Adopt, cluster: None, homes: 1 });
        let report = Report::new(true);
        let failure = follow(report, stream::iter([progress()])).await.expect_err("it broke off");
        assert_eq!(failure.exit(), Exit::Unavailable);
        let failed = Ok(Line::Failed { detail: "why".into(), retryable: false });
        let failure = follow(report, stream::iter([progress(), failed])).await.expect_err("it failed");
        assert_eq!(failure.exit(), Exit::Other);
        let summary = Summary { homes: 3, ..Summary::default() };
        let lines = [progress(), Ok(Line::Summary(summary.clone()))];
        assert_eq!(follow(report, stream::iter(lines)).await.expect("it ended"), summary);
    }
}
