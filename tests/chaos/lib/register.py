"""Clients that use keys as registers, at every listener of the fleet, and the histories of what they saw."""

import hashlib
import http.client
import random
import threading
import time
from collections import Counter

import linear
from dev import Client
from lab import Lab
from linear import ABSENT, Op

CLIENTS = 16
KEYS_AT_ONCE = 8
OPS_PER_KEY = 100
# Every operation without an answer doubles what has to be tried; a key with many makes way for another.
UNKNOWN_PER_KEY = 8
TIMEOUT_S = 5
# A client that is refused at once would fill histories with refusals.
REFUSED_PAUSE_S = 0.05
WATCH_S = 0.2
# Inline, in a volume, in a file of its own.
SIZES = [(40, 60), (9_000, 35), (1_200_000, 1)]


class Register:
    """One key: its history, and the values by ETag that anybody saw."""

    def __init__(self, name: str):
        self.name = name
        self.ops: list[Op] = []
        self.begun = 0
        self.unknown = 0
        self.values: dict[str, str] = {}  # ETag to value
        self.last: tuple[str, str] | None = None  # the ETag and value that were seen last


def body_of(value: str, size: int) -> bytes:
    """A body that names its value and is made from it whole, so that a mixture of two is seen."""
    head = f"{value} {size} ".encode()
    filler = hashlib.shake_128(head).digest(max(0, size - len(head)))
    return head + filler


def value_of(body: bytes) -> str:
    """The value that a body stands for; a body that nobody wrote stands for none."""
    try:
        value, size = body[:80].split(b" ", 2)[:2]
        return value.decode() if body == body_of(value.decode(), int(size)) else "CORRUPT"
    except (ValueError, UnicodeDecodeError):
        return "CORRUPT"


