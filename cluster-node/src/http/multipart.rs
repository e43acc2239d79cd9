//! Several ranges of a file as one body: `multipart/byteranges` (RFC 9110, section 14.6). Pure.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;

/// The form of one answer with several ranges.
#[derive(Debug, Clone)]
pub struct Multipart {
    boundary: String,
    media_type: String,
    size: u64,
}

impl Multipart {
    /// Describes ranges of a file of `size` bytes. `chance` makes a boundary that stands in no content but by a chance of 2^-128.
    #[must_use]
    pub fn new(chance: u128, media_type: &str, size: u64) -> Self {
        Self { boundary: format!("flotilla-{chance:032x}"), media_type: media_type.to_owned(), size }
    }

    /// Gives the Content-Type of the whole answer.
    #[must_use]
    pub fn content_type(&self) -> HeaderValue {
        let text = format!("multipart/byteranges; boundary={}", self.boundary);
        HeaderValue::try_from(text).expect("hex is visible ASCII")
    }

    /// Gives what stands before a part's bytes.
    #[must_use]
    pub fn head(&self, part: &Range<u64>) -> Bytes {
        let Self { boundary, media_type, size } = self;
        let (first, last) = (part.start, part.end - 1);
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n"
        );
        head.into()
    }

    /// Gives what stands behind the last part.
    #[must_use]
    pub fn tail(&self) -> Bytes {
        format!("\r\n--{}--\r\n", self.boundary).into()
    }

    /// Gives the length of the whole body.
    #[must_use]
    pub fn length(&self, parts: &[Range<u64>]) -> u64 {
        let of_part = |part: &Range<u64>| self.head(part).len() as u64 + (part.end - part.start);
        parts.iter().map(of_part).sum::<u64>() + self.tail().len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_the_rfc_and_its_length_is_known() {
        let multipart = Multipart::new(0xabc, "text/plain", 100);
        assert_eq!(multipart.content_type(), format!("multipart/byteranges; boundary=flotilla-{:032x}", 0xabc));
        let parts = [0..2, 98..100];
        let mut body = Vec::new();
        for part in &parts {
            body.extend_from_slice(&multipart.head(part));
            body.extend_from_slice(b"xy");
        }
        body.extend_from_slice(&multipart.tail());
        let line = format!("--flotilla-{:032x}", 0xabc);
        let wanted = format!(
            "\r\n{line}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/100\r\n\r\nxy\
             \r\n{line}\r\nContent-Type: text/plain\r\nContent-Range: bytes 98-99/100\r\n\r\nxy\r\n{line}--\r\n"
        );
        assert_eq!(String::from_utf8(body), Ok(wanted.clone()));
        assert_eq!(multipart.length(&parts), wanted.len() as u64);
    }
}
