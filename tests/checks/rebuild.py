"""Fills three clusters, loses the directory with all its disks, and makes it anew from the clusters; twice, the second time without
one of them."""

import json
import sys
import time
from pathlib import Path

from dev import Answer, Client, Dev, Process, fail, flotilla_json, must, note
from raw import SlowUpload

WITHIN_S = 20
# What a rebuild raises epochs by, at least.
AHEAD = 1 << 32


def unavailable(answer: Answer, what: str) -> None:
    if (answer.status, answer.code()) != (503, "directory_unavailable"):
        fail(f"{what}: answered {answer.status} {answer.code()}, not 503 directory_unavailable")


def body_of(key: str) -> bytes:
    return f"the content of {key}".encode()


def dump() -> tuple[dict[str, tuple[str, int]], set[str]]:
    """The homes by key, and everything else."""
    lines = flotilla_json("directory", "dump")
    homes = {line["key"]: (line["cluster"], line["epoch"]) for line in lines if line["line"] == "home"}
    return homes, {json.dumps(line, sort_keys=True) for line in lines if line["line"] != "home"}


def lose(dev: Dev, front: Client, generation: int) -> None:
    """Ends the supernode, takes its disk away and starts it on an empty one."""
    dev.kill_all(dev.supernodes)
    front.connection.close()
    for process in dev.supernodes:
        folder = Path(dev.dir, process.name)
        folder.rename(folder.with_suffix(f".lost-{generation}"))
        folder.mkdir(mode=0o700)
        dev.start(process)
    dev.wait_ready(dev.supernodes)


def refused(node: Process) -> int:
    return Path(node.log_file).read_text().count("supernode refuses this cluster")


def emptied(dev: Dev, front: Client, key: str) -> None:
    """What guards the clusters until the directory is whole again."""
    if not dev.wait(lambda: front.file("PUT", "elsewhere", b"1").code() == "directory_unavailable", WITHIN_S):
        fail("the emptied directory does not refuse new keys")
    unavailable(front.file("GET", key), "a GET of a key that the emptied directory does not know")
    unavailable(front.request("GET", "/v1/files/unknown/k"), "a GET in a bucket that it does not know")
    findings = flotilla_json("directory", "verify", code=8)
    if not any(line.get("what") == "MISSING" for line in findings):
        fail(f"verify does not miss the clusters: {findings}")


def summary(lines: list[dict]) -> dict:
    return next((line for line in lines if line["line"] == "summary"), {})


def read_all(front: Client, keys: list[str]) -> None:
    for key in keys:
        if must(front.file("GET", key), 200, f"GET {key}").body != body_of(key):
            fail(f"{key}: other bytes")


