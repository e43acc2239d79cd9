"""R1: the power fails, for all machines or for the leader's alone: nothing acked is lost, and nothing comes back.

usage: r1.py SIZE SEED; CONTROL=syncs or CONTROL=dirs starts the servers with syncs (of folders) that do nothing.
"""

import http.client
import os
import random
import sys
import threading
import time

from disk import Disks
from lab import Lab, note
from verdict import FINDINGS, Figures, check_ledger, end

# How each round ends: under load, under load for the leader alone, or right after the ack of one big file in a quiet fleet, so
# that no later sync of anything else can hide one that is missing.
SHORT = ["all", "quiet", "leader"]
ROUNDS = {"short": SHORT, "full": ["all", "leader"] * 18 + ["quiet"] * 4}
CUT_AFTER_S = {"short": (2.0, 3.5), "full": (3.0, 8.0)}
ACKED_MIN = {"short": 100, "full": 500}
READY_MAX_S = 10
READY_WITHIN_S = 60

LYING = ["strace", "-D", "-f", "-qq", "-o", "/dev/null"]
# Calls that make something durable, or are meant to.
SYNCS = "fsync,fdatasync,sync_file_range,msync"


class Big:
    """Files with a chunk file of their own, which the ledger's are too small for; their acks are kept here."""

    def __init__(self, lab: Lab, seed: int):
        self.lab, self.seed, self.number = lab, seed, 0
        self.acked: dict[str, int] = {}
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None

    def content(self, number: int) -> bytes:
        rng = random.Random(self.seed * 1000 + number)
        return rng.randbytes(rng.randrange(1_100_000, 2_500_000))

    def put(self) -> bool:
        self.number += 1
        key = f"big/{self.seed}/{self.number}"
        url = self.lab.nodes[self.number % len(self.lab.nodes)].public
        try:
            status = self.lab.client(url, 10).file("PUT", key, self.content(self.number)).status
        except (OSError, http.client.HTTPException):
            return False
        if status == 201:
            self.acked[key] = self.number
        return status == 201

    def begin(self) -> None:
        def writes() -> None:
            while not self.stopping.is_set():
                self.put()
                time.sleep(0.1)

        self.stopping.clear()
        self.thread = threading.Thread(target=writes, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        if self.thread is not None:
            self.thread.join(15)

    def problems(self) -> list[str]:
        client, found = self.lab.client(timeout_s=30), []
        for key, number in self.acked.items():
            answer = client.file("GET", key)
            if answer.status != 200:
                found.append(f"LOST {key}: {answer.status} {answer.code()}")
            elif answer.body != self.content(number):
                found.append(f"CORRUPT {key}")
        return found


def wrapper(lab: Lab, process) -> list[str]:
    """What stands before a server's command in a control."""
    what = os.environ.get("CONTROL", "")
    if what == "syncs":
        return [*LYING, "--seccomp-bpf", "-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:retval=0"]
    if what == "dirs" and process.role == "node":
        shelves = sorted((process.data_dir / "chunks" / "chunks").glob("??"))
        paths = [part for shelf in shelves for part in ("-P", str(shelf))]
        return [*LYING, *paths, "-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:retval=0"]
    return []


def start(lab: Lab, processes: list) -> float:
    for process in processes:
        lab.start(process, wrapper=wrapper(lab, process))
    return lab.wait_ready(lab.supernodes + lab.nodes, READY_WITHIN_S)


def round_of(lab: Lab, disks: Disks, how: str, number: int, rng: random.Random, size: str, figures: Figures) -> list[str]:
    file, big = lab.work / f"ledger-{number}", Big(lab, number + 1)
    run = None
    if how == "quiet":
        for _ in range(3):
            big.put()
        time.sleep(6)  # the kernel writes its log back every 5 s; then nothing but the next file is under way
        chosen = lab.processes
        if not big.put():
            return [f"round {number}: the last file before the cut was not acked"]
    else:
        run = lab.begin_ledger(file, 600, rng.randrange(1 << 30))
        big.begin()
        time.sleep(rng.uniform(*CUT_AFTER_S[size]))
        chosen = lab.processes if how == "all" else [lab.now_leads()]
    disks.cut([p.name for p in chosen])
    lab.kill_all(chosen)
    if run is not None and how == "all":
        lab.end_ledger(run)
    if how == "all":
        big.stop()
    elif how == "leader":
        time.sleep(1.5)  # the others go on without it
    disks.remount([p.name for p in chosen])
    took = start(lab, chosen)
    if run is not None and how == "leader":
        time.sleep(0.5)
        big.stop()
        lab.end_ledger(run)
    figures.worst(ready_s=took)
    figures.add(faults=1, ops=len(big.acked), **{f"cuts_{how}": 1})
    wrong = big.problems()
    for kind in FINDINGS:
        figures.add(**{kind: sum(text.startswith(kind.upper()) for text in wrong)})
    wrong += check_ledger(file, ACKED_MIN[size], figures) if run is not None else []
    problems = [f"round {number} ({how}): {text}" for text in wrong]
    if took > READY_MAX_S and "CONTROL" not in os.environ:
        problems.append(f"round {number} ({how}): ready after {took:.1f} s only")
    note(f"round {number} ({how}): {len(big.acked)} big files acked, ready after {took:.1f} s, {len(problems)} problems")
    return problems


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    rng = random.Random(seed)
    figures, problems = Figures(faults=0, ops=0), []
    lab = Lab(3, start=False)
    disks = Disks(lab, seed)
    lab.start_all()
    if "CONTROL" in os.environ:
        lab.kill_all(lab.processes)
        start(lab, lab.processes)
    try:
        for number, how in enumerate(os.environ.get("HOW", " ".join(ROUNDS[size])).split()):
            problems += round_of(lab, disks, how, number, rng, size, figures)
    finally:
        lab.kill_all(lab.processes)
        disks.unmount()
    end(figures, problems)


if __name__ == "__main__":
    main()
