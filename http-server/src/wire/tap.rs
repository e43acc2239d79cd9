//! Follows the framing of the requests on one connection, byte by byte, and raises suspicion at what hyper lets pass.
//!
//! Hyper drops a Content-Length that stands beside a Transfer-Encoding and merges repeated ones before any handler sees the
//! head, so only the bytes themselves tell. The tap changes nothing; it is stricter than hyper, and once it has lost its place
//! it stays suspicious, so that a difference between the two readers ends the connection instead of being used.

use std::sync::Arc;

use crate::framing::Suspicion;

/// How much of a line is kept: `Transfer-Encoding: chunked` and any Content-Length fit; a longer line of these is refused.
const LINE_KEPT: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RequestLine,
    Header,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    Lost,
}

/// The start of the line being read, its length without the line feed, and its last byte.
#[derive(Debug)]
struct Line {
    kept: [u8; LINE_KEPT],
    length: usize,
    last: u8,
}

impl Line {
    const EMPTY: Line = Line { kept: [0; LINE_KEPT], length: 0, last: 0 };

    /// Takes bytes up to a line feed; tells how many, and whether the line is complete.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if let Some(room) = self.kept.get_mut(self.length..) {
            let count = room.len().min(part.len());
            room[..count].copy_from_slice(&part[..count]);
        }
        self.length = self.length.saturating_add(part.len());
        self.last = part.last().copied().unwrap_or(self.last);
        (part.len() + usize::from(end.is_some()), end.is_some())
    }

    fn crlf(&self) -> bool {
        self.last == b'\r'
    }

    fn text(&self) -> &[u8] {
        let length = self.length - usize::from(self.length > 0 && self.crlf());
        &self.kept[..length.min(LINE_KEPT)]
    }

    fn cut(&self) -> bool {
        self.length > LINE_KEPT
    }
}

#[derive(Debug)]
pub(super) struct Tap {
    state: State,
    line: Line,
    lengths: u8,
    codings: u8,
    body: u64,
    /// Heads that are complete: the number of the request whose head comes next.
    heads: u64,
    suspicion: Arc<Suspicion>,
}

impl Tap {
    pub(super) fn new(suspicion: Arc<Suspicion>) -> Self {
        Self { state: State::RequestLine, line: Line::EMPTY, lengths: 0, codings: 0, body: 0, heads: 0, suspicion }
    }

    /// Tells whether every request that began has been received whole.
    pub(super) fn between_requests(&self) -> bool {
        self.state == State::RequestLine && self.line.length == 0
    }

    /// Tells whether the client owes the rest of a head: one that began, or that of its first request.
    pub(super) fn awaits_head(&self) -> bool {
        match self.state {
            State::RequestLine => self.heads == 0 || self.line.length > 0,
            State::Header => true,
            State::Body(_)
            | State::ChunkSize
            | State::ChunkData(_)
            | State::ChunkEnd
            | State::Trailer
            | State::Lost => false,
        }
    }

    /// Follows the next bytes.
    pub(super) fn observe(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match self.state {
                State::Lost => return,
                State::Body(left) => {
                    let taken = span(left, bytes);
                    self.state =
                        if left > taken as u64 { State::Body(left - taken as u64) } else { State::RequestLine };
                    taken
                }
                State::ChunkData(left) => {
                    let taken = span(left, bytes);
                    self.state =
                        if left > taken as u64 { State::ChunkData(left - taken as u64) } else { State::ChunkEnd };
                    taken
                }
                State::RequestLine | State::Header | State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    let (taken, complete) = self.line.take(bytes);
                    if complete {
                        self.state = self.after_line();
                        self.line = Line::EMPTY;
                    }
                    taken
                }
            };
            if self.state == State::Lost {
                // A body that breaks off is hyper's to report; it is the requests behind it that can't be trusted.
                self.suspicion.raise(self.heads);
            }
            bytes = &bytes[taken..];
        }
    }

    fn after_line(&mut self) -> State {
        let empty = self.line.text().is_empty();
        match self.state {
            // RFC 9112, section 2.2, lets a server take a bare line feed as a line's end; a proxy in front may not have done so.
            State::RequestLine | State::Header if !self.line.crlf() => State::Lost,
            State::RequestLine if empty => State::RequestLine,
            State::RequestLine => {
                (self.lengths, self.codings, self.body) = (0, 0, 0);
                State::Header
            }
            State::Header if empty => self.after_head(),
            State::Header => self.header(),
            // Within a chunked body a bare line feed is no line end, whatever other readers make of it.
            State::ChunkSize | State::ChunkEnd | State::Trailer if !self.line.crlf() => State::Lost,
            State::ChunkSize => match chunk_size(self.line.text()) {
                Some(0) => State::Trailer,
                Some(size) => State::ChunkData(size),
                None => State::Lost,
            },
            State::ChunkEnd if empty => State::ChunkSize,
            State::Trailer if empty => State::RequestLine,
            State::Trailer => State::Trailer,
            State::ChunkEnd | State::Body(_) | State::ChunkData(_) | State::Lost => State::Lost,
        }
    }

    fn header(&mut self) -> State {
        let text = self.line.text();
        let Some(colon) = text.iter().position(|byte| *byte == b':') else { return State::Header };
        let (name, value) = (&text[..colon], text[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let Some(length) = decimal(value) else { return State::Lost };
            self.body = length;
            self.lengths = self.lengths.saturating_add(1);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return State::Lost;
            }
            self.codings = self.codings.saturating_add(1);
        } else {
            return State::Header;
        }
        if self.line.cut() { State::Lost } else { State::Header }
    }

    fn after_head(&mut self) -> State {
        let next = match (self.lengths, self.codings) {
            (0, 0) => State::RequestLine,
            (1, 0) if self.body == 0 => State::RequestLine,
            (1, 0) => State::Body(self.body),
            (0, 1) => State::ChunkSize,
            _ => return State::Lost,
        };
        self.heads += 1;
        next
    }
}

