"""R2: kills at random moments under a ledger: nothing acked is lost, and every server starts again by itself.

usage: r2.py SIZE SEED; KILLS= says how many
"""

import os
import random
import sys
import time

from lab import Lab, another, note
from verdict import Figures, check_ledger, end

KILLS = {"short": 10, "full": 200}
NODES = {"short": (3,), "full": (3, 5)}
ACKED_PER_KILL_MIN = 20
READY_WITHIN_S = 30


def victims(lab: Lab, rng: random.Random) -> list:
    """1 to 3 of 3 nodes, 1 or 2 of 5; now and then the supernode as well."""
    chosen = rng.sample(lab.nodes, rng.choice([1, 1, 2, 3] if len(lab.nodes) == 3 else [1, 2]))
    if rng.random() < 0.5:
        leader = next((p for p in lab.nodes if p.alive() and p.leads()), None)
        if leader is not None and leader not in chosen:
            chosen[0] = leader
    return chosen + (lab.supernodes if rng.random() < 0.15 else [])


def storm(lab: Lab, rng: random.Random, kills: int, run, figures: Figures) -> None:
    while kills > 0:
        time.sleep(rng.uniform(0.2, 2.0))
        chosen = victims(lab, rng)
        lab.kill_all(chosen)
        time.sleep(rng.choice([0.0, 0.3, 1.5]))
        for process in chosen:
            lab.start(process)
            # Some are killed again while they start: replay must be repeatable.
            if rng.random() < 0.15:
                time.sleep(rng.uniform(0.01, 0.4))
                lab.kill_all([process])
                figures.add(faults=1)
                lab.start(process)
        took = lab.wait_ready(lab.supernodes + lab.nodes, READY_WITHIN_S)
        figures.worst(ready_s=took)
        figures.add(faults=len(chosen))
        kills -= len(chosen)
        lab.still_runs(run)
        note(f"killed {' '.join(p.name for p in chosen)}, ready again after {took:.1f} s; {max(0, kills)} kills left")


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    figures, problems = Figures(faults=0), []
    for count in NODES[size]:
        rng = random.Random(seed * 10 + count)
        lab = another(f"fleet{count}", count)
        kills = int(os.environ.get("KILLS", KILLS[size])) // len(NODES[size])
        file = lab.work / f"ledger-{count}"
        run = lab.begin_ledger(file, 7200, seed)
        try:
            storm(lab, rng, kills, run, figures)
        finally:
            lab.end_ledger(run)
        problems += check_ledger(file, kills * ACKED_PER_KILL_MIN, figures)
        lab.end()
    end(figures, problems)


if __name__ == "__main__":
    main()
