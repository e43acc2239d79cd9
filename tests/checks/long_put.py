"""A paced PUT to one node while whoever leads is stopped for a moment, again and again."""

import signal
import sys
import threading
import time
from pathlib import Path

from dev import Dev, fail, note
from streams import b3sum_of_download, put_paced

CHANGE_EVERY_S = 10
# Longer than an election.
STOPPED_S = 3
CHANGES_MIN = 3


def change_leaders(dev: Dev, over: threading.Event, changes: list[str]) -> None:
    while not over.wait(CHANGE_EVERY_S - STOPPED_S):
        leader = dev.leader("a")
        leader.kill(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        leader.kill(signal.SIGCONT)
        now = dev.wait(lambda: next((p for p in dev.nodes if p.leads()), None), 10)
        if now and now is not leader:
            changes.append(now.name)
            note(f"{leader.name} was stopped, {now.name} leads")


def main() -> None:
    dev, file, want, rate = Dev(), Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    over, changes = threading.Event(), []
    changer = threading.Thread(target=change_leaders, args=(dev, over, changes))
    changer.start()
    begun = time.monotonic()
    try:
        answer = put_paced(dev.nodes[0].public, dev.token, "long-put", file, rate, lambda _: None)
    finally:
        over.set()
        changer.join()
    took = time.monotonic() - begun
    if answer.status != 201:
        fail(f"the PUT answered {answer.status} {answer.code()}: {answer.body[:300]!r}")
    if answer.etag() != want:
        fail(f"ETag {answer.etag()} is not what b3sum prints")
    size = file.stat().st_size
    if size / rate > (CHANGES_MIN + 1) * CHANGE_EVERY_S and len(changes) < CHANGES_MIN:
        fail(f"only {len(changes)} changes of leader, so little was shown")
    if b3sum_of_download(dev.nodes[1].public, dev.token, "long-put", 600) != want:
        fail("what is read back differs")
    print(f"bytes={size} took_s={took:.0f} leader_changes={len(changes)}")


main()
