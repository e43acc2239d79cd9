"""R4: servers crash, stall or fail at named points of the code, on the leader and on a follower; nothing acked is lost.

usage: r4.py SIZE SEED; POINTS= names some of them only, ACTIONS= some actions.
"""

import os
import random
import subprocess
import sys
import time

import entries
import rare
import stimuli
from census import fsck
from dev import fail
from failpoints import Hits, crashes, points
from lab import Lab, another, note
from verdict import Figures, check_ledger, end

SKIPPED = 77
# At one of each area, a crash; the other cases are for the full size.
SHORT = ["raft.append_written", "raft.after_vote", "chunks.before_rename", "volumes.appended", "gateway.before_commit", "metadata.after_propose"]
ACTIONS = {"panic": "1*panic", "sleep": "3*sleep(1000)", "return": "3*return"}
HIT_WITHIN_S, READY_WITHIN_S = 12, 60


class Driver:
    def __init__(self, lab: Lab, figures: Figures):
        self.lab, self.figures, self.hits, self.problems = lab, figures, Hits(), []
        self.missed: list[str] = []

    def accept(self, process) -> None:
        """What an operator does after a disk failed whose fault is known to be harmless."""
        marks = [process.data_dir / "metadata.failed", process.data_dir / "chunks" / "chunks.poisoned"]
        if any(mark.exists() for mark in marks):
            command = [os.environ["FLOTILLA"], "node", "accept-disk", str(process.data_dir)]
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
            self.figures.add(accepted=1)

    def target(self, name: str, role: str, rng: random.Random):
        if role == "supernode":
            return self.lab.supernodes[0]
        return rng.choice([p for p in self.lab.nodes if not p.leads()])

    def case(self, name: str, action: str, role: str, rng: random.Random) -> None:
        lab, target = self.lab, self.target(name, role, rng)
        self.hits.look(lab.processes)
        lab.kill_all([target])
        before = crashes(target, name)
        lab.start(target, env={"FAILPOINTS": f"{name}={ACTIONS[action]}"})
        if role == "leader":
            lab.wait(lambda: target.ready() or not target.alive(), 15)
            lab.make_lead(target)
        event = stimuli.event_for(name)
        if event is not None and target.alive():
            event(lab, target)

        def hit() -> bool:
            self.hits.look([target])
            return not target.alive() or self.hits.of(target, name) > 0

        passed = bool(lab.wait(hit, HIT_WITHIN_S))
        if passed and target.alive() and action != "panic":
            time.sleep(1.5)  # what it did is felt now
        if crashes(target, name) > before:
            self.hits.note_crash(target, name)
        died = not target.alive()
        if action == "panic" and passed and not died:
            # Counted by a pass that came before the crash: it is on its way.
            died = bool(lab.wait(lambda: not target.alive(), 3))
        self.hits.look(lab.processes)
        lab.kill_all([target])
        self.accept(target)
        lab.start(target)
        for process in lab.processes:
            if not process.alive():
                self.accept(process)
                lab.start(process)
        lab.wait_ready(lab.processes, READY_WITHIN_S)
        self.figures.add(faults=int(passed), cases=1)
        if not passed:
            self.missed.append(f"{name}={action} on {role}")
        told = "died" if died else "passed" if passed else "was not passed"
        note(f"{name}={action} on the {role}, {target.name}: {told}")


def cases(size: str, known: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    names = os.environ.get("POINTS", "").split() or (SHORT if size == "short" else list(known))
    found = []
    for name in names:
        if name not in known:
            fail(f"the servers have no failpoint {name}")
        if name.startswith(rare.ALL):
            continue
        front = name.startswith(("supernode.", "documents."))
        actions = [action for action in known[name] if action in ACTIONS]
        actions = [action for action in actions if action in os.environ.get("ACTIONS", "panic sleep return").split()]
        if size == "short":
            actions = actions[:1]
        for action in actions:
            roles = ["supernode"] if front else ["follower"] if size == "short" else ["leader", "follower"]
            found += [(name, action, role) for role in roles]
    return found


def rare_ones(driver: Driver, known: dict[str, list[str]]) -> set[str]:
    """Those that need a fleet of their own; a crash at each of them."""
    asked = os.environ.get("POINTS", "").split() or list(known)
    named = lambda starts: [name for name in asked if name.startswith(starts)]
    found = rare.formation(named(rare.FORMATION), ACTIONS["panic"], driver.hits)
    if long := named(rare.BUILD + rare.PURGE + rare.SEND + rare.RECEIVE):
        driver.lab.end()
        lab = driver.lab = another("long", 3, {"voter_grace": "3s"}, spare=1)
        found |= rare.long_log(lab, named(rare.BUILD + rare.PURGE), ACTIONS["panic"], driver.hits)
        if not any(name.startswith(rare.BUILD + rare.PURGE) for name in long):
            entries.fill(lab, entries.SNAPSHOT_ENTRIES + 3000, 5, rare.FILL_WITHIN_S)

        def remove(spare) -> None:
            command = [os.environ["FLOTILLA"], "node", "remove", str(spare.node_id), "--lost"]
            again = lambda: subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
            if not lab.wait(again, 60):
                fail(f"{spare.name} can't be removed")

        found |= rare.newcomers(lab, named(rare.SEND + rare.RECEIVE), ACTIONS["panic"], driver.hits, remove)
        log = lab.work / "ledger-rare"
        lab.begin_ledger(log, 5, 1).wait(60)
        driver.problems += check_ledger(log, 50, driver.figures)
    driver.figures.add(faults=sum(found.values()), cases=len(found))
    driver.missed += [f"{name}=panic" for name, hit in found.items() if not hit]
    return set(found)


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    known = points()
    if not known:
        print("the binary tells of no failpoints")
        sys.exit(SKIPPED)
    lab = another("usual", 3, stimuli.SETTINGS, own={"a-n3": {"chunk_size": stimuli.SMALL_CHUNKS}})
    figures = Figures(faults=0, cases=0)
    driver, rng = Driver(lab, figures), random.Random(seed)
    files = stimuli.Files(lab)
    files.start()
    todo = cases(size, known)
    # A ledger for each point, or all of the short ones together.
    groups = [todo] if size == "short" else [[case for case in todo if case[0] == name] for name in dict.fromkeys(c[0] for c in todo)]
    for number, group in enumerate(groups):
        log = lab.work / f"ledger-{number}"
        run = lab.begin_ledger(log, 3600, seed + number, clients=4)
        for case in group:
            driver.case(*case, rng)
            lab.still_runs(run)
        time.sleep(1)
        lab.end_ledger(run)
        found = check_ledger(log, 20, figures)
        driver.problems += [f"{group[0][0]}: {problem}" for problem in found]
    files.end()
    if not lab.wait(lambda: fsck()[0] == 0, 60):
        driver.problems.append(f"fsck finds {fsck()[1][-300:]}")
    tried = {case[0] for case in todo}
    if size == "full":
        tried |= rare_ones(driver, known)
    total = driver.hits.total()
    unhit = sorted(name for name in tried if not total[name])
    figures.add(points=len(tried), points_hit=len(tried) - len(unhit), missed_cases=len(driver.missed))
    note(f"not passed at all: {unhit}; cases in which the target did not pass its point: {driver.missed}")
    if size == "short":
        driver.problems += [f"void: {text} was not passed" for text in driver.missed]
    elif len(tried) - len(unhit) < 40 and "POINTS" not in os.environ:
        driver.problems.append(f"void: only {len(tried) - len(unhit)} points were passed, 40 are wanted")
    end(figures, driver.problems)


if __name__ == "__main__":
    main()
