"""Kills each of three supernodes under load, then all of them, and looks at what clients and nodes make of it."""

import http.client
import json
import os
import subprocess
import threading
import time
from pathlib import Path

from dev import Dev, Process, fail, ledger_verdict, note

AWAY_S, SECONDS_MAX, ACKED_MIN = 3, 120, 300
# A new leader of the supernodes, and a retry of the SDK.
GAP_MAX_S = 3
KNOWN = 24


class Successes:
    """When a write through each supernode succeeded, for those that have only that one address."""

    def __init__(self, dev: Dev):
        self.dev, self.over = dev, threading.Event()
        self.at: dict[str, list[float]] = {p.name: [] for p in dev.supernodes}
        self.odd: list[str] = []
        self.threads = [threading.Thread(target=self.run, args=(p,)) for p in dev.supernodes]
        for thread in self.threads:
            thread.start()

    def run(self, supernode: Process) -> None:
        client, number = self.dev.client(supernode.public, 10), 0
        while not self.over.is_set():
            number += 1
            try:
                answer = client.file("PUT", f"doors/{supernode.name}/{number}", b"through this door")
                if answer.status == 201:
                    self.at[supernode.name].append(time.monotonic())
                elif answer.status not in (503, 504):
                    self.odd.append(f"{supernode.name}: {answer.status} {answer.code()}")
                elif answer.status == 503 and "retry-after" not in answer.headers:
                    self.odd.append(f"{supernode.name}: 503 {answer.code()} without Retry-After")
            except (OSError, http.client.HTTPException):
                pass
            self.over.wait(0.02)

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def gap(self, name: str, begin: float, end: float) -> float:
        """The longest time without a success in between."""
        at = [begin, *(t for t in self.at[name] if begin <= t <= end), end]
        return max(later - earlier for earlier, later in zip(at, at[1:]))


def leader(dev: Dev) -> Process | None:
    return next((p for p in dev.supernodes if p.alive() and p.leads()), None)


def kill_in_turn(dev: Dev, tries: Successes) -> float:
    """Kills each supernode, and the one that leads once more; gives the longest gap that clients of another one saw."""
    worst = 0.0
    victims = [*dev.supernodes, None]
    for victim in victims:
        victim = victim or dev.wait(lambda: leader(dev), 10) or fail("the supernodes have no leader")
        led, begun = victim.leads(), time.monotonic()
        dev.kill_all([victim])
        time.sleep(AWAY_S)
        gaps = {p.name: tries.gap(p.name, begun, time.monotonic()) for p in dev.supernodes if p is not victim}
        note(f"{victim.name}{' (leader)' if led else ''} was away; longest gaps {', '.join(f'{n} {g:.2f} s' for n, g in gaps.items())}")
        worst = max(worst, *gaps.values())
        dev.start(victim)
        dev.wait_ready([victim], 30)
    return worst


def without_any(dev: Dev, contents: dict[str, bytes]) -> None:
    """With no supernode at all, clusters serve and change what is theirs, and promise nothing about the rest."""
    ways = [dev.client(p.public) for p in dev.nodes]
    for key, content in contents.items():
        told = [way.file("GET", key) for way in ways]
        served = [answer for answer in told if answer.status == 200]
        if not served or any(answer.body != content for answer in served):
            fail(f"without supernodes {key} is answered {[answer.status for answer in told]}")
        odd = [answer.code() for answer in told if answer.status not in (200, 421) and answer.code() != "directory_unavailable"]
        if odd:
            fail(f"without supernodes {key} is answered {odd}")
        own = next(way for way, answer in zip(ways, told) if answer.status == 200)
        if (status := own.file("PUT", key, content).status) != 200:
            fail(f"without supernodes a known key can't be replaced: {status}")
    for way in ways:
        answer = way.file("GET", "never/made")
        if answer.code() != "directory_unavailable":
            fail(f"without supernodes an unknown key is answered {answer.status} {answer.code()}")


def explained_everywhere(dev: Dev) -> None:
    """What only one supernode knows is told by all of them; what nobody knows is said so."""
    first = dev.supernodes[0]
    request = dev.client(first.public).file("PUT", "doors/explained", b"once").headers["x-request-id"]
    for process in dev.supernodes:
        client = dev.client(process.public)
        told = json.loads(client.request("GET", f"/v1/explain/{request}").body)
        if not told["found"] or told["supernode"] != first.peer.removeprefix("http://") or told["op"] != "put":
            fail(f"{process.name} explains a request of {first.name} as {told}")
        for path in ("/v1/explain/never", "/v1/queue?request=never"):
            told = json.loads(client.request("GET", path).body)
            if told["found"] or "silent" in told:
                fail(f"{process.name} tells of a request that never was: {told}")


def main() -> None:
    dev = Dev()
    api = ",".join(p.public for p in dev.supernodes)
    contents = {f"known/{n}": os.urandom(3000 * n + 1) for n in range(KNOWN)}
    for number, (key, content) in enumerate(contents.items()):
        way = dev.client(dev.supernodes[number % 3].public)
        if (status := way.file("PUT", key, content).status) != 201:
            fail(f"{key} was answered {status}")
    explained_everywhere(dev)
    file = Path(os.environ["WORK"]) / "ledger"
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(file), "--clients", "8"]
    with open(dev.work / "ledger-run.log", "wb") as log:
        run = subprocess.Popen(
            [*command, "--seconds", str(SECONDS_MAX)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=os.environ | {"FLOTILLA_API": api},
        )
    time.sleep(1)
    tries = Successes(dev)
    worst = kill_in_turn(dev, tries)
    dev.kill_all(dev.supernodes)
    without_any(dev, contents)
    for supernode in dev.supernodes:
        dev.start(supernode)
    back_s = dev.wait_ready(dev.supernodes, 30)
    time.sleep(2)
    tries.end()
    run.terminate()
    run.wait(60)
    for supernode in dev.supernodes:
        way = dev.client(supernode.public)
        for key, content in contents.items():
            answer = way.file("GET", key)
            if answer.status != 200 or answer.body != content:
                fail(f"{key} through {supernode.name} is answered {answer.status} {answer.code()}")
    figures = f"kills={len(dev.supernodes) * 2 + 1} gap_s={worst:.2f} back_s={back_s:.1f} {ledger_verdict(file, ACKED_MIN)}"
    if tries.odd:
        fail(f"{len(tries.odd)} odd answers, the first is {tries.odd[0]}: {figures}")
    if worst > GAP_MAX_S:
        fail(f"nobody could write for {worst:.2f} s: {figures}")
    print(figures)


main()
