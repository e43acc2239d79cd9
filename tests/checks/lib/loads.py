"""Loads of `flotilla loadtest`, and what their files of requests say of a stretch of time.

Everything but `run` is pure, and tested in tests/chaos/unit.
"""

import bisect
import csv
import json
import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dev import fail

OK, REFUSED = "ok", "busy_with_retry_after"
# The runner says so on its standard error when the last answer is there.
OVER = "reading everything back"
SECOND = re.compile(r"^\s*(\d+)/\d+ s ")


@dataclass(slots=True)
class Request:
    """One request of a load; seconds since its beginning."""

    due: float
    ended: float
    outcome: str

    @property
    def latency(self) -> float:
        return self.ended - self.due


@dataclass
class Phase:
    """A stretch of a load and what came of the requests that were due in it."""

    name: str
    begin: float
    end: float
    # Requests per second that were to be sent, bursts included.
    rate: float
    requests: list[Request] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def planned(self) -> float:
        """How many were due; those that were never sent stand in no file."""
        return self.rate * self.seconds

    def outcomes(self) -> Counter:
        return Counter(request.outcome for request in self.requests)

    def latencies(self) -> list[float]:
        """Of those that succeeded."""
        return sorted(request.latency for request in self.requests if request.outcome == OK)

    def good(self, within_s: float) -> float:
        """The share of all that were due that succeeded in this time."""
        latencies = self.latencies()
        return bisect.bisect_right(latencies, within_s) / max(self.planned, len(self.requests), 1)

    def line(self) -> str:
        """For people."""
        outcomes, latencies = self.outcomes(), self.latencies()
        other = len(self.requests) - outcomes[OK] - outcomes[REFUSED]
        missing = max(0, round(self.planned) - len(self.requests))
        per = lambda count: f"{count / self.seconds:.0f}/s" if self.seconds > 0 else "-"
        ms = lambda share: f"{quantile(latencies, share) * 1000:.0f} ms" if latencies else "-"
        return (
            f"{self.name}: {self.seconds:.1f} s, due {per(self.planned)}, ok {per(outcomes[OK])}, refused {per(outcomes[REFUSED])}, "
            f"other {other}, never sent {missing}, of the successes p50 {ms(0.5)} p99 {ms(0.99)}"
        )


def quantile(ordered: list[float], share: float) -> float:
    """The value that so much of a list is not above; 0 of nothing."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -(-round(share * 1_000_000) * len(ordered) // 1_000_000) - 1))]


def read_requests(lines: Iterable[str]) -> list[Request]:
    """The file of `--requests`, by the time at which each was due."""
    rows = csv.DictReader(lines)
    found = [Request(float(row["at_s"]), float(row["ended_s"]), row["outcome"]) for row in rows]
    return sorted(found, key=lambda request: request.due)


def cut(requests: list[Request], name: str, begin: float, end: float, rate: float) -> Phase:
    """Those that were due from `begin` on and before `end`."""
    dues = [request.due for request in requests]
    return Phase(name, begin, end, rate, requests[bisect.bisect_left(dues, begin) : bisect.bisect_left(dues, end)])


def mean_rate(rate: float, seconds: float, burst: tuple[float, float, float] | None) -> float:
    """Requests per second of a phase with bursts: their rate, how long each lasts, and how long it is from one to the next; the
    first begins one such time after the phase."""
    if burst is None:
        return rate
    high, lasts, every = burst
    inside, begin = 0.0, every
    while begin < seconds:
        inside += min(lasts, seconds - begin)
        begin += every
    return (rate * (seconds - inside) + high * inside) / seconds


@dataclass(frozen=True)
class Part:
    """A phase of a profile."""

    name: str
    seconds: float
    rate: float
    burst: tuple[float, float, float] | None = None

    def text(self) -> str:
        lines = ["[[phase]]", f'name = "{self.name}"', f'for = "{int(self.seconds * 1000)}ms"', f"rate = {self.rate:.3f}"]
        if self.burst:
            high, lasts, every = self.burst
            lines.append(f'burst = {{ rate = {high:.3f}, for = "{int(lasts * 1000)}ms", every = "{int(every * 1000)}ms" }}')
        return "\n".join(lines) + "\n"


def profile(description: str, connections: int, tail: str, mix: dict[str, int], size: str, timeout_s: int) -> str:
    """A profile's text. Arrivals are even, so that as many are due in every second as the rate says."""
    weights = "".join(f"{name} = {weight}\n" for name, weight in mix.items())
    head = f'description = "{description}"\narrivals = "even"\nconnections = {connections}\ntimeout = "{timeout_s}s"\n'
    return f'{head}\n[mix]\n{weights}\n[sizes]\n"{size}" = 1\n\n{tail}'


