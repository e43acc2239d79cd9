"""A deployment that is short of processor time: each cluster and the supernodes have a part of one processor, and what they make of
it is watched.
"""

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass

import loads
from cpu import Groups
from dev import Dev, Process, fail

FRONT = "front"
SHARE, SLOW_SHARE = 0.25, 0.1
LOOK_S, SCRAPE_EVERY = 0.25, 4
# A part of its commit: what is replaced takes no space that has to be freed.
CLOGGING = b"replaced" * 100


@dataclass(frozen=True)
class Look:
    """What is known at one moment: processor seconds, periods and throttled periods of each group, and the supernode's metrics."""

    at: float
    groups: dict[str, tuple[float, int, int]]
    page: dict[str, float]


class Fleet:
    """The deployment in DIR; its servers are in groups of their own from now on."""

    def __init__(self, limited_front: bool = True):
        self.dev = Dev()
        self.groups = Groups([FRONT, *self.dev.clusters])
        self.shares: dict[str, float | None] = dict.fromkeys(self.dev.clusters, SHARE)
        self.shares[FRONT] = SHARE if limited_front else None
        for process in self.dev.processes:
            self.groups.put(self.group_of(process), process.pid)
        self.front = self.dev.supernodes[0]

    @staticmethod
    def group_of(process: Process) -> str:
        return process.cluster or FRONT

    def limit(self) -> None:
        for name, share in self.shares.items():
            self.groups.set(name, share)

    def lift(self) -> None:
        """Gives everybody all the time there is: for what is not measured."""
        for name in self.shares:
            self.groups.set(name, None)

    def start(self, process: Process, env: dict[str, str] | None = None) -> None:
        self.dev.start(process, env, self.groups.wrapper(self.group_of(process)))

    def restart_front(self, env: dict[str, str], **settings: str) -> None:
        """Starts the supernode anew with these settings, and waits until new files can be made in every cluster again."""
        self.lift()
        self.dev.kill_all([self.front])
        kept = [text for text in self.front.argv[3::2] if text.split("=", 1)[0] not in settings]
        told = kept + [f"{key}={value}" for key, value in settings.items()]
        self.front.argv = self.front.argv[:2] + [word for text in told for word in ("--set", text)]
        self.start(self.front, env)
        self.dev.wait_ready([self.front], 60)
        self.wait_offers()
        self.limit()

    def wait_offers(self, within_s: float = 30, alike: bool = False) -> None:
        """Waits until every cluster has told the supernode how much it takes; if asked for, the same for all: a new leader offers
        little at first, and who offers more gets more."""

        def offered() -> bool:
            told = loads.labelled(self.page(), "flotilla_credits")
            offers = {dict(labels)["cluster"]: count for labels, count in told.items() if dict(labels).get("kind") == "offered" and count > 0}
            return offers.keys() >= set(self.dev.clusters) and (not alike or len(set(offers.values())) == 1)

        if not self.dev.wait(offered, within_s):
            fail(f"not every cluster has offered credits after {within_s} s")

    def page(self, timeout_s: float = 2, of: Process | None = None) -> dict[str, float]:
        """The metrics of a supernode; nothing when it does not answer."""
        answer = (of or self.front).get("/metrics", timeout_s)
        return loads.samples(answer.body.decode()) if answer is not None and answer.status == 200 else {}

    def sure_page(self) -> dict[str, float]:
        page = self.dev.wait(self.page, 30)
        return page or fail("the supernode does not tell its metrics")

    def elections(self) -> int:
        return int(sum(p.metric("flotilla_elections_total") or 0 for p in self.dev.processes if p.alive()))

    def dead(self) -> list[str]:
        return [p.name for p in self.dev.processes if not p.alive()]

    def keys_of(self, cluster: str, count: int) -> list[str]:
        """Keys that are at home in a cluster, each of a file that is there now."""
        client, found = self.dev.client(), []
        for number in range(count * 40):
            key = f"crowded/{cluster}/{number}"
            answer = client.file("PUT", key, b"at home here")
            if answer.status == 201 and answer.cluster() == cluster:
                found.append(key)
            if len(found) == count:
                return found
        return fail(f"void: of {count * 40} new files only {len(found)} went to {cluster}")


