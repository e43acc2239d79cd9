"""R7: files are deleted and replaced while a node is down; when it is back nothing is resurrected, and nothing is left over.

usage: r7.py SIZE SEED
"""

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

from census import census
from lab import Lab, note
from verdict import FINDINGS, Figures, end

# Files, rounds, and how long the node is down at least.
SIZES = {"short": (150, 1, 4.0), "full": (1000, 10, 60.0)}
PURGE_S, LINGER_S = 2, 2
# Copies go in two steps of the log, each with its interval, after the version lingered; machines are busy.
CLEAN_WITHIN_S = 60
WRITERS = 8
COPIES = 2
# What the first body of a key is made from.
OLD = "old-{}"


def body(rng_seed: str) -> bytes:
    rng = random.Random(rng_seed)
    return rng.randbytes(rng.choices([300, 9_000, 60_000, 1_300_000], [30, 40, 20, 10])[0])


def many(lab: Lab, jobs: list[tuple[str, str, bytes | None]], urls: list[str]) -> list[str]:
    """Sends requests in parallel; a refused one is repeated, as a client would."""

    def share(number: int) -> list[str]:
        client, problems = lab.client(urls[number % len(urls)]), []
        for method, key, content in jobs[number::WRITERS]:
            for _ in range(60):
                answer = client.file(method, key, content)
                if answer.status < 500 and answer.status != 429:
                    break
                time.sleep(0.2)
            if answer.status not in (200, 201, 204):
                problems.append(f"{method} {key}: {answer.status} {answer.code()}")
        return problems

    with ThreadPoolExecutor(WRITERS) as pool:
        return [problem for found in pool.map(share, range(WRITERS)) for problem in found]


def fsck(*more: str) -> tuple[int, list[dict]]:
    command = [os.environ["FLOTILLA"], "fsck", "--json", *more]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


class Slow(threading.Thread):
    """Uploads of several chunks that take longer than garbage is looked for: what nothing names yet must not be garbage."""

    BYTES, STEP, PARTS = 6 << 20, 128 << 10, 48

    def __init__(self, lab: Lab, name: str, url: str, seconds: float):
        super().__init__(daemon=True)
        self.lab, self.key, self.seconds = lab, f"r7/slow/{name}", seconds
        self.at, self.status = urllib.parse.urlsplit(url), 0
        self.content = random.Random(name).randbytes(self.BYTES)

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=60)
        try:
            connection.putrequest("PUT", f"/v1/files/demo/{self.key}")
            connection.putheader("Authorization", f"Bearer {self.lab.token}")
            connection.putheader("Content-Length", str(self.BYTES))
            connection.endheaders()
            for part in range(self.PARTS):
                connection.send(self.content[part * self.STEP : (part + 1) * self.STEP])
                time.sleep(self.seconds / self.PARTS)
            self.status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            self.status = 0  # its gateway went: no ack, no promise
        finally:
            connection.close()


def left_on_disks(lab: Lab) -> int:
    """Chunk files, and chunks in volumes as the nodes count them."""
    files = sum(len(list((node.data_dir / "chunks" / "chunks").glob("*/*-*"))) for node in lab.nodes)
    return files + int(sum(node.metric("flotilla_volume_chunks") or 0 for node in lab.nodes))


def read_everywhere(lab: Lab, deleted: list[str], contents: dict[str, bytes], figures: Figures) -> list[str]:
    """Every listener is asked for every key."""

    def ask(name_url: tuple[str, str]) -> list[str]:
        name, url = name_url
        client, problems = lab.client(url), []
        for key in deleted:
            answer = client.file("GET", key)
            if answer.status != 404:
                problems.append(f"RESURRECTED {key} at {name}: {answer.status} {answer.code()}")
        for key, content in contents.items():
            answer = client.file("GET", key)
            if answer.status != 200 or answer.body != content:
                kind = "LOST" if answer.status != 200 else "STALE" if answer.body == body(OLD.format(key)) else "CORRUPT"
                problems.append(f"{kind} {key} at {name}: {answer.status} {answer.code()}")
        return problems

    listeners = [(p.name, p.public) for p in lab.supernodes + lab.nodes]
    with ThreadPoolExecutor(len(listeners)) as pool:
        problems = [problem for found in pool.map(ask, listeners) for problem in found]
    figures.add(ops=len(listeners) * (len(deleted) + len(contents)))
    for kind in FINDINGS:
        figures.add(**{kind: sum(kind.upper() in problem for problem in problems)})
    return problems


