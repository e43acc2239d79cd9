"""Homes that end and begin again elsewhere, with uploads that come too late for them."""

import json
import sys
import threading
import time

from dev import Answer, Client, Dev, fail, must
from raw import SlowUpload

BODY = b"x" * 100_000
WITHIN_S = 20
# How long a DELETE stands still: a home ends some two seconds after its file.
LATE_MS = 6000
# Between a DELETE and the next copy: around the time after which the home is let go.
COPY_WAITS_S = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.4)


def put_until_taken(client: Client, key: str, body: bytes, refused: set[int]) -> Answer:
    """Repeats a PUT while the key is at home elsewhere; gives the first other answer."""
    end = time.monotonic() + WITHIN_S
    while True:
        answer = client.file("PUT", key, body)
        if answer.status not in refused:
            return answer
        if time.monotonic() > end:
            fail(f"{key}: still {answer.status} {answer.code()} after {WITHIN_S} s")
        time.sleep(0.1)


def recreated_elsewhere(dev: Dev, front: Client, at: dict, n: int) -> None:
    key = f"recreated/{n}"
    first = json.loads(must(at["a"].file("PUT", key, b"first " + BODY), 201, "the first PUT").body)
    late = SlowUpload(dev, dev.of_cluster("a")[1], key, BODY)
    # The node asks for the home when it has read the head: it has to know the old one.
    time.sleep(0.3)
    must(front.file("DELETE", key), 204, "DELETE")
    taken = must(put_until_taken(at["b"], key, b"second", {421}), 201, "the PUT in the other cluster")
    second = json.loads(taken.body)
    if second["cluster"] != "b" or second["epoch"] <= first["epoch"] or second["version"] <= first["version"]:
        fail(f"{key}: created anew as {second}, after {first}")
    status, answer = late.finish()
    if status not in (409, 421):
        fail(f"{key}: the commit under the old home answered {status} {answer}")
    for client, want in ((front, 200), (at["b"], 200), (at["a"], 421)):
        read = must(client.file("GET", key), want, f"GET {key}")
        if want == 200 and read.body != b"second":
            fail(f"{key}: the old upload came through")
    must(front.file("PUT", key, b"third"), 200, "a PUT through the front door")


def renewed(dev: Dev, front: Client, at: dict, n: int) -> None:
    """Nobody else took the key: the late upload gets a fresh epoch and is committed."""
    key = f"renewed/{n}"
    first = json.loads(must(at["a"].file("PUT", key, BODY), 201, "the first PUT").body)
    late = SlowUpload(dev, dev.of_cluster("a")[2], key, BODY)
    time.sleep(0.3)

    def released() -> float:
        return sum(node.metric("flotilla_homes_released_total") or 0 for node in dev.of_cluster("a"))

    before = released()
    must(front.file("DELETE", key), 204, "DELETE")
    if not dev.wait(lambda: released() > before, WITHIN_S):
        fail(f"{key}: its home was not released within {WITHIN_S} s")
    must(front.file("GET", key), 404, "GET of a released key")
    status, answer = late.finish()
    if status != 201 or answer["cluster"] != "a" or answer["epoch"] <= first["epoch"]:
        fail(f"{key}: the late upload answered {status} {answer}; epoch {first['epoch']} has ended")
    if must(front.file("GET", key), 200, "GET").body != BODY:
        fail(f"{key}: other bytes")


def unused_claim(dev: Dev, front: Client, at: dict, n: int) -> None:
    """A claim whose upload broke off is released, though no cluster ever heard of the key."""
    key = f"unused/{n}"
    upload = SlowUpload(dev, dev.of_cluster("a")[0], key, BODY)
    time.sleep(0.3)
    upload.give_up()
    must(front.file("GET", key), 404, "GET of a claimed key")
    must(put_until_taken(at["b"], key, b"other", {421}), 201, "the PUT in the other cluster")
    if must(front.file("GET", key), 200, "GET").cluster() != "b":
        fail(f"{key}: not read from its new home")


def deleted_late(dev: Dev, front: Client) -> None:
    """A DELETE that stands still at its node until the home has ended finds what is there then: nothing, or the new home."""
    nodes = dev.of_cluster("a")
    late = nodes[2]
    dev.kill_all([late])
    dev.start(late, env={"FAILPOINTS": f"gateway.before_delete=2*sleep({LATE_MS})"})
    dev.wait_ready([late])
    client = dev.client(late.public)
    for key, then in (("late/0", 404), ("late/1", 421)):
        must(dev.client(nodes[0].public).file("PUT", key, BODY), 201, "the PUT")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(client.file("DELETE", key)))
        thread.start()
        time.sleep(0.3)
        must(dev.client(nodes[0].public).file("DELETE", key), 204, "the other DELETE")
        if then == 421:
            must(put_until_taken(dev.client(dev.of_cluster("b")[0].public), key, b"new", {421}), 201, "the new home")
        thread.join()
        must(answers[0], then, f"{key}: the late DELETE")
        if then == 421:
            must(front.file("GET", key), 200, f"{key}: the file in its new home")


def copied(dev: Dev, front: Client, n: int) -> None:
    """A copy onto a key that was just deleted finds a home, whatever is left of the old one."""
    source, key = f"copied/source-{n}", f"copied/{n}"
    home = must(front.file("PUT", source, BODY), 201, "the source").cluster()
    for wait_s in COPY_WAITS_S:
        answer = copy(front, source, key)
        if answer.status != 201 or answer.cluster() != home:
            fail(f"{key}, after {wait_s} s: a copy of what is in '{home}' answered {answer.status} {answer.body!r}")
        must(front.file("DELETE", key), 204, "DELETE")
        time.sleep(wait_s)


def copy(client: Client, source: str, key: str) -> Answer:
    return client.request("POST", f"/v1/files/demo/{key}?copy-from=demo/{source}", b"")


def main() -> None:
    dev, rounds = Dev(), int(sys.argv[1])
    front = dev.client()
    at = {cluster: dev.client(dev.of_cluster(cluster)[0].public) for cluster in dev.clusters}
    for n in range(rounds):
        recreated_elsewhere(dev, front, at, n)
        renewed(dev, front, at, n)
        unused_claim(dev, front, at, n)
        copied(dev, front, n)
    deleted_late(dev, front)
    print(
        f"rounds={rounds} recreated={rounds} renewed={rounds} unused_claims_released={rounds} "
        f"copies={rounds * len(COPY_WAITS_S)} old_commits_taken=0"
    )


main()
