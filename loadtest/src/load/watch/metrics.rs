//! What a server's metrics say, in Prometheus text.

use std::{collections::BTreeMap, time::Duration};

use flotilla_api::route;
use tokio::time::timeout;

use crate::wire::{self, Connection, Endpoint};

/// Requests that wait in a supernode's queues; servers without queues do not have it.
const QUEUED: &str = "flotilla_queue_depth";
/// Chunks that were found in a node's cache.
const HITS: &str = "flotilla_cache_hits_total";
/// Chunks that were not.
const MISSES: &str = "flotilla_cache_misses_total";
/// 1 on the leader of a group.
pub(in crate::load) const IS_LEADER: &str = "flotilla_raft_is_leader";
/// How far a member's log and its state are.
const LAST_LOG_INDEX: &str = "flotilla_raft_last_log_index";
const APPLIED_INDEX: &str = "flotilla_raft_applied_index";

/// The figures of one server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    pub(super) hits: Option<f64>,
    pub(super) misses: Option<f64>,
    pub(super) queued: Option<f64>,
    /// It as a member of groups.
    pub(super) members: Vec<Member>,
}

/// A server as a member of a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    /// The group's labels, as they stand in the text.
    group: String,
    leads: bool,
    last_log_index: f64,
    applied_index: f64,
}

impl Figures {
    pub(super) fn of(page: &str) -> Self {
        let applied: BTreeMap<&str, f64> = values(page, APPLIED_INDEX).collect();
        let leads: BTreeMap<&str, f64> = values(page, IS_LEADER).collect();
        let member = |(group, last_log_index): (&str, f64)| {
            let applied_index = *applied.get(group)?;
            let leads = leads.get(group).is_some_and(|leads| *leads > 0.0);
            Some(Member { group: group.to_owned(), leads, last_log_index, applied_index })
        };
        let members = values(page, LAST_LOG_INDEX).filter_map(member).collect();
        Self { hits: metric(page, HITS), misses: metric(page, MISSES), queued: metric(page, QUEUED), members }
    }

    /// Whether it leads a group.
    pub(super) fn leads(&self) -> bool {
        self.members.iter().any(|member| member.leads)
    }
}

/// Gives how many entries of its group's longest log the member that is furthest behind has not applied; none without members.
pub(super) fn lag<'a>(members: impl Iterator<Item = &'a Member> + Clone) -> Option<f64> {
    let behind = |one: &Member| {
        let logs = members.clone().filter(|other| other.group == one.group).map(|other| other.last_log_index);
        logs.fold(one.applied_index, f64::max) - one.applied_index
    };
    members.clone().map(behind).reduce(f64::max)
}

/// Asks an operations listener for its metrics; none if it does not answer in time.
///
/// # Cancel safety
/// Its connection is closed when it is dropped.
pub(in crate::load) async fn scrape(ops: &str, within: Duration) -> Option<String> {
    let ask = async {
        let endpoint = Endpoint::new(ops, None)?;
        let mut connection = Connection::open(&endpoint).await?;
        let page = connection.document(route::METRICS).await?;
        Ok::<_, wire::Error>(page)
    };
    let page = timeout(within, ask).await.ok()?.ok()?;
    String::from_utf8(page.to_vec()).ok()
}

/// Adds up a metric's values, whatever their labels; none if it is not there.
pub(in crate::load) fn metric(page: &str, name: &str) -> Option<f64> {
    values(page, name).map(|(_, value)| value).reduce(|sum, value| sum + value)
}

/// Gives a metric's labels, as they stand there, and values.
fn values<'a>(page: &'a str, name: &str) -> impl Iterator<Item = (&'a str, f64)> {
    page.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            // A label's value can hold any character, a closing brace too.
            Some(labelled) => labelled.rsplit_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        let value = value.split_whitespace().next()?.parse::<f64>().ok().filter(|value| value.is_finite());
        Some((labels, value?))
    })
}

#[cfg(test)]
mod tests {
    use super::{Figures, lag};

    fn page(group: &str, leads: u8, last: u32, applied: u32) -> Figures {
        Figures::of(&format!(
            "flotilla_raft_is_leader{{group=\"{group}\"}} {leads}\nflotilla_raft_last_log_index{{group=\"{group}\"}} {last}\n\
             flotilla_raft_applied_index{{group=\"{group}\"}} {applied}\n"
        ))
    }

    #[test]
    fn the_slowest_member_is_behind_its_own_group_only() {
        let servers = [page("a", 1, 120, 118), page("a", 0, 110, 90), page("b", 1, 9_000, 8_999), Figures::of("x 1\n")];
        assert_eq!(servers.each_ref().map(Figures::leads), [true, false, true, false]);
        assert_eq!(lag(servers.iter().flat_map(|figures| &figures.members)), Some(30.0));
        assert_eq!(lag(servers[3].members.iter()), None);
    }
}
