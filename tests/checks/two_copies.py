"""Puts files of several sizes, then reads every copy of every chunk from the disks themselves."""

import json
import os
from collections import Counter

from census import holds
from dev import Dev, fail, layout

INLINE_MAX = 4096
COPIES = 2
# Headers, checksums and what rounds a record up to pages.
SHOWN_SHARE_MAX = 1.1
SIZES = [100, INLINE_MAX, INLINE_MAX + 1, 100_000, 1 << 20, (1 << 20) + 1, 5_000_000]
ROUNDS = 6


def check_chunk(key: str, content: bytes, tree_offset: int, chunk: dict) -> None:
    nodes = [replica["node"] for replica in chunk["replicas"]]
    if len(set(nodes)) < COPIES or len(set(nodes)) != len(nodes):
        fail(f"{key}: chunk {chunk['id']} lies on nodes {nodes}, {COPIES} different ones are promised")
    begin = tree_offset + chunk["offset"]
    want = content[begin : begin + chunk["length"]]
    for replica in chunk["replicas"]:
        if replica["length"] != chunk["length"]:
            fail(f"{key}: chunk {chunk['id']} has {replica['length']} bytes on node {replica['node']}")
        if not holds(replica, want):
            fail(f"{key}: chunk {chunk['id']} differs on node {replica['node']}")


def main() -> None:
    dev = Dev()
    client = dev.client()
    homes, chunks, files, stored = Counter(), 0, 0, 0
    for number in range(ROUNDS):
        for size in SIZES:
            key, content = f"copies/{number}-{size}", os.urandom(size)
            answer = client.file("PUT", key, content)
            if answer.status != 201:
                fail(f"{key}: PUT answered {answer.status} {answer.code()}")
            homes[json.loads(answer.body)["cluster"]] += 1
            files += 1
            found = layout(key)
            if found["inline"] != (size <= INLINE_MAX):
                fail(f"{key}: inline is {found['inline']} for {size} bytes")
            offset = 0
            for tree in found["trees"] if not found["inline"] else []:
                if sum(chunk["length"] for chunk in tree["chunks"]) != tree["length"]:
                    fail(f"{key}: chunks do not add up to {tree['length']} bytes")
                for chunk in tree["chunks"]:
                    check_chunk(key, content, offset, chunk)
                    chunks += 1
                    stored += chunk["length"]
                offset += tree["length"]
            if not found["inline"] and offset != size:
                fail(f"{key}: trees hold {offset} of {size} bytes")
    def shown() -> float:
        return sum(node.metric("flotilla_disk_bytes", 'kind="used"') or 0 for node in dev.nodes)

    if not dev.wait(lambda: COPIES * stored <= shown() <= COPIES * stored * SHOWN_SHARE_MAX, 5):
        fail(f"the nodes show {shown():.0f} bytes in use for {COPIES} copies of {stored}")
    if set(homes) != set(dev.clusters):
        fail(f"files landed in {dict(homes)}, the clusters are {dev.clusters}")
    print(f"files={files} chunks={chunks} homes={dict(sorted(homes.items()))}".replace(" '", "'").replace("': ", "':"))


main()
