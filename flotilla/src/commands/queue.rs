//! `flotilla queue`: what waits at a supernode, or where one request waits.

use flotilla_api::queue::{EntryStatus, Lane, LaneStatus, QueueAnswer, SideStatus};

use crate::{
    cli::QueueArgs,
    connect::Session,
    exit::{Exit, Failure},
    output,
};

/// Runs the command.
///
/// # Errors
/// No supernode answers.
pub async fn run(args: QueueArgs) -> Result<Exit, Failure> {
    let session = Session::open(&args.client)?;
    let answer = session.client.queue(args.request.as_ref()).await?;
    match session.report.is_json() {
        true => output::json(&answer)?,
        false => output::line(text(&answer))?,
    }
    if !answer.silent.is_empty() {
        let silent = answer.silent.join(", ");
        session.report.warning(format_args!("what waits at supernodes that don't answer is not known: {silent}"));
    }
    match answer.found {
        Some(false) => Ok(Exit::NotFound),
        Some(true) | None => Ok(Exit::Ok),
    }
}

fn text(answer: &QueueAnswer) -> String {
    let entries = match (answer.found, answer.items.is_empty()) {
        (Some(false), _) => "that request does not wait".to_owned(),
        (Some(true) | None, true) => "nothing waits".to_owned(),
        (Some(true) | None, false) => entries(&answer.items),
    };
    format!("supernode {}\n\n{}\n\n{entries}", answer.supernode, sides(&answer.clusters))
}

fn sides(clusters: &[SideStatus]) -> String {
    let heading =
        ["QUEUE", "CREDITS", "IN FLIGHT", "STREAMS", "WAITING", "BIG", "OLDEST", "ALL SERVED IN", "TAKEN", "GIVEN"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for side in clusters {
        let name = side.cluster.as_ref().map_or_else(|| "lists".to_owned(), ToString::to_string);
        let oldest_ms = side.lanes.iter().map(|lane| lane.oldest_ms).max().unwrap_or(0);
        let wait_ms = side.lanes.iter().map(|lane| lane.wait_ms).max().unwrap_or(0);
        let big = |lane: &&LaneStatus| lane.lane == Lane::Big;
        rows.push(vec![
            if side.fresh { name } else { format!("{name} (silent)") },
            side.credits.to_string(),
            side.in_flight.to_string(),
            side.streams.to_string(),
            side.waiting().to_string(),
            side.lanes.iter().filter(big).map(|lane| lane.waiting).sum::<u32>().to_string(),
            output::seconds(oldest_ms),
            output::seconds(wait_ms),
            side.taken.to_string(),
            side.given.to_string(),
        ]);
    }
    output::table(&rows)
}

fn entries(items: &[EntryStatus]) -> String {
    let heading = ["REQUEST", "PRINCIPAL", "FOR", "SIZE", "PLACE IN LINE", "WAITED", "WAITS FOR"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for entry in items {
        rows.push(vec![
            entry.request.to_string(),
            entry.principal.clone(),
            entry.cluster.as_ref().map_or_else(|| "lists".to_owned(), ToString::to_string),
            entry.class.lane.as_str().to_owned(),
            entry.position.to_string(),
            output::seconds(entry.waited_ms),
            output::seconds(entry.wait_ms),
        ]);
    }
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use flotilla_api::{RequestId, queue::Class};

    use super::*;

    fn answer() -> QueueAnswer {
        let lane = |lane, waiting: u32| LaneStatus {
            lane,
            waiting,
            units: waiting.into(),
            bytes: 0,
            oldest_ms: 1500,
            per_second: 10.0,
            wait_ms: 2500,
        };
        let side = SideStatus {
            cluster: Some("a".parse().expect("a good name")),
            fresh: true,
            credits: 8,
            in_flight: 7,
            streams: 0,
            taken: 3,
            given: 4,
            lanes: vec![lane(Lane::Small, 5), lane(Lane::Big, 2)],
        };
        let entry = EntryStatus {
            request: RequestId::from_bits(1),
            principal: "backup".to_owned(),
            cluster: side.cluster.clone(),
            class: Class { lane: Lane::Big, units: 4, bytes: 3 << 20 },
            waited_ms: 1500,
            position: 2,
            wait_ms: 400,
        };
        let supernode = "127.0.0.1:7401".to_owned();
        QueueAnswer { supernode, found: None, clusters: vec![side], items: vec![entry], silent: Vec::new() }
    }

    fn cells(text: &str, line: usize) -> Vec<String> {
        text.lines().nth(line).expect("it is long enough").split("  ").map(str::trim).map(str::to_owned).collect()
    }

    #[test]
    fn queues_and_requests_are_shown() {
        let text = text(&answer());
        let row: Vec<String> = cells(&text, 3).into_iter().filter(|cell| !cell.is_empty()).collect();
        assert_eq!(row, ["a", "8", "7", "0", "7", "2", "1.5 s", "2.5 s", "3", "4"]);
        let row: Vec<String> = cells(&text, 6).into_iter().filter(|cell| !cell.is_empty()).collect();
        assert_eq!(row[1..], ["backup", "a", "big", "2", "1.5 s", "0.4 s"]);
    }

    #[test]
    fn nothing_is_said_so() {
        let empty = QueueAnswer { items: Vec::new(), ..answer() };
        assert!(text(&empty).ends_with("\n\nnothing waits"));
        let absent = QueueAnswer { found: Some(false), ..empty };
        assert!(text(&absent).ends_with("\n\nthat request does not wait"));
    }
}
