//! The format pinned by its bytes: a change here is a new format version, with an upgrade test.

use flotilla_api::WriterId;

use super::*;

fn header() -> Header {
    let id = ChunkId { writer: WriterId(0x0102_0304_0506_0708), seq: 9 };
    Header { id, tree_offset: 8 << 20, length: 5000, cv: [0xcc; 32], crc: 0xdead_beef }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_header_is_pinned_by_its_bytes() {
    let golden = [
        "464c4f5443484e4b",                 // magic
        "01000000",                         // version
        "00000000",                         // zeros
        "01020304050607080000000000000009", // chunk id
        "0000800000000000",                 // offset in tree
        "8813000000000000",                 // length
        "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
        "efbeadde", // checksum of checksums
    ];
    let bytes = encode_header(&header());
    assert_eq!(hex(&bytes[..84]), golden.concat());
    assert_eq!(bytes[84..124], [0; 40]);
    assert_eq!(bytes[124..], sums::of_block(&bytes[..124]).to_le_bytes());
    assert_eq!(decode_header(&bytes, header().id, 8192 + 4096), Ok(header()));
}

#[test]
fn the_tail_fills_pages_and_ends_with_the_header() {
    let tail = encode_tail(&header(), &[0x0403_0201]);
    assert_eq!(tail.len(), 3192 + 4096);
    assert!(tail[..3192].iter().all(|&byte| byte == 0));
    assert_eq!(hex(&tail[3192..3200]), "0102030400000000");
    assert_eq!(tail[tail.len() - HEADER_BYTES..], encode_header(&header()));
}

#[test]
fn sizes_of_files_are_pinned() {
    let check = |length, file| assert_eq!(file_length(length), file, "{length}");
    check(1, 8192);
    check(4096, 8192);
    check(4097, 12_288);
    check(8 << 20, (8 << 20) + 4096);
    check(62 << 20, (62 << 20) + 4096);
    check((62 << 20) + 1, (62 << 20) + 4096 + 8192);
    check(CHUNK_BYTES_MAX, (64 << 20) + 8192);
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let bytes = encode_header(&header());
    for bit in 0..HEADER_BYTES * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode_header(&flipped, header().id, 12_288), Err(Flaw::Header), "bit {bit}");
    }
}

#[test]
fn a_header_that_does_not_fit_is_refused() {
    let other = ChunkId { writer: WriterId(1), seq: 1 };
    let check = |header: Header, id, file, flaw| {
        assert_eq!(decode_header(&encode_header(&header), id, file), Err(flaw), "{header:?}");
    };
    check(header(), other, 12_288, Flaw::OtherChunk(header().id));
    check(header(), header().id, 16_384, Flaw::Length);
    check(Header { length: 0, ..header() }, header().id, 12_288, Flaw::Header);
    check(Header { length: CHUNK_BYTES_MAX + 1, ..header() }, header().id, 12_288, Flaw::Header);
    check(Header { tree_offset: 1000, ..header() }, header().id, 12_288, Flaw::Header);
    check(Header { tree_offset: 1024, ..header() }, header().id, 12_288, Flaw::Header);
    let mut newer = encode_header(&header());
    newer[8] = 2;
    let checksum = sums::of_block(&newer[..124]).to_le_bytes();
    newer[124..].copy_from_slice(&checksum);
    assert_eq!(decode_header(&newer, header().id, 12_288), Err(Flaw::Version(2)));
}

#[test]
fn checksums_come_back_or_are_refused() {
    let list: Vec<u32> = (0..1024).map(|n| n * 77).collect();
    let header = Header { length: CHUNK_BYTES_MAX, crc: sums::of_list(&list), ..header() };
    let tail = encode_tail(&header, &list);
    assert_eq!(decode_sums(&tail, &header), Ok(list.clone()));
    assert_eq!(decode_sums(&tail[..4000], &header), Err(Flaw::Sums));
    assert_eq!(decode_sums(&tail, &Header { crc: header.crc ^ 1, ..header }), Err(Flaw::Sums));
}
