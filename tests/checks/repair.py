"""Takes copies away in several ways, each time until two good ones of every chunk lie on disks again."""

import collections
import json
import os
import subprocess
import time
from pathlib import Path

from census import census, chunks_of, fill, fsck, holds
from dev import Dev, Process, fail, ledger_verdict, note

COPIES = 2
SMALL, BIG = 60, 8
WITHIN_S = 40
SETTLED_S = 60


def told(command: str) -> list[dict]:
    result = subprocess.run([os.environ["FLOTILLA"], command, "--json"], capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


class Check:
    def __init__(self, dev: Dev):
        self.dev = dev
        self.contents = fill(dev, SMALL, BIG)
        self.chunks = sum(len(chunks_of(dev.client(), key)) for key in self.contents)
        self.seconds: dict[str, float] = {}

    def until_whole(self, what: str, without: set[int] = frozenset()) -> None:
        """Waits until every chunk has enough good copies."""
        begun = time.monotonic()
        last: dict[int, int] = {}

        def whole() -> bool:
            nonlocal last
            last = census(self.dev.client(), self.contents, without)
            return all(copies >= COPIES for copies in last)

        if not self.dev.wait(whole, WITHIN_S):
            fail(f"{what}: after {WITHIN_S} s chunks by number of good copies are {last}")
        self.seconds[what] = time.monotonic() - begun
        note(f"{what}: {self.chunks} chunks have their copies after {self.seconds[what]:.1f} s")

    def until_exact(self, what: str) -> None:
        """Waits until no copy is too many, in the metadata or on a disk."""
        exact = lambda: set(census(self.dev.client(), self.contents)) == {COPIES} and fsck()[0] == 0
        if not self.dev.wait(exact, WITHIN_S):
            fail(f"{what}: copies are {census(self.dev.client(), self.contents)}: {fsck()[1][-400:]}")

    def victim(self, leader: bool) -> Process:
        return next(p for p in self.dev.nodes if p.leads() == leader)

    def dies_and_returns(self) -> None:
        for leader in [False, True]:
            what = "leader died" if leader else "node died"
            victim = self.victim(leader)
            self.dev.kill_all([victim])
            self.until_whole(what, {victim.node_id})
            self.dev.start(victim)
            self.dev.wait_ready([victim])
            self.until_exact(f"{what} and returned")

    def loses_files(self) -> None:
        """A chunk's file is gone, a record and a file are damaged: found by looking, and by reading."""
        client = self.dev.client()
        copies = [
            (key, at, chunk, copy) for key in self.contents for at, chunk in chunks_of(client, key) for copy in chunk["replicas"]
        ]
        is_file = lambda found: Path(found[3]["file"]).name == found[2]["id"]
        # The one that has the most of them: what moved when nodes died may have left another one without any.
        files_on = collections.Counter(found[3]["node"] for found in copies if is_file(found))
        node = max(self.dev.nodes, key=lambda node: files_on[node.node_id])
        own = [found for found in copies if found[3]["node"] == node.node_id]
        files = [found for found in own if is_file(found)]
        records = [found for found in own if not is_file(found)]
        Path(files[0][3]["file"]).unlink()
        for key, _, _, copy in [files[1], records[0]]:
            with open(copy["file"], "r+b") as file:
                file.seek(copy["file_offset"] + 17)
                byte = file.read(1)[0]
                file.seek(copy["file_offset"] + 17)
                file.write(bytes([byte ^ 1]))
            # Read where the damaged copy is: it may be in a cache, from before.
            subprocess.run(["sync"], check=True)
            Path("/proc/sys/vm/drop_caches").write_text("1")
            for _ in range(3):
                answer = self.dev.client(node.public).file("GET", key)
                if answer.status != 200 or answer.body != self.contents[key]:
                    fail(f"{key}: read past a damaged copy as {answer.status}")
        self.until_whole("three copies damaged")
        for key, at, chunk, copy in [files[0], files[1], records[0]]:
            want = self.contents[key][at : at + chunk["length"]]
            now: list[dict] = []

            def exact() -> bool:
                nonlocal now
                now = [c for _, found in chunks_of(client, key) if found["id"] == chunk["id"] for c in found["replicas"]]
                return len(now) == COPIES and all(holds(c, want) for c in now)

            # A node that is busy may not say in time where its copies lie.
            if not self.dev.wait(exact, SETTLED_S):
                fail(f"{key}: copies of {chunk['id']} are {now} after {copy['file']} was damaged")


def main() -> None:
    dev = Dev()
    check = Check(dev)
    if census(dev.client(), check.contents) != {COPIES: check.chunks}:
        fail("not every chunk has two copies to begin with")
    log = dev.work / "ledger"
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(log), "--clients", "4", "--seconds", "600"]
    load = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        check.dies_and_returns()
        check.loses_files()
    finally:
        load.terminate()
        load.wait(60)
    check.until_exact("in the end")
    # A node that was away may get its share now.
    if not dev.wait(lambda: not told("tasks"), SETTLED_S):
        fail(f"tasks {told('tasks')} stand for more than {SETTLED_S} s")
    check.until_exact("when nothing is planned any more")
    links = [link for line in told("transfers") for link in line["links"]]
    copied = sum(link["transfers"] for link in links)
    if copied == 0 or any(link["from"] == link["to"] for link in links):
        fail(f"links are {links}")
    code, text = fsck("--verify")
    if code != 0:
        fail(f"fsck --verify found: {text[-500:]}")
    verdict = ledger_verdict(log, 200)
    times = " ".join(f"{what.replace(' ', '_')}={seconds:.1f}s" for what, seconds in check.seconds.items())
    print(f"chunks={check.chunks} copied={copied} {times} {verdict}")


main()
