"""Counts copies where they lie: on the disks, past every server."""

import json
import os
import random
import subprocess
import time

from dev import Client, Dev, fail


def chunks_of(client: Client, key: str) -> list[tuple[int, dict]]:
    """The chunks of a file, each with its offset in the file."""
    answer = client.request("GET", f"/v1/files/demo/{key}?layout")
    if answer.status != 200:
        fail(f"{key}: layout answered {answer.status} {answer.code()}")
    document = json.loads(answer.body)
    chunks, at = [], 0
    for tree in document["trees"]:
        chunks += [(at + chunk["offset"], chunk) for chunk in tree["chunks"]]
        at += tree["length"]
    return chunks


def holds(replica: dict, want: bytes) -> bool:
    """Whether the bytes of a copy are these, on the disk."""
    try:
        with open(replica["file"], "rb") as file:
            file.seek(replica["file_offset"])
            return replica["length"] == len(want) and file.read(len(want)) == want
    except OSError:
        return False


def census(client: Client, contents: dict[str, bytes], without: set[int] = frozenset()) -> dict[int, int]:
    """How many chunks have how many good copies on nodes other than those."""
    counts: dict[int, int] = {}
    for key, content in contents.items():
        for at, chunk in chunks_of(client, key):
            want = content[at : at + chunk["length"]]
            good = sum(copy["node"] not in without and holds(copy, want) for copy in chunk["replicas"])
            counts[good] = counts.get(good, 0) + 1
    return counts


def fill(dev: Dev, small: int, big: int) -> dict[str, bytes]:
    """Files whose chunks are records, and files whose chunks are files, through every listener."""
    chance = random.Random(7)
    urls = [dev.api] + [p.public for p in dev.nodes]
    clients = [dev.client(url) for url in urls]
    contents = {}
    for number in range(small + big):
        size = chance.randrange(5000, 200_000) if number < small else chance.randrange(3 << 20, 9 << 20)
        key = f"filled/{number}"
        contents[key] = chance.randbytes(size)
        answer = clients[number % len(clients)].file("PUT", key, contents[key])
        if answer.status != 201:
            fail(f"{key}: PUT answered {answer.status} {answer.code()}")
    return contents


def fsck(*arguments: str) -> tuple[int, str]:
    command = [os.environ["FLOTILLA"], "fsck", *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    return result.returncode, result.stdout + result.stderr


def clean_within(within_s: float) -> None:
    """Waits until fsck finds nothing: what was lost is copied, and what is too much goes after that."""
    end = time.monotonic() + within_s
    while (found := fsck())[0] != 0:
        if time.monotonic() >= end:
            fail(f"after {within_s:.0f} s fsck still finds: {found[1][-600:]}")
        time.sleep(0.1)
