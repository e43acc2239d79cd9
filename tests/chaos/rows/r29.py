"""R29: a follower is cut off until the log it needs is gone; it gets a snapshot, is killed while it installs it, and catches up.

usage: r29.py SIZE SEED
"""

import random
import re
import sys
import threading
import time
from pathlib import Path

import net
from entries import KEPT_ENTRIES, SNAPSHOT_ENTRIES, fill, index
from lab import Lab, note
from verdict import Figures, check_ledger, end

# Rounds, kills while it installs, and new keys besides replaced ones, which make the snapshot large.
SIZES = {"short": (1, 2, 5), "full": (5, 6, 60)}
# Entries of new keys before the first round.
KEYS = {"short": 0, "full": 1_000_000}
FILL_WITHIN_S = {"short": 150, "full": 1800}
# How long no entry is applied while some wait, whatever snapshot is built or sent meanwhile.
PAUSE_MAX_S = {"short": 2.0, "full": 0.2}
SAMPLE_S = 0.01
CAUGHT_UP_WITHIN_S = 60
# The log with what is kept, rows of the state, and what the database has not compacted yet.
META_MAX_MB = {"short": 600, "full": 1500}


class Pauses:
    """Watches how far a node has applied; finds the longest time in which that stood still although the log had more."""

    def __init__(self, process):
        self.process, self.longest, self.over = process, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        last, since = 0, time.monotonic()
        while not self.over.wait(SAMPLE_S):
            text = answer.body.decode() if (answer := self.process.get("/metrics")) else ""
            told = dict(re.findall(r'^flotilla_raft_(applied_index|last_log_index)\{group="a"\} (\d+)', text, re.M))
            applied, now = int(told.get("applied_index", 0)), time.monotonic()
            if applied != last or int(told.get("last_log_index", 0)) <= applied:
                last, since = applied, now
            self.longest = max(self.longest, now - since)

    def end(self) -> float:
        self.over.set()
        self.thread.join()
        return self.longest


def received(process, what: str = "r-*.manifest") -> set[str]:
    """The snapshots that a node got from another one; those that it built itself have other names."""
    return {path.name for path in (process.data_dir / "snapshots").glob(what)}


def resumed(process) -> int:
    """How often a node found an install half done when it started."""
    return Path(process.log_file).read_text(errors="replace").count("installing again after a crash")


def meta_mb(process) -> float:
    files = (process.data_dir / "meta").rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def round_of(lab: Lab, size: str, rng: random.Random, figures: Figures) -> list[str]:
    _, kills, put = SIZES[size]
    leader = lab.now_leads()
    victim = rng.choice([p for p in lab.nodes if p is not leader])
    before, seen, half = index(victim, "applied_index"), received(victim), resumed(victim)
    parts = received(victim, "r-*")
    lab.net.set_cuts(net.isolated(victim.name, set(lab.net.hosts)))
    # The victim's next entry is purged with a later snapshot; the larger the state, the rarer those are.
    begun, pauses = time.monotonic(), Pauses(leader)
    purged = lambda: index(leader, "purged_index") > before
    reached = fill(lab, before + SNAPSHOT_ENTRIES + KEPT_ENTRIES + 5000, put, FILL_WITHIN_S[size], enough=purged)
    note(f"{victim.name} stands at {before}, the log at {reached} after {time.monotonic() - begun:.0f} s")
    lab.net.heal()
    for _ in range(kills):
        # Not before the snapshot comes in, and then at some moment of receiving or installing it.
        lab.wait(lambda: received(victim, "r-*") - parts, 10)
        time.sleep(rng.uniform(0.0, 0.3))
        lab.kill_all([victim])
        lab.start(victim)
        figures.add(faults=1)
    healed = time.monotonic()
    behind = lambda: index(lab.now_leads(), "last_log_index") - index(victim, "applied_index")
    caught = lab.wait(lambda: victim.ready() and behind() <= 50, CAUGHT_UP_WITHIN_S)
    took = time.monotonic() - healed
    size_mb, pause = max(meta_mb(p) for p in lab.nodes), pauses.end()
    got, half = received(victim) - seen, resumed(victim) - half
    figures.add(faults=1, entries=reached - before, snapshots=len(got), killed_in_install=half)
    figures.worst(caught_up_s=took, meta_mb=size_mb, apply_pause_s=pause)
    note(f"caught up after {took:.1f} s, snapshots {sorted(got)}, {half} times found half done, metadata {size_mb:.0f} MB, longest pause {pause * 1e3:.0f} ms")
    problems = [] if caught else [f"{victim.name} is {behind()} entries behind {CAUGHT_UP_WITHIN_S} s after it was let in"]
    if pause > PAUSE_MAX_S[size]:
        problems.append(f"nothing was applied for {pause:.2f} s")
    if not got:
        problems.append(f"void: {victim.name} got no snapshot; {reached - before} entries were written")
    if size_mb > META_MAX_MB[size]:
        problems.append(f"{size_mb:.0f} MB of metadata on a disk, {META_MAX_MB[size]} are the bound")
    return problems


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    rng = random.Random(seed)
    lab = Lab(3)
    figures, problems = Figures(), []
    log = lab.work / "ledger"
    if KEYS[size]:
        figures.add(keys=fill(lab, KEYS[size], 100, FILL_WITHIN_S[size]))
    for _ in range(SIZES[size][0]):
        problems += round_of(lab, size, rng, figures)
    run = lab.begin_ledger(log, 5, seed)
    run.wait(60)
    problems += check_ledger(log, 50, figures)
    end(figures, problems)


if __name__ == "__main__":
    main()
