"""Writes files through the supernodes, kills all of those and a node of each cluster, and goes on with the same commands."""

import os
import subprocess
from pathlib import Path

from dev import Dev, fail

FILES = 12
NOT_FOUND, UNAVAILABLE = 3, 6


def flotilla(work: Path, *arguments: str, body: bytes | None = None) -> subprocess.CompletedProcess:
    env = os.environ | {"XDG_CACHE_HOME": str(work / "cache")}
    return subprocess.run([os.environ["FLOTILLA"], *arguments], input=body, capture_output=True, timeout=120, env=env, check=False)


def expect(what: str, got: subprocess.CompletedProcess, code: int, body: bytes | None = None) -> None:
    if got.returncode != code or (body is not None and got.stdout != body):
        fail(f"{what}: exit {got.returncode}, not {code}; {len(got.stdout)} bytes: {got.stderr.decode()[-400:]!r}")


def main() -> None:
    dev = Dev()

    def put(key: str, body: bytes) -> subprocess.CompletedProcess:
        source = dev.work / "source"
        source.write_bytes(body)
        return flotilla(dev.work, "put", str(source), f"demo/{key}")

    def get(key: str) -> subprocess.CompletedProcess:
        return flotilla(dev.work, "get", f"demo/{key}", "-")

    contents = {f"headless/{number}": os.urandom(1000 + 70_000 * number) for number in range(FILES)}
    for key, body in contents.items():
        expect(f"put {key}", put(key, body), 0)
    homes = {key: dev.client().file("HEAD", key).cluster() for key in contents}
    if len(set(homes.values())) != 2:
        fail(f"all files are at home in one cluster: {homes}")
    dev.kill_all(dev.supernodes)
    # The first of each cluster may be the one that is remembered first.
    dev.kill_all([dev.of_cluster(cluster)[0] for cluster in ("a", "b")])

    for key, body in contents.items():
        expect(f"get {key}, at home in {homes[key]}", get(key), 0, body)
        expect(f"put {key} anew", put(key, body[::-1]), 0)
        expect(f"get {key} anew", get(key), 0, body[::-1])
    gone = next(iter(contents))
    expect(f"rm {gone}", flotilla(dev.work, "rm", f"demo/{gone}"), 0)
    told = get(gone)
    if told.returncode not in (NOT_FOUND, UNAVAILABLE):
        fail(f"get of a removed file: exit {told.returncode}: {told.stderr.decode()[-300:]}")
    expect("get of a key that no cluster knows", get("headless/never"), UNAVAILABLE)
    expect("put of a new key", put("headless/new", b"new"), UNAVAILABLE)

    for process in dev.supernodes:
        dev.start(process)
    dev.wait_ready(dev.supernodes)
    expect("get of the unknown key with supernodes", get("headless/never"), NOT_FOUND)
    expect("put of the new key with supernodes", put("headless/new", b"new"), 0)
    print(f"files={FILES} clusters=2")


main()
