"""Sends a fleet that is short of processor time ten times what it can do, and looks at what becomes of everybody.

usage: overload.py short|full

PHASES="herd spike slow clogged soak" picks some of them; RATE=300 is the capacity in uploads per second, instead of a search for
it, and STEAL_RATE= that with larger content, for the rounds with and without stealing; SOAK_S=3600 is how long the soak lasts; STEALING=never is a
control, where stealing is never on.
"""

import os
import sys
import time
from dataclasses import dataclass

import loads
from compared import Compared, Round
from crowded import FRONT, SHARE, SLOW_SHARE, Clog, Fleet, Watch, conclude, herd
from dev import fail, note
from held import DATABASE, MIB, Holding, judge
from loads import OK, REFUSED, Load, Part, Phase

# Content of up to 4 KiB is a part of its commit: a node alone can hold it, and processor time is all that there is too little of.
SIZE, TIMEOUT_S = "2KB", 20
# With stealing, it is the clusters that have to be short, and not the supernode, whose work doesn't grow with the content as theirs does.
LARGER = "64KB"
# A cluster that is held back most of the time seems faster than it is for a moment.
TRIAL_S = 5
MIX = {"put": 1}
# Of the capacity: a calm that leaves room, the spike, and what bursts stand on.
CALM, SPIKE, BASE = 0.7, 10, 0.5
# As many as the supernode's queues hold, and more: else it would be the runner that keeps requests back.
CONNECTIONS_MIN, CONNECTIONS_MAX, CONNECTIONS_PER_RATE = 2000, 4000, 8
# An upload is good after the spike if it is not this many times slower than one in a hundred was before.
PATIENCE = 20
GOODPUT_MIN = 0.9
# Uploads at once, and the most of them that one of three equal clusters may get.
HERD, HERD_MAX = 100, 60
# Where requests wait at the right cluster, uploads may hardly be worse with stealing than without: so many times better. Two rounds
# alike differ by a third, so a doubt is met with more rounds.
HARM_MIN, TRIES = 0.6, 3
# The supernode knows nothing of how busy or fast clusters are.
MISROUTED = "route.evenly=return"
# At least so much of what is stolen comes from the cluster that is short.
FROM_SHORT_MIN = 0.5
SHORT = "c"
CLOG = 48
# What is asked between the bursts of the rounds of stealing, and in them, of what the clusters can do then.
STEADY, BURST, BURST_S, BURST_EVERY_S = 0.35, 2.5, 0.5, 4
WARM_S = 2
# Of a load in whose rounds some cluster is to have room, so much may be refused; it is made smaller until that is so.
WARM_REFUSED_MAX, LOWER, STEAL_RATE_MIN = 0.05, 0.7, 40
# Before a soak: of the capacity, for so long and so often, until every database holds so much.
FILL, FILL_S, FILLS, FULL = 1.2, 60, 8, 48 << 20


@dataclass(frozen=True)
class Size:
    """How long everything lasts, in seconds."""

    phases: str
    trial: int
    precision: int
    calm: float
    spike: float
    after: float
    # Goodput is that of so many seconds after the spike.
    window: tuple[float, float]
    bursts: float
    burst: tuple[float, float]
    # With stealing or without; what gets quicker from load to load is no difference of both in an order that reads the same backwards.
    rounds: tuple[bool, ...]
    round_s: float
    # Where requests wait at the wrong cluster, uploads have to be so many times better with stealing, by how many are admitted and how
    # long one in a hundred of them takes. Short rounds have two bursts or three, and say only whether it does harm.
    gain_min: float


SIZES = {
    "short": Size("herd spike slow", 2, 25, 6, 3, 24, (14, 24), 6, (0.5, 3), (False, True), 10, 0.9),
    "full": Size("herd spike slow clogged soak", 5, 10, 20, 10, 65, (30, 60), 60, (1, 8), (True, False, False, True), 30, 1.2),
}


