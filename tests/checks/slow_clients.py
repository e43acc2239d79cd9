"""Opens hundreds of connections that are slow on purpose, and measures what a client that behaves notices of them."""

import asyncio
import os
import resource
import socket
import time
import urllib.parse

from dev import Client, Dev, Process, fail, note

CLIENTS = 800
PROBE_MAX_S = 1.0
HEADER_S, STALL_S = 5, 6
# How long a body may wait for the servers' memory before anybody waits for its client: 10 s on each of three nodes.
MEMORY_S = 3 * 10
# What a busy machine adds to a timeout.
SLACK_S = 4
LIMIT_S = {"head": HEADER_S, "body": MEMORY_S + STALL_S, "read": MEMORY_S + STALL_S}
BIG_BYTES = 8 << 20
FILES = "/v1/files/demo"


def established() -> set[tuple[int, int]]:
    """The ports (server's, client's) of connections whose server has not closed them.

    A client that does not read can't see it: what was sent before the end lies in front of the end.
    """
    held = set()
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            _, local, remote, state = line.split()[:4]
            if state == "01":
                held.add((int(local.split(":")[1], 16), int(remote.split(":")[1], 16)))
    return held


class Slow:
    """One slow client; `closed_after` is when the server gave it up."""

    def __init__(self, kind: str, url: str, token: str, number: int):
        parts = urllib.parse.urlsplit(url)
        self.kind, self.host, self.port, self.token, self.number = kind, parts.hostname, parts.port, token, number
        self.closed_after: float | None = None
        self.ports = (self.port, 0)
        self.seen_closed = False

    def head(self, method: str, key: str, more: str = "") -> bytes:
        return (
            f"{method} {FILES}/{key} HTTP/1.1\r\nHost: flotilla.test\r\n"
            f"Authorization: Bearer {self.token}\r\n{more}\r\n"
        ).encode()

    async def run(self, end: float) -> None:
        raw = socket.socket()
        raw.setblocking(False)
        # A reader that takes nothing shows only when the buffers between are full.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        loop = asyncio.get_running_loop()
        begun = time.monotonic()
        try:
            await loop.sock_connect(raw, (self.host, self.port))
            self.ports = (self.port, raw.getsockname()[1])
            if self.kind == "head":
                await loop.sock_sendall(raw, b"GET / HTTP/1.1\r\n")
            elif self.kind == "body":
                await loop.sock_sendall(raw, self.head("PUT", f"slow-{self.number}", "Content-Length: 1048576\r\n"))
            else:
                await loop.sock_sendall(raw, self.head("GET", "big"))
            while time.monotonic() < end:
                await asyncio.sleep(0.5)
                if self.kind == "read":
                    await loop.sock_recv(raw, 1)
                    gone = self.seen_closed
                else:
                    await loop.sock_sendall(raw, b"x")
                    gone = self.peer_closed(raw)
                if gone:
                    self.closed_after = time.monotonic() - begun
                    return
        except OSError:
            self.closed_after = time.monotonic() - begun
        finally:
            raw.close()

    def peer_closed(self, raw: socket.socket) -> bool:
        """Whether an answer or the end has come; either way the server has given up waiting."""
        try:
            raw.recv(1)
            return True
        except BlockingIOError:
            return False


def probe(dev: Dev, places: list[tuple[str, str, str]], big: bytes, end: float) -> dict[str, float]:
    """Asks as a client that behaves until `end`; gives the longest time of each kind of request.

    The slow readers hold all memory for reading ahead, so the big file comes in small steps.
    """
    worst: dict[str, float] = {}
    number = 0
    while time.monotonic() < end:
        number += 1
        for name, public, ops in places:
            small = b"small" * 10
            for what, ask in {
                f"{name} healthz": lambda ops=ops: Client(ops, dev.token, 10).request("GET", "/healthz"),
                f"{name} put": lambda public=public: Client(public, dev.token, 10).file("PUT", f"{name}-small", small),
                f"{name} get": lambda public=public: Client(public, dev.token, 10).file("GET", f"{name}-small"),
                f"{name} big": lambda public=public: Client(public, dev.token, 10).file("GET", "big"),
            }.items():
                begun = time.monotonic()
                answer = ask()
                worst[what] = max(worst.get(what, 0), time.monotonic() - begun)
                if answer.status not in (200, 201):
                    fail(f"{what} answered {answer.status} {answer.code()} among slow clients")
                if what.endswith(" big") and answer.body != big:
                    fail(f"{what}: other bytes than were stored")
        time.sleep(0.1)
    return worst


