//! Tickets as clients see them: places in the queue that outlive connections and supernodes; routes under `/v1/tickets`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ClusterName, ParseError, RequestId},
    route,
};

/// The longest that one look at a ticket waits for its turn, in seconds: below what proxies and clients call a standstill.
pub const TICKET_WAIT_MAX_S: u64 = 60;

/// A ticket: its number in the order of all, and what nobody else knows of it.
///
/// # Shape
/// As text: 32 lower hex digits, number then secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TicketId {
    /// Its number: of two tickets of a principal the lower one has its turn first.
    pub number: u64,
    /// Random bits, so that a number alone says nothing.
    pub secret: u64,
}

impl TicketId {
    /// The Idempotency-Key of a request under this ticket that brings none: sent again, it is still made once.
    #[must_use]
    pub fn idempotency_key(self) -> RequestId {
        format!("t-{self}").parse().expect("a letter, a dash and 32 hex digits are an id")
    }

    /// The path of the ticket, for people and programs that look at it.
    #[must_use]
    pub fn to_path(self) -> String {
        format!("{}/{self}", route::TICKETS)
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.number, self.secret)
    }
}

impl FromStr for TicketId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new("ticket", text);
        let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if text.len() != 32 || !digits {
            return Err(wrong());
        }
        let hex = |part: &str| u64::from_str_radix(part, 16).map_err(|_| wrong());
        Ok(Self { number: hex(&text[..16])?, secret: hex(&text[16..])? })
    }
}

impl TryFrom<String> for TicketId {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<TicketId> for String {
    fn from(id: TicketId) -> Self {
        id.to_string()
    }
}

/// Where a ticket is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketState {
    /// Its turn has not come.
    Waiting,
    /// A place is held for the request, for some seconds.
    Granted,
    /// The request was sent under it; the same one may be sent again, and is made once.
    Used,
}

/// A ticket as it stands: the body of a 202, and of `GET /v1/tickets/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketAnswer {
    /// The ticket.
    pub id: TicketId,
    /// Where it is.
    pub state: TicketState,
    /// Its place among the tickets of its principal that wait, from 1 on; none once its turn has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// How long it will wait, as far as can be told, in milliseconds; none while nothing is let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The cluster that has a place for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// When its turn came: a number that grows with every turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_has_one_text() {
        let id = TicketId { number: 0x2a, secret: u64::MAX };
        let text = "000000000000002affffffffffffffff";
        assert_eq!((id.to_string().as_str(), text.parse()), (text, Ok(id)));
        assert_eq!(id.to_path(), format!("/v1/tickets/{text}"));
        assert_eq!(id.idempotency_key().as_str(), format!("t-{text}"));
        for bad in ["", "2a", &text[1..], &text.to_uppercase(), &format!("{text}0"), &text.replace('2', "+")] {
            assert!(bad.parse::<TicketId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_names_only_what_is_known() {
        let id = TicketId { number: 1, secret: 2 };
        let state = TicketState::Waiting;
        let waiting = TicketAnswer { id, state, position: Some(3), wait_ms: None, cluster: None, granted: None };
        let json = serde_json::to_string(&waiting).expect("strings and numbers");
        assert_eq!(json, r#"{"id":"00000000000000010000000000000002","state":"waiting","position":3}"#);
        assert_eq!(serde_json::from_str::<TicketAnswer>(&json).expect("it was written so"), waiting);
    }
}
