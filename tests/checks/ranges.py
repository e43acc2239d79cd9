"""Asks for random ranges and compares every answer with what RFC 9110 says about the file that was put."""

import email.parser
import email.policy
import os
import random
import re

from dev import Dev, fail

RANGES = int(os.environ.get("RANGES", "2000"))
SIZES = [0, 1, 100, 4096, 4097, 65_535, 65_536, 65_537, 262_144, 262_145, 1_048_576, 3_000_000, 9_437_184]
RANGES_MAX = 16
SEED = int(os.environ.get("SEED", "1"))


def position(chance: random.Random, size: int) -> int:
    """A position that likes edges: of the file, of blocks, of pieces, of chunks."""
    edge = chance.choice([0, size, 65_536, 262_144, 1 << 20]) * chance.choice([1, 1, 1, 2, 3])
    near = max(0, edge + chance.randint(-2, 2))
    return min(chance.choice([near, chance.randrange(size + 1)]), max(size, 1))


def spec(chance: random.Random, size: int) -> str:
    kind = chance.choice(["closed", "closed", "closed", "open", "suffix", "outside"])
    if kind == "open":
        return f"{position(chance, size)}-"
    if kind == "suffix":
        return f"-{position(chance, size)}"
    if kind == "outside":
        return f"{size + chance.randrange(3)}-{size + 10}"
    first = position(chance, size)
    return f"{first}-{first + chance.choice([0, 1, 99, 70_000, 2_000_000])}"


def resolve(text: str, size: int) -> tuple[int, int]:
    """The bytes that one spec names; empty if none."""
    first, last = text.split("-")
    if not first:
        return max(0, size - int(last)), size
    return min(int(first), size), min(int(last) + 1, size) if last else size


def expected(specs: list[str], size: int) -> list[tuple[int, int]]:
    parts = [part for part in (resolve(text, size) for text in specs) if part[0] < part[1]]
    ordered = sorted(parts)
    if all(a[1] <= b[0] for a, b in zip(ordered, ordered[1:])):
        return parts
    merged = [ordered[0]]
    for first, end in ordered[1:]:
        if first < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged


def parts_of(answer) -> list[tuple[str, bytes]]:
    """The parts of a multipart body, by the standard library's parser for the form and by hand for the bytes."""
    kind = answer.headers["content-type"]
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\S+)", kind)
    if not boundary:
        fail(f"content type of several ranges is '{kind}'")
    line = b"\r\n--" + boundary.group(1).encode()
    body = answer.body
    if not body.endswith(line + b"--\r\n"):
        fail("the multipart body has no end")
    parts = []
    for part in (body[: -len(line) - 4]).split(line + b"\r\n")[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        headers = email.parser.BytesHeaderParser(policy=email.policy.HTTP).parsebytes(head + b"\r\n\r\n")
        if headers["content-type"] != "text/x-check":
            fail(f"a part has the type {headers['content-type']}")
        parts.append((headers["content-range"], content))
    return parts


def check(answer, specs: list[str], content: bytes, whole: bool) -> str:
    size, what = len(content), f"{','.join(specs)[:80]} of {len(content)}"
    if int(answer.headers["content-length"]) != len(answer.body):
        fail(f"{what}: Content-Length {answer.headers['content-length']} for {len(answer.body)} bytes")
    if whole:
        if answer.status != 200 or answer.body != content:
            fail(f"{what}: {answer.status} with {len(answer.body)} bytes, the whole file was due")
        return "whole"
    wanted = expected(specs, size)
    if not wanted:
        if answer.status != 416 or answer.headers["content-range"] != f"bytes */{size}":
            fail(f"{what}: {answer.status} {answer.headers['content-range']}, 416 was due")
        return "outside"
    if answer.status != 206:
        fail(f"{what}: status {answer.status}, 206 was due")
    if len(wanted) == 1:
        got = [(answer.headers["content-range"], answer.body)]
    else:
        got = parts_of(answer)
    due = [(f"bytes {first}-{end - 1}/{size}", content[first:end]) for first, end in wanted]
    if got != due:
        fail(f"{what}: wrong: {[name for name, _ in got]} instead of {[name for name, _ in due]}, or their bytes")
    return "several" if len(wanted) > 1 else "one"


def main() -> None:
    dev, chance = Dev(), random.Random(SEED)
    client = dev.client()
    files = []
    for size in SIZES:
        content = chance.randbytes(size)
        answer = client.file("PUT", f"ranges/{size}", content, {"Content-Type": "text/x-check"})
        if answer.status != 201:
            fail(f"PUT of {size} bytes answered {answer.status} {answer.code()}")
        files.append((f"ranges/{size}", content, answer.etag()))
    # Supernode and every node serve ranges.
    clients = [client] + [dev.client(node.public) for node in dev.nodes]
    counts: dict[str, int] = {}
    for _ in range(RANGES):
        key, content, etag = chance.choice(files)
        count = chance.choice([1, 1, 1, 2, 3, 5, RANGES_MAX, RANGES_MAX + 1])
        specs = [spec(chance, len(content)) for _ in range(count)]
        headers, whole = {"Range": f"bytes={','.join(specs)}"}, count > RANGES_MAX
        held = chance.choice([None, None, None, etag, "0" * 64])
        if held:
            headers["If-Range"] = f'"{held}"'
            whole = whole or held != etag
        answer = chance.choice(clients).file("GET", key, None, headers)
        kind = check(answer, specs, content, whole)
        counts[kind] = counts.get(kind, 0) + 1
    if min(counts.get(kind, 0) for kind in ("one", "several", "whole", "outside")) < RANGES // 50:
        fail(f"the ranges were too much alike: {counts}")
    print(f"ranges={RANGES} wrong=0 " + " ".join(f"{kind}={count}" for kind, count in sorted(counts.items())))


main()