class Workload:
    """The clients of one scenario."""

    def __init__(self, lab: Lab, name: str, seed: int, seconds: float):
        self.lab, self.name, self.seed = lab, name, seed
        self.end = time.monotonic() + seconds
        self.begun = time.monotonic()
        self.lock = threading.Lock()
        self.made = 0
        self.done: list[Register] = []
        self.active = [self.fresh() for _ in range(KEYS_AT_ONCE)]
        self.counts: Counter[str] = Counter()
        self.odd: list[str] = []
        self.corrupt: list[str] = []
        self.endpoints = {p.name: p.public for p in lab.supernodes + lab.nodes}
        self.alive: list[float] = []  # when a put of a watcher was acked, wherever
        self.threads = [threading.Thread(target=self.client, args=(n,), daemon=True) for n in range(CLIENTS)]
        self.threads += [threading.Thread(target=self.watch, args=(url,), daemon=True) for url in self.endpoints.values()]
        for thread in self.threads:
            thread.start()

    def fresh(self) -> Register:
        self.made += 1
        return Register(f"register/{self.name}/{self.seed}/{self.made}")

    def take(self, rng: random.Random) -> Register:
        """A key that still may grow; a full one is replaced."""
        with self.lock:
            at = rng.randrange(KEYS_AT_ONCE)
            register = self.active[at]
            if register.begun >= OPS_PER_KEY or register.unknown >= UNKNOWN_PER_KEY:
                self.done.append(register)
                register = self.active[at] = self.fresh()
            register.begun += 1
            return register

    def client(self, number: int) -> None:
        rng = random.Random(f"{self.seed}-{self.name}-{number}")
        clients = {name: self.lab.client(url, TIMEOUT_S) for name, url in self.endpoints.items()}
        count = 0
        while time.monotonic() < self.end:
            where = rng.choice(list(clients))
            count += 1
            op, register = self.one(clients[where], where, rng, f"c{number}-{count}")
            if op.outcome == "nothing":
                time.sleep(REFUSED_PAUSE_S)
                with self.lock:
                    register.begun -= 1
                continue
            with self.lock:
                register.ops.append(op)
                register.unknown += op.outcome == "unknown"

    def watch(self, url: str) -> None:
        """Puts a key of its own at one listener, again and again. The other clients may all wait at listeners that are cut off."""
        client, key = self.lab.client(url, TIMEOUT_S), f"watch/{self.name}/{url[7:].replace(':', '-')}"
        while time.monotonic() < self.end:
            try:
                if client.file("PUT", key, b"watched").status in (200, 201):
                    self.alive.append(time.monotonic())
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(WATCH_S)

    def draw(self, register: Register, rng: random.Random, value: str) -> tuple[str, dict, object]:
        """A kind of request, its headers, and the value that a cas expects."""
        kind = rng.choices(["get", "put", "cas", "delete"], [45, 25, 20, 10])[0]
        last = register.last
        if kind == "cas" and last is not None:
            return kind, {"If-Match": f'"{last[0]}"'}, last[1]
        if kind == "cas":
            return kind, {"If-None-Match": "*"}, ABSENT
        return kind, {}, ABSENT

    def one(self, client: Client, where: str, rng: random.Random, value: str) -> tuple[Op, Register]:
        register = self.take(rng)
        kind, headers, expect = self.draw(register, rng, value)
        body = None
        if kind in ("put", "cas"):
            size = rng.choices([size for size, _ in SIZES], [weight for _, weight in SIZES])[0]
            body = body_of(value, size)
        method = {"get": "GET", "delete": "DELETE"}.get(kind, "PUT")
        start = time.monotonic()
        op = Op(kind, start, start, "unknown", value if body else ABSENT, expect, where=where)
        try:
            answer = client.file(method, register.name, body, headers)
        except ConnectionRefusedError:
            op.end, op.outcome = time.monotonic(), "nothing"
            self.count(kind, "nothing", "connection refused")
            return op, register
        except (OSError, http.client.HTTPException) as error:
            op.end, op.note = time.monotonic(), type(error).__name__
            self.count(kind, "unknown", op.note)
            # What a get would have answered binds nobody.
            op.outcome = "nothing" if kind == "get" else "unknown"
            return op, register
        op.end = time.monotonic()
        self.judge(op, register, answer)
        op.note = str(answer.status) + (f" {answer.code()}" if answer.status >= 300 else "")
        self.count(kind, op.outcome, op.note if op.outcome in ("nothing", "unknown") else "")
        return op, register

    def judge(self, op: Op, register: Register, answer) -> None:
        """What an answer says about the register. SEMANTICS.md: 4xx, 503 and 507 changed nothing, 500 and 504 may have."""
        status, etag = answer.status, answer.etag()
        op.outcome = "ok"
        if op.kind == "get" and status == 200:
            op.value = value_of(answer.body)
            if op.value == "CORRUPT":
                self.corrupt.append(f"{register.name} at {op.where}: {answer.body[:60]!r}")
            with self.lock:
                register.values[etag] = op.value
                register.last = (etag, op.value)
        elif op.kind in ("put", "cas") and status in (200, 201):
            # A cas that expects no file makes one; If-Match replaces one.
            op.existed = status == 200
            with self.lock:
                register.values[etag] = op.value
                register.last = (etag, op.value)
        elif op.kind == "delete" and status == 204:
            op.existed = True
        elif status == 404 and answer.code() == "file_not_found" and op.kind in ("get", "delete"):
            op.existed = False if op.kind == "delete" else None
            with self.lock:
                register.last = None
        elif op.kind == "cas" and status == 412:
            op.outcome = "refused"
            with self.lock:
                op.seen = ABSENT if not etag else register.values.get(etag, ...)
        elif op.kind == "get" or status in (503, 507, 429, 421):
            op.outcome = "nothing"
        elif status in (500, 504):
            op.outcome = "unknown"
        else:
            op.outcome = "nothing"
            self.odd.append(f"{op.kind} at {op.where}: {status} {answer.code()}")
        if status in (500,) or (status == 404 and answer.code() != "file_not_found"):
            self.odd.append(f"{op.kind} at {op.where}: {status} {answer.code()}")

    def count(self, kind: str, outcome: str, note: str) -> None:
        with self.lock:
            self.counts[outcome] += 1
            if note:
                self.counts[f"{kind} {note}"] += 1

    def join(self) -> None:
        for thread in self.threads:
            thread.join(60)

    def registers(self) -> list[Register]:
        return [register for register in self.done + self.active if register.ops]

    def read_back(self) -> None:
        """One last get of every key at every listener, when all faults are over."""
        for name, url in self.endpoints.items():
            client = self.lab.client(url, 20)
            for register in self.registers():
                op = Op("get", time.monotonic(), 0, "ok", where=name, note="last")
                answer = client.file("GET", register.name)
                op.end = time.monotonic()
                self.judge(op, register, answer)
                if op.outcome != "ok":
                    self.odd.append(f"last read of {register.name} at {name}: {answer.status} {answer.code()}")
                else:
                    register.ops.append(op)

    def live_percent(self, changes: list[float], grace_s: float) -> float:
        """In how many of the seconds somebody could write; after a fault came or went there is time to choose a leader."""
        free = lambda second: not any(change - 1 < self.begun + second < change + grace_s for change in changes)
        judged = [second for second in range(int(self.end - self.begun)) if free(second)]
        seconds = {int(at - self.begun) for at in self.alive}
        return 100.0 * sum(second in seconds for second in judged) / max(1, len(judged))


def judge_all(workload: Workload) -> tuple[list[tuple[Register, list[Op]]], int]:
    """The keys whose history can't be explained, with the shortest beginning that shows it, and how many stay undecided."""
    bad, undecided = [], 0
    for register in workload.registers():
        try:
            if not linear.linearizable(register.ops):
                bad.append((register, linear.smallest_bad(register.ops)))
        except linear.Undecided:
            undecided += 1
    return bad, undecided
