"""Writes small files and reads each one back at once, in three ways; half of the writes replace an older version.

usage: read_your_writes.py COUNT; with several supernodes the reads go through another one than the write, and one that follows is late:
what its leader sends lies 200 ms before its log takes it, while it answers clients at once. FAULT names a fault to plant into that one.
"""

import http.client
import json
import os
import sys
import threading
import time
import urllib.parse

from dev import Client, Dev, Process, fail, note

# Each has connections of its own and reads as soon as its write is answered. Through a late supernode most of them wait.
THREADS = {1: 8, 3: 50}
LATE_MS = 200
# Every second write of a thread goes to the key before it, so that stale versions would show.
PER_KEY = 2
APPLIED = "flotilla_raft_applied_index"
LOOK_S = 0.2


class Stale(Exception):
    """A read did not show the write before it."""


def get(reader: Client, key: str, body: bytes, etag: str) -> None:
    got = reader.file("GET", key)
    if (got.status, got.body, got.etag()) != (200, body, etag):
        raise Stale(f"{key}: GET answered {got.status} {got.code()}, {len(got.body)} bytes, {got.etag()} after {etag}")


def head(reader: Client, key: str, body: bytes, etag: str) -> None:
    got = reader.file("HEAD", key)
    if (got.status, got.etag(), got.headers.get("content-length")) != (200, etag, str(len(body))):
        raise Stale(f"{key}: HEAD answered {got.status} {got.etag()} after {etag}")


def page(reader: Client, key: str, body: bytes, etag: str) -> None:
    got = reader.request("GET", f"/v1/files/demo?{urllib.parse.urlencode({'prefix': key, 'limit': 10})}")
    told = json.loads(got.body) if got.status == 200 else {}
    items = told.get("items", [])
    whole = not told.get("incomplete") and told.get("next") is None
    if not whole or [(item["key"], item["etag"], item["size"]) for item in items] != [(key, etag, len(body))]:
        raise Stale(f"{key}: the list answered {got.status} {items} after {etag}")


READS = (get, head, page)


def one(writer: Client, reader: Client, key: str, body: bytes, number: int) -> None:
    put = writer.file("PUT", key, body)
    if put.status != (201 if number % PER_KEY == 0 else 200):
        raise Stale(f"{key}: PUT answered {put.status} {put.code()}")
    etag = json.loads(put.body)["etag"]
    # What comes first brings its supernode up to date for the others, so each of them has to be that.
    first = number % len(READS)
    for read in READS[first:] + READS[:first]:
        read(reader, key, body, etag)


def work(dev: Dev, thread: int, count: int, failures: list[str]) -> None:
    doors = [p.public for p in dev.supernodes]
    writer, reader = dev.client(doors[thread % len(doors)]), dev.client(doors[(thread + 1) % len(doors)])
    for number in range(count):
        if failures:
            return
        key = f"ryw/{thread}/{number // PER_KEY:06}"
        try:
            one(writer, reader, key, os.urandom(number % 6000), number)
        except (Stale, OSError, http.client.HTTPException, ValueError, KeyError) as error:
            failures.append(str(error) or repr(error))
            return


def make_late(dev: Dev) -> Process | None:
    """Starts one that follows again with a log that is late; none if there is only one."""
    if len(dev.supernodes) == 1:
        return None
    leads = dev.wait(lambda: next((p for p in dev.supernodes if p.leads()), None), 10)
    if leads is None:
        fail("the supernodes have no leader")
    late = next(p for p in dev.supernodes if p is not leads)
    points = [f"raft.before_append=sleep({LATE_MS})"]
    if fault := os.environ.get("FAULT"):
        points.append(f"{fault}=return")
    dev.kill_all([late])
    dev.start(late, env={"FAILPOINTS": ";".join(points)})
    dev.wait_ready([late])
    client = dev.client(late.public)
    # The clusters report to it by themselves, soon after its start.
    if not dev.wait(lambda: client.request("GET", "/v1/files/demo?limit=1").status == 200, 10):
        fail(f"{late.name} does not list")
    return late


class Looks:
    """Looks now and then whether the late one is behind the others: a check with nobody late means nothing."""

    def __init__(self, dev: Dev, late: Process):
        self.late, self.others = late, [p for p in dev.supernodes if p is not late]
        self.looks, self.behind, self.over = 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while not self.over.wait(LOOK_S):
            # The late one last, so that it is rather too far than too late.
            known = [index for p in self.others if (index := p.metric(APPLIED)) is not None]
            own = self.late.metric(APPLIED)
            if known and own is not None:
                self.looks += 1
                self.behind += own < max(known)

    def end(self) -> str:
        self.over.set()
        self.thread.join()
        figures = f"behind={self.behind}/{self.looks}"
        if self.behind * 2 <= self.looks:
            fail(f"{self.late.name} was hardly ever late: {figures}")
        return figures


def main() -> None:
    count = int(sys.argv[1])
    dev = Dev()
    late = make_late(dev)
    clients = THREADS[len(dev.supernodes)]
    failures: list[str] = []
    begun = time.monotonic()
    looks = Looks(dev, late) if late else None
    threads = [
        threading.Thread(target=work, args=(dev, at, count // clients, failures), daemon=True) for at in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        fail(failures[0])
    seconds = time.monotonic() - begun
    note(f"{seconds:.0f} s")
    writes = count // clients * clients
    figures = f"writes={writes} reads={3 * writes} seconds={seconds:.0f} requests_per_s={4 * writes / seconds:.0f}"
    print(f"{figures} {looks.end()}" if looks else figures)


main()
