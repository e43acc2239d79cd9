"""Failpoints that only a new fleet, a long log or a newcomer passes, and what makes them pass.

Each function tries some points with one action and tells which were passed.
"""

import shutil
from collections.abc import Callable

import entries
from dev import note
from failpoints import Hits, crashes
from lab import PEER, Lab, another

FORMATION = ("formation.", "identity.")
BUILD = ("snapshot.before_build", "snapshot.machine_synced", "snapshot.part_written", "snapshot.before_seal", "snapshot.after_build")
PURGE = ("raft.before_purge", "raft.purge_marked", "raft.after_purge")
SEND = ("snapshot.before_send", "snapshot.after_send", "membership.")
RECEIVE = ("snapshot.before_receive", "snapshot.part_received", "snapshot.before_install", "snapshot.install_", "snapshot.after_install")
ALL = FORMATION + BUILD + PURGE + SEND + RECEIVE

FILL_WITHIN_S, HIT_WITHIN_S, READY_WITHIN_S = 240, 20, 90


def passed(lab: Lab, hits: Hits, process, name: str, before: int, within_s: float) -> bool:
    """Waits until a process passed a point; a crash there counts."""

    def seen() -> bool:
        hits.look([process])
        if crashes(process, name) > before:
            hits.note_crash(process, name)
            return True
        return hits.of(process, name) > 0

    return bool(lab.wait(seen, within_s))


def formation(names: list[str], setting: str, hits: Hits) -> dict[str, bool]:
    """A fleet of its own for each point: its first member has it, and is started again when it died."""
    found = {}
    for number, name in enumerate(names):
        lab = another(f"new{number}", 3, start=False)
        first = lab.nodes[0]
        lab.start(first, env={"FAILPOINTS": f"{name}={setting}"})
        for process in lab.supernodes + lab.nodes[1:]:
            lab.start(process)
        found[name] = passed(lab, hits, first, name, 0, HIT_WITHIN_S)
        lab.wait(lambda: not first.alive(), 2)
        lab.kill_all([first])
        lab.start(first)
        lab.open()
        if lab.client().file("PUT", "formed", b"formed").status != 201:
            raise RuntimeError(f"the fleet serves nothing after {name}")
        note(f"{name}={setting} on the first member of a new fleet: {'passed' if found[name] else 'was not passed'}")
        lab.end()
    return found


def long_log(lab: Lab, names: list[str], setting: str, hits: Hits) -> dict[str, bool]:
    """Each node has one of three points while the log grows until a snapshot is built and the log is cut."""
    found = {}
    for at in range(0, len(names), len(lab.nodes)):
        held = dict(zip(lab.nodes, names[at : at + len(lab.nodes)]))
        before = {process: crashes(process, name) for process, name in held.items()}
        for process, name in held.items():
            lab.kill_all([process])
            lab.start(process, env={"FAILPOINTS": f"{name}={setting}"})
            lab.wait_ready([process], READY_WITHIN_S)
        reached = max(entries.index(p, "last_log_index") for p in lab.nodes)
        # When all three die at one entry, the load can't go on: they are started again at once.
        until = reached + entries.SNAPSHOT_ENTRIES + 3000
        entries.fill(lab, until, 5, FILL_WITHIN_S, lambda: lab.revive(lab.nodes))
        for process, name in held.items():
            found[name] = passed(lab, hits, process, name, before[process], 1)
            note(f"{name}={setting} on {process.name}: {'passed' if found[name] else 'was not passed'}")
        lab.kill_all(lab.nodes)
        lab.revive(lab.nodes)
        lab.wait_ready(lab.nodes, READY_WITHIN_S)
    return found


def newcomers(lab: Lab, names: list[str], setting: str, hits: Hits, remove: Callable) -> dict[str, bool]:
    """A node joins, needs a snapshot, and it or the leader has the point; afterwards it is removed as lost."""
    found = {}
    spare = lab.spares[0]
    config = spare.argv[spare.argv.index("--config") :]
    program = spare.argv[: spare.argv.index("node") + 1]
    spare.argv = [*program, "join", ",".join(f"{p.address}:{PEER}" for p in lab.nodes), *config]
    for name in names:
        env = {"FAILPOINTS": f"{name}={setting}"}
        holder = next(p for p in lab.nodes if not p.leads()) if name.startswith(SEND) else spare
        before = crashes(holder, name)
        if holder is not spare:
            lab.kill_all([holder])
            lab.start(holder, env=env)
            lab.wait_ready([holder], READY_WITHIN_S)
            lab.make_lead(holder)
        shutil.rmtree(spare.data_dir, ignore_errors=True)
        lab.start(spare, env=env if holder is spare else None)
        found[name] = passed(lab, hits, holder, name, before, HIT_WITHIN_S)
        lab.wait(lambda: not holder.alive(), 2)
        note(f"{name}={setting} on {holder.name}: {'passed' if found[name] else 'was not passed'}")
        lab.kill_all([holder])
        lab.start(holder)
        lab.wait_ready([*lab.nodes, spare], READY_WITHIN_S)
        lab.know()
        lab.kill_all([spare])
        remove(spare)
    return found
