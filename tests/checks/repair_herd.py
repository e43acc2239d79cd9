"""Stores many chunks, kills a node under load, and compares what clients waited before with what they wait while repair runs."""

import os
import random
import sys
import threading
import time

from census import census
from dev import Client, Dev, fail, note

COPIES = 2
SIZE = 20_000
WRITERS = 16
CLIENTS, RATE_PER_CLIENT = 8, 20
CALM_S, SETTLE_S, WITHIN_S = 20, 3, 300
# What a clock's resolution and a scheduler's slice make of two equal distributions.
SLOWER_MAX, NOISE_S = float(os.environ.get("SLOWER_MAX", "2")), 0.010


def content(number: int) -> bytes:
    return random.Random(number).randbytes(SIZE)


def key(number: int) -> str:
    return f"herd/{number}"


def fill(dev: Dev, chunks: int) -> None:
    def write(worker: int) -> None:
        client = dev.client(dev.nodes[worker % len(dev.nodes)].public)
        for number in range(worker, chunks, WRITERS):
            answer = client.file("PUT", key(number), content(number))
            if answer.status != 201:
                problems.append(f"{key(number)}: PUT answered {answer.status} {answer.code()}")
                return

    problems: list[str] = []
    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        fail(problems[0])


class Load:
    """Clients at a fixed rate, three reads to a write; a late request counts from when it was due."""

    def __init__(self, dev: Dev, urls: list[str], chunks: int):
        self.dev, self.chunks, self.stop = dev, chunks, threading.Event()
        self.samples: list[tuple[float, float, int]] = []
        self.threads = [threading.Thread(target=self.run, args=(n, urls[n % len(urls)])) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, worker: int, url: str) -> None:
        rng, client, due = random.Random(worker), self.dev.client(url), time.monotonic()
        while not self.stop.is_set():
            due += 1 / RATE_PER_CLIENT
            time.sleep(max(0, due - time.monotonic()))
            status = self.ask(client, rng, worker)
            now = time.monotonic()
            self.samples.append((now, now - due, status))
            due = max(due, now - 1)  # a stall is told once, not by every request that it delayed

    def ask(self, client: Client, rng: random.Random, worker: int) -> int:
        try:
            if rng.random() < 0.75:
                number = rng.randrange(self.chunks)
                answer = client.file("GET", key(number))
                return answer.status if answer.status != 200 or answer.body == content(number) else -1
            return client.file("PUT", f"load/{worker}/{rng.randrange(100)}", rng.randbytes(SIZE)).status
        except OSError:
            return 0

    def p99(self, begin: float, end: float) -> float:
        waits = sorted(wait for at, wait, _ in self.samples if begin <= at < end)
        return waits[len(waits) * 99 // 100] if waits else 0

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def main() -> None:
    dev, chunks = Dev(), int(sys.argv[1])
    fill(dev, chunks)
    note(f"{chunks} chunks are stored")
    victim = next(p for p in dev.nodes if not p.leads())
    others = [p for p in dev.nodes if p is not victim]
    load = Load(dev, [dev.api] + [p.public for p in others], chunks)
    time.sleep(SETTLE_S)
    calm = (time.monotonic(), time.monotonic() + CALM_S)
    time.sleep(CALM_S)
    dev.kill_all([victim])
    killed = time.monotonic()
    short = lambda: sum(p.metric("flotilla_chunks", 'state="short"') or 0 for p in others)
    standing = lambda: sum(p.metric("flotilla_tasks") or 0 for p in others)
    if not dev.wait(lambda: short() > 0 and standing() > 0, 30):
        fail("no repair is planned 30 s after a node died")
    begun = time.monotonic()
    note(f"repair begins {begun - killed:.1f} s after the kill")
    if not dev.wait(lambda: short() == 0 and standing() == 0, WITHIN_S):
        fail(f"{short():.0f} chunks are short {WITHIN_S} s after repair began")
    ended = time.monotonic()
    load.end()
    contents = {key(number): content(number) for number in range(chunks)}
    counted = census(dev.client(others[0].public), contents, {victim.node_id})
    if any(copies < COPIES for copies in counted):
        fail(f"chunks by number of good copies on disk are {counted}")
    bytes_copied = sum(p.metric("flotilla_transfer_bytes_total") or 0 for p in others)
    normal, during = load.p99(*calm), load.p99(begun, ended)
    bad = [status for at, _, status in load.samples if status not in (200, 201, 503) and at > killed + 1]
    note(f"p99 {normal * 1e3:.1f} ms before, {during * 1e3:.1f} ms while repair runs; {len(bad)} odd answers {bad[:3]}")
    figures = (
        f"chunks={sum(counted.values())} repaired_in={ended - begun:.1f}s after_kill={ended - killed:.1f}s "
        f"copied_mb={bytes_copied / 1e6:.0f} p99_before={normal * 1e3:.1f}ms p99_during={during * 1e3:.1f}ms odd={len(bad)}"
    )
    if during > max(SLOWER_MAX * normal, normal + NOISE_S) or bad:
        fail(f"clients suffer: {figures}")
    print(figures)


main()
