"""Replaces the root key, empties the disks of all supernodes, starts them, and puts them back."""

import secrets
import shutil
import time
from pathlib import Path

from dev import Client, Dev, Process, fail, note

KNOWN_S, WITHIN_S = 5, 20
# So often do both clusters try to register with the emptied directory meanwhile.
LOOK_S = 4


def expect(what: str, got: object, want: object) -> None:
    if got != want:
        fail(f"{what}: {got}, not {want}")


def log_has(process, text: str) -> bool:
    return text in Path(process.log_file).read_text()


def replace_root_key(dev: Dev) -> None:
    """A supernode with another key in its file changes nothing, until it is told to replace the group's; then it does so once."""
    one, other, path = dev.supernodes[1], dev.supernodes[2], dev.work / "another.key"
    key = secrets.token_hex(32)
    path.write_text(key)
    path.chmod(0o600)
    argv = {process.name: process.argv for process in (one, other)}

    def restart(process: Process, **settings: str) -> None:
        process.kill()
        dev.wait(lambda: not process.alive(), WITHIN_S)
        process.argv = argv[process.name] + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        dev.start(process)
        dev.wait_ready([process])

    def status(token: str) -> int:
        return Client(dev.supernodes[0].public, token).request("GET", "/v1/buckets").status

    restart(one, root_key_file=str(path))
    if not dev.wait(lambda: log_has(one, "the root key is another one"), KNOWN_S):
        fail(f"{one.name} does not say that its key opens nothing")
    expect("the root key, and another one in a file", (status(dev.token), status(key)), (200, 401))
    restart(one, root_key_file=str(path), replace_root_key="true")
    if not dev.wait(lambda: (status(dev.token), status(key)) == (401, 200), KNOWN_S):
        fail("the root key was not replaced")
    restart(other, replace_root_key="true")
    if not dev.wait(lambda: (status(dev.token), status(key)) == (200, 401), KNOWN_S):
        fail("the root key was not put back")
    restart(one, root_key_file=str(path), replace_root_key="true")
    if not dev.wait(lambda: log_has(one, "replace_root_key was followed by an earlier start"), KNOWN_S):
        fail(f"{one.name} does not say that it has replaced the key before")
    time.sleep(1)  # longer than the others take to hear of a change
    expect("the root key, and one that was replaced", (status(dev.token), status(key)), (200, 401))
    restart(one)
    restart(other)


def main() -> None:
    dev = Dev()
    replace_root_key(dev)
    for number in range(20):
        expect("PUT", dev.client().file("PUT", f"kept/{number}", b"x" * number).status, 201)
    homes = {node.name: Client(node.public, dev.token).file("GET", "kept/7").status for node in dev.nodes}
    owner = next(node for node in dev.nodes if homes[node.name] == 200)
    other = next(node for node in dev.nodes if homes[node.name] != 200)

    dev.kill_all(dev.supernodes)
    folders = [Path(dev.dir, process.name) for process in dev.supernodes]
    for folder in folders:
        folder.rename(folder.with_suffix(".before"))
        folder.mkdir(mode=0o700)
    for process in dev.supernodes:
        dev.start(process)
    dev.wait_ready(dev.supernodes)
    note("the supernodes have formed anew")
    if not dev.wait(lambda: all(log_has(node, "supernode refuses this cluster") for node in dev.nodes), WITHIN_S):
        fail("the clusters don't say that they are refused")
    end = time.monotonic() + LOOK_S
    while time.monotonic() < end:
        for process in dev.supernodes:
            # A bucket may be made there, and no key.
            told = Client(process.public, dev.token).file("PUT", "kept/7", b"a second home")
            if told.status < 400:
                fail(f"{process.name} answers {told.status} to a PUT of a key that has a home")
        told = Client(other.public, dev.token).file("PUT", "kept/7", b"a second home")
        told = Client(dev.supernodes[0].public, dev.token).file("GET", "kept/7")
        expect("a GET through a supernode, of a key that has a home", (told.status, told.code()), (503, "directory_unavailable"))
        told = Client(other.public, dev.token).file("GET", "kept/7")
        expect(f"a GET at {other.name}, which does not have the key", (told.status, told.code()), (503, "directory_unavailable"))
        told = Client(other.public, dev.token).file("PUT", "kept/7", b"a second home")
        expect(f"a PUT at {other.name}, which does not have the key", (told.status, told.code()), (503, "directory_unavailable"))
    expect("a read at its home", Client(owner.public, dev.token).file("GET", "kept/7").body, b"x" * 7)
    expect("a write at its home", Client(owner.public, dev.token).file("PUT", "kept/7", b"changed").status, 200)

    dev.kill_all(dev.supernodes)
    for folder in folders:
        shutil.rmtree(folder)
        folder.with_suffix(".before").rename(folder)
    for process in dev.supernodes:
        dev.start(process)
    dev.wait_ready(dev.supernodes)
    if not dev.wait(lambda: dev.client().file("GET", "kept/7").body == b"changed", WITHIN_S):
        fail("the clusters are not served again by the supernodes that know them")
    expect("a new key", dev.client().file("PUT", "new", b"1").status, 201)
    print("refused_by=3 clusters=2")


main()
