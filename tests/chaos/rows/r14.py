"""R14: a server says that it is ready if, and only if, it serves: asked five times a second, beside real puts and gets.

usage: r14.py SIZE SEED
"""

import random
import signal
import sys
import threading
import time

import net
from dev import exit_code, node
from lab import CLUSTER, Host, Lab, fail, note
from openloop import Loop, Sample
from verdict import Figures, end

ROUNDS = {"short": 1, "full": 6}
HERTZ = 5
CALM_S, FAULT_S, AFTER_S = 1.0, 5.0, 4.5
# A request that takes longer is of no use to anybody; writes wait for a new leader for 3 s at most.
GIVEN_UP_S = 4.0
READY_BUT_FAILING_MAX_S = 2.0
# What docs/OPERATIONS.md gives running requests, and a moment more.
STOPPED_WITHIN_S = 30


class Readiness(threading.Thread):
    """What one server says of itself, as a list of (asked, answered, ready or not, reasons)."""

    def __init__(self, host: Host):
        super().__init__(daemon=True)
        self.host, self.stopping = host, threading.Event()
        self.said: list[tuple[float, float, bool | None, str]] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            asked = time.monotonic()
            answer = self.host.get("/readyz", 2)
            ready = None if answer is None else answer.status == 200
            text = answer.body.decode(errors="replace")[:80] if answer is not None and not ready else ""
            self.said.append((asked, time.monotonic(), ready, text))
            time.sleep(max(0.0, asked + 1 / HERTZ - time.monotonic()))


def ready_but_failing(said: list, puts: list[Sample]) -> tuple[float, float]:
    """The longest time in which a server said that it is ready while every put failed, and when it began."""
    worst, at, streak_begin = 0.0, 0.0, None
    events = [(s.start, 1, s.ok) for s in puts] + [(asked, 0, ready) for asked, _, ready, _ in said]
    failing = False
    for moment, is_put, good in sorted(events):
        if is_put:
            failing = not good
        elif good is not True:
            streak_begin = None
            continue
        if not failing:
            streak_begin = None
        elif streak_begin is None:
            streak_begin = moment
        elif moment - streak_begin > worst:
            worst, at = moment - streak_begin, streak_begin
    return worst, at


def healthy_but_not_ready(said: list, samples: list[Sample]) -> list[str]:
    """Puts that were sent and acked wholly between two answers that the server is not ready, with nothing else in between."""
    found = []
    for earlier, later in zip(said, said[1:]):
        if earlier[2] is False and later[2] is False:
            served = [s for s in samples if s.ok and s.kind == "put" and earlier[1] <= s.start and s.end <= later[0]]
            if served:
                found.append(f"{later[3]} while a put took {served[0].end - served[0].start:.2f} s")
    return found


def blackhole(lab: Lab, victim, seconds: float) -> None:
    lab.net.set_cuts(net.isolated(victim.name, set(lab.net.hosts)))
    time.sleep(seconds)
    lab.net.heal()


def pause(lab: Lab, victim, seconds: float) -> None:
    victim.kill(signal.SIGSTOP)
    time.sleep(seconds)
    victim.kill(signal.SIGCONT)


def kill(lab: Lab, victim, seconds: float) -> None:
    lab.kill_all([victim])
    time.sleep(seconds)
    lab.revive([victim])


def stop(lab: Lab, victim, _: float) -> None:
    """An operator stops it: what counts is how it ends and how it comes back, so it is started again at once."""
    done = node("stop", str(victim.node_id), "--cluster", CLUSTER)
    if done.returncode != 0:
        fail(f"stop of {victim.name} ended with {done.returncode}: {done.stderr}")
    code = lab.wait(lambda: exit_code(victim.pid), STOPPED_WITHIN_S)
    if code != (0,):
        fail(f"{victim.name} was stopped, and ended with {code} within {STOPPED_WITHIN_S} s")
    lab.revive([victim])


def half_deaf(lab: Lab, victim, seconds: float) -> None:
    lab.net.set_cuts({(one, victim.name) for one in lab.net.hosts if one != victim.name})
    time.sleep(seconds)
    lab.net.heal()


def no_quorum(lab: Lab, victim, seconds: float) -> None:
    """Two of three are gone: nobody can write, and nobody may say that it is ready."""
    gone = [p for p in lab.nodes if p is not victim]
    lab.kill_all(gone)
    time.sleep(seconds)
    lab.revive(gone)


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    rng = random.Random(seed)
    lab = Lab(3)
    watched = lab.supernodes + lab.nodes
    names = {p.name: p.public for p in watched}
    loop = Loop(lab, names, 2 * HERTZ * len(names), seed, GIVEN_UP_S)
    readiness = [Readiness(p) for p in watched]
    for one in readiness:
        one.start()
    injected = 0
    begun, dark = time.monotonic(), []
    for _ in range(ROUNDS[size]):
        for fault in (blackhole, pause, kill, stop, half_deaf, no_quorum):
            time.sleep(CALM_S)
            victim = lab.now_leads() if rng.random() < 0.6 else rng.choice(lab.nodes)
            note(f"{time.monotonic() - begun:6.1f} s: {fault.__name__} {victim.name}")
            since = time.monotonic()
            fault(lab, victim, FAULT_S)
            time.sleep(AFTER_S)
            lab.wait_ready(watched, 60)
            if fault is no_quorum:
                dark.append((since - GIVEN_UP_S, time.monotonic()))
            injected += 1
    for one in readiness:
        one.stopping.set()
    samples = loop.end()
    figures, problems = Figures(faults=injected, ops=len(samples), samples=0), []
    for one in readiness:
        name = one.host.name
        own = [s for s in samples if s.where == name]
        if one.host.role == "supernode":
            # It is ready as long as it can route: one cluster without a quorum is no reason to cut clients off the others.
            own = [s for s in own if not any(since <= s.start <= until for since, until in dark)]
        lied, at = ready_but_failing(one.said, [s for s in own if s.kind == "put"])
        shy = healthy_but_not_ready(one.said, own)
        figures.add(samples=len(one.said), healthy_not_ready=len(shy))
        figures.worst(ready_but_failing_s=lied)
        note(f"{name}: ready but failing for {lied:.2f} s at most (at {at - begun:.1f} s), not ready but healthy {len(shy)} times")
        if lied > READY_BUT_FAILING_MAX_S:
            codes = {f"{s.status} {s.code}" for s in own if s.kind == "put" and not s.ok and at - 4 <= s.start <= at + lied}
            problems.append(f"{name} was ready for {lied:.2f} s while puts failed with {codes}, from {at - begun:.1f} s on")
        problems += [f"{name} was not ready but served: {text}" for text in shy[:3]]
    end(figures, problems)


if __name__ == "__main__":
    main()
