"""Kills each server in turn while a ledger is written, starts it again by hand, and checks the ledger in the end."""

import os
import re
import subprocess
import time
from pathlib import Path

from dev import Dev, Process, fail, ledger_verdict, note

LEADER_WITHIN_S = 2.5
# Restart and catching up take most of it; the ledger ends by itself when the kills are over.
SECONDS_PER_KILL = 12
ACKED_MIN = 300


def new_leader_after(dev: Dev, dead: Process) -> float:
    begun = time.monotonic()
    others = [p for p in dev.of_cluster(dead.cluster) if p is not dead]
    if not dev.wait(lambda: any(p.leads() for p in others), 4 * LEADER_WITHIN_S):
        fail(f"cluster {dead.cluster} has no leader {4 * LEADER_WITHIN_S} s after {dead.name} was killed")
    return time.monotonic() - begun


def kill_and_restart(dev: Dev, process: Process, gaps: list[float]) -> None:
    led = process.role == "node" and process.leads()
    dev.kill_all([process])
    if led:
        gaps.append(new_leader_after(dev, process))
        note(f"{process.name} (leader) killed, new leader after {gaps[-1]:.2f} s")
    else:
        note(f"{process.name} killed")
    time.sleep(1)  # some writes while it is away
    dev.start(process)
    dev.wait_ready([process])


def check_runs(run: subprocess.Popen) -> None:
    if run.poll() is not None:
        fail(f"the ledger ended with {run.returncode} before the kills were over")


def main() -> None:
    dev = Dev()
    file = Path(os.environ["WORK"]) / "ledger"
    chosen = [p for p in dev.processes if re.search(os.environ.get("ONLY", ""), p.name)]
    kills = len(chosen) + len(dev.clusters)
    seconds = kills * SECONDS_PER_KILL
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(file), "--clients", "8"]
    with open(dev.work / "ledger-run.log", "wb") as log:
        run = subprocess.Popen(
            command + ["--seconds", str(seconds)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    gaps: list[float] = []
    try:
        for process in chosen:
            kill_and_restart(dev, process, gaps)
            check_runs(run)
        # Leadership moved with the kills; each cluster loses a leader for certain.
        for cluster in dev.clusters:
            kill_and_restart(dev, dev.leader(cluster), gaps)
            check_runs(run)
        run.wait(timeout=seconds + 60)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
    dev.wait_ready(dev.processes)
    figures = ledger_verdict(file, ACKED_MIN)
    worst = max(gaps)
    if worst > LEADER_WITHIN_S:
        fail(f"new leader after {worst:.2f} s, {LEADER_WITHIN_S} s are promised; {figures}")
    print(f"{figures} kills={kills} leader_kills={len(gaps)} worst_election_s={worst:.2f}")


main()
