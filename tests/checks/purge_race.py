"""Slow and fast downloads of files that are replaced and deleted all the time, then: do the disks hold what is named, and no more?"""

import hashlib
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

from dev import Dev, fail, note

KEYS = 3
SIZE = 24 << 20  # more than sockets and the gateway's look-ahead hold, so that a slow reader is really behind
STEP = 64 << 10


def narrow(host: str, port: int) -> socket.socket:
    """A connection whose receive buffer does not hide how slow its reader is."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STEP)
    connection.settimeout(60)
    connection.connect((host, port))
    return connection


class Race:
    def __init__(self, dev: Dev, seconds: float):
        self.dev, self.end = dev, time.monotonic() + seconds
        self.lock = threading.Lock()
        self.written: dict[str, str] = {}  # etag: sha256 of the content
        self.read: list[tuple[str, str, str]] = []  # key, etag, sha256
        self.counts = {"puts": 0, "deletes": 0, "whole": 0, "aborted": 0, "not_found": 0}
        self.wrong: list[str] = []

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def write(self, key: str, seed: int) -> None:
        rng, client = random.Random(seed), self.dev.client()
        while time.monotonic() < self.end:
            body = rng.randbytes(SIZE - rng.randrange(STEP))
            answer = client.file("PUT", key, body)
            if answer.status not in (200, 201):
                self.wrong.append(f"PUT {key} answered {answer.status} {answer.code()}")
                return
            with self.lock:
                self.written[answer.etag()] = hashlib.sha256(body).hexdigest()
            self.count("puts")
            time.sleep(rng.uniform(0.2, 0.8))
            if rng.random() < 0.3:
                client.file("DELETE", key)
                self.count("deletes")

    def download(self, key: str, pause_s: float, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        while time.monotonic() < self.end:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
            connection.sock = narrow(parts.hostname, parts.port)
            try:
                connection.request("GET", f"/v1/files/demo/{key}", headers={"Authorization": f"Bearer {self.dev.token}"})
                answer = connection.getresponse()
                if answer.status == 404:
                    self.count("not_found")
                    time.sleep(0.05)
                    continue
                if answer.status != 200:
                    # A version that went between the look at the metadata and its first byte: refused, not half served.
                    problem = json.loads(answer.read() or b"{}")
                    if problem.get("code") not in ("chunk_gone", "replicas_unavailable", "rate_limited"):
                        self.wrong.append(f"GET {key} answered {answer.status} {problem}")
                    self.count("aborted")
                    continue
                etag, length = answer.getheader("etag").strip('"'), int(answer.getheader("content-length"))
                digest, got = hashlib.sha256(), 0
                while True:
                    part = answer.read(STEP)
                    if not part:
                        break
                    digest.update(part)
                    got += len(part)
                    time.sleep(pause_s)
                if got != length:
                    raise http.client.IncompleteRead(b"", length - got)
                with self.lock:
                    self.read.append((key, etag, digest.hexdigest()))
                self.count("whole")
            except (OSError, http.client.HTTPException):
                self.count("aborted")
            finally:
                connection.close()

    def run(self) -> None:
        threads = []
        for n in range(KEYS):
            threads.append(threading.Thread(target=self.write, args=(f"k{n}", n)))
            # Fast ones through the front door; slow ones at a node, with nothing between that buffers for them.
            readers = [(0, self.dev.api), (0.02, self.dev.nodes[n].public), (0.04, self.dev.nodes[n - 1].public)]
            threads += [threading.Thread(target=self.download, args=(f"k{n}", *reader)) for reader in readers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.wrong:
            fail(f"{len(self.wrong)} wrong answers, first: {self.wrong[0]}")
        for key, etag, digest in self.read:
            if self.written.get(etag) != digest:
                fail(f"a download of {key} ended well with other bytes than ETag {etag} stands for")


def fsck() -> tuple[int, dict]:
    command = [os.environ["FLOTILLA"], "fsck", "--json"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    for line in lines:
        if line["line"] == "finding":
            note(str(line))
    return result.returncode, lines[-1] if lines else {}


def files_on_disks(dev: Dev) -> int:
    return sum(len(list((node.data_dir / "chunks" / "chunks").glob("*/*-*"))) for node in dev.nodes)


def main() -> None:
    dev = Dev()
    race = Race(dev, float(sys.argv[1]))
    race.run()
    note(f"{race.counts}")
    if race.counts["whole"] < 3 or race.counts["aborted"] < 1:
        fail(f"nothing was raced for: {race.counts}")
    purged = 0

    def clean() -> bool:
        nonlocal purged
        status, summary = fsck()
        purged = sum(node.metric("flotilla_purged_total") or 0 for node in dev.nodes)
        idle = summary.get("purging") == 0 and summary.get("in_flight") == 0
        return status == 0 and idle and summary.get("copies") == 2 * summary.get("chunks")

    if not dev.wait(clean, 30):
        fail(f"fsck is not clean 30 s after the last write: {fsck()}")
    if purged == 0:
        fail("no node purged a chunk")
    front = dev.client()
    for n in range(KEYS):
        front.file("DELETE", f"k{n}")
    if not dev.wait(lambda: fsck()[1].get("chunks") == 0 and fsck()[1].get("purging") == 0, 30):
        fail(f"deleted files still have chunks: {fsck()}")
    left = files_on_disks(dev)
    if left:
        fail(f"nothing is named any more, but {left} chunk files lie on the disks")
    figures = " ".join(f"{name}={count}" for name, count in race.counts.items())
    print(f"{figures} purged={purged:.0f} left=0")


main()
