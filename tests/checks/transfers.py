"""Has copies made anew over links that work, fail and hang, and holds what is told of them against the disks and the logs."""

import http.client
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from census import census, chunks_of, fill, holds
from dev import Dev, Process, fail, note

COPIES = 2
SMALL, BIG = 100, 7
# What the failpoint does to each node.
PLANTED, PLANTED_WHY = 2, "a failpoint"
# A holder has 5 s for a piece; it must not hang for as long as a node's grace, or its own copies are made anew too.
BEGUN_WITHIN_S, HANG_MAX_S, WHOLE_WITHIN_S = 15, 7, 40
PAUSE_S = 0.02
ROUTE = "/v1/clusters/a/transfers"
METRICS = ("flotilla_transfers_total", "flotilla_transfer_bytes_total", "flotilla_transfer_failures_total")

# By giver and getter: copies, bytes, failures.
Links = dict[tuple[int, int], tuple[int, int, int]]


class Load:
    """One client writes new files and one reads, all the time: nothing of that is a transfer."""

    def __init__(self, dev: Dev, gateways: list[Process], contents: dict[str, bytes]):
        self.dev, self.gateways, self.contents = dev, gateways, contents
        self.over, self.turn, self.acked, self.read = threading.Event(), threading.Lock(), 0, 0
        self.wrong: list[str] = []
        self.threads = [threading.Thread(target=one, daemon=True) for one in (self.write, self.look)]
        for thread in self.threads:
            thread.start()

    def write(self) -> None:
        chance, number = random.Random(23), 0
        while not self.over.wait(PAUSE_S):
            number += 1
            key, content = f"meanwhile/{number}", chance.randbytes(chance.randrange(5000, 300_000))
            with self.turn:
                if self.ask("PUT", key, content, number) == 201:
                    self.contents[key] = content
                    self.acked += 1

    def look(self) -> None:
        chance = random.Random(29)
        while not self.over.wait(PAUSE_S):
            key = chance.choice(list(self.contents))
            self.read += self.ask("GET", key, None, chance.randrange(100)) == 200

    def ask(self, method: str, key: str, content: bytes | None, number: int) -> int:
        try:
            answer = self.dev.client(self.gateways[number % len(self.gateways)].public, 10).file(method, key, content)
        except (OSError, http.client.HTTPException):
            return 0  # a client's business, which other checks look at
        if method == "GET" and answer.status == 200 and answer.body != self.contents[key]:
            self.wrong.append(key)
        return answer.status

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)
        if self.wrong or not self.acked or not self.read:
            fail(f"{self.acked} files were written and {self.read} read meanwhile, {self.wrong[:3]} with other bytes")


def asked(dev: Dev, url: str) -> dict:
    answer = dev.client(url).request("GET", ROUTE)
    if answer.status != 200:
        fail(f"{url}{ROUTE} answered {answer.status} {answer.code()}")
    return json.loads(answer.body)


def command(*arguments: str) -> str:
    line = [os.environ["FLOTILLA"], "transfers", *arguments]
    return subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True).stdout


def links_of(document: dict) -> Links:
    return {(link["from"], link["to"]): (link["transfers"], link["bytes"], link["failures"]) for link in document["links"]}


def in_figures(nodes: list[Process]) -> Links:
    """What the nodes' metrics say; a series that was never counted up is not there."""
    links: dict[tuple[int, int], list[int]] = {}
    for node in nodes:
        text = node.get("/metrics").body.decode()
        for at, name in enumerate(METRICS):
            for labels, value in re.findall(rf"^{name}\{{([^}}]*)\}} (\d+)$", text, re.M):
                said = dict(re.findall(r'(\w+)="(\d+)"', labels))
                links.setdefault((int(said["from"]), int(said["to"])), [0, 0, 0])[at] += int(value)
    return {link: tuple(counts) for link, counts in links.items()}


def human(size: int) -> str:
    """Bytes as the command line writes them."""
    unit = max(n for n in range(5) if n == 0 or size >= 1024**n)
    return f"{size / 1024**unit:.1f} {'KMGT'[unit - 1]}iB" if unit else f"{size} B"


