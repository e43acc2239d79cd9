"""Lets a cluster retire while files are created, takes it back, empties it and forgets it."""

import json
import threading
from pathlib import Path

from dev import Client, Dev, fail, flotilla_json, must

WITHIN_S = 30
KEYS = 200


class Writer:
    """Creates files until it is told to stop."""

    def __init__(self, dev: Dev):
        self.client, self.stop = dev.client(), threading.Event()
        self.answers: list[tuple[str, int, str]] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stop.is_set():
            key = f"under-way/{len(self.answers)}"
            answer = self.client.file("PUT", key, b"1")
            self.answers.append((key, answer.status, answer.cluster()))

    def end(self) -> list[tuple[str, int, str]]:
        self.stop.set()
        self.thread.join()
        return self.answers


def clusters_of(front: Client, prefix: str, count: int) -> dict[str, str]:
    keys = [f"{prefix}/{number}" for number in range(count)]
    return {key: must(front.file("PUT", key, key.encode()), 201, f"PUT {key}").cluster() for key in keys}


def listed(front: Client) -> list[dict]:
    items, cursor = [], ""
    while cursor is not None:
        answer = must(front.request("GET", f"/v1/files/demo?cursor={cursor}" if cursor else "/v1/files/demo"), 200, "a list")
        page = json.loads(answer.body)
        items, cursor = items + page["items"], page.get("next")
    return items


def retires(dev: Dev, front: Client) -> dict[str, str]:
    homes = clusters_of(front, "before", KEYS)
    if set(homes.values()) != {"a", "b"}:
        fail(f"the keys are all in {set(homes.values())}")
    writer = Writer(dev)
    dev.wait(lambda: len(writer.answers) > 20, WITHIN_S)
    told = flotilla_json("cluster", "retire", "a", "--no-wait")[0]
    after = len(writer.answers)
    if told["state"] != "retiring" or not told["homes"] or told["safe_to_forget"]:
        fail(f"retire says {told}")
    dev.wait(lambda: len(writer.answers) > after + 50, WITHIN_S)
    answers = writer.end()
    bad = [answer for answer in answers if answer[1] != 201]
    if bad:
        fail(f"{len(bad)} of {len(answers)} PUTs failed while the cluster began to retire, first: {bad[0]}")
    # The one under way was claimed before.
    strays = [answer for answer in answers[after + 1 :] if answer[2] != "b"]
    if strays:
        fail(f"a new file went to the cluster that retires: {strays[0]}")

    own = next(key for key, cluster in homes.items() if cluster == "a")
    must(front.file("PUT", own, own.encode()), 200, "a PUT of a key that it has")
    node, other = dev.of_cluster("a")[0], dev.of_cluster("b")[0]
    answer = dev.client(node.public).file("PUT", "straight/to-a", b"1")
    if (answer.status, answer.code()) != (503, "cluster_unavailable") or other.public not in answer.problem().get("hint", ""):
        fail(f"a new key at a node of the cluster that retires: {answer.status} {answer.problem()}")
    must(dev.client(node.public).file("GET", own), 200, "a GET at its node")
    copied = front.request("POST", f"/v1/files/demo/copied?copy-from=demo/{own}", b"")
    if must(copied, 201, "a copy of a key that it has").cluster() != "b":
        fail("a copy stays in the cluster that retires")

    flotilla_json("cluster", "retire", "a", "--undo")
    if "a" not in clusters_of(front, "undone", 50).values():
        fail("no new file goes to the cluster that was taken back")
    flotilla_json("cluster", "forget", "a", code=4)
    flotilla_json("cluster", "retire", "a", "--no-wait")
    flotilla_json("cluster", "forget", "a", code=4)
    flotilla_json("cluster", "forget", "b", "--fence", code=4)
    return homes


def empties(dev: Dev, front: Client) -> int:
    own = [item["key"] for item in listed(front) if item["cluster"] == "a"]
    for key in own:
        must(front.file("DELETE", key), 204, f"DELETE {key}")
    told = flotilla_json("cluster", "retire", "a")[0]
    if not told["safe_to_forget"] or told["homes"] != 0:
        fail(f"retire ended with {told}")
    flotilla_json("cluster", "forget", "a")
    if [line["cluster"] for line in flotilla_json("cluster", "list")] != ["b"]:
        fail("the cluster that was forgotten is still listed")
    flotilla_json("cluster", "retire", "a", code=3)
    log = Path(dev.of_cluster("a")[0].log_file)
    if not dev.wait(lambda: "supernode refuses this cluster" in log.read_text(), WITHIN_S):
        fail("the reports of the cluster that was forgotten are not refused")
    return len(own)


def main() -> None:
    dev = Dev()
    front = dev.client()
    homes = retires(dev, front)
    emptied = empties(dev, front)
    for key, cluster in homes.items():
        if cluster == "b" and must(front.file("GET", key), 200, f"GET {key}").body != key.encode():
            fail(f"{key}: other bytes")
    if set(clusters_of(front, "after", 20).values()) != {"b"}:
        fail("a new file went to a cluster that was forgotten")
    listed(front)
    flotilla_json("directory", "verify")
    print(f"keys={KEYS} emptied={emptied} failed_puts=0")


main()
