//! Tests of the memory of nonces, through real signatures.

use flotilla_api::{
    header::PEER,
    peer::auth::{FleetSecret, sign, verify},
};
use http::{HeaderMap, Method};

use super::*;

fn signature(caller: &str, boot: u64, counter: u64, time_ms: u64) -> Signature {
    let secret = FleetSecret::new("s");
    let mut headers = HeaderMap::new();
    let text = sign(&secret, &Method::GET, "/", &headers, caller, "t", time_ms, (boot, counter));
    headers.insert(PEER, text.parse().expect("a header value"));
    verify(&secret, &Method::GET, "/", &headers, "t", time_ms).expect("our own signature")
}

fn admit(nonces: &mut Nonces, boot: u64, counter: u64, time_ms: u64) -> Result<(), Refused> {
    nonces.admit(&signature("a", boot, counter, time_ms), Instant::now())
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_taken_once_in_any_order_within_the_span() {
    let mut nonces = Nonces::default();
    for counter in [SPAN * 3, SPAN * 3 + 7, SPAN * 3 + 2, SPAN * 2 + 8, SPAN * 4 + 1, SPAN * 3 + 3] {
        assert_eq!(admit(&mut nonces, 1, counter, 1), Ok(()), "{counter}");
        assert_eq!(admit(&mut nonces, 1, counter, 1), Err(Refused::Seen), "{counter}");
    }
    assert_eq!(admit(&mut nonces, 1, SPAN * 3 + 1, 1), Err(Refused::Seen), "too far behind to be told from a used one");
    assert_eq!(admit(&mut nonces, 1, u64::MAX, 1), Ok(()), "a leap clears the window");
    assert_eq!(admit(&mut nonces, 1, u64::MAX - SPAN + 1, 1), Ok(()));
    assert_eq!(admit(&mut nonces, 1, u64::MAX - SPAN, 1), Err(Refused::Seen));
}

#[tokio::test(start_paused = true)]
async fn a_window_agrees_with_a_plain_set() {
    let mut nonces = Nonces::default();
    let mut seen = std::collections::HashSet::new();
    let (mut highest, mut state) = (0u64, 7u64);
    for step in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let counter = step * 40 + (state >> 33) % (SPAN + SPAN / 8);
        let near = highest.saturating_sub(counter) < SPAN;
        let expected = if near && seen.insert(counter) { Ok(()) } else { Err(Refused::Seen) };
        assert_eq!(admit(&mut nonces, 1, counter, 1), expected, "{counter} after {highest}");
        highest = highest.max(counter);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_start_that_was_pushed_out_cannot_be_replayed() {
    let mut nonces = Nonces::default();
    for boot in 0..=BOOTS_PER_CALLER_MAX as u64 {
        assert_eq!(admit(&mut nonces, boot, 5, 100 + boot), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(admit(&mut nonces, 0, 5, 100), Err(Refused::Seen), "boot 0 is forgotten, its time is not");
    assert_eq!(admit(&mut nonces, 99, 1, 101), Ok(()), "a new start with a later time is taken");
    assert_eq!(nonces.callers["a"].boots.len(), BOOTS_PER_CALLER_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_full_memory_refuses_new_callers_until_old_ones_are_forgotten() {
    let mut nonces = Nonces::default();
    let take =
        |nonces: &mut Nonces, caller: usize| nonces.admit(&signature(&format!("c{caller}"), 1, 1, 1), Instant::now());
    for caller in 0..CALLERS_MAX {
        assert_eq!(take(&mut nonces, caller), Ok(()));
    }
    tokio::time::advance(FORGET_AFTER).await;
    assert_eq!(take(&mut nonces, CALLERS_MAX), Err(Refused::Crowded), "a replay would still be valid");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(take(&mut nonces, CALLERS_MAX), Ok(()));
    assert_eq!(nonces.callers.len(), 1);
}
