//! The format pinned by its bytes: a change here is a new format version, with an upgrade test.

use flotilla_api::WriterId;

use super::*;

const EPOCH: Epoch = Epoch { order: 5, salt: 0x1122_3344_5566_7788 };

fn id() -> ChunkId {
    ChunkId { writer: WriterId(0x0102_0304_0506_0708), seq: 9 }
}

fn chunk() -> Header {
    let kind = Kind::Chunk { id: id(), tree_offset: 8 << 20, cv: [0xcc; 32] };
    Header { epoch: EPOCH, kind, length: 70_000, sums: vec![0x0403_0201, 0x0807_0605] }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_chunk_record_is_pinned_by_its_bytes() {
    let golden = [
        "464c4f5452454344",                 // magic
        "01000000",                         // version
        "01000000",                         // kind
        "0500000000000000",                 // epoch's order
        "8877665544332211",                 // epoch's salt
        "01020304050607080000000000000009", // chunk id
        "0000800000000000",                 // offset in tree
        "7011010000000000",                 // length
        "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
    ];
    let bytes = encode(&chunk());
    assert_eq!(hex(&bytes[..96]), golden.concat());
    assert_eq!(bytes[96..100], sums::of_block(&[1, 2, 3, 4, 5, 6, 7, 8]).to_le_bytes());
    assert_eq!(bytes[100..128], [0; 28]);
    assert_eq!(hex(&bytes[128..136]), "0102030405060708");
    assert_eq!(bytes[136..252], [0; 116]);
    assert_eq!(bytes[252..], sums::of_block(&bytes[..252]).to_le_bytes());
    assert_eq!(decode(&bytes, EPOCH), Ok(chunk()));
    assert_eq!(decode_chunk(&bytes, EPOCH, id()), Ok(chunk()));
}

#[test]
fn a_removal_is_pinned_by_its_bytes() {
    let data = encode_removal([id(), id()].into_iter());
    assert_eq!(hex(&data), "01020304050607080000000000000009".repeat(2));
    assert_eq!(decode_removal(&data).collect::<Vec<_>>(), [id(), id()]);
    let header = Header { epoch: EPOCH, kind: Kind::Removal, length: 32, sums: vec![sums::of_block(&data)] };
    let bytes = encode(&header);
    assert_eq!(hex(&bytes[..32]), "464c4f5452454344010000000200000005000000000000008877665544332211");
    assert_eq!(bytes[32..56], [0; 24]);
    assert_eq!(hex(&bytes[56..64]), "2000000000000000");
    assert_eq!(decode(&bytes, EPOCH), Ok(header));
    assert_eq!(decode_chunk(&bytes, EPOCH, id()), Err(Flaw::Header));
}

#[test]
fn a_volume_header_is_pinned_by_its_bytes() {
    let header = VolumeHeader { number: 3, epoch: EPOCH, capacity: 64 << 20 };
    let bytes = encode_volume_header(&header);
    let golden =
        ["464c4f54564f4c4d", "01000000", "03000000", "0500000000000000", "8877665544332211", "0000000400000000"];
    assert_eq!(hex(&bytes[..40]), golden.concat());
    assert_eq!(bytes[40..60], [0; 20]);
    assert_eq!(bytes[60..], sums::of_block(&bytes[..60]).to_le_bytes());
    assert_eq!(decode_volume_header(&bytes), Some(header));
    for bit in 0..64 * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode_volume_header(&flipped), None, "bit {bit}");
    }
}

#[test]
fn records_take_whole_pages() {
    let check = |length, bytes| assert_eq!(record_bytes(length), bytes, "{length}");
    check(1, 4096);
    check(3840, 4096);
    check(3841, 8192);
    check(RECORD_BYTES_MAX, (1 << 20) + 4096);
}

#[test]
fn every_flipped_bit_of_a_record_header_is_noticed() {
    let bytes = encode(&chunk());
    for bit in 0..HEADER_BYTES * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&flipped, EPOCH), Err(Flaw::Header), "bit {bit}");
    }
}

#[test]
fn a_record_of_another_use_of_the_volume_or_another_chunk_is_refused() {
    let bytes = encode(&chunk());
    for other in [Epoch { order: 6, ..EPOCH }, Epoch { salt: 1, ..EPOCH }] {
        assert_eq!(decode(&bytes, other), Err(Flaw::Header));
    }
    let other = ChunkId { writer: WriterId(1), seq: 1 };
    assert_eq!(decode_chunk(&bytes, EPOCH, other), Err(Flaw::OtherChunk(id())));
    for length in [0, RECORD_BYTES_MAX + 1] {
        assert_eq!(decode(&encode(&Header { length, ..chunk() }), EPOCH), Err(Flaw::Header), "{length}");
    }
}

#[test]
fn a_block_that_does_not_match_is_named() {
    let data: Vec<u8> = (0..70_000u32).map(|n| (n / 7) as u8).collect();
    let header = Header { sums: data.chunks(BLOCK_BYTES).map(sums::of_block).collect(), ..chunk() };
    assert_eq!(check(&header, 0, &data), Ok(()));
    assert_eq!(check(&header, 1, &data[BLOCK_BYTES..]), Ok(()));
    assert_eq!(check(&header, 0, &data[..69_999]), Err(Flaw::Block(1)));
}