class Watch:
    """Looks at the groups all the time, and at the supernode's metrics once a second."""

    def __init__(self, fleet: Fleet):
        self.fleet, self.over = fleet, threading.Event()
        self.looks: list[Look] = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        number, page = 0, {}
        while not self.over.wait(LOOK_S):
            if number % SCRAPE_EVERY == 0:
                page = self.fleet.page(1)
            number += 1
            self.looks.append(self.look(page))

    def look(self, page: dict[str, float]) -> Look:
        groups = self.fleet.groups
        told = {name: (groups.used_s(name), *groups.throttled(name)) for name in self.fleet.shares}
        return Look(time.monotonic(), told, page)

    def end(self) -> None:
        self.over.set()
        self.thread.join()

    def between(self, begin: float, end: float) -> list[Look]:
        return [look for look in self.looks if begin - LOOK_S <= look.at <= end + LOOK_S]

    def used(self, begin: float, end: float) -> dict[str, float]:
        """Processors that each group kept busy in a stretch of time."""
        looks = self.between(begin, end)
        if len(looks) < 2:
            return dict.fromkeys(self.fleet.shares, 0.0)
        first, last = looks[0], looks[-1]
        return {name: (last.groups[name][0] - first.groups[name][0]) / (last.at - first.at) for name in first.groups}

    def line(self, begin: float, end: float) -> str:
        """Where the bottleneck was, for people."""
        looks, used = self.between(begin, end), self.used(begin, end)
        if len(looks) < 2:
            return "  nobody looked"
        parts = []
        for name, share in self.fleet.shares.items():
            periods, throttled = (looks[-1].groups[name][at] - looks[0].groups[name][at] for at in (1, 2))
            waited = f", held back in {throttled * 100 // periods} % of periods" if periods else ""
            of = f"{used[name] / share * 100:.0f} % of its {share}" if share else f"{used[name]:.2f} processors"
            parts.append(f"{name} {of}{waited}")
        text = f"  processor: {'; '.join(parts)}"
        for metric, kind, what in (("flotilla_queue_depth", "", "waiting"), ("flotilla_credits", "offered", "credits"), ("flotilla_credits", "in_flight", "under way")):
            if told := self.extremes(looks, metric, kind):
                text += f"\n  {what}: {told}"
        return text

    @staticmethod
    def extremes(looks: list[Look], metric: str, kind: str) -> str:
        """The least and the most of a gauge, per cluster."""
        seen: dict[str, list[float]] = {}
        for look in looks:
            for labels, value in loads.labelled(look.page, metric).items():
                have = dict(labels)
                if have.get("kind", "") == kind:
                    seen.setdefault(have.get("cluster", "-"), []).append(value)
        return ", ".join(f"{cluster} {min(values):.0f} to {max(values):.0f}" for cluster, values in sorted(seen.items()))


class Clog:
    """Clients that replace files of one cluster at its own nodes, each as soon as its last request was answered: the supernode is not
    busy with that, has no say in it, and what the cluster has left is little."""

    def __init__(self, fleet: Fleet, cluster: str, keys: list[str]):
        self.fleet, self.over = fleet, threading.Event()
        self.url = fleet.dev.of_cluster(cluster)[0].public
        self.answers: Counter = Counter()
        self.threads = [threading.Thread(target=self.run, args=(key,), daemon=True) for key in keys]
        for thread in self.threads:
            thread.start()

    def run(self, key: str) -> None:
        client = self.fleet.dev.client(self.url, 60)
        while not self.over.is_set():
            try:
                answer = client.file("PUT", key, CLOGGING)
                self.answers[str(answer.status)] += 1
                good = answer.status == 200
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
                good = False
            if not good:
                self.over.wait(0.3)

    def end(self) -> Counter:
        self.over.set()
        for thread in self.threads:
            thread.join(70)
        return self.answers


def herd(dev: Dev, count: int) -> Counter:
    """Where so many uploads of new files go that begin at once, each on a connection of its own."""
    began, got = threading.Barrier(count), []

    def one(number: int) -> None:
        client = dev.client()
        began.wait(60)
        try:
            answer = client.file("PUT", f"herd/{number}", b"one of many" * 50)
            got.append(answer.cluster() if answer.status == 201 else f"{answer.status} {answer.code()}")
        except (OSError, http.client.HTTPException) as error:
            got.append(type(error).__name__)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    return Counter(got)


def conclude(figures: dict[str, float | int], problems: list[str]) -> None:
    """Ends a check with its figures, as failed if there are problems."""
    text = " ".join(f"{name}={value}" for name, value in figures.items())
    if problems:
        fail(f"{len(problems)} problems, first: {problems[0]}; {text}")
    print(text)
