"""Fills three nodes, has a fourth one join, and counts where the copies lie."""

import random
import time

from census import census, chunks_of, fsck
from dev import Dev, fail

COPIES = 2
FILES, SIZE = 12, 40 << 20
ENOUGH = 0.7  # of the share of an empty node; the rest comes with new files
WITHIN_S = 120


def held(dev: Dev, keys: list[str]) -> dict[int, int]:
    """Bytes of chunks by the node that is named for them."""
    bytes_of: dict[int, int] = {}
    for key in keys:
        for _, chunk in chunks_of(dev.client(), key):
            for copy in chunk["replicas"]:
                bytes_of[copy["node"]] = bytes_of.get(copy["node"], 0) + chunk["length"]
    return bytes_of


def main() -> None:
    dev = Dev()
    chance = random.Random(11)
    contents = {f"filled/{n}": chance.randbytes(SIZE) for n in range(FILES)}
    for key, content in contents.items():
        answer = dev.client().file("PUT", key, content)
        if answer.status != 201:
            fail(f"{key}: PUT answered {answer.status} {answer.code()}")
    first = dev.nodes[0]
    base = int(first.peer.rsplit(":", 1)[1]) // 100 * 100
    new = dev.newcomer("a-n4", base + 52, first, [p.peer for p in dev.nodes])
    dev.start(new)
    dev.wait_ready([new], 60)
    begun = time.monotonic()
    share = FILES * SIZE * COPIES / len(dev.nodes)
    if not dev.wait(lambda: held(dev, list(contents)).get(4, 0) >= ENOUGH * share, WITHIN_S):
        fail(f"bytes by node are {held(dev, list(contents))} after {WITHIN_S} s, a share is {share:.0f}")
    took = time.monotonic() - begun
    # Copies that moved away are unlinked a little later.
    if not dev.wait(lambda: set(census(dev.client(), contents)) == {COPIES} and fsck()[0] == 0, 30):
        fail(f"chunks by number of good copies are {census(dev.client(), contents)}; fsck finds: {fsck()[1][-300:]}")
    found = held(dev, list(contents))
    for key, content in contents.items():
        if dev.client(new.public).file("GET", key).body != content:
            fail(f"{key} reads otherwise at the new node")
    print(f"moved_in={took:.1f}s new_node_mb={found[4] >> 20} share_mb={int(share) >> 20} most_mb={max(found.values()) >> 20}")


main()
