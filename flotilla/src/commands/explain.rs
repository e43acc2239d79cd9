//! `flotilla explain`: what became of a request, step by step.

use std::fmt::Write as _;

use flotilla_api::explain::{Considered, ExplainAnswer, Explanation, Refusal, Routed, Seen, Step, Verdict, What};

use crate::{
    cli::ExplainArgs,
    connect::Session,
    exit::{Exit, Failure},
    output,
};

/// Runs the command.
///
/// # Errors
/// No supernode answers.
pub async fn run(args: ExplainArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let answer = session.client.explain(&args.request).await?;
    match (session.report.is_json(), &answer.explanation) {
        (true, _) => output::json(&answer)?,
        (false, Some(told)) => output::line(text(&answer, told))?,
        (false, None) => output::line("no supernode remembers that request, or it is somebody else's")?,
    }
    if !answer.silent.is_empty() {
        let silent = answer.silent.join(", ");
        session.report.warning(format_args!("what supernodes remember that don't answer is not known: {silent}"));
    }
    Ok(if answer.found { Exit::Ok } else { Exit::NotFound })
}

fn text(answer: &ExplainAnswer, told: &Explanation) -> String {
    let mut out = String::new();
    let mut line = |what: &str, text: String| {
        writeln!(out, "{what:<10}{text}").expect("writing to a String cannot fail");
    };
    line(
        "request",
        format!("{}, {} ago, at supernode {}", told.request, output::seconds(told.age_ms), answer.supernode),
    );
    line("asked", asked(told));
    if let Some(home) = &told.home {
        line("home", format!("cluster {home}, known when it came"));
    }
    for one in &told.candidates {
        line("candidate", candidate(one));
    }
    for step in &told.steps {
        line(&format!("+{}", output::seconds(step.after_ms)), happened(&step.what));
    }
    line("waited", waited(&told.steps));
    if let Some(claim) = &told.claim {
        let why = if claim.granted { "claimed for this request" } else { "another claim was earlier" };
        line("claim", format!("cluster {} is the key's home under epoch {}: {why}", claim.cluster, claim.epoch));
    }
    for node in &told.nodes {
        line("node", node.clone());
    }
    line("status", told.status.map_or_else(|| "not answered yet, or its client left".to_owned(), |s| s.to_string()));
    out.truncate(out.trim_end().len());
    out
}

fn asked(told: &Explanation) -> String {
    let class = told.class;
    let units = if class.units == 1 { "1 unit".to_owned() } else { format!("{} units", class.units) };
    let body = if class.bytes > 0 { format!(" of {}", output::size(class.bytes)) } else { String::new() };
    format!("{}{body} by '{}': a {} request of {units}", told.op, told.principal, class.lane.as_str())
}

fn candidate(one: &Considered) -> String {
    let report = match one.age_ms {
        Some(age_ms) => format!("statistics {} old", output::seconds(age_ms)),
        None => "no statistics yet".to_owned(),
    };
    let able = if one.takes_new { "" } else { ", takes no new files" };
    format!(
        "cluster {}: score {:.3}, {report}, {} of {} credits in flight, {} units queued for {}, all done in {}, processors {} % busy, disks {} % free{able}",
        one.cluster,
        f64::from(one.score_milli) / 1000.0,
        one.in_flight,
        one.credits,
        one.queued_units,
        output::seconds(one.wait_ms),
        output::seconds(one.done_ms),
        one.cpu_milli / 10,
        one.disk_free_milli / 10,
    )
}

fn happened(what: &What) -> String {
    match what {
        What::Queued { cluster, ahead_units, wait_ms } => {
            let place =
                cluster.as_ref().map_or_else(|| "its place among the lists".to_owned(), |c| format!("cluster {c}"));
            format!("waits for {place} behind {ahead_units} units, for about {}", output::seconds(*wait_ms))
        }
        What::Rehoused { from } => format!("leaves the queue of cluster {from}, which takes no new files any more"),
        What::Stolen { seen, verdict } => stolen(seen, verdict),
        What::Granted { cluster, why } => {
            let place =
                cluster.as_ref().map_or_else(|| "as a list".to_owned(), |cluster| format!("to cluster {cluster}"));
            format!("let through {place}: {}", routed(*why))
        }
        What::Refused { why: why @ Refusal::WouldWait, again_ms: _ } => why.sentence().to_owned(),
        What::Refused { why, again_ms } => format!(
            "refused with {} {}: {}; nothing was done; come again in {}",
            why.code().status().as_u16(),
            why.code(),
            why.sentence(),
            output::seconds(*again_ms)
        ),
        What::Moved { to } => format!("follows its key to cluster {to}"),
        What::Left => "its client went away".to_owned(),
    }
}

fn routed(why: Routed) -> &'static str {
    match why {
        Routed::New => "the best one for a new file",
        Routed::Home => "its key is at home there",
        Routed::Stolen => "it was idle, and took the request from another queue",
        Routed::LostClaim => "another claim of its key was earlier",
        Routed::List => "it asks every cluster",
    }
}

