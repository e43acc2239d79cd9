"""Uploads through gateways that lose answers, and a count of the copies that are left."""

import random
import time

from dev import Dev, fail

CHUNK, COPIES = 64 << 10, 2
LENGTH = 20_000_000  # more chunks than one segment has
FILES = 12
WITHIN_S = 30


def copies(dev: Dev) -> float:
    return sum(node.metric("flotilla_chunks") or 0 for node in dev.nodes)



def put(front, key: str, content: bytes) -> int:
    """Uploads under one request id until that is acked; gives how often it was not."""
    headers = {"X-Request-Id": f"given-up-{key}"}
    for refused in range(20):
        answer = front.file("PUT", key, content, headers)
        if answer.status in (200, 201):
            return refused
        if answer.status not in (503, 504):
            fail(f"{key} was answered with {answer.status} {answer.body[:200]}")
        time.sleep(0.2)
    fail(f"{key} is refused again and again: {answer.body[:200]}")


def settled(dev: Dev, expected: int, when: str) -> float:
    begun = time.monotonic()
    if not dev.wait(lambda: copies(dev) == expected, WITHIN_S):
        fail(f"{when}: {copies(dev):.0f} copies are on the disks after {WITHIN_S} s, {expected} are named")
    return time.monotonic() - begun


def main() -> None:
    dev = Dev()
    front = dev.client()
    rng = random.Random(5)
    contents = {f"f{n}": rng.randbytes(LENGTH) for n in range(FILES)}
    refused = sum(put(front, key, content) for key, content in contents.items())
    if refused < 4:
        fail(f"{refused} answers were lost; the check shows nothing")
    for key, content in contents.items():
        if front.file("GET", key).body != content:
            fail(f"{key} is not what was acked")
    took = settled(dev, FILES * -(-LENGTH // CHUNK) * COPIES, "with all files")
    for key in contents:
        if front.file("DELETE", key).status != 204:
            fail(f"{key} could not be deleted")
    settled(dev, 0, "without files")
    print(f"files={FILES} lost_answers={refused} released_in={took:.1f}s left=0")


main()