def round_of(lab: Lab, number: int, size: str, rng: random.Random, figures: Figures) -> list[str]:
    count, _, down_s = SIZES[size]
    urls = [lab.api] + [p.public for p in lab.nodes]
    old = {f"r7/{number}/{i}": body(OLD.format(f"r7/{number}/{i}")) for i in range(2 * count)}
    problems = many(lab, [("PUT", key, content) for key, content in old.items()], urls)
    victim = lab.now_leads() if rng.random() < 0.5 else rng.choice(lab.nodes)
    living = [p for p in lab.nodes if p is not victim]
    slow = [Slow(lab, f"{number}-{i}", living[i % len(living)].public, 4 * PURGE_S) for i in range(4)]
    for one in slow:
        one.start()
    time.sleep(1)
    lab.kill_all([victim])
    gone = time.monotonic()
    urls = [lab.api] + [p.public for p in lab.nodes if p is not victim]
    keys = list(old)
    deleted, replaced = keys[:count], {key: body(f"new-{number}-{key}") for key in keys[count:]}
    problems += many(lab, [("DELETE", key, None) for key in deleted], urls)
    problems += many(lab, [("PUT", key, content) for key, content in replaced.items()], urls)
    time.sleep(max(0.0, down_s - (time.monotonic() - gone)))
    lab.start(victim)
    # At once, while it catches up, and again when everything is quiet.
    lab.wait_ready([victim], 60)
    for one in slow:
        one.join(60)
        if one.status in (200, 201):
            replaced[one.key] = one.content
    figures.add(slow_acked=sum(one.status in (200, 201) for one in slow))
    problems += read_everywhere(lab, deleted, replaced, figures)
    back = time.monotonic()

    def clean() -> bool:
        status, lines = fsck()
        last = lines[-1] if lines else {}
        return status == 0 and last.get("purging") == 0 and last.get("copies") == COPIES * last.get("chunks", -1)

    if not lab.wait(clean, CLEAN_WITHIN_S):
        status, lines = fsck()
        problems.append(f"round {number}: fsck is not clean {CLEAN_WITHIN_S} s after {victim.name} came back: {status} {lines[-3:]}")
    figures.worst(clean_s=time.monotonic() - back)
    problems += read_everywhere(lab, deleted, replaced, figures)
    copies = census(lab.client(), replaced)
    if set(copies) != {COPIES}:
        problems.append(f"round {number}: chunks by number of good copies on disks are {copies}")
    figures.add(faults=1, deletes=len(deleted), overwrites=len(replaced), census_chunks=sum(copies.values()))
    note(f"round {number}: {victim.name} was down, clean {time.monotonic() - back:.1f} s after its return, {len(problems)} problems")
    # In the end nothing is named any more, so nothing may lie on a disk.
    problems += many(lab, [("DELETE", key, None) for key in replaced], [lab.api])
    if not lab.wait(lambda: left_on_disks(lab) == 0 and clean(), CLEAN_WITHIN_S):
        problems.append(f"round {number}: {left_on_disks(lab)} chunks lie on disks, and no file is left; {fsck()}")
    figures.add(orphans=left_on_disks(lab))
    return problems


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    rng = random.Random(seed)
    lab = Lab(3, {"version_linger": f"{LINGER_S}s", "purge_interval": f"{PURGE_S}s", "claim_idle": "3s", "chunk_size": "2MiB"})
    figures, problems = Figures(faults=0, ops=0), []
    for number in range(SIZES[size][1]):
        problems += round_of(lab, number, size, rng, figures)
    end(figures, problems)


if __name__ == "__main__":
    main()
