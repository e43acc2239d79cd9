"""Random changes of files, each compared with the same change of bytes in memory."""

import json
import os
import random
import subprocess
import sys

from dev import Dev, fail, note

CHUNK = 64 << 10
# Inline, at its limit, one chunk, at chunk edges, and over a segment of 256 chunks.
SIZES = [0, 5, 4095, 4096, 4097, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 256 * CHUNK, 300 * CHUNK + 77]


def b3sum(content: bytes) -> str:
    run = subprocess.run(
        [os.environ["B3SUM"], "--no-names"], input=content, capture_output=True, check=True, timeout=60
    )
    return run.stdout.decode().strip()


def chunks(client, key: str) -> list[str]:
    answer = client.request("GET", f"/v1/files/demo/{key}?layout")
    return [chunk["id"] for tree in json.loads(answer.body)["trees"] for chunk in tree["chunks"]]


def check_shared(key: str, before: list, after: list, first: int, last: int) -> int:
    """Chunks that the change did not touch are the same ones; gives how many."""
    same = [at for at in range(min(len(before), len(after))) if before[at] == after[at]]
    touched = set(range(first // CHUNK, last // CHUNK + 1))
    wrong = [at for at in range(min(len(before), len(after))) if (at in same) == (at in touched)]
    if wrong and before:
        fail(f"{key}: bytes {first} to {last} were written, but chunk {wrong[0]} was {'kept' if wrong[0] in same else 'written'}")
    return len(same)


def change(rng, client, key: str, content: bytearray, number: int) -> int:
    size = len(content)
    append = rng.random() < 0.3
    first = size if append else min(size, rng.choice([rng.randint(0, size), rng.randint(0, size) // CHUNK * CHUNK]))
    length = rng.choice([1, rng.randint(1, 5000), rng.randint(1, 3 * CHUNK), CHUNK])
    body = rng.randbytes(length)
    headers = {"Flotilla-Append": "true"} if append else {"Content-Range": f"bytes {first}-{first + length - 1}/*"}
    before = chunks(client, key)
    if number % 3 == 0:
        headers["If-Match"] = f'"{b3sum(bytes(content))}"'
    headers["Idempotency-Key"] = f"patch-{key}-{number}"
    answer = client.request("PATCH", f"/v1/files/demo/{key}", body, headers)
    content[first : first + length] = body
    if answer.status != 200:
        fail(f"{key}: {headers} answered {answer.status} {answer.code()}: {answer.body[:300]}")
    expected = b3sum(bytes(content))
    if answer.etag() != expected:
        fail(f"{key}: {headers} at {size} bytes: ETag {answer.etag()}, b3sum says {expected}")
    if number % 5 == 0:
        again = client.request("PATCH", f"/v1/files/demo/{key}", body, headers)
        if (again.status, again.body[:1], again.etag()) != (200, b"{", expected):
            fail(f"{key}: a retry under the same key answered {again.status} {again.code()} {again.etag()}")
    read = client.file("GET", key)
    if read.body != content or read.etag() != expected:
        fail(f"{key}: {headers} at {size} bytes: {len(read.body)} bytes are read, {len(content)} are right")
    after = chunks(client, key)
    return check_shared(key, before, after, first, first + length - 1) if before and after else 0


def check_refusals(client, key: str, size: int) -> None:
    for headers, status in [
        ({"Content-Range": f"bytes {size + 1}-{size + 3}/*"}, 416),
        ({"Content-Range": f"bytes 0-2/{size + 9}"}, 416),
        ({"Flotilla-Append": "true", "If-Match": '"' + "0" * 64 + '"'}, 412),
        ({"Content-Range": "bytes 0-9/*"}, 400),
        ({}, 400),
    ]:
        answer = client.request("PATCH", f"/v1/files/demo/{key}", b"abc", headers)
        if answer.status != status:
            fail(f"{key}: {headers} answered {answer.status} {answer.code()}, {status} is right")


def main() -> None:
    changes = int(sys.argv[1])
    seed = int(os.environ.get("SEED", "1"))
    rng = random.Random(seed)
    dev = Dev()
    client = dev.client()
    files = {}
    for size in SIZES:
        key, content = f"of-{size}", bytearray(rng.randbytes(size))
        client.file("PUT", key, bytes(content))
        check_refusals(client, key, size)
        files[key] = content
    shared = 0
    for number in range(changes):
        # Every file in turn, through any door.
        key = list(files)[number % len(files)]
        door = client if number % 2 else dev.client(rng.choice(dev.nodes).public)
        shared += change(rng, door, key, files[key], number)
        if number % 50 == 49:
            note(f"{number + 1} changes")
    missing = client.request("PATCH", "/v1/files/demo/none", b"x", {"Flotilla-Append": "true"})
    if missing.status != 404:
        fail(f"an append to nothing answered {missing.status}")
    if shared == 0:
        fail("no chunk was ever shared")
    print(f"changes={changes} files={len(files)} chunks_shared={shared} seed={seed}")


main()
