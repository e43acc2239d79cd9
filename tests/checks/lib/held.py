"""What processes hold over a long time, memory, files and threads, and whether it grows."""

import re
import statistics
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import loads
from dev import Process

EVERY_S = 10
# What a process keeps may grow by so many percent of its memory in ten minutes, after the first third.
GROWTH_MAX, OVER_S = 1.0, 600
# What a database may hold: the budget of its cache, which its memtables are charged to, and while it flushes a memtable of each of the
# two families that are written all the time.
DATABASE_MAX = (64 + 2 * 16) << 20
# Memory, files and threads may come and go: after two thirds there may be so much more at most than between one and two. Of memory
# that is the median: a flush gives 16 MiB and more back at once, whose pages the allocator returns a little later, so that the most of
# many looks is chance.
SHARE, SLACK = 0.1, 16
# A page of metrics is waited for so long; the end of what is judged must have been seen but for so many looks.
PAGE_WITHIN_S, UNSEEN_MAX = 5, 6
# Points of the curve of memory that are shown.
CURVE = 12
MIB = float(1 << 20)
# Metrics of what memory is for, and their names here.
ALLOCATED, DATABASE, CHUNKS = "allocated", "database", "chunks"
MEMORY = {
    'flotilla_allocator_bytes{kind="allocated"}': ALLOCATED,
    'flotilla_allocator_bytes{kind="active"}': "active",
    'flotilla_allocator_bytes{kind="metadata"}': "metadata",
    'flotilla_allocator_bytes{kind="resident"}': "resident",
    'flotilla_database_memory_bytes{kind="cache"}': DATABASE,
    'flotilla_database_memory_bytes{kind="memtables"}': "memtables",
    'flotilla_database_memory_bytes{kind="tables"}': "tables",
    "flotilla_cache_bytes": CHUNKS,
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
    def caches(self) -> int:
        """What fills over hours up to a bound."""
        return self.of[DATABASE] + self.of.get(CHUNKS, 0)

    @property
    def kept(self) -> int:
        """What is allocated beside caches; pages that the allocator keeps for reuse are not in it."""
        return self.of[ALLOCATED] - self.caches


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
    """What a process holds now; None when it does not tell what its memory is for, or is gone."""
    answer = process.get("/metrics", PAGE_WITHIN_S)
    page = loads.samples(answer.body.decode()) if answer is not None and answer.status == 200 else {}
    of = {name: int(page[metric]) for metric, name in MEMORY.items() if metric in page}
    # Gauges are there before the first look at what they show.
    if not of.get(ALLOCATED) or not of.get(DATABASE):
        return None
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        files = sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:
        return None
    value = {name: int(number) for name, number in re.findall(r"^(VmRSS|RssFile|Threads):\s+(\d+)", status, re.M)}
    # A process that ended meanwhile has no memory.
    if "VmRSS" not in value:
        return None
    return Held(time.monotonic(), value["VmRSS"] * 1024, {"mapped": value["RssFile"] * 1024} | of, files, value["Threads"])


def judge(points: list[Held], begun: float, seconds: float) -> Judged:
    """Judges what was seen of a process in so many seconds."""
    late = [point for point in points if point.at > begun + seconds / 3]
    if len(late) < max(3, seconds / EVERY_S / 3) or late[-1].at < begun + seconds - UNSEEN_MAX * EVERY_S:
        last = f", last after {late[-1].at - begun:.0f} s" if late else ""
        return Judged([], [f"void: it was looked at {len(late)} times after the first third{last}, so nothing is known of its growth"], 0.0)
    curve = " ".join(f"{(point.at - begun) / 60:.0f}:{point.rss / MIB:.0f}" for point in points[:: max(1, len(points) // CURVE)])
    parts = ", ".join(f"{part} {late[0].of[part] / MIB:.1f} to {late[-1].of[part] / MIB:.1f}" for part in late[0].of if part in late[-1].of)
    memory = sum(point.rss for point in late) / len(late)
    growth = slope([(point.at, float(point.kept)) for point in late]) * OVER_S / memory * 100
    whole = slope([(point.at, float(point.rss)) for point in late]) * OVER_S / memory * 100
    notes = [
        f"MiB by minute {curve}",
        f"MiB after a third and in the end: {parts}",
        f"memory grows by {whole:.2f} % in ten minutes, what is kept by {growth:.2f} % of it, to {late[-1].rss / MIB:.0f} MiB; {late[-1].files} files, {late[-1].threads} threads",
    ]
    problems = []
    if growth > GROWTH_MAX:
        problems.append(f"keeps {growth:.2f} % of its memory more every ten minutes")
    if (most := max(point.of[DATABASE] for point in points)) > DATABASE_MAX:
        problems.append(f"has a database that holds up to {most / MIB:.0f} MiB, {DATABASE_MAX / MIB:.0f} are allowed")
    compared = (
        ("MiB beside caches", statistics.median, lambda point: (point.rss - point.caches) / MIB, 0),
        ("files", max, lambda point: point.files, SLACK),
        ("threads", max, lambda point: point.threads, SLACK),
    )
    for what, of, value, slack in compared:
        values = [value(point) for point in late]
        before, after = of(values[: len(values) // 2]), of(values[len(values) // 2 :])
        if after > before * (1 + SHARE) + slack:
            problems.append(f"holds more and more {what}: {before:.0f}, then {after:.0f}")
    return Judged(notes, problems, growth)


def slope(points: list[tuple[float, float]]) -> float:
    """How much values grow in a second, by the line that fits them best."""
    count = len(points)
    at, mean = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - at) ** 2 for x, _ in points)
    return sum((x - at) * (y - mean) for x, y in points) / spread if spread else 0.0
