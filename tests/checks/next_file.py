"""Keeps clusters busy with slow uploads at their own nodes, writes new files through the supernode, then a hundred at once."""

import collections
import os
import threading
import time

from dev import Client, Dev, fail, note
from streams import put_paced

# Slow uploads that keep a cluster busy, and how long each takes; new files meanwhile, one after the other.
BUSY, BUSY_S, FILES = 40, 12, 60
# Uploads at once while two of three clusters have a few already, and the most of them that the idle one may get.
FEW, HERD, HERD_S, HERD_MAX = 20, 100, 3, 60
# Until a report has told of what is under way.
HEARD_S = 1.5


class Slow:
    """Uploads that keep clusters busy."""

    def __init__(self, dev: Dev, body, clusters: str, count: int):
        self.dev, self.body, self.name, self.count = dev, body, clusters, count * len(clusters)
        self.answers: list[int] = []
        places = [(cluster, number) for cluster in clusters for number in range(count)]
        self.threads = [threading.Thread(target=self.one, args=place) for place in places]
        for thread in self.threads:
            thread.start()
        time.sleep(HEARD_S)

    def one(self, cluster: str, number: int) -> None:
        node = self.dev.of_cluster(cluster)[number % 3]
        key, rate = f"busy/{self.name}/{cluster}/{number}", self.body.stat().st_size / BUSY_S
        self.answers.append(put_paced(node.public, self.dev.token, key, self.body, rate, lambda _: None).status)

    def end(self) -> None:
        for thread in self.threads:
            thread.join(60)
        if self.answers.count(201) != self.count:
            fail(f"slow uploads ended with {self.answers}")
        time.sleep(HEARD_S)


def herd(dev: Dev, body) -> collections.Counter:
    """Where a hundred uploads go that begin at once."""
    began = threading.Barrier(HERD)
    got: list[str] = []

    def one(number: int) -> None:
        began.wait(30)
        answer = put_paced(dev.api, dev.token, f"herd/{number}", body, body.stat().st_size / HERD_S, lambda _: None)
        got.append(answer.cluster() if answer.status == 201 else f"status {answer.status}")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(HERD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    return collections.Counter(got)


def main() -> None:
    dev = Dev()
    body = dev.work / "body"
    body.write_bytes(os.urandom(1_500_000))
    slow = Slow(dev, body, "b", BUSY)
    client = dev.client()
    homes = collections.Counter(client.file("PUT", f"next/{number}", b"x").cluster() for number in range(FILES))
    if slow.answers:
        fail(f"void: {len(slow.answers)} slow uploads had ended: {slow.answers}")
    note(f"new files while b is busy: {dict(homes)}")
    if homes["b"] or len(homes) != 2:
        fail(f"{homes['b']} of {FILES} new files went to the busy cluster: {dict(homes)}")
    slow.end()

    slow = Slow(dev, body, "bc", FEW)
    got = herd(dev, body)
    note(f"of {HERD} uploads at once: {dict(got)}")
    if sum(got[cluster] for cluster in "abc") != HERD or not got["a"] > max(got["b"], got["c"]) or got["a"] > HERD_MAX:
        fail(f"of {HERD} uploads at once, while b and c have {FEW} each: {dict(got)}")
    slow.end()
    # What is read back is what was sent, wherever it went.
    want = body.read_bytes()
    for number in range(0, HERD, 10):
        if Client(dev.api, dev.token).file("GET", f"herd/{number}").body != want:
            fail(f"herd/{number} is not what was sent")
    print(f"busy_got=0 of={FILES} herd={'/'.join(str(got[cluster]) for cluster in 'abc')}")


main()
