"""16 clients raise one counter under If-Match, each increment under a key of its own, while leaders are killed."""

import http.client
import sys
import threading
import time

from dev import Dev, fail, note

CLIENTS = 16
KEY = "counter"
DONE, LOST_RACE, AGAIN = (200, 201), 412, (429, 500, 503, 504)
# An answer is asked for under the same key for so long: a restart and an election.
PATIENCE_S = 60
BETWEEN_KILLS_S = 2


class Raiser(threading.Thread):
    """Reads the counter, writes it back one higher if nobody else has, and counts its own successes."""

    def __init__(self, number: int, client, stop: threading.Event):
        super().__init__(daemon=True)
        self.number, self.client, self.stop = number, client, stop
        self.acked, self.lost, self.retried, self.open = 0, 0, 0, 0
        self.problem = ""

    def run(self) -> None:
        attempt = 0
        while not self.stop.is_set() and not self.problem:
            read = self.send("GET", None, {})
            if read is None:
                continue
            attempt += 1
            value = int(read.body.split()[0])
            # The writer's name makes every content, and so every ETag, one of its own.
            body = f"{value + 1} by {self.number}.{attempt}".encode()
            headers = {"If-Match": read.headers["etag"], "Idempotency-Key": f"counter-{self.number}-{attempt}"}
            answer = self.send("PUT", body, headers)
            if answer is None:
                self.open += 1
            elif answer.status in DONE:
                self.acked += 1
            elif answer.status == LOST_RACE:
                self.lost += 1
            else:
                self.problem = f"client {self.number}: {answer.status} {answer.code()}"

    def send(self, method: str, body: bytes | None, headers: dict):
        """Sends until an answer says what happened; None when the time is over."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                answer = self.client.file(method, KEY, body, headers)
                if answer.status not in AGAIN:
                    return answer
            except (OSError, http.client.HTTPException):
                pass
            self.retried += 1
            time.sleep(0.05)
        return None


def main() -> None:
    kills = int(sys.argv[1])
    dev = Dev()
    front = dev.client()
    made = front.file("PUT", KEY, b"0 by nobody", {"If-None-Match": "*"})
    if made.status != 201:
        fail(f"the counter was not made: {made.status} {made.code()}")
    stop = threading.Event()
    raisers = [Raiser(n, dev.client(), stop) for n in range(CLIENTS)]
    for raiser in raisers:
        raiser.start()
    cluster = dev.clusters[0]
    for number in range(kills):
        time.sleep(BETWEEN_KILLS_S)
        leader = dev.leader(cluster)
        dev.kill_all([leader])
        note(f"{leader.name} killed while it led ({number + 1} of {kills})")
        time.sleep(BETWEEN_KILLS_S)
        dev.start(leader)
        dev.wait_ready([leader])
    time.sleep(BETWEEN_KILLS_S)
    stop.set()
    for raiser in raisers:
        raiser.join(3 * PATIENCE_S)
    problem = next((raiser.problem for raiser in raisers if raiser.problem), "")
    if problem:
        fail(problem)
    acked, still_open = sum(r.acked for r in raisers), sum(r.open for r in raisers)
    last = front.file("GET", KEY)
    value = int(last.body.split()[0])
    if not acked <= value <= acked + still_open:
        fail(f"{acked} increments were acked and {still_open} are open, but the counter says {value}")
    if acked < 20 * (kills + 1):
        fail(f"only {acked} increments were acked: too few to mean something")
    lost, retried = sum(r.lost for r in raisers), sum(r.retried for r in raisers)
    print(f"value={value} acked={acked} open={still_open} lost_races={lost} retries={retried} leader_kills={kills}")


main()
