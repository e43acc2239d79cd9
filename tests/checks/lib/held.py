"""What processes hold over a long time, memory, files and threads, and whether it grows."""

import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import loads
from dev import Process

EVERY_S = 10
# Memory that is not the database's may grow by so many percent in ten minutes, after the first third.
GROWTH_MAX, OVER_S = 1.0, 600
# What a database may hold: the budget of its cache, which its memtables are charged to, and for the time of a flush one more memtable
# for each of four families.
DATABASE_MAX = (64 + 4 * 16) << 20
# Files and threads that may come and go.
SLACK, SHARE = 16, 0.1
# Points of the curve of memory that are shown.
CURVE = 12
MIB = float(1 << 20)
# Metrics of what memory is for, and their names here.
DATABASE = "database"
MEMORY = {
    'flotilla_allocator_bytes{kind="allocated"}': "allocated",
    'flotilla_allocator_bytes{kind="active"}': "active",
    'flotilla_allocator_bytes{kind="metadata"}': "metadata",
    'flotilla_allocator_bytes{kind="resident"}': "resident",
    'flotilla_database_memory_bytes{kind="cache"}': DATABASE,
    'flotilla_database_memory_bytes{kind="memtables"}': "memtables",
    'flotilla_database_memory_bytes{kind="tables"}': "tables",
    "flotilla_cache_bytes": "chunks",
}


@dataclass(frozen=True)
class Held:
    """What a process holds: bytes of memory in all and by what they are for, open files and threads."""

    at: float
    rss: int
    of: dict[str, int]
    files: int
    threads: int

    @property
    def own(self) -> int:
        """What is not the database's: that fills its budget over hours, and no further."""
        return self.rss - self.of[DATABASE]


@dataclass(frozen=True)
class Judged:
    """What is to be said of a process, and by how many percent its memory grows in ten minutes."""

    notes: list[str]
    problems: list[str]
    growth: float


class Holding:
    """Looks at processes for so many seconds from now on, or until it is told that all is over."""

    def __init__(self, processes: Iterable[Process], seconds: float, over: threading.Event):
        self.processes, self.over = list(processes), over
        self.begun = time.monotonic()
        self.end = self.begun + seconds
        self.seen: dict[str, list[Held]] = {process.name: [] for process in self.processes}
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while not self.over.is_set() and time.monotonic() < self.end:
            for process in self.processes:
                if process.alive() and (now := held(process)) is not None:
                    self.seen[process.name].append(now)
            self.over.wait(EVERY_S)


def held(process: Process) -> Held | None:
    """What a process holds now; None when it does not tell what its memory is for."""
    answer = process.get("/metrics")
    page = loads.samples(answer.body.decode()) if answer is not None and answer.status == 200 else {}
    of = {name: int(page[metric]) for metric, name in MEMORY.items() if metric in page}
    if DATABASE not in of:
        return None
    status = Path(f"/proc/{process.pid}/status").read_text()
    value = lambda name: int(re.search(rf"^{name}:\s+(\d+)", status, re.M).group(1))
    files = sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())
    return Held(time.monotonic(), value("VmRSS") * 1024, {"mapped": value("RssFile") * 1024} | of, files, value("Threads"))


def judge(points: list[Held], begun: float, seconds: float) -> Judged:
    """Judges what was seen of a process in so many seconds."""
    late = [point for point in points if point.at > begun + seconds / 3]
    if len(late) < max(3, seconds / EVERY_S / 3):
        return Judged([], [f"void: it was looked at {len(late)} times after the first third, so nothing is known of its growth"], 0.0)
    curve = " ".join(f"{(point.at - begun) / 60:.0f}:{point.rss / MIB:.0f}" for point in points[:: max(1, len(points) // CURVE)])
    parts = ", ".join(f"{part} {late[0].of[part] / MIB:.1f} to {late[-1].of[part] / MIB:.1f}" for part in late[0].of if part in late[-1].of)
    growing = lambda value: growth_percent([(point.at, float(value(point))) for point in late], OVER_S)
    growth, whole = growing(lambda point: point.own), growing(lambda point: point.rss)
    used = growing(lambda point: point.of.get("allocated", 0) - point.of[DATABASE])
    notes = [
        f"MiB by minute {curve}",
        f"MiB after a third and in the end: {parts}",
        f"memory grows by {whole:.2f} % in ten minutes, by {growth:.2f} % without its database, by {used:.2f} % of what is allocated without it, to {late[-1].rss / MIB:.0f} MiB; {late[-1].files} files, {late[-1].threads} threads",
    ]
    problems = []
    if growth > GROWTH_MAX:
        problems.append(f"grows by {growth:.2f} % of its memory in ten minutes, without its database")
    if (most := max(point.of[DATABASE] for point in points)) > DATABASE_MAX:
        problems.append(f"has a database that holds up to {most / MIB:.0f} MiB, {DATABASE_MAX / MIB:.0f} are allowed")
    for what in ("files", "threads"):
        counts = [getattr(point, what) for point in late]
        if max(counts[len(counts) // 2 :]) > max(counts[: len(counts) // 2]) * (1 + SHARE) + SLACK:
            problems.append(f"holds more and more {what}: up to {max(counts)}")
    return Judged(notes, problems, growth)


def growth_percent(points: list[tuple[float, float]], over_s: float) -> float:
    """How much values grow in so many seconds, in percent of their mean, by the line that fits them best."""
    count = len(points)
    if count < 2:
        return 0.0
    at, mean = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - at) ** 2 for x, _ in points)
    if spread == 0 or mean == 0:
        return 0.0
    slope = sum((x - at) * (y - mean) for x, y in points) / spread
    return slope * over_s / mean * 100