def first_loss(dev: Dev, front: Client, count: int) -> list[str]:
    keys = [f"kept/{number:05}" for number in range(count)]
    for key in keys:
        must(front.file("PUT", key, body_of(key)), 201, f"PUT {key}")
    gone = [f"gone/{number}" for number in range(10)]
    for key in gone:
        must(front.file("PUT", key, b"1"), 201, f"PUT {key}")
        must(front.file("DELETE", key), 204, f"DELETE {key}")
    guest = Client(dev.api, flotilla_json("key", "create", "ci")[0]["key"])
    a, b = dev.of_cluster("a")[0], dev.of_cluster("b")[0]
    taken = SlowUpload(dev, a, "late/taken", b"late " * 100)
    alone = SlowUpload(dev, a, "late/alone", b"late " * 100)
    unused = SlowUpload(dev, b, "unused", b"never " * 100)
    claimed = {"demo/late/taken", "demo/late/alone", "demo/unused"}
    if not dev.wait(lambda: claimed <= dump()[0].keys(), WITHIN_S):
        fail("the uploads under way have claimed nothing")
    unused.give_up()
    homes, rest = dump()
    if {cluster for cluster, _ in homes.values()} != {"a", "b", "c"}:
        fail("not every cluster has keys")
    # Documents reach clusters with their next report.
    time.sleep(2)

    lose(dev, front, 1)
    emptied(dev, front, keys[0])
    if not dev.wait(lambda: guest.file("GET", keys[0]).code() == "not_ready", WITHIN_S):
        fail("a good key is called a bad one by the emptied directory")
    told = summary(flotilla_json("directory", "rebuild"))
    note(f"rebuilt: {told}")
    looked = summary(flotilla_json("directory", "verify"))
    if (looked["findings"], looked["unused"]) != (0, 0):
        fail(f"verify after the rebuild: {looked}")
    homes_after, rest_after = dump()
    if set(homes) - set(homes_after) != claimed or any(homes[key] != home for key, home in homes_after.items()):
        odd = sorted(key for key in homes.keys() | homes_after.keys() if homes.get(key) != homes_after.get(key))
        fail(f"the dump differs in {len(odd)} keys: {odd[:5]}")
    if rest != rest_after:
        fail(f"the dump differs: {sorted(rest ^ rest_after)}")

    read_all(front, keys)
    read_all(guest, keys[:1])
    for key in gone:
        must(front.file("GET", key), 404, f"GET {key}, which was deleted")
    must(front.file("PUT", keys[0], body_of(keys[0])), 200, "a PUT of a known key")
    epoch = json.loads(must(front.file("PUT", "new", body_of("new")), 201, "a PUT of a new key").body)["epoch"]
    if epoch <= AHEAD:
        fail(f"a new key was granted epoch {epoch}")
    must(front.file("PUT", keys[1] + "x", b"1", {"If-Match": '"0"'}), 412, "a PUT of a key that should be there")

    at_b = dev.client(b.public)
    must(at_b.file("PUT", "late/taken", body_of("late/taken")), 201, "the PUT in the other cluster")
    status, answer = taken.finish()
    if status < 400:
        fail(f"a second home: the late commit of what the lost directory granted answered {status} {answer}")
    if status not in (409, 421):
        fail(f"the late commit answered {status} {answer}")
    status, answer = alone.finish()
    if status != 201 or answer["cluster"] != "a" or answer["epoch"] <= AHEAD:
        fail(f"a late upload of a key that nobody took answered {status} {answer}")
    if must(front.file("GET", "late/taken"), 200, "GET").body != body_of("late/taken"):
        fail("late/taken: the late commit came through")
    flotilla_json("directory", "verify")
    return keys


def second_loss(dev: Dev, front: Client, keys: list[str]) -> int:
    """The directory is lost again, and cluster c with it."""
    homes, _ = dump()
    lost = [key for key in keys if homes[f"demo/{key}"][0] == "c"]
    kept = [key for key in keys if homes[f"demo/{key}"][0] != "c"]
    c = dev.of_cluster("c")[0]
    dev.kill_all([c])
    lose(dev, front, 2)
    emptied(dev, front, kept[0])
    lines = flotilla_json("directory", "rebuild", code=4)
    if not any(line.get("what") == "MISSING" and line.get("clusters") == ["c"] for line in lines):
        fail(f"the rebuild does not miss cluster c: {lines}")
    unavailable(front.file("PUT", "newer", b"1"), "a PUT of a new key during a rebuild")
    unavailable(front.file("GET", lost[0]), "a GET of a key that is not known yet")
    unavailable(front.request("GET", "/v1/files/demo"), "a list during a rebuild")
    read_all(front, kept[:10])
    flotilla_json("directory", "verify", code=6)

    flotilla_json("directory", "rebuild", "--fence", "c")
    flotilla_json("directory", "verify")
    read_all(front, kept)
    must(front.file("GET", lost[0]), 404, "a GET of a key of the cluster that was given up")
    cluster = must(front.file("PUT", lost[0], b"anew"), 201, "a PUT of it").cluster()
    if cluster not in ("a", "b"):
        fail(f"{lost[0]} was created anew in {cluster}")
    before = refused(c)
    dev.start(c)
    if not dev.wait(lambda: refused(c) > before, WITHIN_S):
        fail("the cluster that was given up is not refused when it comes back")
    if must(front.file("GET", lost[0]), 200, "GET").body != b"anew":
        fail(f"{lost[0]}: read from the cluster that was given up")
    return len(lost)


def main() -> None:
    dev = Dev()
    front = dev.client()
    keys = first_loss(dev, front, int(sys.argv[1]))
    lost = second_loss(dev, front, keys)
    print(f"keys={len(keys)} adopted_twice={len(keys) - lost} given_up={lost} second_homes=0")


main()
