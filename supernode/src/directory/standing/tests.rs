//! Tickets on a group of one in memory: what is written for them, and what is not.

use futures::future::join_all;

use super::*;
use crate::directory::{Refusal, rows::Weight, testing::formed, tickets::Told};

fn issue(principal: &str) -> Issue {
    let weight = Weight { big: false, units: 1, bytes: 0 };
    let principal = principal.parse().expect("a good name");
    Issue { secret: 9, principal, what: [7; 16], weight, home: None }
}

#[tokio::test]
async fn a_principal_that_has_all_its_tickets_causes_no_more_writes() {
    let directory = formed().await;
    let asked = (0..OWNED_MAX).map(|_| directory.issue_ticket(rand::random(), issue("p")));
    for answer in join_all(asked).await {
        let answer = answer.expect("applied");
        assert!(matches!(answer, Answer::Ticket(Told::Issued(_))), "{answer:?}");
    }
    let before = directory.group().applied_index();
    for _ in 0..100 {
        let answer = directory.issue_ticket(rand::random(), issue("p")).await.expect("refused");
        assert_eq!(answer, Answer::Refused(Refusal::TicketsOfOne));
    }
    assert_eq!(directory.group().applied_index(), before, "a flood of them costs nothing but the answers");
    let answer = directory.issue_ticket(rand::random(), issue("q")).await.expect("applied");
    assert_eq!(answer, Answer::Ticket(Told::Issued(before + 1)));
}

#[tokio::test]
async fn the_next_ticket_of_every_principal_is_seen() {
    let directory = formed().await;
    let mut names: Vec<String> = (0..1100).map(|n| format!("p{n}")).collect();
    for answer in join_all(names.iter().map(|name| directory.issue_ticket(rand::random(), issue(name)))).await {
        answer.expect("applied");
    }
    let heads = directory.standing_tickets().expect("a map").heads;
    let seen: Vec<String> = heads.iter().map(|head| head.row.principal.to_string()).collect();
    names.sort();
    assert_eq!(seen, names);
}
