//! The Range header: one range of bytes, resolved against a length (RFC 9110, section 14).

use std::ops::Range;

/// What a Range header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no header, another unit, a malformed one or several ranges, all of which a server may ignore.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// No byte of the file.
    Unsatisfiable,
}

/// Resolves a Range header against a file of `size` bytes.
#[must_use]
pub fn resolve(header: Option<&str>, size: u64) -> Wanted {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Wanted::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::Whole };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            None => Wanted::Whole,
            Some(0) => Wanted::Unsatisfiable,
            Some(_) if size == 0 => Wanted::Unsatisfiable,
            Some(length) => Wanted::Part(size.saturating_sub(length)..size),
        },
        (first, last) => {
            let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match (number(first), last) {
                (Some(first), Some(last)) if first <= last => match first < size {
                    true => Wanted::Part(first..last.saturating_add(1).min(size)),
                    false => Wanted::Unsatisfiable,
                },
                _ => Wanted::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_as_the_rfc_says() {
        for (header, size, wanted) in [
            ("bytes=0-0", 10, Wanted::Part(0..1)),
            ("bytes=2-", 10, Wanted::Part(2..10)),
            ("bytes=2-99", 10, Wanted::Part(2..10)),
            ("bytes=-3", 10, Wanted::Part(7..10)),
            ("bytes=-99", 10, Wanted::Part(0..10)),
            ("bytes=10-", 10, Wanted::Unsatisfiable),
            ("bytes=-0", 10, Wanted::Unsatisfiable),
            ("bytes=-5", 0, Wanted::Unsatisfiable),
            ("bytes=0-", 0, Wanted::Unsatisfiable),
            ("bytes=5-4", 10, Wanted::Whole),
            ("bytes=0-1,3-4", 10, Wanted::Whole),
            ("items=0-1", 10, Wanted::Whole),
            ("bytes=a-b", 10, Wanted::Whole),
            ("bytes=0-18446744073709551615", 10, Wanted::Part(0..10)),
        ] {
            assert_eq!(resolve(Some(header), size), wanted, "{header} of {size}");
        }
        assert_eq!(resolve(None, 10), Wanted::Whole);
    }
}