def in_table(text: str) -> dict[tuple[int, int], tuple[int, str, int]]:
    """The second table for people."""
    rows = [re.split(r" {2,}", line) for line in text.split("\n\n")[1].splitlines()[1:]]
    return {(int(giver), int(to)): (int(copies), size, int(failures)) for giver, to, copies, size, failures in rows}


def in_items(document: dict) -> Counter:
    """How many copies each link has among the transfers that are told one by one."""
    chunks = [(chunk, item["to"]) for item in document["items"] for chunk in item["chunks"]]
    return Counter((chunk["from"], to) for chunk, to in chunks if chunk["state"] == "done")


def in_logs(nodes: list[Process]) -> tuple[Counter, Counter]:
    """Failures by link as the getters' logs tell them: those that were planted, and all others."""
    planted, others = Counter(), Counter()
    for node in nodes:
        for line in Path(node.log_file).read_text().splitlines():
            if '"copy was not made"' in line:
                said = json.loads(line)
                (planted if said["why"] == PLANTED_WHY else others)[int(said["from"]), node.node_id] += 1
    return planted, others


def from_node(links: Counter, giver: Process) -> int:
    return sum(count for link, count in links.items() if link[0] == giver.node_id)


class Outage:
    """One node is dead for good: every chunk that it had lies on one other node, so it is known who has to give it."""

    def __init__(self, dev: Dev, contents: dict[str, bytes], victim: Process):
        self.dev, self.victim, self.contents = dev, victim, dict(contents)
        self.live = [p for p in dev.nodes if p is not victim]
        self.chunks: dict[str, tuple[str, int, int, int]] = {}
        for key in self.contents:
            for at, chunk in chunks_of(dev.client(), key):
                had = {copy["node"] for copy in chunk["replicas"]}
                if len(had) != COPIES:
                    fail(f"{key}: chunk {chunk['id']} lies on {had} to begin with")
                if victim.node_id in had:
                    giver = min(had - {victim.node_id})
                    self.chunks[chunk["id"]] = (key, at, chunk["length"], giver)

    def on_disks(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Copies that lie on disks now and did not before, and their bytes, by link."""
        links: dict[tuple[int, int], tuple[int, int]] = {}
        for key in {key for key, *_ in self.chunks.values()}:
            for at, chunk in chunks_of(self.dev.client(), key):
                if chunk["id"] not in self.chunks:
                    continue
                giver, want = self.chunks[chunk["id"]][3], self.contents[key][at : at + chunk["length"]]
                for copy in chunk["replicas"]:
                    if copy["node"] in (giver, self.victim.node_id):
                        continue
                    if not holds(copy, want):
                        fail(f"{key}: the new copy of chunk {chunk['id']} on node {copy['node']} is no copy of it")
                    copies, size = links.get((giver, copy["node"]), (0, 0))
                    links[giver, copy["node"]] = (copies + 1, size + len(want))
        return links

    def hang(self, giver: Process) -> float:
        """A node stops while copies are to come from it, and goes on when others have noticed; gives how long that took."""
        others = [p for p in self.live if p is not giver]
        awaited = lambda: [
            chunk
            for item in asked(self.dev, others[0].public)["items"]
            if item["took_ms"] is None and item["to"] != giver.node_id
            for chunk in item["chunks"]
            if chunk["state"] in ("waiting", "copying") and self.chunks[chunk["chunk"]][3] == giver.node_id
        ]
        if not self.dev.wait(awaited, BEGUN_WITHIN_S):
            fail(f"no copy of {giver.name}'s was under way within {BEGUN_WITHIN_S} s")
        failed = lambda: from_node(in_logs(others)[1], giver)
        begun = time.monotonic()
        giver.kill(signal.SIGSTOP)
        try:
            silent = asked(self.dev, others[0].public)["silent"]
            if sorted(silent) != sorted([self.victim.node_id, giver.node_id]):
                fail(f"nodes {silent} are told to be silent, not the dead {self.victim.name} and {giver.name}, which hangs")
            if not self.dev.wait(failed, HANG_MAX_S):
                fail(f"{giver.name} hangs, and no copy from it has failed after {HANG_MAX_S} s")
        finally:
            giver.kill(signal.SIGCONT)
        return time.monotonic() - begun

    def until_whole(self) -> None:
        whole = lambda: set(census(self.dev.client(), self.contents, {self.victim.node_id})) == {COPIES}
        if not self.dev.wait(lambda: whole() and not json.loads(self.tasks())["items"], WHOLE_WITHIN_S):
            counted = census(self.dev.client(), self.contents, {self.victim.node_id})
            fail(f"chunks by number of good copies are {counted} after {WHOLE_WITHIN_S} s, tasks are {self.tasks()[:300]!r}")

    def tasks(self) -> bytes:
        return self.dev.client().request("GET", "/v1/clusters/a/tasks").body

    def differences(self) -> list[str]:
        """Where two accounts of the same links are not the same. Everything is at rest."""
        document = asked(self.dev, self.dev.api)
        told, found = links_of(document), []
        accounts = {f"the API at {p.name}": links_of(asked(self.dev, p.public)) for p in self.live}
        accounts["the command line"] = links_of(json.loads(command("--json")))
        accounts["metrics"] = in_figures(self.live)
        accounts["the table"] = in_table(command())
        shown = {link: (copies, human(size), failures) for link, (copies, size, failures) in told.items()}
        for name, account in accounts.items():
            if account != (shown if name == "the table" else told):
                found.append(f"{name} has {account}, the API {told}")
        disks = self.on_disks()
        if disks != {link: counts[:2] for link, counts in told.items() if counts[0] or counts[1]}:
            found.append(f"on disks are {disks}, the API has {told}")
        if in_items(document) != {link: counts[0] for link, counts in told.items() if counts[0]}:
            found.append(f"single transfers come to {in_items(document)}, the API has {told}")
        planted, others = in_logs(self.live)
        if planted + others != {link: counts[2] for link, counts in told.items() if counts[2]}:
            found.append(f"logs have failures {planted + others}, the API has {told}")
        for node in self.live:
            failed = sum(count for link, count in planted.items() if link[1] == node.node_id)
            copied = sum(counts[0] for link, counts in told.items() if link[1] == node.node_id)
            pulled = node.metric("flotilla_failpoint_hits_total", '"repair.pulled"') or 0
            added = node.metric("flotilla_replicas_added_total") or 0
            if (copied, failed, copied + failed) != (added, min(PLANTED, pulled), pulled):
                found.append(f"{node.name} pulled {pulled} copies, made {copied}, failed {failed} as planted, had {added} named")
        return found


def main() -> None:
    dev = Dev()
    leader = dev.leader("a")
    victim, giver, *others = [p for p in dev.nodes if p is not leader]
    contents = fill(dev, SMALL, BIG)
    if any(asked(dev, dev.api)[part] for part in ("items", "links", "silent")):
        fail(f"transfers are told where there were none: {asked(dev, dev.api)}")
    load = Load(dev, [leader, *others], contents)
    with load.turn:
        outage = Outage(dev, contents, victim)
        dev.kill_all([victim])
    hung_s = outage.hang(giver)
    outage.until_whole()
    load.end()
    found = outage.differences()
    if found:
        note("\n".join(found))
        fail(f"{len(found)} accounts differ, first: {found[0]}")
    links = links_of(asked(dev, dev.api))
    copies, size, failures = (sum(counts[at] for counts in links.values()) for at in range(3))
    planted, unplanted = in_logs(outage.live)
    if not planted:
        fail("no failpoint was passed, so the binary has none")
    note(f"{copies} copies of {len(outage.chunks)} chunks, {failures} failures; {giver.name} hung for {hung_s:.1f} s")
    # A control: a node that starts anew has forgotten what it got, and that has to be seen.
    dev.kill_all([others[0]])
    dev.start(others[0])
    dev.wait_ready([others[0]])
    if not any("on disks" in difference for difference in outage.differences()):
        fail("a node forgot what it had copied, and no difference to the disks is seen")
    print(
        f"links={len(links)} copies={copies} mb={size / 1e6:.1f} failures={failures} planted={planted.total()} "
        f"of_dead={from_node(unplanted, victim)} of_hung={from_node(unplanted, giver)} "
        f"written={load.acked} read={load.read}"
    )


main()
