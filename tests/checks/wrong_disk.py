"""Starts a node on every folder that it should refuse, then on its own."""

import shutil

from census import fsck
from dev import Dev, Process, fail

CONFIG = 78
FILES = 30


def put(dev: Dev, prefix: str) -> dict[str, bytes]:
    """Files of every size class, read back by the caller."""
    contents = {f"{prefix}/{n}": bytes([n]) * (n * n * 4000 + 1) for n in range(FILES)}
    for key, content in contents.items():
        answer = dev.client().file("PUT", key, content)
        if answer.status != 201:
            fail(f"{key}: PUT answered {answer.status} {answer.code()}")
    return contents


def copied(process: Process, name: str):
    """A copy of a node's folder, its holes kept."""
    target = process.data_dir.parent / name
    shutil.copytree(process.data_dir, target, copy_function=shutil.copy2)
    return target


def swapped(process: Process, folder) -> None:
    """Puts another folder into the place of the node's, which is kept beside it."""
    process.data_dir.rename(process.data_dir.parent / f"{process.name}.own")
    folder.rename(process.data_dir)


def put_back(process: Process) -> None:
    shutil.rmtree(process.data_dir)
    (process.data_dir.parent / f"{process.name}.own").rename(process.data_dir)


def main() -> None:
    dev = Dev()
    contents = put(dev, "before")
    one, two = [p for p in dev.nodes if not p.leads()][:2]
    refused = 0

    # Two processes on one folder: the second one ends, the first goes on.
    running = (one.pid, one.ticks)
    dev.ends_with(one, CONFIG, "another process has this data folder open")
    one.pid, one.ticks = running
    if not one.ready():
        fail("the first process of two on one folder does not serve any more")
    refused += 1

    # An older copy of the node's own folder: what it synced since is missing from its log.
    dev.kill_all([one])
    older = copied(one, "older")
    dev.start(one)
    dev.wait_ready([one])
    contents |= put(dev, "between")
    dev.kill_all([one])
    swapped(one, older)
    dev.ends_with(one, CONFIG, "is an older copy of node")
    put_back(one)
    refused += 1

    # Another node's folder, while that node serves from the original.
    foreign = copied(two, "foreign")
    swapped(one, foreign)
    dev.ends_with(one, CONFIG, f"the data folder is that of node {two.node_id}")
    put_back(one)
    refused += 1

    # An empty folder in the place of a member's.
    empty = one.data_dir.parent / "empty"
    empty.mkdir()
    swapped(one, empty)
    dev.ends_with(one, CONFIG, "the data folder is empty, but group 'a' is at work")
    put_back(one)
    refused += 1

    # A folder of another cluster, and one of another fleet.
    identity = one.data_dir / "identity"
    text = identity.read_text()
    identity.write_text(text.replace('"a"', '"b"'))
    dev.ends_with(one, CONFIG, "belongs to group 'b', not 'a'")
    fleet = text.split('"fleet": "', 1)[1][:36]
    identity.write_text(text.replace(fleet, fleet[::-1].replace("-", "")[:8] + fleet[8:]))
    dev.ends_with(one, CONFIG, "belongs to the fleet")
    identity.write_text(text)
    refused += 2

    dev.start(one)
    dev.wait_ready(dev.processes)
    contents |= put(dev, "after")
    for key, content in contents.items():
        answer = dev.client(one.public).file("GET", key)
        if (answer.status, answer.body) != (200, content):
            fail(f"{key}: {answer.status} {answer.code()}, {len(answer.body)} bytes")
    if not dev.wait(lambda: fsck("--verify")[0] == 0, 30):
        fail(f"fsck finds: {fsck('--verify')[1][-500:]}")
    print(f"refused={refused} files={len(contents)} findings=0")


main()
