//! What a server's settings say of its clients' connections, checked; the same for nodes and supernodes.

use std::{ops::RangeInclusive, time::Duration};

use flotilla_http_server::Limits;

use crate::{Error, Period};

/// Below a second a packet that is lost once would end a connection; above ten minutes the limit is none.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// A process with fewer connections serves nobody; one with more needs other buffers.
const CONNECTIONS: RangeInclusive<usize> = 1..=65_536;

/// The default of `header_timeout`.
#[must_use]
pub fn header_timeout() -> Period {
    Period(Limits::default().header_read)
}

/// The default of `idle_timeout`.
#[must_use]
pub fn idle_timeout() -> Period {
    Period(Limits::default().idle)
}

/// The default of `stall_timeout`.
#[must_use]
pub fn stall_timeout() -> Period {
    Period(Limits::default().body_stall)
}

/// The default of `drain_timeout`.
#[must_use]
pub fn drain_timeout() -> Period {
    Period(Limits::default().drain)
}

/// The default of `connections_max`.
#[must_use]
pub fn connections_max() -> usize {
    Limits::default().connections
}

/// Makes the limits of the public listener.
///
/// # Errors
/// [`Error::Setting`], naming the setting and its bounds.
pub fn checked(
    header: Period,
    idle: Period,
    stall: Period,
    drain: Period,
    connections: usize,
) -> Result<Limits, Error> {
    let timeouts =
        [("header_timeout", header), ("idle_timeout", idle), ("stall_timeout", stall), ("drain_timeout", drain)];
    for (name, told) in timeouts {
        if !TIMEOUTS.contains(&told.0) {
            return Err(Error::Setting { name, why: format!("is from 1s to 10min, not {told}") });
        }
    }
    if !CONNECTIONS.contains(&connections) {
        let why = format!("is a number from 1 to {}, not {connections}", CONNECTIONS.end());
        return Err(Error::Setting { name: "connections_max", why });
    }
    Ok(Limits {
        header_read: header.0,
        idle: idle.0,
        body_stall: stall.0,
        write_stall: stall.0,
        drain: drain.0,
        connections,
        ..Limits::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_are_named() {
        let seconds = Period::secs;
        let check = |header, idle, stall, drain, connections| match checked(header, idle, stall, drain, connections) {
            Ok(_) => "fine",
            Err(Error::Setting { name, .. }) => name,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(
            check(header_timeout(), idle_timeout(), stall_timeout(), drain_timeout(), connections_max()),
            "fine"
        );
        assert_eq!(check(seconds(0), seconds(1), seconds(1), seconds(1), 1), "header_timeout");
        assert_eq!(check(seconds(1), seconds(1), seconds(601), seconds(1), 1), "stall_timeout");
        assert_eq!(check(seconds(1), seconds(1), seconds(1), seconds(0), 1), "drain_timeout");
        assert_eq!(check(seconds(1), seconds(0), seconds(1), seconds(1), 1), "idle_timeout");
        assert_eq!(check(seconds(1), seconds(1), seconds(1), seconds(1), 0), "connections_max");
    }
}
