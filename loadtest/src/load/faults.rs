//! The timeline of faults as a user writes it: `--at 20s "kill leader of a"`. Pure; knows no process and sends no signal.

use std::time::Duration;

/// The name of the supernodes where a cluster's name can stand.
pub(crate) const SUPERNODES: &str = "supernodes";
/// No time is longer: no load runs for a week, and much longer ones can't be added to a clock's time.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Words of the grammar, which are no names of processes.
const RESERVED: [&str; 5] = ["leader", "follower", "cluster", "of", SUPERNODES];
/// What is allowed; the end of every refusal.
const ALLOWED: &str = "a fault is a time and 'kill', 'stop', 'freeze' or 'continue' with 'a-n1', 'leader of a', \
     'leader of supernodes', 'follower of a', 'cluster a' or 'all', and after a stop for how long if it ends by itself; \
     for example --at 20s \"kill leader of a\" or --at 1m30s \"stop a-n1 for 4s\"";

/// One fault of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// When, since the load began.
    pub(crate) at: Duration,
    /// As it was written, blanks tidied.
    pub(crate) text: String,
    /// What happens.
    pub(crate) action: Action,
    /// To whom.
    pub(crate) who: Who,
}

/// What a fault does to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ends it with SIGKILL.
    Kill,
    /// Stops it with SIGSTOP.
    Stop {
        /// After this long it goes on by SIGCONT; none if only another fault or the end of the run lets it.
        thaw_after: Option<Duration>,
    },
    /// Lets it go on with SIGCONT.
    Continue,
}

/// Which processes a fault hits; a group is a cluster by its name, or [`SUPERNODES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    /// The one with this name, like `a-n1`.
    Process(String),
    /// The one that leads the group when the time has come.
    Leader(String),
    /// One of the group that does not lead when the time has come.
    Follower(String),
    /// All of the group.
    Cluster(String),
    /// All.
    All,
}

/// Reads a fault: its time, and what happens to whom.
///
/// # Errors
/// Why it is none, and what is allowed, with examples; it must be written differently.
pub(crate) fn parse(at: &str, what: &str) -> Result<Fault, String> {
    fault(at, what).map_err(|why| format!("'{what}' at '{at}' is no fault: {why}; {ALLOWED}"))
}

fn fault(at: &str, what: &str) -> Result<Fault, String> {
    let words: Vec<&str> = what.split_whitespace().collect();
    let (verb, rest) = words.split_first().ok_or("nothing is said to happen")?;
    let end = rest.iter().position(|word| *word == "for").unwrap_or(rest.len());
    let (whom, wait) = rest.split_at(end);
    let wait = wait.split_first().map(|(_, wait)| time(&wait.join(" "))).transpose()?;
    let action = match (*verb, wait) {
        ("stop" | "freeze", thaw_after) => Action::Stop { thaw_after },
        ("kill", None) => Action::Kill,
        ("continue", None) => Action::Continue,
        ("kill" | "continue", Some(_)) => return Err(format!("'for' goes with a stop, not with '{verb}'")),
        _ => return Err(format!("'{verb}' is none of kill, stop, freeze and continue")),
    };
    let who = who(whom)?;
    if action == Action::Continue && matches!(who, Who::Leader(_) | Who::Follower(_)) {
        return Err("a stopped process can't be asked whether it leads, so it has to be named to continue".to_owned());
    }
    Ok(Fault { at: time(at)?, text: words.join(" "), action, who })
}

