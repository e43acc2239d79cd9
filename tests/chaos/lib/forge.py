"""Damages a chunk file so that its own checksums still agree: only the hash in the metadata tells. See docs/FORMATS.md."""

import struct
from pathlib import Path

BLOCK, PAGE, HEADER = 64 << 10, 4 << 10, 128
POLYNOMIAL = 0x82F63B78


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


TABLE = _table()


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def forge(path: Path, block: int) -> None:
    """Flips one bit in a block and mends every checksum of the file above it."""
    whole = bytearray(path.read_bytes())
    header = whole[-HEADER:]
    if header[:8] != b"FLOTCHNK":
        raise ValueError(f"{path} is no chunk file")
    length = struct.unpack_from("<Q", header, 40)[0]
    sums_at = -(-length // PAGE) * PAGE
    count = -(-length // BLOCK)
    at = min(block, count - 1) * BLOCK
    whole[at] ^= 1
    struct.pack_into("<I", whole, sums_at + 4 * min(block, count - 1), crc32c(bytes(whole[at : min(at + BLOCK, length)])))
    struct.pack_into("<I", header, 80, crc32c(bytes(whole[sums_at : sums_at + 4 * count])))
    struct.pack_into("<I", header, 124, crc32c(bytes(header[:124])))
    whole[-HEADER:] = header
    with open(path, "r+b") as file:
        file.write(whole)
