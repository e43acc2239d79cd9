"""64 clients create one key at once, half of them through the supernode: exactly one is told 201."""

import sys
import threading
import time
from collections import Counter

from dev import Dev, fail, note

CLIENTS = 64
CREATED, FAILED, UNAVAILABLE = 201, 412, (429, 503)
# A 503 is sent again under the same key for so long: two elections and some.
PATIENCE_S = 10


class Racer(threading.Thread):
    """One client that takes part in every round."""

    def __init__(self, number: int, client, rounds: int, gate: threading.Barrier):
        super().__init__(daemon=True)
        self.number, self.client, self.rounds, self.gate = number, client, rounds, gate
        self.answers: list = [None] * rounds
        self.retries = 0

    def body(self, turn: int) -> bytes:
        # Every fourth round is large enough for chunks, and for a probe before the body is read.
        return f"round {turn} client {self.number:02} ".encode() * (5000 if turn % 4 == 3 else 1)

    def run(self) -> None:
        for turn in range(self.rounds):
            self.gate.wait()
            self.answers[turn] = self.create(turn)

    def create(self, turn: int):
        headers = {"If-None-Match": "*", "Idempotency-Key": f"once-{turn}-{self.number}"}
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self.client.file("PUT", f"once/{turn:04}", self.body(turn), headers)
                if answer.status not in UNAVAILABLE or time.monotonic() > end:
                    return answer
            except OSError as error:
                if time.monotonic() > end:
                    return error
            self.retries += 1
            time.sleep(0.05)


def check_round(turn: int, racers: list, front) -> None:
    answers = [racer.answers[turn] for racer in racers]
    if any(isinstance(answer, Exception) for answer in answers):
        fail(f"round {turn}: {next(a for a in answers if isinstance(a, Exception))}")
    statuses = Counter(answer.status for answer in answers)
    if statuses != {CREATED: 1, FAILED: CLIENTS - 1}:
        fail(f"round {turn}: answers were {dict(statuses)}; one 201 and {CLIENTS - 1} times 412 are right")
    winner = next(racer for racer in racers if racer.answers[turn].status == CREATED)
    etag = winner.answers[turn].etag()
    read = front.file("GET", f"once/{turn:04}")
    if (read.status, read.body, read.etag()) != (200, winner.body(turn), etag):
        fail(f"round {turn}: client {winner.number} was told 201, a read gives {read.status} of another one")
    blind = [answer for answer in answers if answer.status == FAILED and answer.etag() != etag]
    if blind:
        fail(f"round {turn}: a 412 names the ETag '{blind[0].etag()}', the file has '{etag}'")
    again = winner.create(turn)
    if (again.status, again.etag()) != (CREATED, etag):
        fail(f"round {turn}: the winner's retry under its own key answers {again.status} {again.code()}")


def main() -> None:
    rounds = int(sys.argv[1])
    dev = Dev()
    doors = [dev.api, *[node.public for node in dev.nodes]]
    gate = threading.Barrier(CLIENTS + 1)
    url = lambda n: dev.api if n % 2 else doors[(n // 2) % len(doors)]  # noqa: E731
    racers = [Racer(n, dev.client(url(n)), rounds, gate) for n in range(CLIENTS)]
    for racer in racers:
        racer.start()
    front = dev.client()
    for turn in range(rounds):
        gate.wait()
        while any(racer.answers[turn] is None for racer in racers):
            time.sleep(0.005)
        if turn % 20 == 19:
            note(f"{turn + 1} rounds")
    for racer in racers:
        racer.join()
    for turn in range(rounds):
        check_round(turn, racers, front)
    print(f"rounds={rounds} clients={CLIENTS} retries={sum(racer.retries for racer in racers)}")


main()
