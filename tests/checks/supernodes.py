"""Has supernodes join, be refused, leave and be replaced while a ledger is written through the first one's address."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from dev import Dev, Process, fail, flotilla, ledger_acked, ledger_verdict, note
from group import Group

CONFIG = 78
KNOWN = 16
JOIN_S, REMOVE_S, REPORT_S = 60, 60, 20
# The SDK asks for addresses twice a minute.
LEARN_S = 32
MORE_ACKED, ACKED_MIN = 50, 300
SUPERNODES = Group("supernode")


def use(supernodes: list[Process]) -> None:
    """Which supernodes the command line asks from now on."""
    os.environ["FLOTILLA_API"] = ",".join(p.public for p in supernodes)


def put_through_each(dev: Dev, supernodes: list[Process], label: str, contents: dict[str, bytes]) -> None:
    """A new file through each, which every other one serves at once."""
    for through in supernodes:
        key, content = f"{label}/{through.name}", f"{label} through {through.name}".encode()
        answer = dev.client(through.public).file("PUT", key, content)
        if answer.status != 201:
            fail(f"{key} was answered {answer.status} {answer.code()}")
        contents[key] = content
        for other in supernodes:
            answer = dev.client(other.public).file("GET", key)
            if (answer.status, answer.body) != (200, content):
                fail(f"{key} read at {other.name}: {answer.status} {answer.code()}")


def everything_is_there(dev: Dev, supernodes: list[Process], contents: dict[str, bytes]) -> None:
    for supernode in supernodes:
        client = dev.client(supernode.public)
        for key, content in contents.items():
            answer = client.file("GET", key)
            if (answer.status, answer.body) != (200, content):
                fail(f"{key} read at {supernode.name}: {answer.status} {answer.code()}")


def hears_all_clusters(dev: Dev, supernode: Process) -> bool:
    answer = dev.client(supernode.public).request("GET", "/v1/clusters")
    if answer.status != 200:
        return False
    clusters = json.loads(answer.body)["clusters"]
    return len(clusters) == len(dev.clusters) and all(cluster["reachable"] for cluster in clusters)


def expect_reports(dev: Dev, supernodes: list[Process]) -> None:
    for supernode in supernodes:
        if not dev.wait(lambda: hears_all_clusters(dev, supernode), REPORT_S):
            fail(f"{supernode.name} does not hear of all clusters after {REPORT_S} s")


def expect_list(dev: Dev, supernodes: list[Process]) -> None:
    """What people see: a line for each, one of which leads."""
    wanted = sorted(p.name for p in supernodes), ["leader"] + ["voter"] * (len(supernodes) - 1)

    def listed() -> bool:
        rows = [line.split() for line in flotilla("supernode", "list").stdout.splitlines()[1:]]
        return (sorted(row[1] for row in rows), sorted(row[2] for row in rows)) == wanted

    # Between two leaders nobody tells.
    if not dev.wait(listed, REPORT_S):
        shown = flotilla("supernode", "list")
        fail(f"supernode list ended with {shown.returncode} and shows: {shown.stdout}{shown.stderr}")


def swapped(process: Process, folder: Path) -> None:
    """Puts another folder into the place of the process's own, which is kept beside it."""
    process.data_dir.rename(process.data_dir.parent / f"{process.name}.own")
    folder.rename(process.data_dir)


def put_back(process: Process) -> None:
    shutil.rmtree(process.data_dir)
    (process.data_dir.parent / f"{process.name}.own").rename(process.data_dir)


def bad_disks(dev: Dev, victim: Process, id: int, others: list[Process], contents: dict[str, bytes]) -> None:
    """A wiped disk, one without its database and an older copy of itself are refused; with its own folder the supernode is a member as before."""
    started = victim.data_dir / "starting"
    if not dev.wait(lambda: not started.exists(), 20):
        fail(f"{victim.name} has not noted its start")
    dev.kill_all([victim])
    older = victim.data_dir.parent / "older"
    shutil.copytree(victim.data_dir, older, copy_function=shutil.copy2)
    empty = victim.data_dir.parent / "empty"
    empty.mkdir()
    swapped(victim, empty)
    dev.ends_with(victim, CONFIG, f"supernode {id} is a member at {victim.peer} and has another disk")
    put_back(victim)
    meta, aside = victim.data_dir / "meta", victim.data_dir.parent / "meta-aside"
    meta.rename(aside)
    dev.ends_with(victim, CONFIG, "it has no database, and the supernode had one")
    shutil.rmtree(meta)
    aside.rename(meta)
    dev.start(victim)
    dev.wait_ready([victim], JOIN_S)
    if not dev.wait(lambda: not started.exists(), 20):
        fail(f"{victim.name} has not noted its second start")
    put_through_each(dev, [*others, victim], "meanwhile", contents)
    dev.kill_all([victim])
    swapped(victim, older)
    dev.ends_with(victim, CONFIG, f"is an older copy of supernode {id}")
    put_back(victim)
    dev.start(victim)
    dev.wait_ready([victim], JOIN_S)


def lead(dev: Dev, wanted: Process) -> None:
    """Sees to it that a supernode leads."""
    for _ in range(10):
        leader = dev.wait(lambda: next((p for p in dev.supernodes if p.alive() and p.leads()), None), 15)
        if leader is wanted:
            return
        if leader is None:
            fail("the supernodes have no leader")
        dev.kill_all([leader])
        dev.start(leader)
        dev.wait_ready([leader], JOIN_S)
    fail(f"{wanted.name} does not come to lead")


