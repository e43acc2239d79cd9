"""Has nodes join, vote, leave and be lost while a ledger is written."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from census import census, clean_within, fill
from dev import Dev, Process, fail, ledger_verdict, node, note
from group import Group

COPIES = 2
SMALL, BIG = 40, 6
NOT_FOUND, CONFIG = 3, 78
NEVER_GIVEN = 999
JOIN_S, REMOVE_S, DRAIN_S, REPAIR_S = 60, 60, 120, 120
NODES = Group("node")


def everything_is_there(dev: Dev, contents: dict[str, bytes], gateway: Process) -> None:
    for key, content in contents.items():
        answer = dev.client(gateway.public).file("GET", key)
        if (answer.status, answer.body) != (200, content):
            fail(f"{key} read at {gateway.name}: {answer.status} {answer.code()}, {len(answer.body)} bytes")


def wait_silent(dev: Dev, victim: Process) -> None:
    """Waits until a node may be removed as lost."""
    dev.wait(lambda: NODES.members().get(victim.node_id, {"silent_ms": 0})["silent_ms"] > 5000, 20)


def removed_again(gone: Process) -> None:
    """What is ordered of a node that has left is done; one that never was a member is not taken for such a one."""
    again = node("remove", str(gone.node_id))
    says = f"node {gone.node_id} of cluster a: has left already"
    if again.returncode != 0 or says not in again.stdout:
        fail(f"{gone.name} was removed again, which ended with {again.returncode}: {again.stdout} {again.stderr}")
    never = node("remove", str(NEVER_GIVEN))
    if never.returncode != NOT_FOUND or f"node {NEVER_GIVEN} is no member" not in never.stderr:
        fail(f"node {NEVER_GIVEN} never was, and its removal ended with {never.returncode}: {never.stdout} {never.stderr}")


def removed_unheard(dev: Dev, members_left: list[Process]) -> float:
    """A node is removed while it can't hear of it, by a leader that then dies: it has to find out from another one."""
    leader = dev.leader("a")
    victim = next(p for p in members_left if p is not leader)
    NODES.ordered("drain", str(victim.node_id), within_s=DRAIN_S)
    NODES.expect_voters(dev, [id for id in NODES.voters() if id != victim.node_id], 20)
    victim.kill(signal.SIGSTOP)
    try:
        wait_silent(dev, victim)
        NODES.ordered("remove", str(victim.node_id), "--lost", within_s=REMOVE_S)
        leader = dev.leader("a")
        dev.kill_all([leader])
    finally:
        victim.kill(signal.SIGCONT)
    begun = time.monotonic()
    ended = dev.wait(lambda: not victim.alive(), 30)
    found_out_s = time.monotonic() - begun
    last = json.loads(Path(victim.log_file).read_text().splitlines()[-1])
    if not ended or last.get("exit_code") != CONFIG:
        fail(f"{victim.name} was removed while it slept, and {'ended' if ended else 'lives'}; its last word is {last}")
    dev.start(leader)
    dev.wait_ready([leader], JOIN_S)
    return found_out_s


def main() -> None:
    dev = Dev()
    first = dev.nodes[0]
    base = int(first.peer.rsplit(":", 1)[1]) // 100 * 100
    contents = fill(dev, SMALL, BIG)
    log = dev.work / "ledger"
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(log), "--clients", "4", "--seconds", "600"]
    load = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        peers = [p.peer for p in dev.nodes]
        new = [dev.newcomer(f"a-n{n}", base + 40 + 3 * n, first, peers) for n in (4, 5)]
        for process in new:
            dev.start(process)
        dev.wait_ready(new, JOIN_S)
        joined_s = NODES.expect_voters(dev, [1, 2, 3, 4, 5], JOIN_S)
        ids = {entry["name"]: id for id, entry in NODES.members().items()}
        for process in new:
            process.node_id = ids[process.name]
        note(f"two nodes joined and vote {joined_s:.1f} s after they were ready")
        everything_is_there(dev, contents, new[0])
        dev.kill_all(new[:1])
        dev.start(new[0])
        dev.wait_ready([new[0]], JOIN_S)
        if sorted(NODES.members()) != [1, 2, 3, 4, 5]:
            fail(f"a node that started again is another one: {sorted(NODES.members())}")

        leader = dev.leader("a")
        NODES.refused("remove", str(leader.node_id), says="still has data")
        NODES.refused("remove", str(leader.node_id), "--lost", says="is up")
        drained_s = NODES.ordered("drain", str(leader.node_id), within_s=DRAIN_S)
        removed_s = NODES.ordered("remove", str(leader.node_id), within_s=REMOVE_S)
        dev.wait(lambda: not leader.alive(), 20)
        left = sorted({1, 2, 3, 4, 5} - {leader.node_id})
        NODES.expect_voters(dev, left, 10)
        note(f"the leader was drained in {drained_s:.1f} s and removed in {removed_s:.1f} s")
        dev.ends_with(leader, CONFIG, "was removed from its cluster")
        removed_again(leader)

        others = [p for p in dev.nodes if p.node_id in left]
        victim = next(p for p in others if not p.leads())
        dev.kill_all([victim])
        # Whoever asks about the cluster is not sent to the node that has just died.
        front = dev.client()
        for _ in range(16):
            answer = front.request("GET", "/v1/clusters/a/nodes")
            if answer.status != 200:
                fail(f"the nodes were asked for beside a dead one, the answer was {answer.status} {answer.body[:200]}")
        shutil.rmtree(victim.data_dir)
        if victim not in new:
            dev.ends_with(victim, CONFIG, "the data folder is empty, but group 'a' is at work")
        wait_silent(dev, victim)
        # As somebody does it who has put a new disk into the same machine.
        again = dev.newcomer(f"{victim.name}-again", victim, first, [p.peer for p in others])
        if victim not in new:
            # As an initial member that it was, with the same settings and somebody to ask: `node join` knows no initial members.
            again.argv = again.argv[:2] + again.argv[4:] + ["--set", f"join={','.join(p.peer for p in others)}"]
        dev.ends_with(again, CONFIG, f"node {victim.node_id} is a member at {victim.peer} and has another disk")
        NODES.ordered("remove", str(victim.node_id), "--lost", within_s=REMOVE_S)
        dev.nodes.remove(victim)  # whoever answers at its address is another one
        dev.start(again)
        dev.wait_ready([again], JOIN_S)
        left = sorted(set(left) - {victim.node_id} | {6})
        if sorted(NODES.members()) != left:
            fail(f"the members are {sorted(NODES.members())}, not {left}")
        again.node_id = 6
        begun = time.monotonic()
        gone = {leader.node_id, victim.node_id}
        if not dev.wait(lambda: set(census(dev.client(), contents, gone)) == {COPIES}, REPAIR_S):
            fail(f"chunks by number of good copies are {census(dev.client(), contents, gone)}")
        repaired_s = time.monotonic() - begun
    finally:
        load.terminate()
        load.wait(60)
    everything_is_there(dev, contents, again)
    clean_within(30)
    verdict = ledger_verdict(log, 200)
    found_out_s = removed_unheard(dev, [p for p in dev.nodes if p.node_id in left])
    print(f"joined_in={joined_s:.1f}s drained_in={drained_s:.1f}s removed_in={removed_s:.1f}s repaired_in={repaired_s:.1f}s found_out_in={found_out_s:.1f}s {verdict}")


main()
