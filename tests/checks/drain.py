"""Drains a node under load, looks at its disk, stops it, then stops the leader."""

import json
import os
import subprocess
import time

from census import census, fill, fsck
from dev import Dev, Process, fail, ledger_verdict, node, note, wait_gone

COPIES = 2
SMALL, BIG = 40, 6
DRAIN_S, STOP_S, WITHIN_S = 120, 30, 30


def listed(id: int) -> dict:
    result = node("list", "--json")
    if result.returncode != 0:
        fail(f"node list ended with {result.returncode}: {result.stderr.strip()}")
    return next(found for found in map(json.loads, result.stdout.splitlines()) if found["id"] == id)


def drain(dev: Dev, contents: dict[str, bytes], victim: Process) -> float:
    begun = time.monotonic()
    result = node("drain", str(victim.node_id), within_s=DRAIN_S)
    took = time.monotonic() - begun
    if result.returncode != 0 or "safe to stop" not in result.stdout:
        fail(f"drain ended with {result.returncode}: {result.stdout}{result.stderr}")
    entry = listed(victim.node_id)
    if entry["drain"] != {"named": 0, "empty": True, "safe_to_stop": True}:
        fail(f"{victim.name} is listed as {entry}")
    # The number comes with the heartbeats, so it is a little late.
    if not dev.wait(lambda: listed(victim.node_id)["copies"] == 0, 5):
        fail(f"{victim.name} says that it has {listed(victim.node_id)['copies']} copies")
    left = [path for path in (victim.data_dir / "chunks" / "chunks").rglob("*") if path.is_file()]
    if left:
        fail(f"{len(left)} chunk files lie on the drained disk, {left[0]} among them")
    counted = census(dev.client(), contents, {victim.node_id})
    if any(copies != COPIES for copies in counted):
        fail(f"chunks by number of good copies elsewhere are {counted}")
    return took


def stop(victim: Process) -> float:
    begun = time.monotonic()
    result = node("stop", str(victim.node_id))
    if result.returncode != 0:
        fail(f"stop of {victim.name} ended with {result.returncode}: {result.stderr}")
    if not wait_gone(victim.pid, victim.ticks, STOP_S):
        fail(f"{victim.name} lives {STOP_S} s after it was stopped")
    last = json.loads(open(victim.log_file).read().splitlines()[-1])
    if last.get("message") != "stopped":
        fail(f"{victim.name} ended with {last}")
    return time.monotonic() - begun


def main() -> None:
    dev = Dev()
    contents = fill(dev, SMALL, BIG)
    log = dev.work / "ledger"
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(log), "--clients", "4", "--seconds", "600"]
    load = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        victim = next(p for p in dev.nodes if not p.leads())
        drained_s = drain(dev, contents, victim)
        note(f"{victim.name} is drained after {drained_s:.1f} s")
        stopped_s = stop(victim)
        dev.start(victim)
        dev.wait_ready([victim])
        if listed(victim.node_id)["drain"] is None:
            fail("a drain is forgotten by a restart")
        if node("drain", str(victim.node_id), "--undo").returncode != 0 or listed(victim.node_id)["drain"] is not None:
            fail("a drain can't be taken back")
        leader = dev.leader("a")
        handed_s = stop(leader)
        begun = time.monotonic()
        dev.leader("a", 5)
        note(f"leader stopped in {handed_s:.1f} s, the next one stood {time.monotonic() - begun:.1f} s later")
        dev.start(leader)
        dev.wait_ready([leader])
    finally:
        load.terminate()
        load.wait(60)
    if not dev.wait(lambda: fsck()[0] == 0, WITHIN_S):
        fail(f"fsck finds: {fsck()[1][-500:]}")
    verdict = ledger_verdict(log, 200)
    print(f"drained_in={drained_s:.1f}s stopped_in={stopped_s:.1f}s leader_stopped_in={handed_s:.1f}s {verdict}")


main()
