//! Preconditions, header by header.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use super::*;

fn lines(texts: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for text in texts {
        headers.append(header::IF_MATCH, HeaderValue::from_static(text));
    }
    headers
}

fn tag(weak: bool, text: &str) -> EntityTag {
    EntityTag { weak, text: text.to_owned() }
}

#[test]
fn lists_are_read_over_all_lines() {
    let read = |texts: &[&'static str]| etag_list(&lines(texts), &header::IF_MATCH).map_err(|error| error.code);
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&["*"]), Ok(Some(EtagList::Any)));
    let two = EtagList::Tags(vec![tag(false, "a,b"), tag(true, "c")]);
    assert_eq!(read(&["\"a,b\", W/\"c\""]), Ok(Some(two.clone())));
    assert_eq!(read(&["\"a,b\"", ",W/\"c\","]), Ok(Some(two)));
    for bad in ["", "a", "\"a", "\"a\" \"b\"", "*, \"a\"", "w/\"a\"", "*x", ","] {
        assert_eq!(read(&[bad]), Err(Code::HeaderInvalid), "{bad}");
    }
}

#[test]
fn lists_are_bounded() {
    let list = |count: usize| vec!["\"x\""; count].join(",");
    let read = |text: String| {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::try_from(text).expect("visible ASCII"));
        etag_list(&headers, &header::IF_MATCH).map_err(|error| error.code)
    };
    assert!(read(list(ETAGS_MAX)).is_ok());
    assert_eq!(read(list(ETAGS_MAX + 1)), Err(Code::HeaderInvalid));
    assert_eq!(read(format!("\"{}\"", "x".repeat(ETAG_LEN_MAX + 1))), Err(Code::HeaderInvalid));
}

#[test]
fn weak_etags_match_only_where_the_weak_comparison_holds() {
    let list = EtagList::Tags(vec![tag(true, "a")]);
    assert!(!list.names_strongly("a"));
    assert!(list.names_weakly("a"));
}

#[test]
fn changes_under_a_date_are_refused() {
    let mut headers = HeaderMap::new();
    headers.insert(header::IF_UNMODIFIED_SINCE, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!(write_conditions(&headers).map_err(|error| error.code), Err(Code::HeaderInvalid));
}

#[test]
fn reads_evaluate_in_the_order_of_the_rfc() {
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let named = |text: &str| Some(EtagList::Tags(vec![tag(false, text)]));
    let none = ReadConditions::default;
    for (conditions, verdict) in [
        (none(), ReadVerdict::Send),
        (ReadConditions { if_match: named("e"), ..none() }, ReadVerdict::Send),
        (ReadConditions { if_match: named("x"), ..none() }, ReadVerdict::Failed),
        (ReadConditions { if_match: named("x"), if_none_match: named("e"), ..none() }, ReadVerdict::Failed),
        (ReadConditions { if_match: named("e"), if_none_match: named("e"), ..none() }, ReadVerdict::NotModified),
        (ReadConditions { if_match: named("e"), if_unmodified_since: Some(at(9)), ..none() }, ReadVerdict::Send),
        (ReadConditions { if_unmodified_since: Some(at(9)), ..none() }, ReadVerdict::Failed),
        (ReadConditions { if_unmodified_since: Some(at(10)), ..none() }, ReadVerdict::Send),
        (ReadConditions { if_none_match: named("x"), if_modified_since: Some(at(10)), ..none() }, ReadVerdict::Send),
        (ReadConditions { if_modified_since: Some(at(10)), ..none() }, ReadVerdict::NotModified),
        (ReadConditions { if_modified_since: Some(at(9)), ..none() }, ReadVerdict::Send),
        (ReadConditions { if_none_match: Some(EtagList::Any), ..none() }, ReadVerdict::NotModified),
    ] {
        assert_eq!(conditions.evaluate("e", at(10)), verdict, "{conditions:?}");
    }
}
