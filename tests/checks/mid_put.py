"""One PUT per fault, sent to one node; in its middle another node fails. Counts where the chunks came to lie."""

import signal
import sys
import time
from pathlib import Path

from dev import Dev, Process, fail, note
from streams import b3sum_of_download, layout_chunks, put_paced

COPIES = 2


class Fault:
    """Strikes once, when half of the body is sent."""

    def __init__(self, victim: Process, number: int, half: int):
        self.victim, self.number, self.half = victim, number, half
        self.sent: int | None = None
        self.struck_at = 0.0

    def at(self, sent: int) -> None:
        if self.sent is None and sent >= self.half:
            self.victim.kill(self.number)
            self.sent, self.struck_at = sent, time.monotonic()


def run(dev: Dev, name: str, number: int, leader_dies: bool, file: Path, want: str) -> str:
    size = file.stat().st_size
    leader = dev.leader("a")
    others = [p for p in dev.nodes if p is not leader]
    gateway, victim = (others[0], leader) if leader_dies else (others[0], others[1])
    fault = Fault(victim, number, size // 2)
    answer = put_paced(gateway.public, dev.token, f"mid-put/{name}", file, None, fault.at)
    took = time.monotonic() - fault.struck_at
    if answer.status != 201:
        fail(f"{name}: the PUT answered {answer.status} {answer.code()}: {answer.body[:300]!r}")
    if answer.etag() != want:
        fail(f"{name}: ETag {answer.etag()} is not what b3sum prints")
    after = 0
    for chunk in layout_chunks(f"mid-put/{name}"):
        nodes = {replica["node"] for replica in chunk["replicas"]}
        if len(nodes) < COPIES:
            fail(f"{name}: chunk at {chunk['offset']} lies on {sorted(nodes)} only")
        if chunk["offset"] < fault.sent:
            continue
        after += 1
        if victim.node_id in nodes:
            fail(f"{name}: chunk at {chunk['offset']}, begun after byte {fault.sent}, names node {victim.node_id}")
        for replica in chunk["replicas"]:
            if not replica["file"] or not Path(replica["file"]).exists():
                fail(f"{name}: node {replica['node']} has no file of the chunk at {chunk['offset']}")
    if after == 0:
        fail(f"{name}: no chunk was begun after the fault, so nothing was shown")
    if b3sum_of_download(gateway.public, dev.token, f"mid-put/{name}") != want:
        fail(f"{name}: what is read back differs")
    note(f"{name}: done {took:.1f} s after the fault, {after} chunks placed after it")
    if number == signal.SIGSTOP:
        victim.kill(signal.SIGCONT)
    else:
        if not dev.wait(lambda: not victim.alive(), 20):
            fail(f"{victim.name} does not end after SIGKILL")
        dev.start(victim)
    dev.wait_ready(dev.nodes)
    return f"{name}_s={took:.1f} {name}_chunks={after}"


def main() -> None:
    dev, file, want = Dev(), Path(sys.argv[1]), sys.argv[2]
    figures = [
        run(dev, "kill", signal.SIGKILL, False, file, want),
        run(dev, "stop", signal.SIGSTOP, False, file, want),
        run(dev, "leader", signal.SIGKILL, True, file, want),
    ]
    print(f"bytes={file.stat().st_size} {' '.join(figures)}")


main()
