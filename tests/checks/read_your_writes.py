"""Writes small files and reads each one back at once, in three ways; half of the writes replace an older version.

usage: read_your_writes.py COUNT; with several supernodes the reads go through another one than the write, and one that follows is late:
it gets its turn for a moment only, and then finds requests and what its leader told it side by side.
"""

import json
import os
import signal
import sys
import threading
import time
import urllib.parse

from dev import Dev, fail, note

# With a late supernode most of them wait.
THREADS = {1: 8, 3: 32}
LATE_S, TURN_S = 0.2, 0.05
# Every second write of a thread goes to the key before it, so that stale versions would show.
PER_KEY = 2


class Stale(Exception):
    """A read did not show the write before it."""


def one(writer, reader, key: str, body: bytes, fresh: bool) -> None:
    put = writer.file("PUT", key, body)
    if put.status != (201 if fresh else 200):
        raise Stale(f"{key}: PUT answered {put.status} {put.code()}")
    etag = json.loads(put.body)["etag"]
    get = reader.file("GET", key)
    if (get.status, get.body, get.etag()) != (200, body, etag):
        raise Stale(f"{key}: GET answered {get.status} {get.code()}, {len(get.body)} bytes, {get.etag()} after {etag}")
    head = reader.file("HEAD", key)
    if (head.status, head.etag(), head.headers.get("content-length")) != (200, etag, str(len(body))):
        raise Stale(f"{key}: HEAD answered {head.status} {head.etag()} after {etag}")
    listing = reader.request("GET", f"/v1/files/demo?{urllib.parse.urlencode({'prefix': key, 'limit': 10})}")
    items = json.loads(listing.body).get("items", []) if listing.status == 200 else []
    if [(item["key"], item["etag"], item["size"]) for item in items] != [(key, etag, len(body))]:
        raise Stale(f"{key}: the list answered {listing.status} {items} after {etag}")


def work(dev: Dev, thread: int, count: int, failures: list[str]) -> None:
    doors = [p.public for p in dev.supernodes]
    writer, reader = dev.client(doors[thread % len(doors)]), dev.client(doors[(thread + 1) % len(doors)])
    for number in range(count):
        if failures:
            return
        key = f"ryw/{thread}/{number // PER_KEY:06}"
        try:
            one(writer, reader, key, os.urandom(number % 6000), number % PER_KEY == 0)
        except (Stale, OSError, ValueError, KeyError) as error:
            failures.append(str(error))
            return


def hold_up(follower, over: threading.Event) -> None:
    """Lets a process run for a moment now and then."""
    try:
        while not over.wait(TURN_S):
            follower.kill(signal.SIGSTOP)
            time.sleep(LATE_S)
            follower.kill(signal.SIGCONT)
    finally:
        follower.kill(signal.SIGCONT)


def main() -> None:
    count = int(sys.argv[1])
    dev = Dev()
    late, over = next((p for p in dev.supernodes if len(dev.supernodes) > 1 and not p.leads()), None), threading.Event()
    pauses = threading.Thread(target=hold_up, args=(late, over), daemon=True)
    if late:
        pauses.start()
    clients = THREADS[len(dev.supernodes)]
    failures: list[str] = []
    begun = time.monotonic()
    threads = [
        threading.Thread(target=work, args=(dev, at, count // clients, failures), daemon=True) for at in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    if late:
        pauses.join()
    if failures:
        fail(failures[0])
    seconds = time.monotonic() - begun
    note(f"{seconds:.0f} s")
    writes = count // clients * clients
    print(f"writes={writes} reads={3 * writes} seconds={seconds:.0f} requests_per_s={4 * writes / seconds:.0f}")


main()
