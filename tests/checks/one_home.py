"""Two clients create one key at once: through two of three supernodes, or directly at nodes of two clusters."""

import json
import sys
import threading
import urllib.parse
from collections import Counter

from dev import Answer, Dev, fail, note

# 201 made the key, 200 replaced what the other one had just made, 421 knocked at the wrong cluster.
CREATED, REPLACED, WRONG_HOME = 201, 200, 421


def race(clients: list, key: str, bodies: list[bytes]) -> list[Answer]:
    """Sends both requests as nearly at once as two threads can."""
    barrier = threading.Barrier(len(clients))
    answers: list = [None] * len(clients)

    def one(at: int) -> None:
        barrier.wait()
        try:
            answers[at] = clients[at].file("PUT", key, bodies[at])
        except OSError as error:
            answers[at] = error

    threads = [threading.Thread(target=one, args=(at,)) for at in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def check_round(key: str, answers: list, bodies: list[bytes], front, direct: dict) -> str:
    if any(isinstance(answer, Exception) for answer in answers):
        fail(f"{key}: a connection broke: {answers}")
    statuses = [answer.status for answer in answers]
    if statuses.count(CREATED) != 1 or not set(statuses) <= {CREATED, REPLACED, WRONG_HOME}:
        fail(f"{key}: answers were {[(a.status, a.code()) for a in answers]}; exactly one 201 is right")
    # Versions order the contents of a key: the highest one acked is current.
    acked = [(json.loads(a.body)["version"], at) for at, a in enumerate(answers) if a.status != WRONG_HOME]
    version, last = max(acked)
    home = answers[last].cluster()
    if {answers[at].cluster() for _, at in acked} != {home}:
        fail(f"{key}: acked by {[answers[at].cluster() for _, at in acked]}")
    read = front.file("GET", key)
    if (read.status, read.body, read.cluster()) != (200, bodies[last], home):
        fail(f"{key}: version {version} was acked in {home}, a read gives {read.status} from {read.cluster()}")
    for cluster, client in direct.items():
        answer = client.file("GET", key)
        want = 200 if cluster == home else 421
        if answer.status != want:
            fail(f"{key}: at home in {home}, cluster {cluster} answers {answer.status} {answer.code()}, not {want}")
    return home


def listed(front) -> Counter:
    found, cursor = Counter(), None
    while True:
        query = {"prefix": "race/", "limit": 1000} | ({"cursor": cursor} if cursor else {})
        answer = front.request("GET", f"/v1/files/demo?{urllib.parse.urlencode(query)}")
        if answer.status != 200:
            fail(f"list answered {answer.status} {answer.code()}")
        page = json.loads(answer.body)
        found.update(item["key"] for item in page["items"])
        cursor = page["next"]
        if not cursor:
            return found


def main() -> None:
    rounds = int(sys.argv[1])
    dev = Dev()
    doors = [dev.client(p.public) for p in dev.supernodes]
    front, other, third = doors
    direct = {cluster: dev.client(dev.of_cluster(cluster)[0].public) for cluster in dev.clusters}
    first, second = (direct[cluster] for cluster in dev.clusters[:2])
    pairs = [[front, other], [other, third], [front, third], [first, second], [front, second], [first, third]]
    homes: Counter = Counter()
    for number in range(rounds):
        key, bodies = f"race/{number:05}", [f"one {number}".encode(), f"two {number}".encode()]
        answers = race(pairs[number % len(pairs)], key, bodies)
        homes[check_round(key, answers, bodies, front, direct)] += 1
        if number % 100 == 99:
            note(f"{number + 1} rounds")
    found = listed(front)
    if len(found) != rounds or set(found.values()) != {1}:
        fail(f"the list has {len(found)} keys and {sum(found.values())} entries for {rounds} rounds")
    print(f"rounds={rounds} homes={','.join(f'{name}:{count}' for name, count in sorted(homes.items()))}")


main()
