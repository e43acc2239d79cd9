//! What a reader claims of a copy when it asks another node for it: the header `flotilla-chunk-facts`.

use flotilla_chunk_store::{Depth, Facts};

/// The text of a question that wants whole chunks proven.
const WHOLE: &str = "whole";
/// The text of a question that wants blocks checked.
const BLOCKS: &str = "blocks";

/// Writes the header.
///
/// # Shape
/// `LENGTH-OFFSET-CV-DEPTH`: two decimal numbers, 64 hex digits, `whole` or `blocks`.
#[must_use]
pub fn to_header(facts: &Facts, depth: Depth) -> String {
    let cv = blake3::Hash::from_bytes(facts.cv).to_hex();
    let depth = match depth {
        Depth::Whole => WHOLE,
        Depth::Blocks => BLOCKS,
    };
    format!("{}-{}-{cv}-{depth}", facts.length, facts.tree_offset)
}

/// Reads the header.
#[must_use]
pub fn from_header(text: &str) -> Option<(Facts, Depth)> {
    let mut parts = text.split('-');
    let length = parts.next()?.parse().ok()?;
    let tree_offset = parts.next()?.parse().ok()?;
    let cv = *blake3::Hash::from_hex(parts.next()?).ok()?.as_bytes();
    let depth = match parts.next()? {
        WHOLE => Depth::Whole,
        BLOCKS => Depth::Blocks,
        _ => return None,
    };
    parts.next().is_none().then_some((Facts { length, tree_offset, cv }, depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_as_it_was_written_and_nothing_else_is_one() {
        let facts = Facts { length: 8 << 20, tree_offset: 16 << 20, cv: [0xab; 32] };
        for depth in [Depth::Whole, Depth::Blocks] {
            assert_eq!(from_header(&to_header(&facts, depth)), Some((facts, depth)));
        }
        let good = to_header(&facts, Depth::Whole);
        assert_eq!(good, format!("8388608-16777216-{}-whole", "ab".repeat(32)));
        for bad in ["", "1-2", &good[1..good.len() - 1], &format!("{good}-"), &good.replace("ab", "xy")] {
            assert_eq!(from_header(bad), None, "{bad}");
        }
    }
}