def last_word(process: Process) -> dict:
    return json.loads(Path(process.log_file).read_text().splitlines()[-1])


def leaves(dev: Dev, first: Process) -> float:
    """The leader is removed: it hands over, ends by itself, and does not come back."""
    lead(dev, first)
    took = SUPERNODES.ordered("remove", "1", within_s=REMOVE_S)
    if not dev.wait(lambda: not first.alive(), 30):
        fail(f"{first.name} was removed and lives on")
    last = last_word(first)
    if last.get("exit_code") != CONFIG or "supernode 1 was removed from its group" not in json.dumps(last):
        fail(f"{first.name} was removed; its last word is {last}")
    dev.ends_with(first, CONFIG, "supernode 1 was removed from its group")
    return took


def replaced(dev: Dev, victim: Process, id: int, like: Process, others: list[Process]) -> Process:
    """One whose disk is gone is removed as lost; another one joins at its address."""
    dev.kill_all([victim])
    shutil.rmtree(victim.data_dir)
    if not dev.wait(lambda: SUPERNODES.members().get(id, {"standing": "up"})["standing"] == "silent", 20):
        fail(f"{victim.name} is dead and is not shown as silent")
    SUPERNODES.refused("remove", str(id), says="is silent")
    dev.wait(lambda: SUPERNODES.members().get(id, {"silent_ms": 0})["silent_ms"] > 5000, 20)
    SUPERNODES.ordered("remove", str(id), "--lost", within_s=REMOVE_S)
    SUPERNODES.ordered("remove", str(id), "--lost")  # a second time there is nothing to do
    dev.supernodes.remove(victim)
    again = dev.newcomer(f"{victim.name}-again", victim, like, [p.peer for p in others])
    dev.start(again)
    dev.wait_ready([again], JOIN_S)
    return again


def main() -> None:
    dev = Dev()
    first = dev.supernodes[0]
    base = int(first.peer.rsplit(":", 1)[1]) // 100 * 100
    contents: dict[str, bytes] = {}
    for number in range(KNOWN):
        key = f"known/{number}"
        contents[key] = os.urandom(3000 * number + 1)
        if (status := dev.client().file("PUT", key, contents[key]).status) != 201:
            fail(f"{key} was answered {status}")
    SUPERNODES.refused("remove", "1", says="no other supernode would be left")
    log = dev.work / "ledger"
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(log), "--clients", "4", "--seconds", "600"]
    load = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        second, third = [dev.newcomer(f"supernode-{n}", base + 40 + 3 * n, first, [first.peer]) for n in (2, 3)]
        for process in (second, third):
            dev.start(process)
        dev.wait_ready([second, third], JOIN_S)
        joined_s = SUPERNODES.expect_voters(dev, [1, 2, 3], JOIN_S)
        known_since = time.monotonic()
        note(f"two supernodes joined and vote {joined_s:.1f} s after they were ready")
        expect_reports(dev, [second, third])
        expect_list(dev, [first, second, third])
        put_through_each(dev, [first, second, third], "three", contents)
        ids = {entry["name"]: id for id, entry in SUPERNODES.members().items()}
        bad_disks(dev, second, ids[second.name], [first, third], contents)

        time.sleep(max(0.0, LEARN_S - (time.monotonic() - known_since)))
        removed_s = leaves(dev, first)
        dev.supernodes.remove(first)
        left = [second, third]
        use(left)
        SUPERNODES.expect_voters(dev, sorted(ids[p.name] for p in left), 20)
        note(f"the leader was removed in {removed_s:.1f} s")
        before = ledger_acked(log)
        if not dev.wait(lambda: ledger_acked(log) > before + MORE_ACKED, 30):
            fail(f"a client that was given the first address alone is not served any more: {ledger_acked(log) - before} acks")
        put_through_each(dev, left, "two", contents)
    finally:
        load.terminate()
        load.wait(60)

    # Nodes whose settings name the one that left know the others from their cluster's documents, also after a start.
    nodes = dev.of_cluster(dev.clusters[0])
    dev.kill_all(nodes)
    for process in nodes:
        dev.start(process)
    dev.wait_ready(nodes, JOIN_S)
    expect_reports(dev, left)
    answer = dev.client(nodes[0].public).file("PUT", "direct/new", b"claimed by a node")
    if answer.status != 201:
        fail(f"a node that was started again can't claim a key: {answer.status} {answer.code()}")
    contents["direct/new"] = b"claimed by a node"
    told = json.loads(dev.client(second.public).request("GET", "/v1/clusters").body)["supernodes"]
    if sorted(told) != sorted(p.public for p in left):
        fail(f"clients are told of {told}")

    fourth = dev.newcomer("supernode-4", base + 40 + 3 * 4, first, [p.peer for p in left])
    dev.start(fourth)
    dev.wait_ready([fourth], JOIN_S)
    use([second, fourth])
    SUPERNODES.expect_voters(dev, sorted([ids[second.name], ids[third.name], 4]), JOIN_S)
    again = replaced(dev, third, ids[third.name], first, [second, fourth])
    SUPERNODES.expect_voters(dev, sorted([ids[second.name], 4, 5]), JOIN_S)
    everyone = [second, fourth, again]
    expect_reports(dev, everyone)
    put_through_each(dev, everyone, "replaced", contents)
    everything_is_there(dev, everyone, contents)
    print(f"joined_in={joined_s:.1f}s removed_in={removed_s:.1f}s files={len(contents)} {ledger_verdict(log, ACKED_MIN)}")


main()