async def watcher(readers: list[Slow], end: float) -> None:
    """Tells readers that their server has closed, until all are told."""
    while time.monotonic() < end and not all(reader.seen_closed for reader in readers):
        await asyncio.sleep(0.5)
        held = established()
        for reader in readers:
            reader.seen_closed |= reader.ports[1] != 0 and reader.ports not in held


async def siege(dev: Dev, places: list[tuple[str, str, str]], big: bytes) -> tuple[list[Slow], dict[str, float]]:
    kinds = ("head", "body", "read")
    slow = [Slow(kinds[n % 3], places[n % 2][1], dev.token, n) for n in range(CLIENTS)]
    end = time.monotonic() + max(LIMIT_S.values()) + SLACK_S
    watch = asyncio.create_task(watcher([client for client in slow if client.kind == "read"], end))
    tasks = [asyncio.create_task(client.run(end)) for client in slow]
    await asyncio.sleep(1)
    worst = await asyncio.to_thread(probe, dev, places, big, time.monotonic() + STALL_S - 2)
    await asyncio.gather(*tasks, watch)
    return slow, worst


def without_files(dev: Dev, node: Process) -> int:
    """Leaves a node no file descriptor to accept with, connects, and sees that it serves again; gives its refusals."""
    limits = f"/proc/{node.pid}/fd"
    held = len(os.listdir(limits))
    soft, hard = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (held + 20, hard))
    parts = urllib.parse.urlsplit(node.public)
    crowd = []
    try:
        for _ in range(60):
            crowd.append(socket.create_connection((parts.hostname, parts.port), 5))
        log = node.log_file
        seen = dev.wait(lambda: b"accept fails" in open(log, "rb").read(), 5)
        if not seen:
            fail("the node never ran out of file descriptors; the check shows nothing")
    finally:
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for connection in crowd:
            connection.close()
    if not dev.wait(node.ready, 10):
        fail(f"{node.name} is not ready after it had no file descriptors")
    answer = Client(node.public, dev.token, 5).file("GET", f"{node.name}-small")
    if answer.status != 200 or not node.alive():
        fail(f"{node.name} answered {answer.status} after it had no file descriptors")
    return len(crowd)


def main() -> None:
    dev = Dev()
    node = dev.nodes[1]
    big = os.urandom(BIG_BYTES)
    if dev.client().file("PUT", "big", big).status != 201:
        fail("the big file was not stored")
    places = [("supernode", dev.api, dev.supernodes[0].ops), (node.name, node.public, node.ops)]
    for name, public, _ in places:
        if dev.client(public).file("PUT", f"{name}-small", b"x").status not in (200, 201):
            fail(f"{name} does not take a small file")
    slow, worst = asyncio.run(siege(dev, places, big))
    for what, seconds in sorted(worst.items()):
        note(f"{what}: {seconds:.3f} s at most")
    late: dict[str, int] = {}
    for client in slow:
        closed = client.closed_after
        if closed is None or closed > LIMIT_S[client.kind] + SLACK_S:
            late[client.kind] = late.get(client.kind, 0) + 1
    longest = {kind: max(c.closed_after or 0 for c in slow if c.kind == kind) for kind in LIMIT_S}
    note("closed after " + ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in longest.items()))
    if late:
        fail(f"slow clients were kept beyond their limit: {late}")
    if max(worst.values()) > PROBE_MAX_S:
        fail(f"a probe took {max(worst.values()):.2f} s among slow clients")
    listing = dev.client().request("GET", f"{FILES}?prefix=slow-")
    if b'"items":[]' not in listing.body:
        fail("a body that never came whole was stored")
    crowd = without_files(dev, node)
    figures = " ".join(f"{kind}_closed={seconds:.1f}s" for kind, seconds in longest.items())
    print(f"clients={CLIENTS} probe_max={max(worst.values()):.3f}s {figures} emfile_crowd={crowd}")


main()
