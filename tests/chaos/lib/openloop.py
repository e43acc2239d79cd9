"""Requests at a fixed rate, whether or not earlier ones were answered, and when each was sent and answered.

What waits for an answer holds up nobody else, so a fleet that stands still is seen to stand still.
"""

import asyncio
import random
import threading
import time
import urllib.parse
from dataclasses import dataclass

from lab import Lab

KEYS = 200
TIMEOUT_S = 15
# A new key needs the supernode's claim; most writes replace.
FRESH_SHARE = 0.2
SIZES = (700, 9_000)


@dataclass(slots=True)
class Sample:
    """One request; status 0 is no answer."""

    where: str
    kind: str
    start: float
    end: float
    status: int
    code: str = ""

    @property
    def ok(self) -> bool:
        return self.status in (200, 201)


class Loop:
    """The clients, in a thread with an event loop of its own."""

    def __init__(self, lab: Lab, endpoints: dict[str, str], rate: float, seed: int, timeout_s: float = TIMEOUT_S):
        self.lab, self.rate, self.timeout_s = lab, rate, timeout_s
        self.names = list(endpoints)
        parts = {name: urllib.parse.urlsplit(url) for name, url in endpoints.items()}
        self.addresses = {name: (part.hostname, part.port) for name, part in parts.items()}
        self.idle: dict[str, list] = {name: [] for name in endpoints}
        self.samples: list[Sample] = []
        self.rng = random.Random(seed)
        self.fresh = 0
        self.stopping = threading.Event()
        client = lab.client()
        for number in range(KEYS):
            if client.file("PUT", self.key(number), b"0" * SIZES[number % 2]).status not in (200, 201):
                raise RuntimeError("the keys can't be written before the run")
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)
        self.thread.start()

    @staticmethod
    def key(number: int) -> str:
        return f"open/{number}"

    async def run(self) -> None:
        due, number, tasks = time.monotonic(), 0, set()
        while not self.stopping.is_set():
            due += 1 / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # Each listener gets a put and a get in turn.
            where = self.names[number // 2 % len(self.names)]
            task = asyncio.create_task(self.one(where, "get" if number % 2 else "put"))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        if tasks:
            await asyncio.wait(tasks, timeout=self.timeout_s + 1)

    def head(self, kind: str, where: str) -> bytes:
        key, body = self.key(self.rng.randrange(KEYS)), b""
        if kind == "put":
            body = self.rng.randbytes(SIZES[self.rng.randrange(2)])
            if self.rng.random() < FRESH_SHARE:
                self.fresh += 1
                key = f"open/fresh/{self.fresh}"
        method = "PUT" if kind == "put" else "GET"
        lines = f"{method} /v1/files/demo/{key} HTTP/1.1\r\nHost: {self.addresses[where][0]}\r\n"
        lines += f"Authorization: Bearer {self.lab.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        return lines.encode() + body

    def kept(self, where: str):
        """A connection that rests, if there is one that its server has not closed: any client looks before it sends."""
        while self.idle[where]:
            pair = self.idle[where].pop()
            if not pair[0].at_eof() and pair[0].exception() is None:
                return pair
            pair[1].close()
        return None

    async def one(self, where: str, kind: str) -> None:
        start, status, code, pair = time.monotonic(), 0, "", None
        try:
            async with asyncio.timeout(self.timeout_s):
                pair = self.kept(where) or await asyncio.open_connection(*self.addresses[where])
                pair[1].write(self.head(kind, where))
                status, code = await self.answer(pair[0])
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
            status, code = 0, type(error).__name__
        if pair is not None:
            if status:
                self.idle[where].append(pair)
            else:
                pair[1].close()
        self.samples.append(Sample(where, kind, start, time.monotonic(), status, code))

    @staticmethod
    async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status, length = int(head[0].split()[1]), 0
        for line in head[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        body = await reader.readexactly(length)
        _, _, rest = body.partition(b'"code":"') if status >= 400 else (b"", b"", b"")
        return status, rest.partition(b'"')[0].decode("latin-1")

    def end(self) -> list[Sample]:
        self.stopping.set()
        self.thread.join(self.timeout_s + 5)
        return sorted(self.samples, key=lambda sample: sample.end)


def gap(samples: list[Sample], kind: str, where: set[str], begin: float, end: float) -> float:
    """The longest time in a window without a success of this kind at these listeners."""
    times = [begin] + [s.end for s in samples if s.ok and s.kind == kind and s.where in where and begin <= s.end <= end] + [end]
    return max(later - earlier for earlier, later in zip(times, times[1:]))
