"""Puts every node into a memory group of its own, then loads the cluster and watches what the nodes hold."""

import re
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

from dev import Dev, Process, fail, note

LIMIT_BYTES = 512 << 20
RSS_MAX_BYTES = 400_000_000
PARALLEL = 64
PARALLEL_BYTES = 64 << 20
# "Near idle" a minute after the load.
REST_S = 60
IDLE_SHARE_MAX = 1.2
IDLE_SLACK_BYTES = 30_000_000


def confine(process: Process, folder: Path) -> None:
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    (folder / "cgroup.procs").write_text(str(process.pid))


def rss(process: Process) -> int:
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M).group(1)) * 1024


class Watch:
    """The largest RSS of any node since the start, sampled; a node that ended fails the check."""

    def __init__(self, nodes: list[Process]):
        self.nodes, self.peak, self.over = nodes, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.over.wait(0.1):
            try:
                self.peak = max([self.peak] + [rss(node) for node in self.nodes])
            except (OSError, AttributeError):
                return

    def end(self) -> int:
        self.over.set()
        self.thread.join()
        for node in self.nodes:
            if not node.alive():
                fail(f"{node.name} has ended")
        return self.peak


def curl(dev: Dev, url: str, *arguments: str) -> list[str]:
    head = ["curl", "-sS", "--max-time", "500", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"]
    return head + ["-H", f"Authorization: Bearer {dev.token}", *arguments, f"{dev.api}/v1/files/demo/{url}"]


def upload(dev: Dev, key: str, size: int) -> subprocess.Popen:
    source = subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE)
    command = curl(dev, urllib.parse.quote(key), "-T", "-")
    curl_process = subprocess.Popen(command, stdin=source.stdout, stdout=subprocess.PIPE, text=True)
    source.stdout.close()  # ours; curl has its own
    return curl_process


def main() -> None:
    dev, group, size = Dev(), Path(sys.argv[1]), int(sys.argv[2])
    for process in dev.nodes:
        confine(process, group / process.name)
    time.sleep(5)
    idle = max(rss(node) for node in dev.nodes)
    watch = Watch(dev.nodes)

    begun = time.monotonic()
    done = upload(dev, "memory/big", size).communicate()[0]
    if not done.startswith("201"):
        fail(f"the upload of {size} bytes answered {done}")
    up_s, begun = time.monotonic() - begun, time.monotonic()
    got = subprocess.run(curl(dev, "memory/big"), capture_output=True, text=True, check=False).stdout
    if got != f"200 {size}":
        fail(f"the download answered {got}")
    down_s, begun = time.monotonic() - begun, time.monotonic()
    note(f"big file: up {up_s:.0f} s, down {down_s:.0f} s, peak {watch.peak / 1e6:.0f} MB")

    running = [upload(dev, f"memory/{n}", PARALLEL_BYTES) for n in range(PARALLEL)]
    answers = [process.communicate()[0][:3] for process in running]
    parallel_s = time.monotonic() - begun
    peak = watch.end()
    refused = [answer for answer in answers if answer != "201"]
    note(f"{PARALLEL} uploads: {parallel_s:.0f} s, peak {peak / 1e6:.0f} MB")
    if refused:
        fail(f"{len(refused)} of {PARALLEL} uploads at once were not stored: {sorted(set(refused))}")
    if peak > RSS_MAX_BYTES:
        fail(f"a node held {peak / 1e6:.0f} MB, {RSS_MAX_BYTES / 1e6:.0f} are promised")

    def resting(node: Process) -> float:
        # The cache keeps what it was given memory for.
        return rss(node) - (node.metric("flotilla_cache_bytes") or 0)

    near = idle * IDLE_SHARE_MAX + IDLE_SLACK_BYTES
    if not dev.wait(lambda: max(map(resting, dev.nodes)) <= near, REST_S):
        held = max(map(resting, dev.nodes))
        fail(f"{REST_S} s later a node holds {held / 1e6:.0f} MB beside its cache, idle was {idle / 1e6:.0f} MB")
    after = max(rss(node) for node in dev.nodes)
    print(
        f"bytes={size} up_s={up_s:.0f} down_s={down_s:.0f} parallel_s={parallel_s:.0f} "
        f"idle_mb={idle / 1e6:.0f} peak_mb={peak / 1e6:.0f} after_mb={after / 1e6:.0f}"
    )


main()
