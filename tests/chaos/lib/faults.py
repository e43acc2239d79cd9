"""Schedules of faults for a fleet under load; each undoes itself, and all of it ends at a given moment."""

import random
import signal
import time
from collections.abc import Callable, Iterator

import net
from dev import note
from lab import Lab, sleep_until

Fault = Callable[[Lab, random.Random, float], str]


def kill(lab: Lab, rng: random.Random, seconds: float) -> str:
    """Kills a node, the leader every other time, and starts it again."""
    victim = lab.now_leads() if rng.random() < 0.5 else rng.choice(lab.nodes)
    lab.kill_all([victim])
    time.sleep(seconds)
    lab.revive([victim])
    return f"kill {victim.name}"


def pause(lab: Lab, rng: random.Random, seconds: float) -> str:
    """Stops a node and lets it go on: it does not know that time has passed."""
    victim = lab.now_leads() if rng.random() < 0.7 else rng.choice(lab.nodes)
    victim.kill(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        victim.kill(signal.SIGCONT)
    return f"pause {victim.name}"


def cutting(lab: Lab, cuts: set[tuple[str, str]], seconds: float) -> None:
    lab.net.set_cuts(cuts)
    try:
        time.sleep(seconds)
    finally:
        lab.net.heal()


def minority(lab: Lab, rng: random.Random) -> set[str]:
    """Fewer than half of the nodes, the leader among them every other time, and the supernode every third time."""
    names = [p.name for p in lab.nodes]
    leader = lab.now_leads().name
    others = [name for name in names if name != leader]
    chosen = rng.sample(others, (len(names) - 1) // 2)
    if rng.random() < 0.6:
        chosen[0] = leader
    if rng.random() < 0.33:
        chosen.append("supernode-1")
    return set(chosen)


def halves(lab: Lab, rng: random.Random, seconds: float) -> str:
    small = minority(lab, rng)
    rest = {p.name for p in lab.processes} - small
    cutting(lab, net.apart(small, rest), seconds)
    return f"halves {' '.join(sorted(small))}"


def oneway(lab: Lab, rng: random.Random, seconds: float) -> str:
    """A node that hears but is not heard, or the other way round; mostly the leader."""
    victim = (lab.now_leads() if rng.random() < 0.7 else rng.choice(lab.nodes)).name
    others = {p.name for p in lab.nodes} - {victim}
    deaf = rng.random() < 0.5
    cutting(lab, {(one, victim) if deaf else (victim, one) for one in others}, seconds)
    return f"oneway {'deaf' if deaf else 'mute'} {victim}"


def ring(lab: Lab, rng: random.Random, seconds: float) -> str:
    """Each node sees two of the others; with three nodes, two of them don't see each other."""
    order = [p.name for p in lab.nodes]
    rng.shuffle(order)
    cuts = net.ring(order) if len(order) > 3 else net.apart({order[0]}, {order[1]})
    cutting(lab, cuts, seconds)
    return f"ring {' '.join(order)}"


def all_of(lab: Lab, rng: random.Random, seconds: float) -> str:
    return rng.choice([kill, pause, halves, oneway, ring])(lab, rng, seconds)


FAULTS: dict[str, Fault | None] = {
    "none": None, "kill": kill, "pause": pause, "halves": halves, "oneway": oneway, "ring": ring, "all": all_of,
}


def storm(lab: Lab, fault: Fault | None, rng: random.Random, end: float, lasts: tuple[float, float], rests: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """Faults one after the other until `end`, none of which reaches beyond it; tells when each began and ended."""
    begun = time.monotonic()
    while fault is not None:
        time.sleep(rng.uniform(*rests))
        seconds = rng.uniform(*lasts)
        if time.monotonic() + seconds + 1 > end:
            break
        since = time.monotonic()
        what = fault(lab, rng, seconds)
        note(f"  {since - begun:5.1f} s: {what}, {seconds:.1f} s")
        yield since, time.monotonic()
    sleep_until(end)
