//! Content-Disposition of a file: under which name it is saved, and whether a browser may show it at all.
//!
//! What clients stored can be a page with scripts. `sandbox` keeps those from running; what no page needs to show is moreover
//! only ever saved.
//!
//! # Source
//! RFC 6266 (the header), RFC 8187 (names beyond ASCII).

use flotilla_api::Key;
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters of an `attr-char` (RFC 8187, section 3.2.1); all others are encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Media types that browsers show without running anything; whole ones, and families.
const SHOWN: [&str; 5] = ["text/plain", "text/csv", "text/markdown", "application/json", "application/pdf"];
const SHOWN_FAMILIES: [&str; 3] = ["image/", "audio/", "video/"];
/// A picture that can hold scripts.
const SVG: &str = "image/svg";

/// Adds the header for a file whose media type stands in `headers` already.
pub fn add(headers: &mut HeaderMap, key: &Key) {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let how = if is_shown(media_type) { "inline" } else { "attachment" };
    let value = HeaderValue::try_from(how.to_owned() + &file_name(key)).expect("names are quoted or encoded ASCII");
    headers.insert(CONTENT_DISPOSITION, value);
}

fn is_shown(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let family = SHOWN_FAMILIES.iter().any(|family| essence.starts_with(family)) && !essence.starts_with(SVG);
    family || SHOWN.contains(&essence.as_str())
}

/// The last segment of the key: in quotes with what older clients can't read replaced, and once more encoded if need be.
fn file_name(key: &Key) -> String {
    let name = key.as_str().rsplit('/').next().unwrap_or_default();
    if name.is_empty() {
        return String::new();
    }
    let plain = |c: char| (c == ' ' || c.is_ascii_graphic()) && !matches!(c, '"' | '\\' | '%');
    let quoted: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    match quoted == name {
        true => format!("; filename=\"{quoted}\""),
        false => format!("; filename=\"{quoted}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ENCODED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, media_type: &'static str, expect: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        add(&mut headers, &key.parse().expect("a good key"));
        assert_eq!(headers[CONTENT_DISPOSITION], expect);
    }

    #[test]
    fn names_are_the_last_segment_quoted_and_encoded() {
        check("a/b/photo.png", "image/png", "inline; filename=\"photo.png\"");
        check("a/", "image/png", "inline");
        check(
            "x/a \"b\"\\c;d.bin",
            "a/b",
            "attachment; filename=\"a _b__c;d.bin\"; filename*=UTF-8''a%20%22b%22%5Cc%3Bd.bin",
        );
        check(
            "na\u{ef}ve \u{20ac}.txt",
            "text/plain",
            "inline; filename=\"na_ve _.txt\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt",
        );
        check("100%.txt", "text/plain", "inline; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt");
    }

    #[test]
    fn what_could_run_scripts_is_only_saved() {
        for media_type in [
            "text/html",
            "TEXT/HTML; charset=utf-8",
            "image/svg+xml",
            "application/xhtml+xml",
            "text/xml",
            "",
            "application/octet-stream",
        ] {
            check("a", media_type, "attachment; filename=\"a\"");
        }
        for media_type in ["Image/PNG", "text/plain; charset=utf-8", "video/mp4", "application/pdf", "application/json"]
        {
            check("a", media_type, "inline; filename=\"a\"");
        }
    }
}
