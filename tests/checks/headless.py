"""Writes files through the supernodes, takes those away, and nodes with them, and goes on with the same commands."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from dev import Dev, Process, fail, note

FILES = 12
NOT_FOUND, UNAVAILABLE = 3, 6
# Smaller files are read whole and could be sent again; larger ones, and stdin, can be sent once.
STREAM_BYTES = 5 << 20
# Who sends a request to a node that hangs waits for 60 s.
HUNG_S, TREE_S = 20, 45


def flotilla(*arguments: str, body: bytes | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([os.environ["FLOTILLA"], *arguments], input=body, capture_output=True, timeout=120, check=False)


def expect(what: str, got: subprocess.CompletedProcess, code: int, body: bytes | None = None) -> None:
    if got.returncode != code or (body is not None and got.stdout != body):
        fail(f"{what}: exit {got.returncode}, not {code}; {len(got.stdout)} bytes: {got.stderr.decode()[-400:]!r}")


class Files:
    """What was put under which key, and which cluster has it."""

    def __init__(self, dev: Dev):
        self.dev, self.contents, self.homes = dev, {}, {}

    def put(self, key: str, body: bytes, code: int = 0) -> None:
        source = self.dev.work / "source"
        source.write_bytes(body)
        expect(f"put {key}", flotilla("put", str(source), f"demo/{key}"), code)
        self.contents[key] = body if code == 0 else self.contents.get(key)

    def put_stdin(self, key: str, body: bytes) -> None:
        expect(f"put {key} from stdin", flotilla("put", "-", f"demo/{key}", body=body), 0)
        self.contents[key] = body

    def get(self, key: str) -> None:
        expect(f"get {key}, at home in {self.homes[key]}", flotilla("get", f"demo/{key}", "-"), 0, self.contents[key])

    def of_each_cluster(self) -> list[str]:
        return [next(key for key, home in self.homes.items() if home == cluster) for cluster in self.dev.clusters]


def remembered(dev: Dev) -> Path:
    """The file of addresses; it lies below the work folder, and there is one of it."""
    found = list((dev.work / "cache/flotilla").glob("nodes-*.json"))
    if len(found) != 1:
        fail(f"the command line remembers addresses in {[path.name for path in found]}")
    return found[0]


def homes_that_nodes_name(dev: Dev, files: Files) -> None:
    """No supernode that the command line knows answers, and one cluster is not known to it; the other one's nodes name it."""
    for key in files.of_each_cluster():
        other = next(node for node in dev.nodes if node.cluster != files.homes[key])
        got = flotilla("get", "--api", other.public, f"demo/{key}", "-")
        expect(f"get {key} at {other.name}, of another cluster", got, 0, files.contents[key])
    # FLOTILLA_API names the first one alone.
    dev.kill_all(dev.supernodes[:1])
    dev.wait_ready(dev.supernodes[1:])
    path = remembered(dev)
    text = path.read_text()
    for key in files.of_each_cluster():
        known = json.loads(text)
        known["clusters"] = [cluster for cluster in known["clusters"] if cluster["name"] != files.homes[key]]
        path.write_text(json.dumps(known))
        files.get(key)
        files.put(key, os.urandom(1000))
        files.put_stdin(key, os.urandom(STREAM_BYTES))
        files.get(key)
    path.write_text(text)


def hung_nodes(dev: Dev, files: Files, hung: list[Process]) -> None:
    """One node of each cluster takes connections and answers nothing."""
    for node in hung:
        node.kill(signal.SIGSTOP)
    try:
        for key in files.of_each_cluster():
            for work in (lambda: files.get(key), lambda: files.put(key, os.urandom(2000)), lambda: files.get(key)):
                begun = time.monotonic()
                work()
                if time.monotonic() - begun > HUNG_S:
                    fail(f"a command on {key} took {time.monotonic() - begun:.0f} s while a node hung")
        tree = dev.work / "tree"
        tree.mkdir()
        for key in files.contents:
            files.contents[key] = os.urandom(3000)
            (tree / key.removeprefix("headless/")).write_bytes(files.contents[key])
        begun = time.monotonic()
        expect("put -r", flotilla("put", "-r", str(tree), "demo/headless"), 0)
        took = time.monotonic() - begun
        note(f"{len(files.contents)} files were put in {took:.1f} s while nodes hung")
        if took > TREE_S:
            fail(f"put -r of {len(files.contents)} files took {took:.0f} s while a node of each cluster hung")
    finally:
        for node in hung:
            node.kill(signal.SIGCONT)
    dev.wait_ready(dev.nodes)


def main() -> None:
    dev = Dev()
    files = Files(dev)
    for number in range(FILES):
        files.put(f"headless/{number}", os.urandom(1000 + 70_000 * number))
    files.homes = {key: dev.client().file("HEAD", key).cluster() for key in files.contents}
    if len(set(files.homes.values())) != 2:
        fail(f"all files are at home in one cluster: {files.homes}")
    homes_that_nodes_name(dev, files)

    dev.kill_all(dev.supernodes)
    # The first of each cluster may be the one that is remembered first.
    first = [dev.of_cluster(cluster)[0] for cluster in dev.clusters]
    hung_nodes(dev, files, first)
    dev.kill_all(first)
    for key in files.homes:
        files.get(key)
        files.put(key, files.contents[key][::-1])
        files.get(key)
    for key in files.of_each_cluster():
        files.put(key, os.urandom(STREAM_BYTES))
        files.get(key)
        files.put_stdin(key, os.urandom(STREAM_BYTES))
        files.get(key)
    gone = next(iter(files.homes))
    expect(f"rm {gone}", flotilla("rm", f"demo/{gone}"), 0)
    told = flotilla("get", f"demo/{gone}", "-")
    if told.returncode not in (NOT_FOUND, UNAVAILABLE):
        fail(f"get of a removed file: exit {told.returncode}: {told.stderr.decode()[-300:]}")
    expect("get of a key that no cluster knows", flotilla("get", "demo/headless/never", "-"), UNAVAILABLE)
    files.put("headless/new", b"new", UNAVAILABLE)

    for process in dev.supernodes:
        dev.start(process)
    dev.wait_ready(dev.supernodes)
    expect("get of the unknown key with supernodes", flotilla("get", "demo/headless/never", "-"), NOT_FOUND)
    files.put("headless/new", b"new")
    print(f"files={FILES} clusters=2")


main()
