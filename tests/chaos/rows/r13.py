"""R13: how long nobody can write or read when the leader is killed, paused or cut off, at 200 requests a second.

usage: r13.py SIZE SEED
"""

import signal
import sys
import time

import net
from lab import Lab, note
from openloop import Loop, gap
from verdict import Figures, end

ROUNDS = {"short": 1, "full": 9}
RATE = 200
CALM_S, FAULT_S, AFTER_S = 3.0, 6.0, 3.0
GAP_MAX_S = 3.0
KINDS = ("kill", "pause", "blackhole")


def begin_fault(lab: Lab, kind: str, leader) -> None:
    if kind == "kill":
        lab.kill_all([leader])
    elif kind == "pause":
        leader.kill(signal.SIGSTOP)
    else:
        lab.net.set_cuts(net.isolated(leader.name, set(lab.net.hosts)))


def end_fault(lab: Lab, kind: str, leader) -> None:
    if kind == "kill":
        lab.revive([leader])
    elif kind == "pause":
        leader.kill(signal.SIGCONT)
    else:
        lab.net.heal()


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    lab = Lab(3)
    figures, problems = Figures(), []
    front = {"supernode-1": lab.api}
    loop = Loop(lab, front | {p.name: p.public for p in lab.nodes}, RATE, seed)
    windows = []
    for _ in range(ROUNDS[size]):
        for kind in KINDS:
            time.sleep(CALM_S)
            leader = lab.now_leads()
            begun = time.monotonic()
            begin_fault(lab, kind, leader)
            time.sleep(FAULT_S)
            healed = time.monotonic()
            end_fault(lab, kind, leader)
            time.sleep(AFTER_S)
            lab.wait_ready(lab.nodes, 60)
            windows.append((kind, leader.name, begun, healed, time.monotonic()))
    samples = loop.end()
    for kind, victim, begun, healed, over in windows:
        living = {p.name for p in lab.nodes} - {victim}
        told = []
        for what, name in (("put", "write"), ("get", "read")):
            at_front = gap(samples, what, set(front), begun, over)
            at_nodes = max(gap(samples, what, {one}, begun, over) for one in living)
            worst = max(at_front, at_nodes)
            figures.worst(**{f"{name}_gap_s": worst, f"{name}_gap_{kind}_s": worst})
            told.append(f"{name} gap {at_front:.2f} s at the supernode, {at_nodes:.2f} s at the worst living node")
            if worst > GAP_MAX_S:
                problems.append(f"{kind} of {victim}: {told[-1]}")
        failed = sum(not s.ok for s in samples if begun <= s.end <= over and s.where != victim)
        figures.add(faults=1, failed=failed)
        note(f"{kind} of {victim}: {', '.join(told)}; {failed} requests failed")
    figures.add(ops=len(samples), ok=sum(s.ok for s in samples))
    seconds = samples[-1].end - samples[0].start
    if len(samples) < 0.9 * RATE * (seconds - 20):
        problems.append(f"void: only {len(samples)} requests in {seconds:.0f} s")
    end(figures, problems)


if __name__ == "__main__":
    main()