class Check:
    """One run of the check."""

    def __init__(self, size: Size):
        self.size, self.problems = size, []
        self.figures: dict[str, float | int] = {"ops": 0, "lost": 0, "corrupt": 0}
        self.fleet = Fleet()
        self.dev, self.folder = self.fleet.dev, self.fleet.dev.work / "loads"
        self.watch = Watch(self.fleet)
        self.rate = float(os.environ.get("RATE", 0))
        self.seed = 0

    def bad(self, *problems: str) -> None:
        for problem in problems:
            note(f"PROBLEM: {problem}")
            self.problems.append(problem)

    @property
    def connections(self) -> int:
        return min(CONNECTIONS_MAX, max(CONNECTIONS_MIN, int(self.rate * CONNECTIONS_PER_RATE)))

    def send(self, name: str, tail: str, connections: int, over=lambda: None, mix: dict[str, int] | None = None, size: str = SIZE, within_s: float = 600, limited: bool = True) -> tuple[Load, dict, dict]:
        """Sends a load to servers that are short of time, if they are to be, until its last answer is there; gives the supernode's metrics before and
        after it, too. Everything is read back at full speed."""
        pages = [self.fleet.sure_page()]

        def at_end() -> None:
            over()
            self.fleet.lift()
            pages.append(self.fleet.sure_page())

        if limited:
            self.fleet.limit()
        else:
            self.fleet.lift()
        self.seed += 1
        text = loads.profile(f"{name} of the overload check", connections, tail, mix or MIX, size, TIMEOUT_S)
        load = loads.run(self.folder, name, text, at_end, self.seed, within_s)
        if len(pages) < 2:
            fail(f"{name}: the runner ended with {load.code} before its last answer; see {self.folder}/{name}.log")
        self.figures["ops"] += load.report["checked_files"]
        self.figures["lost"] += load.report["lost"]
        self.figures["corrupt"] += load.report["corrupt"]
        note(load.verdict())
        return load, pages[0], pages[1]

    def tell(self, load: Load, phases: list[Phase]) -> None:
        for phase in phases:
            note(phase.line())
            note(self.watch.line(load.began + phase.begin, load.began + phase.end))

    @staticmethod
    def tell_counts(name: str, before: dict, after: dict) -> None:
        show = lambda metric, *labels: dict(loads.grown(before, after, metric, *labels)) or "none"
        note(f"{name}: the supernode answered {show('flotilla_requests_total', 'op', 'code')}")
        note(f"  refused {show('flotilla_refused_total', 'code', 'why')}, routed {show('flotilla_routed_total', 'cluster', 'why')}")
        note(f"  stolen {show('flotilla_stolen_total', 'from', 'to')}")

    def herd(self) -> None:
        """Uploads that begin at once are spread over the clusters."""
        self.fleet.limit()
        got = herd(self.dev, HERD)
        note(f"herd: of {HERD} uploads at once: {dict(got)}")
        most = max(got[cluster] for cluster in self.dev.clusters)
        self.figures["herd"] = most
        if sum(got[cluster] for cluster in self.dev.clusters) != HERD:
            self.bad(f"of {HERD} uploads at once not all were taken: {dict(got)}")
        if most > HERD_MAX:
            self.bad(f"of {HERD} uploads at once {most} went to one of three idle clusters: {dict(got)}")

    def knee(self, content: str, trial_s: float) -> float:
        """Finds the capacity: the highest rate of uploads of this size at which none is refused and no queue grows."""
        size = self.size
        # A queue that grows by a tenth of the rate is a quarter of a second long at the end of a trial of a few seconds.
        tail = f'[knee]\nfrom = 60\nto = 20000\nfor = "{trial_s}s"\np99_ms = 250\nfailed_percent = 1\nprecision_percent = {size.precision}\n'
        load, before, after = self.send(f"knee-{content}-{self.seed}", tail, 512, size=content)
        found = load.report["knee"]
        for row in found["trials"]:
            note(f"knee: {row['rate']:.0f}/s {'borne' if row['borne'] else 'too much'}, failed {row['failed']}, p99 {row['p99_ms'] or 0:.0f} ms{', the runner was late' if row['runner_late'] else ''}")
            note(self.watch.line(load.began + row["from_s"], load.began + row["to_s"]))
        self.tell_counts("knee", before, after)
        if not found["highest_borne"]:
            fail("void: not even the first rate of the search for the capacity is borne")
        return found["highest_borne"]

    def spike(self) -> None:
        """Ten times the capacity: refusals are honest, and soon after it nobody notices any more."""
        size, rate = self.size, self.rate
        parts = [
            Part("calm", size.calm, CALM * rate),
            Part("spike", size.spike, SPIKE * rate),
            Part("after", size.after, CALM * rate),
            Part("bursts", size.bursts, BASE * rate, (SPIKE * rate, *size.burst)),
        ]
        elections = self.fleet.elections()
        load, before, after = self.send("spike", "\n".join(part.text() for part in parts), self.connections)
        phases = load.phases(parts)
        self.tell(load, phases)
        self.tell_counts("spike", before, after)
        peak = self.fleet.front.rss_peak_bytes() >> 20
        note(f"spike: {self.fleet.elections() - elections} elections; the supernode held {peak} MiB at most")
        self.bad(*load.problems())
        _, spike, _, bursts = phases
        ends = size.calm + size.spike
        first = loads.cut(load.requests, "before", min(WARM_S, size.calm / 2), size.calm, CALM * rate)
        last = loads.cut(load.requests, "after", ends + size.window[0], ends + size.window[1], CALM * rate)
        patience = PATIENCE * loads.quantile(first.latencies(), 0.99)
        was, now = first.good(patience), last.good(patience)
        note(f"spike: good within {patience * 1000:.0f} ms: {was * 100:.1f} % before, {now * 100:.1f} % from {size.window[0]:.0f} to {size.window[1]:.0f} s after")
        during = sum(1 for r in load.requests if r.outcome == OK and size.calm <= r.ended < ends) / size.spike / rate
        base = bursts.outcomes()[OK] / (BASE * rate * size.bursts)
        self.figures |= {
            "goodput": round(now / was if was else 0.0, 3), "during": round(during, 3), "bursts": round(base, 3),
            "refused": spike.outcomes()[REFUSED], "front_mib": peak,
        }
        if was < GOODPUT_MIN:
            self.bad(f"void: {CALM} of the capacity is too much already, only {was * 100:.1f} % are good: was the capacity found right?")
        elif now < GOODPUT_MIN * was:
            self.bad(f"goodput after the spike is {now / was * 100:.1f} % of what it was before")
        if not spike.outcomes()[REFUSED]:
            self.bad("void: nothing was refused in the spike, so it was no overload")
        if base < GOODPUT_MIN:
            self.bad(f"goodput with bursts is {base * 100:.1f} % of what was asked between them")

    def one_round(self, name: str, stealing: bool, can: float, keys: list[str], points: str) -> Round:
        """One load with bursts."""
        never = os.environ.get("STEALING") == "never"
        self.fleet.restart_front({"FAILPOINTS": points}, stealing="true" if stealing and not never else "false")
        part = Part("work", self.size.round_s, STEADY * can, (BURST * can, BURST_S, BURST_EVERY_S))
        clog = Clog(self.fleet, SHORT, keys) if keys else None
        if clog:
            time.sleep(WARM_S)
        told = f"{name}-{'on' if stealing else 'off'}"
        load, before, after = self.send(told, part.text(), self.connections, clog.end if clog else lambda: None, size=LARGER)
        phases = load.phases([part])
        self.tell(load, phases)
        self.tell_counts(told, before, after)
        if clog:
            note(f"{told}: clients that clog {SHORT} were answered {dict(clog.answers)}")
        self.bad(*load.problems())
        warm = loads.cut(load.requests, told, WARM_S, self.size.round_s, part.rate)
        used = self.watch.used(load.began + WARM_S, load.began + self.size.round_s)
        use = sum(used[cluster] for cluster in self.dev.clusters if cluster != SHORT)
        outcomes = phases[0].outcomes()
        return Round(loads.quantile(warm.latencies(), 0.99), use, outcomes[REFUSED] / max(1, outcomes.total()), dict(loads.grown(before, after, "flotilla_stolen_total", "from", "to")))

    def rounds(self, name: str, can: float, keys: list[str], gain_min: float, points: str = "") -> Compared:
        """Uploads with bursts while one cluster is short: what stealing is worth, and who takes from whose queue."""
        both = Compared(name, gain_min, points == MISROUTED)
        for number, stealing in enumerate(self.size.rounds * TRIES):
            both.of[stealing].append(self.one_round(f"{name}-{number}", stealing, can, keys, points))
            if (number + 1) % len(self.size.rounds) == 0:
                note(both.line(SHORT))
                if both.wrong() or not (doubts := both.doubts()):
                    break
                note(f"in doubt: {'; '.join(doubts)}")
        self.figures |= both.figures()
        self.bad(*both.problems())
        return both

    def stealing(self, name: str, share: float, keys: list[str]) -> float:
        """Rounds at a share of what the fleet can do as it stands now, which it gives. Requests wait where they are served soonest, so
        there is little to steal, and stealing must do no harm."""
        self.fleet.restart_front({"FAILPOINTS": ""}, stealing="true")
        can = float(os.environ.get("STEAL_RATE", 0)) or self.knee(LARGER, TRIAL_S)
        note(f"{name}: capacity: {can:.0f} uploads of {LARGER} per second")
        # The first load after a search for the capacity was the slowest of four twice, whatever was on.
        can = self.borne(name, False, can, share, keys)
        # At the edge a burst just fits into the queues, and whether much is refused is luck.
        self.figures[f"{name}_rate"] = round(LOWER * can)
        self.rounds(name, LOWER * can * share, keys, HARM_MIN)
        return can

    def borne(self, name: str, stealing: bool, can: float, share: float, keys: list[str], points: str = "") -> float:
        """Lowers the capacity that rounds are to use until one of them is hardly refused anything: where no cluster has room, or the
        supernode itself is short, there is nothing to steal. A search of short trials may find more than is borne for long."""
        while self.one_round(f"{name}-warm-{can:.0f}", stealing, can * share, keys, points).refused > WARM_REFUSED_MAX:
            can *= LOWER
            note(f"{name}: too much for rounds in which somebody is to have room; from now on as if {can:.0f} were the capacity")
            if can < STEAL_RATE_MIN:
                fail(f"void: {name}: even a load for {can:.0f} uploads per second is refused")
        return can

    def slow(self) -> None:
        """One cluster has a tenth of a processor instead of a quarter. Where the guess is wrong that it is slower, stealing has to make
        up for it."""
        self.fleet.shares[SHORT] = SLOW_SHARE
        # What the short one lacks the supernode has, one processor in all: else its own delay would hide what waits for the clusters.
        self.fleet.shares[FRONT] = SHARE + SHARE - SLOW_SHARE
        try:
            can = self.stealing("slow", 1, [])
            # As much as is borne with stealing: without it that has to be too much, or slow.
            can = self.borne("slow_misrouted", True, can, 1, [], MISROUTED)
            self.figures["slow_misrouted_rate"] = round(can)
            wrong = self.rounds("slow_misrouted", can, [], self.size.gain_min, MISROUTED)
        finally:
            self.fleet.shares |= {SHORT: SHARE, FRONT: SHARE}
        if wrong.stolen(True, SHORT) < FROM_SHORT_MIN * wrong.stolen(True):
            self.bad(f"slow: of {wrong.stolen(True)} stolen requests only {wrong.stolen(True, SHORT)} came from {SHORT}, the cluster that is short")

    def clogged(self) -> None:
        """One cluster has all it can do with changes of its own files, which come to its nodes directly. Its reports say that it is
        busy, so no guess is wrong here."""
        self.fleet.lift()
        keys = self.fleet.keys_of(SHORT, CLOG)
        clusters = len(self.dev.clusters)
        self.stealing("clogged", (clusters - 1) / clusters, keys)

    def soak(self) -> None:
        """A steady load for long: nothing grows."""
        seconds = float(os.environ.get("SOAK_S", 0))
        if not seconds:
            note("soak: left out, SOAK_S says how long it should be")
            return
        self.fleet.restart_front({"FAILPOINTS": ""}, stealing="true")
        self.fill()
        part, worst = Part("soak", seconds, BASE * self.rate), 0.0
        holding = Holding(self.dev.processes, seconds, self.watch.over)
        mix = {"put": 5, "replace": 25, "get": 60, "head": 5, "delete": 5}
        load, before, after = self.send("soak", part.text(), 256, mix=mix, within_s=seconds * 2 + 900)
        self.tell(load, load.phases([part]))
        self.tell_counts("soak", before, after)
        self.bad(*load.problems())
        for name, points in holding.seen.items():
            judged = judge(points, holding.begun, seconds)
            for line in judged.notes:
                note(f"soak: {name}: {line}")
            self.bad(*(f"soak: {name} {problem}" for problem in judged.problems))
            worst = max(worst, judged.growth)
        self.figures |= {"soak_s": int(seconds), "growth": round(worst, 2)}

    def fill(self) -> None:
        """Loads servers that have all the time there is until their databases have once used most of the memory that they may, which
        at the pace of a soak takes them hours."""
        for number in range(FILLS):
            holding = Holding(self.dev.processes, FILL_S, self.watch.over)
            part = Part("fill", FILL_S, FILL * self.rate)
            load, _, _ = self.send(f"fill-{number}", part.text(), 256, mix={"put": 70, "get": 30}, limited=False)
            self.bad(*load.problems())
            most = {name: max((point.of[DATABASE] for point in points), default=0) for name, points in holding.seen.items()}
            note(f"fill: databases hold {', '.join(f'{name} {held / MIB:.0f}' for name, held in most.items())} MiB at most")
            if min(most.values()) >= FULL:
                return
        self.bad(f"void: after {FILLS} loads of {FILL_S} s not every database has used {FULL / MIB:.0f} MiB")

    def run(self) -> None:
        phases = (os.environ.get("PHASES") or self.size.phases).split()
        known = {name: getattr(self, name) for name in ("herd", "spike", "slow", "clogged", "soak")}
        if odd := [name for name in phases if name not in known]:
            fail(f"PHASES= has {' '.join(odd)}; there are {' '.join(known)}")
        self.fleet.wait_offers(alike="herd" in phases)
        if "herd" in phases:
            known["herd"]()
        if not self.rate and {"spike", "soak"} & set(phases):
            self.rate = self.knee(SIZE, self.size.trial)
        self.figures["rate"] = round(self.rate)
        note(f"capacity: {self.rate:.0f} uploads of {SIZE} per second")
        for name in phases:
            if name != "herd":
                begun = time.monotonic()
                known[name]()
                note(f"-- {name} took {time.monotonic() - begun:.0f} s")
        if dead := self.fleet.dead():
            self.bad(f"servers have ended: {' '.join(dead)}")
        self.watch.end()
        self.fleet.lift()


def main() -> None:
    check = Check(SIZES[sys.argv[1]])
    if (os.cpu_count() or 1) < 2:
        note("one processor alone: servers have all of it, and the runner what they leave")
    check.run()
    conclude(check.figures, check.problems)


if __name__ == "__main__":
    main()
