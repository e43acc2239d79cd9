//! The Range header: ranges of bytes, resolved against a length (RFC 9110, section 14).

use std::ops::Range;

/// The most ranges of one request: what a reader of documents or archives asks for at once. A header with more is ignored, as
/// RFC 9110, 14.2 allows against requests that cost more to answer than to ask.
pub const RANGES_MAX: usize = 16;

/// What a Range header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no header, another unit, a malformed one or too many ranges, all of which a server may ignore.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// These parts, at least two, none of which overlaps another.
    Parts(Vec<Range<u64>>),
    /// No byte of the file.
    Unsatisfiable,
}

/// Resolves a Range header against a file of `size` bytes.
///
/// Ranges that lie outside the file are left out while another one lies in it. Ranges that overlap are merged, and then all are
/// given in the order of the file (RFC 9110, 15.3.7.2); otherwise they keep the order of the request.
#[must_use]
pub fn resolve(header: Option<&str>, size: u64) -> Wanted {
    let Some(specs) = header.and_then(units) else { return Wanted::Whole };
    let mut parts = Vec::new();
    for (number, spec) in specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()).enumerate() {
        match one(spec, size) {
            Some(_) if number == RANGES_MAX => return Wanted::Whole,
            Some(part) => parts.push(part),
            None => return Wanted::Whole,
        }
    }
    if parts.is_empty() {
        return Wanted::Whole;
    }
    parts.retain(|part| !part.is_empty());
    let mut parts = merged(parts);
    match parts.len() {
        0 => Wanted::Unsatisfiable,
        1 => Wanted::Part(parts.remove(0)),
        _ => Wanted::Parts(parts),
    }
}

/// Gives what follows the unit; units are compared without regard to case (RFC 9110, 14.1).
fn units(header: &str) -> Option<&str> {
    let (unit, specs) = header.split_once('=')?;
    unit.trim().eq_ignore_ascii_case("bytes").then_some(specs)
}

/// Resolves one range: empty if it lies outside the file, none if it is malformed.
fn one(spec: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", suffix) => Some(size.saturating_sub(number(suffix)?)..size),
        (first, "") => Some(number(first)?.min(size)..size),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(size)..last.saturating_add(1).min(size))
        }
    }
}

/// Reads digits; a number that is too large for a position is larger than any file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn merged(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = parts.clone();
    sorted.sort_by_key(|part| part.start);
    if sorted.windows(2).all(|pair| pair[0].end <= pair[1].start) {
        return parts;
    }
    let mut merged: Vec<Range<u64>> = Vec::new();
    for part in sorted {
        match merged.last_mut() {
            Some(last) if part.start < last.end => last.end = last.end.max(part.end),
            Some(_) | None => merged.push(part),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_resolve_as_the_rfc_says() {
        let parts = |parts: &[Range<u64>]| Wanted::Parts(parts.to_vec());
        for (header, size, wanted) in [
            ("bytes=0-0", 10, Wanted::Part(0..1)),
            ("bytes=2-", 10, Wanted::Part(2..10)),
            ("bytes=2-99", 10, Wanted::Part(2..10)),
            ("bytes=-3", 10, Wanted::Part(7..10)),
            ("bytes=-99", 10, Wanted::Part(0..10)),
            ("Bytes=0-0", 10, Wanted::Part(0..1)),
            ("bytes=10-", 10, Wanted::Unsatisfiable),
            ("bytes=-0", 10, Wanted::Unsatisfiable),
            ("bytes=-5", 0, Wanted::Unsatisfiable),
            ("bytes=0-", 0, Wanted::Unsatisfiable),
            ("bytes=5-4", 10, Wanted::Whole),
            ("bytes=", 10, Wanted::Whole),
            ("bytes=,", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("items=0-1", 10, Wanted::Whole),
            ("bytes=a-b", 10, Wanted::Whole),
            ("bytes=+1-2", 10, Wanted::Whole),
            ("bytes=0-18446744073709551615", 10, Wanted::Part(0..10)),
            ("bytes=0-99999999999999999999999", 10, Wanted::Part(0..10)),
            ("bytes=99999999999999999999999-", 10, Wanted::Unsatisfiable),
            ("bytes=0-1,3-4", 10, parts(&[0..2, 3..5])),
            ("bytes= 0-1 , ,3-4,", 10, parts(&[0..2, 3..5])),
            ("bytes=8-,0-1", 10, parts(&[8..10, 0..2])),
            ("bytes=0-1,2-3", 10, parts(&[0..2, 2..4])),
            ("bytes=0-1,50-60", 10, Wanted::Part(0..2)),
            ("bytes=50-60,-0", 10, Wanted::Unsatisfiable),
            ("bytes=4-6,0-4", 10, Wanted::Part(0..7)),
            ("bytes=8-9,4-6,0-4", 10, parts(&[0..7, 8..10])),
            ("bytes=0-,-1", 10, Wanted::Part(0..10)),
            ("bytes=0-1,x", 10, Wanted::Whole),
        ] {
            assert_eq!(resolve(Some(header), size), wanted, "{header} of {size}");
        }
        assert_eq!(resolve(None, 10), Wanted::Whole);
    }

    #[test]
    fn more_ranges_than_the_limit_are_ignored() {
        let header = |count: u64| {
            let specs: Vec<String> = (0..count).map(|n| format!("{}-{}", 2 * n, 2 * n)).collect();
            format!("bytes={}", specs.join(","))
        };
        let most = resolve(Some(&header(RANGES_MAX as u64)), 1000);
        assert!(matches!(most, Wanted::Parts(parts) if parts.len() == RANGES_MAX));
        assert_eq!(resolve(Some(&header(RANGES_MAX as u64 + 1)), 1000), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn parts_cover_what_was_asked_for_and_nothing_twice(asked in proptest::collection::vec((0u64..40, 0u64..15), 1..RANGES_MAX), size in 1u64..40) {
            let specs: Vec<String> = asked.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
            let mut times = [0; 64];
            match resolve(Some(&format!("bytes={}", specs.join(","))), size) {
                Wanted::Whole => prop_assert!(false, "it is well formed"),
                Wanted::Unsatisfiable => {}
                Wanted::Part(part) => part.for_each(|at| times[at as usize] += 1),
                Wanted::Parts(parts) => parts.into_iter().flatten().for_each(|at| times[at as usize] += 1),
            }
            for at in 0..64 {
                let wanted = at < size && asked.iter().any(|(first, more)| (*first..=first + more).contains(&at));
                prop_assert_eq!(times[at as usize], i32::from(wanted), "byte {}", at);
            }
        }
    }
}