fn who(words: &[&str]) -> Result<Who, String> {
    match words {
        [] => Err("it is not said to whom it happens".to_owned()),
        ["all"] => Ok(Who::All),
        ["leader", "of", group] => Ok(Who::Leader((*group).to_owned())),
        ["follower", "of", group] => Ok(Who::Follower((*group).to_owned())),
        ["cluster", group] => Ok(Who::Cluster((*group).to_owned())),
        [name] if !RESERVED.contains(name) => Ok(Who::Process((*name).to_owned())),
        _ => Err(format!("'{}' does not say to whom it happens", words.join(" "))),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|why| format!("'{text}' is no time: {why}"))?;
    if time > TIME_MAX { Err(format!("'{text}' is longer than a week")) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ALLOWED, Action, Fault, Who, parse};

    const STOP: Action = Action::Stop { thaw_after: None };

    fn check(what: &str, action: Action, who: Who) {
        let expect = Fault { at: Duration::from_secs(20), text: what.to_owned(), action, who };
        assert_eq!(parse("20s", what), Ok(expect));
    }

    fn refused(at: &str, what: &str, why: &str) {
        let message = parse(at, what).expect_err("it is no fault");
        assert!(message.starts_with(&format!("'{what}' at '{at}' is no fault: ")), "{message}");
        assert!(message.contains(why), "{message}");
        assert!(message.ends_with(ALLOWED), "{message}");
    }

    #[test]
    fn every_verb_is_read() {
        let process = || Who::Process("a-n1".to_owned());
        check("kill a-n1", Action::Kill, process());
        check("stop a-n1", STOP, process());
        check("freeze a-n1", STOP, process());
        check("continue a-n1", Action::Continue, process());
    }

    #[test]
    fn everybody_who_can_be_hit_is_read() {
        check("kill supernode-1", Action::Kill, Who::Process("supernode-1".to_owned()));
        check("kill leader of a", Action::Kill, Who::Leader("a".to_owned()));
        check("kill leader of supernodes", Action::Kill, Who::Leader("supernodes".to_owned()));
        check("stop follower of b", STOP, Who::Follower("b".to_owned()));
        check("kill cluster a", Action::Kill, Who::Cluster("a".to_owned()));
        check("kill cluster supernodes", Action::Kill, Who::Cluster("supernodes".to_owned()));
        check("continue all", Action::Continue, Who::All);
    }

    #[test]
    fn a_stop_can_end_by_itself() {
        let after = |time: Duration| Action::Stop { thaw_after: Some(time) };
        check("stop a-n1 for 4s", after(Duration::from_secs(4)), Who::Process("a-n1".to_owned()));
        check("freeze leader of a for 250ms", after(Duration::from_millis(250)), Who::Leader("a".to_owned()));
        check("stop cluster a for 1m 30s", after(Duration::from_secs(90)), Who::Cluster("a".to_owned()));
        check("stop all for 1.5s", after(Duration::from_millis(1_500)), Who::All);
    }

    #[test]
    fn times_have_a_unit_and_blanks_do_not_matter() {
        for (at, time) in [("0s", 0), ("500ms", 500), ("20s", 20_000), ("1m30s", 90_000), ("1h 5s", 3_605_000)] {
            let fault = parse(at, "  kill   leader of\ta ").expect("it is a fault");
            assert_eq!((fault.at, fault.text.as_str()), (Duration::from_millis(time), "kill leader of a"), "{at}");
        }
    }

    #[test]
    fn bad_times_are_refused() {
        refused("20", "kill a-n1", "'20' is no time: time unit needed");
        refused("", "kill a-n1", "'' is no time: ");
        refused("soon", "kill a-n1", "'soon' is no time: ");
        refused("-1s", "kill a-n1", "'-1s' is no time: ");
        refused("8d", "kill a-n1", "'8d' is longer than a week");
        refused("500000000000years", "kill a-n1", "'500000000000years'");
        refused("1s", "stop a-n1 for", "'' is no time: ");
        refused("1s", "stop a-n1 for ever", "'ever' is no time: ");
        refused("1s", "stop a-n1 for 8d", "'8d' is longer than a week");
        refused("1s", "stop a-n1 for 1s for 2s", "'1s for 2s' is no time: ");
    }

    #[test]
    fn bad_verbs_are_refused() {
        refused("1s", "", "nothing is said to happen");
        refused("1s", "  ", "nothing is said to happen");
        refused("1s", "murder a-n1", "'murder' is none of kill, stop, freeze and continue");
        refused("1s", "murder a-n1 for 1s", "'murder' is none of");
        refused("1s", "Kill a-n1", "'Kill' is none of");
        refused("1s", "kill a-n1 for 4s", "'for' goes with a stop, not with 'kill'");
        refused("1s", "continue a-n1 for 4s", "'for' goes with a stop, not with 'continue'");
    }

    #[test]
    fn bad_targets_are_refused() {
        refused("1s", "kill", "it is not said to whom");
        refused("1s", "stop for 4s", "it is not said to whom");
        for words in ["leader", "leader of", "leader a", "follower of a b", "cluster", "supernodes", "a-n1 a-n2", "of"]
        {
            refused("1s", &format!("kill {words}"), &format!("'{words}' does not say to whom it happens"));
        }
    }

    #[test]
    fn to_continue_a_process_has_to_be_named() {
        refused("1s", "continue leader of a", "has to be named to continue");
        refused("1s", "continue follower of a", "has to be named to continue");
        check("continue cluster a", Action::Continue, Who::Cluster("a".to_owned()));
    }
}
