//! What a test asks of failpoints, read from one text; nothing is set before all of it makes sense.

use std::sync::atomic::Ordering;

use super::{ARMED, CRASH, POINTS, Point, Use, index_of};

/// Tasks of the `fail` crate that wait or do nothing; every place takes them, but for planted faults.
const WAITS: &[&str] = &["off", "sleep", "delay", "pause", "yield"];

/// Why a text sets no failpoints up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A part of it has no name or no action.
    #[error("'{0}' is not NAME=ACTION")]
    Malformed(String),
    /// There is no such point.
    #[error("there is no failpoint '{0}'")]
    Unknown(String),
    /// The action is none, or makes no sense at this place.
    #[error("failpoint '{name}' does not take '{action}': {why}")]
    Action {
        /// The point.
        name: &'static str,
        /// What it was to do.
        action: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Sets failpoints up: `NAME=ACTION;NAME=ACTION`. An action is `[P%][N*]TASK[(ARGUMENT)]`, or several of them with `->` between:
/// one that is not due, by chance or because it was N times, leaves the turn to the next.
///
/// # Errors
/// [`Error`]; nothing was changed.
pub fn set(text: &str) -> Result<(), Error> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let parsed = parts.map(parse).collect::<Result<Vec<_>, _>>()?;
    for (at, actions) in parsed {
        let name = POINTS[at].name;
        fail::cfg(name, &actions).map_err(|why| Error::Action { name, action: actions.replace(CRASH, ""), why })?;
        ARMED[at].store(true, Ordering::Release);
    }
    Ok(())
}

/// Reads one part: the point, and its actions as the `fail` crate takes them.
fn parse(part: &str) -> Result<(usize, String), Error> {
    let (name, actions) = part.split_once('=').ok_or_else(|| Error::Malformed(part.to_owned()))?;
    let at = index_of(name.trim()).ok_or_else(|| Error::Unknown(name.trim().to_owned()))?;
    let actions = actions.split("->").map(|action| translate(&POINTS[at], action.trim()));
    Ok((at, actions.collect::<Result<Vec<_>, _>>()?.join("->")))
}

/// Makes a crash of a panic: a task that panics ends alone, and the process would go on without it.
pub(super) fn translate(point: &Point, action: &str) -> Result<String, Error> {
    let refuse = |why: String| Err(Error::Action { name: point.name, action: action.to_owned(), why });
    let head = action.split_once('(').map_or(action, |(head, _)| head);
    let task = head.rsplit(['%', '*']).next().unwrap_or(head);
    let when = &head[..head.len() - task.len()];
    if let Err(why) = check_when(when) {
        return refuse(why);
    }
    if head.len() < action.len() && !action.ends_with(')') {
        return refuse("its parentheses do not match".to_owned());
    }
    let taken = match (task, point.takes) {
        ("off", _) => true,
        ("return", takes) => takes != Use::Pass,
        (_, Use::Planted) => false,
        ("panic", _) => return Ok(format!("{when}return({CRASH})")),
        (task, _) => WAITS.contains(&task),
    };
    let needs_time = matches!(task, "sleep" | "delay");
    let time = action[head.len()..].strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    match (taken, needs_time, time.map(str::parse::<u64>)) {
        (false, ..) => refuse(format!("it takes {}", point.actions().join(", "))),
        (true, true, None | Some(Err(_))) => refuse(format!("{task} takes milliseconds, as {task}(1000)")),
        (true, ..) => Ok(action.to_owned()),
    }
}

/// Checks how often an action is due: `[P%][N*]`.
fn check_when(when: &str) -> Result<(), String> {
    let (chance, count) = when.split_once('%').map_or((None, when), |(chance, count)| (Some(chance), count));
    if chance.is_some_and(|chance| !chance.parse::<f32>().is_ok_and(|percent| (0.0..=100.0).contains(&percent))) {
        return Err("a chance is 0% to 100%".to_owned());
    }
    match count.strip_suffix('*') {
        None if count.is_empty() => Ok(()),
        Some(count) if count.parse::<u32>().is_ok() => Ok(()),
        None | Some(_) => Err("a count is a number, as in 3*".to_owned()),
    }
}