fn span(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn chunk_size(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let extension = matches!(rest.first(), None | Some(b';' | b' ' | b'\t'));
    let digits = std::str::from_utf8(digits).ok()?;
    extension.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn follow(bytes: &[u8], step: usize) -> (State, Option<u64>) {
        let suspicion = Arc::new(Suspicion::default());
        let mut tap = Tap::new(Arc::clone(&suspicion));
        for part in bytes.chunks(step) {
            tap.observe(part);
        }
        let first = (0..10).find(|number| suspicion.of(*number));
        (tap.state, first)
    }

    /// `suspicious` is the number of the first request that is not trusted.
    #[track_caller]
    fn check(text: &str, state: State, suspicious: Option<u64>) {
        for step in [1, 2, 7, 4096] {
            assert_eq!(follow(text.as_bytes(), step), (state, suspicious), "in steps of {step}");
        }
    }

    #[test]
    fn pipelined_requests_of_every_framing_are_followed() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let sized = "PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\n";
        let chunked = "PUT / HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\n4;x=y\r\n\r\n\r\n\r\n0\r\nA: b\r\n\r\n";
        check(&format!("{get}{sized}\r\n{chunked}{get}{sized}"), State::RequestLine, None);
    }

    #[test]
    fn length_beside_coding_is_suspicious_in_both_orders() {
        check("PUT / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", State::Lost, Some(0));
        check("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", State::Lost, Some(0));
    }

    #[test]
    fn repeated_and_padded_lengths_are_suspicious() {
        check("PUT / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", State::Lost, Some(0));
        check("PUT / HTTP/1.1\r\nContent-Length: +4\r\n", State::Lost, Some(0));
        check(&format!("PUT / HTTP/1.1\r\nContent-Length:{}4\r\n", " ".repeat(80)), State::Lost, Some(0));
        check("PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", State::Lost, Some(0));
    }

    #[test]
    fn a_bare_line_feed_ends_no_line_of_a_head() {
        check("GET / HTTP/1.1\nHost: a\r\n\r\n", State::Lost, Some(0));
        check("GET / HTTP/1.1\r\nHost: a\n\r\n", State::Lost, Some(0));
        check("GET / HTTP/1.1\r\nHost: a\r\n\n", State::Lost, Some(0));
        check("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", State::Lost, Some(0));
    }

    #[test]
    fn a_length_in_another_header_or_body_is_not_suspicious() {
        check("PUT / HTTP/1.1\r\nX-Content-Length: 4\r\nContent-Length: 3\r\n\r\n", State::Body(3), None);
        let body = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()), State::RequestLine, None);
    }

    #[test]
    fn what_follows_broken_chunks_is_suspicious() {
        let head = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for chunk in
            ["zz\r\n", "\r\n", "3\n", "3x\r\n", "3\r\nabcd\r\n", "3\r\nabc\n", "fffffffffffffffff\r\n", "0\r\nA: b\n"]
        {
            check(&format!("{head}{chunk}"), State::Lost, Some(1));
            check(&format!("GET / HTTP/1.1\r\n\r\n{head}{chunk}"), State::Lost, Some(2));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_steps_give_the_same_end(bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
            let mut wire = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            wire.extend_from_slice(&bytes);
            prop_assert_eq!(follow(&wire, step), follow(&wire, usize::MAX));
        }
    }
}
