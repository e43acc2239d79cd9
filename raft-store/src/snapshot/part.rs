//! One part of a snapshot: sorted rows of one family.
//!
//! # Shape
//! ```text
//! [magic "FLSP"][version u8 = 1][family length u8][family]
//! then per row [key length u32 BE][value length u32 BE][key][value]
//! then [rows u32 BE][CRC32C of everything before, u32 BE]
//! ```

use flotilla_kv::Row;

use super::manifest::PartInfo;
use crate::store::StoreError;

const MAGIC: &[u8; 4] = b"FLSP";
const VERSION: u8 = 1;

/// The CRC-32C of `bytes`.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(sum).expect("a CRC-32 has 32 bits")
}

/// A part that is being filled.
pub(super) struct Part {
    family: String,
    rows: u32,
    bytes: Vec<u8>,
}

impl Part {
    pub(super) fn new(family: &str) -> Self {
        let length = u8::try_from(family.len()).expect("families have short names");
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, length]);
        bytes.extend_from_slice(family.as_bytes());
        Self { family: family.to_owned(), rows: 0, bytes }
    }

    pub(super) fn push(&mut self, (key, value): &Row) {
        for part in [key, value] {
            let length = u32::try_from(part.len()).expect("rows are far smaller than 4 GiB");
            self.bytes.extend_from_slice(&length.to_be_bytes());
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.rows += 1;
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives the part's bytes and what the manifest says of it.
    pub(super) fn finish(mut self) -> (Vec<u8>, PartInfo) {
        self.bytes.extend_from_slice(&self.rows.to_be_bytes());
        let crc = crc32c(&self.bytes);
        self.bytes.extend_from_slice(&crc.to_be_bytes());
        let bytes = u64::try_from(self.bytes.len()).expect("a usize has at most 64 bits");
        (self.bytes, PartInfo { family: self.family, rows: self.rows, bytes, crc })
    }
}

/// Checks a part's bytes against the manifest and gives its rows' bytes.
pub(super) fn check<'a>(bytes: &'a [u8], info: &PartInfo) -> Result<&'a [u8], StoreError> {
    let corrupt = |why: &str| StoreError::corrupt("snapshot part", why);
    let (body, crc) = bytes.split_last_chunk().ok_or_else(|| corrupt("it is too short"))?;
    if u32::from_be_bytes(*crc) != info.crc || crc32c(body) != info.crc {
        return Err(corrupt("its checksum does not match"));
    }
    let (body, rows) = body.split_last_chunk().ok_or_else(|| corrupt("it is too short"))?;
    let head = Part::new(&info.family).bytes;
    let rest = body.strip_prefix(head.as_slice()).ok_or_else(|| corrupt("its head is another one's"))?;
    if u32::from_be_bytes(*rows) != info.rows {
        return Err(corrupt("its count of rows differs from the manifest's"));
    }
    Ok(rest)
}

/// The rows of a checked part.
pub(super) struct Rows<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Rows<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let row = take_row(self.0);
        self.0 = row.map_or(&[], |(_, rest)| rest);
        Some(row.map(|(row, _)| row).ok_or_else(|| StoreError::corrupt("snapshot part", "a row is cut")))
    }
}

/// A key and its value.
type RowRef<'a> = (&'a [u8], &'a [u8]);

fn take_row(bytes: &[u8]) -> Option<(RowRef<'_>, &[u8])> {
    let (key_length, rest) = take_length(bytes)?;
    let (value_length, rest) = take_length(rest)?;
    let (key, rest) = rest.split_at_checked(key_length)?;
    let (value, rest) = rest.split_at_checked(value_length)?;
    Some(((key, value), rest))
}

fn take_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_be_bytes(*length)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> (Vec<u8>, PartInfo) {
        let mut part = Part::new("files");
        part.push(&(b"a".to_vec(), b"one".to_vec()));
        part.push(&(b"bb".to_vec(), Vec::new()));
        part.finish()
    }

    #[test]
    fn part_is_pinned_by_bytes() {
        let (bytes, info) = part();
        let mut expect = b"FLSP\x01\x05files".to_vec();
        expect.extend_from_slice(b"\0\0\0\x01\0\0\0\x03aone");
        expect.extend_from_slice(b"\0\0\0\x02\0\0\0\0bb");
        expect.extend_from_slice(b"\0\0\0\x02");
        let crc = crc32c(&expect);
        expect.extend_from_slice(&crc.to_be_bytes());
        assert_eq!(bytes, expect);
        assert_eq!(info, PartInfo { family: "files".into(), rows: 2, bytes: 41, crc });
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    }

    #[test]
    fn rows_are_read_back() {
        let (bytes, info) = part();
        let rows: Result<Vec<_>, _> = Rows(check(&bytes, &info).unwrap()).collect();
        assert_eq!(rows.unwrap(), [(&b"a"[..], &b"one"[..]), (b"bb", b"")]);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (bytes, info) = part();
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(check(&damaged, &info).is_err(), "bit {at}");
        }
        assert!(check(&bytes[..bytes.len() - 1], &info).is_err());
        assert!(check(&bytes, &PartInfo { family: "other".into(), ..info }).is_err());
    }
}
