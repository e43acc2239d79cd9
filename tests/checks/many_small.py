"""Puts many small files until the power is cut; later reads every acked one back.

usage: many_small.py put MOUNT ACKED | many_small.py check ACKED READY_MS
"""

import hashlib
import http.client
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from dev import Dev, fail, layout, note

CLIENTS = 16
SIZES = (5_000, 20_000)
# How many of the files that are put while the power goes must have been acked for the cut to be in the middle of work.
BEYOND = 0.02
CONTROL = os.environ.get("CONTROL") == "1"


def content(key: str) -> bytes:
    seed = hashlib.sha256(key.encode()).digest()
    size = SIZES[0] + int.from_bytes(seed[:4], "big") % (SIZES[1] - SIZES[0])
    return hashlib.shake_128(seed).digest(size)


def cut(dev: Dev, mount: str) -> None:
    """Without -f the journal is not written out first: this is the cut."""
    done = subprocess.run(["xfs_io", "-x", "-c", "shutdown", mount], capture_output=True, text=True, check=False)
    dev.kill_all(dev.processes)
    if done.returncode != 0:
        fail(f"xfs_io ended with {done.returncode}: {done.stderr.strip()}")


def put(mount: str, ledger: Path) -> None:
    dev, wanted = Dev(), int(os.environ["N"])
    enough, end = int(wanted * (1 + BEYOND)), threading.Event()
    acked: list[list[str]] = [[] for _ in range(CLIENTS)]

    def work(number: int) -> None:
        client, count = dev.client(timeout_s=20), 0
        while not end.is_set():
            key = f"small/{number:02d}/{count // 1000}/{count}"
            count += 1
            try:
                answer = client.file("PUT", key, content(key))
            except (OSError, http.client.HTTPException):
                continue
            if answer.status in (200, 201):
                acked[number].append(key)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(CLIENTS)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    while sum(map(len, acked)) < enough and time.monotonic() - begun < 1800:
        time.sleep(0.05)
    took = time.monotonic() - begun
    cut(dev, mount)
    end.set()
    for thread in threads:
        thread.join()
    keys = [key for part in acked for key in part]
    ledger.write_text("\n".join(keys))
    if len(keys) < wanted:
        fail(f"only {len(keys)} files were acked in {took:.0f} s, {wanted} are wanted")
    print(f"acked={len(keys)} put_s={took:.1f}")


def damage(dev: Dev, key: str) -> None:
    """Changes one byte of a file in every copy."""
    for tree in layout(key)["trees"]:
        for replica in tree["chunks"][0]["replicas"]:
            with open(replica["file"], "r+b") as file:
                file.seek(replica["file_offset"])
                byte = file.read(1)
                file.seek(replica["file_offset"])
                file.write(bytes([byte[0] ^ 1]))


def check(ledger: Path, ready_ms: str) -> None:
    dev, keys = Dev(), ledger.read_text().split("\n")
    if CONTROL:
        damage(dev, keys[len(keys) // 2])
    wrong: list[str] = []

    def work(number: int) -> None:
        client = dev.client(timeout_s=60)
        for key in keys[number::CLIENTS]:
            try:
                answer = client.file("GET", key)
                if answer.status != 200 or answer.body != content(key):
                    wrong.append(f"{key}: {answer.status} {answer.code()}, {len(answer.body)} bytes")
            except (OSError, http.client.HTTPException) as error:
                wrong.append(f"{key}: {error}")

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(CLIENTS)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        note("\n".join(wrong[:20]))
        fail(f"{len(wrong)} of {len(keys)} acked files are not back, first: {wrong[0]}")
    print(f"acked={len(keys)} back={len(keys)} ready_ms={ready_ms} read_s={time.monotonic() - begun:.1f}")


def main() -> None:
    if sys.argv[1] == "put":
        put(sys.argv[2], Path(sys.argv[3]))
    else:
        check(Path(sys.argv[2]), sys.argv[3])


main()
