"""R5: what clients see of a key can have happened one after the other, whatever is killed, paused or cut off.

usage: r5.py SIZE SEED; SCENARIOS= names some of them only, RUNS= says how often each is run.
"""

import os
import random
import sys
import time

import faults
from lab import Lab, note
from linear import told
from register import Workload, judge_all
from verdict import Figures, end

NODES = 5
# Seconds of each scenario, its runs with seeds of their own, how long a fault lasts, and how long it is calm before it.
SIZES = {"short": (7, 1, (2.0, 3.0), (0.6, 1.2)), "full": (60, 10, (3.0, 9.0), (3.0, 6.0))}
# Below this a run says nothing. A minute is to have 2,000 operations.
OK_PER_SECOND_MIN = 2000 / 60
LIVE_PERCENT_MIN = 95
# After a fault came or went; R13 measures it.
LEADER_WITHIN_S = 3.0


def run(lab: Lab, name: str, seed: int, size: str, figures: Figures) -> list[str]:
    seconds, _, lasts, rests = SIZES[size]
    rng = random.Random(f"{name}-{seed}")
    load = Workload(lab, name, seed, seconds)
    injected = list(faults.storm(lab, faults.FAULTS[name], rng, load.end, lasts, rests))
    load.join()
    lab.revive(lab.nodes)
    lab.wait_ready(lab.supernodes + lab.nodes, 60)
    load.read_back()
    bad, undecided = judge_all(load)
    problems = [f"{name} seed {seed}: {register.name} can't be explained\n{told(shortest)}" for register, shortest in bad]
    problems += [f"{name} seed {seed}: corrupt: {text}" for text in load.corrupt]
    ok = load.counts["ok"] + load.counts["refused"]
    live = load.live_percent([moment for fault in injected for moment in fault], LEADER_WITHIN_S)
    if undecided or ok < OK_PER_SECOND_MIN * seconds:
        problems.append(f"{name} seed {seed}: void: {ok} operations, {undecided} keys undecided")
    if size == "full" and live < LIVE_PERCENT_MIN:
        problems.append(f"{name} seed {seed}: in only {live:.0f} % of the seconds somebody could write")
    problems += [f"{name} seed {seed}: odd answer: {text}" for text in sorted(set(load.odd))]
    # What can't be explained may be a lost, a stale or a resurrected value, and is counted here; the history tells which.
    figures.add(runs=1, faults=len(injected), ops=ok, unknown=load.counts["unknown"], keys=len(load.registers()))
    figures.add(stale=len(bad), corrupt=len(load.corrupt))
    if size == "full":
        figures.least(live_percent=live)
    note(f"{name} seed {seed}: ok={ok} live={live:.0f}% {dict(load.counts)}")
    return problems


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    lab = Lab(NODES, {"claim_idle": "5s", "version_linger": "2s", "purge_interval": "1s", "down_grace": "4s"})
    figures, problems = Figures(), []
    for name in os.environ.get("SCENARIOS", " ".join(faults.FAULTS)).split():
        for number in range(int(os.environ.get("RUNS", SIZES[size][1]))):
            problems += run(lab, name, seed + number, size, figures)
            time.sleep(0.2)
    end(figures, problems)


if __name__ == "__main__":
    main()