@dataclass
class Load:
    """A load that was sent."""

    name: str
    # When it began, by the monotonic clock.
    began: float
    report: dict
    requests: list[Request]
    code: int

    def phases(self, parts: list[Part]) -> list[Phase]:
        found, begin = [], 0.0
        for part in parts:
            rate = mean_rate(part.rate, part.seconds, part.burst)
            found.append(cut(self.requests, f"{self.name}/{part.name}", begin, begin + part.seconds, rate))
            begin += part.seconds
        return found

    def odd(self) -> dict[str, int]:
        """Failures that are no refusal that says when to come again, by kind; the check at the end counts too."""
        return {error["kind"]: error["count"] for error in self.report["errors"] if error["kind"] != REFUSED}

    def problems(self) -> list[str]:
        """What no overload excuses."""
        report, found = self.report, []
        for kind in ("lost", "corrupt", "unreadable"):
            if report[kind]:
                found.append(f"{self.name}: {report[kind]} acked files are {kind}")
        if odd := self.odd():
            examples = "; ".join(e["example"][:160] for e in report["errors"] if e["kind"] in odd)
            found.append(f"{self.name}: answers that are neither good nor a 429 or 503 with Retry-After: {odd}, such as {examples}")
        if report["runner"]["dropped"]:
            found.append(f"void: {self.name}: the runner dropped {report['runner']['dropped']} requests")
        return found

    def verdict(self) -> str:
        report = self.report
        late = f", the runner was late by {report['runner']['lag_p99_ms']:.0f} ms (p99)" if not report["valid"] else ""
        return (
            f"{self.name}: lost {report['lost']}, corrupt {report['corrupt']}, {report['checked_files']} files read back, "
            f"outcome of {report['unknown']} not known{late}"
        )


def run(folder: Path, name: str, text: str, over: Callable[[], None] = lambda: None, seed: int = 1, within_s: float = 600) -> Load:
    """Sends a load; calls `over` when its last answer is there, before everything is read back. Its files stay in the bucket."""
    folder.mkdir(exist_ok=True)
    paths = {end: folder / f"{name}.{end}" for end in ("toml", "json", "csv", "log")}
    paths["toml"].write_text(text)
    command = [os.environ["FLOTILLA"], "loadtest", "run", str(paths["toml"]), "--keep", "--seed", str(seed)]
    command += ["--json", str(paths["json"]), "--requests", str(paths["csv"])]
    # Without the deployment's folder it does not ask all servers for their metrics, which have little time as it is.
    env = {key: value for key, value in os.environ.items() if key != "FLOTILLA_DEV_DIR"}
    began = time.monotonic()
    with open(paths["log"], "w", encoding="utf-8") as log:
        child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.PIPE, text=True)
        guard = threading.Timer(within_s, child.kill)
        guard.daemon = True
        guard.start()
        first = True
        for line in child.stderr:
            log.write(line)
            log.flush()
            told = SECOND.match(line)
            if told and first:
                # Its first second is over now.
                began, first = time.monotonic() - int(told.group(1)), False
            if line.strip() == OVER:
                over()
        code = child.wait()
        guard.cancel()
    if not paths["json"].exists():
        last = paths["log"].read_text().strip().splitlines()[-1:]
        fail(f"{name}: the runner ended with {code} and no report; its last word is {last}")
    with open(paths["csv"], encoding="utf-8", newline="") as lines:
        requests = read_requests(lines)
    return Load(name, began, json.loads(paths["json"].read_text()), requests, code)


def samples(text: str) -> dict[str, float]:
    """A page of metrics: each sample by its name and labels, as they are written."""
    found = {}
    for name, value in re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.M):
        found[name] = float(value)
    return found


def labelled(page: dict[str, float], name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The samples of one metric by their labels."""
    found = {}
    for key, value in page.items():
        own, _, labels = key.partition("{")
        if own == name:
            found[tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))] = value
    return found


def grown(before: dict[str, float], after: dict[str, float], name: str, *labels: str) -> Counter:
    """How much a counter grew, by the values of these labels, in their order."""
    counts: Counter = Counter()
    for page, sign in ((after, 1), (before, -1)):
        for have, value in labelled(page, name).items():
            values = dict(have)
            counts["/".join(values.get(label, "-") for label in labels)] += sign * int(value)
    return Counter({key: count for key, count in counts.items() if count})