fn stolen(seen: &[Seen], verdict: &Verdict) -> String {
    let Verdict::Take { thief, from, lane } = verdict else {
        return "looked at by idle clusters, and left where it was".to_owned();
    };
    let mut out = format!("taken from the queue of cluster {from} by cluster {thief}, {} lane", lane.as_str());
    for side in seen {
        let under_way = match side.under_way_small_ms {
            Some(ms) => format!("small ones under way for {ms} ms"),
            None => "hardly small ones under way".to_owned(),
        };
        write!(
            out,
            "\n{:<10}  {} had {} free credits ({} for big ones), {} small and {} big waiting, {} units, {under_way}, score {:.3}",
            "",
            side.cluster,
            side.free_small,
            side.free_big,
            side.waiting_small,
            side.waiting_big,
            side.units,
            f64::from(side.score_milli) / 1000.0,
        )
        .expect("writing to a String cannot fail");
    }
    out
}

/// How long it stood in queues, from what happened to it.
fn waited(steps: &[Step]) -> String {
    let queued = steps.iter().any(|step| matches!(step.what, What::Queued { .. }));
    let over = |step: &&Step| matches!(step.what, What::Granted { .. } | What::Refused { .. } | What::Left);
    match (queued, steps.iter().rfind(over)) {
        (false, _) => "not at all".to_owned(),
        (true, Some(step)) => output::seconds(step.after_ms),
        (true, None) => "still does".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use flotilla_api::{
        ClusterName, Epoch, RequestId,
        explain::Claimed,
        queue::{Class, Lane},
    };

    use super::*;

    fn cluster(name: &str) -> ClusterName {
        name.parse().expect("a good name")
    }

    fn told(whats: Vec<What>) -> ExplainAnswer {
        let considered = Considered {
            cluster: cluster("a"),
            takes_new: true,
            score_milli: 512,
            age_ms: Some(200),
            credits: 8,
            in_flight: 8,
            queued_units: 40,
            wait_ms: 250,
            done_ms: 300,
            cpu_milli: 350,
            disk_free_milli: 800,
        };
        let steps = whats.into_iter().enumerate().map(|(n, what)| Step { after_ms: n as u64 * 300, what });
        let explanation = Explanation {
            request: RequestId::from_bits(7),
            principal: "backup".to_owned(),
            op: "put".to_owned(),
            age_ms: 1200,
            class: Class { lane: Lane::Big, units: 4, bytes: 3 << 20 },
            home: None,
            candidates: vec![considered],
            steps: steps.collect(),
            claim: Some(Claimed { cluster: cluster("b"), epoch: Epoch(17), granted: true }),
            nodes: vec!["h:1".to_owned()],
            status: Some(201),
        };
        let supernode = "h:9".to_owned();
        ExplainAnswer { found: true, supernode, explanation: Some(explanation), silent: Vec::new() }
    }

    fn shown(answer: &ExplainAnswer) -> String {
        text(answer, answer.explanation.as_ref().expect("it is there"))
    }

    #[test]
    fn a_stolen_request_is_told_from_its_arrival_to_its_answer() {
        let seen = Seen {
            cluster: cluster("b"),
            fresh: true,
            age_ms: Some(100),
            takes_new: true,
            free_small: 3,
            free_big: 1,
            waiting_small: 0,
            waiting_big: 0,
            movable_small: 0,
            movable_big: 0,
            units: 0,
            oldest_movable_ms: 0,
            under_way_small_ms: Some(12),
            score_milli: 700,
        };
        let verdict = Verdict::Take { thief: cluster("b"), from: cluster("a"), lane: Lane::Big };
        let shown = shown(&told(vec![
            What::Queued { cluster: Some(cluster("a")), ahead_units: 40, wait_ms: 1500 },
            What::Stolen { seen: vec![seen], verdict },
            What::Granted { cluster: Some(cluster("b")), why: Routed::Stolen },
        ]));
        for part in [
            "put of 3.0 MiB by 'backup': a big request of 4 units",
            "cluster a: score 0.512, statistics 0.2 s old, 8 of 8 credits in flight, 40 units queued for 0.2 s, all done in 0.3 s",
            "+0.0 s    waits for cluster a behind 40 units, for about 1.5 s",
            "+0.3 s    taken from the queue of cluster a by cluster b, big lane",
            "b had 3 free credits (1 for big ones)",
            "small ones under way for 12 ms",
            "+0.6 s    let through to cluster b: it was idle, and took the request from another queue",
            "waited    0.6 s",
            "cluster b is the key's home under epoch 17: claimed for this request",
            "node      h:1",
            "status    201",
        ] {
            assert!(shown.contains(part), "'{part}' is missing in:\n{shown}");
        }
    }

    #[test]
    fn a_refused_request_is_told_when_to_come_again() {
        let shown = shown(&told(vec![What::Refused { why: Refusal::Hopeless, again_ms: 4200 }]));
        assert!(
            shown.contains("refused with 429 queue_full: more requests wait than can be served in time"),
            "{shown}"
        );
        assert!(shown.contains("come again in 4.2 s") && shown.contains("waited    not at all"), "{shown}");
    }
}
