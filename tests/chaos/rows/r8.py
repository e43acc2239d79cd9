"""R8, the part about repair: a damaged copy whose own checksums agree is never copied, and good ones come back from a good one.

usage: r8.py SIZE SEED
"""

import random
import sys
import time
from pathlib import Path

from census import census, chunks_of, fsck, holds
from forge import forge
from lab import Lab, note
from verdict import Figures, end

# Files, and rounds.
SIZES = {"short": (8, 1), "full": (40, 5)}
GRACE_S, REPAIR_TRIES_S, WHOLE_WITHIN_S = 3, 8, 60
COPIES = 2
# Until scrub is there, a damaged copy that nobody reads may stay; then reads have to find it.
UNREAD_S = 10


def round_of(lab: Lab, number: int, size: str, rng: random.Random, figures: Figures) -> list[str]:
    contents = {f"r8/{number}/{i}": rng.randbytes(rng.randrange(1_100_000, 2_000_000)) for i in range(SIZES[size][0])}
    clients = [lab.client(p.public) for p in lab.nodes]
    problems = []
    for i, (key, content) in enumerate(contents.items()):
        answer = clients[i % len(clients)].file("PUT", key, content)
        if answer.status != 201:
            problems.append(f"PUT {key}: {answer.status} {answer.code()}")
    victim = rng.choice([p for p in lab.nodes if not p.leads()])
    forged: dict[str, int] = {}
    for key in contents:
        for _, chunk in chunks_of(lab.client(), key):
            others = [copy for copy in chunk["replicas"] if copy["node"] != victim.node_id]
            if len(others) == COPIES - 1:
                forge(Path(others[0]["file"]), rng.randrange(16))
                forged[key] = others[0]["node"]
    lab.kill_all([victim])
    note(f"{victim.name} is down, the only other copies of {len(forged)} chunks are damaged")
    # The rest is repaired meanwhile; these can't be, and nothing may be made of them.
    until = time.monotonic() + GRACE_S + REPAIR_TRIES_S
    bad: set[str] = set()
    while time.monotonic() < until:
        for key, damaged in forged.items():
            for at, chunk in chunks_of(lab.client(), key):
                want = contents[key][at : at + chunk["length"]]
                bad |= {key for copy in chunk["replicas"] if copy["node"] not in (damaged, victim.node_id) and not holds(copy, want)}
        time.sleep(0.5)
    problems += [f"CORRUPT: {key} was copied from a damaged copy" for key in sorted(bad)]
    if bad:
        figures.add(faults=len(forged), copied_corrupt=len(bad), corrupt=len(bad))
        return problems
    lab.start(victim)
    lab.wait_ready([victim], 60)
    counted = lambda: census(lab.client(), contents)
    if not lab.wait(lambda: set(counted()) == {COPIES}, UNREAD_S):
        figures.add(short_until_read=sum(count for copies, count in counted().items() if copies < COPIES))
    for key, content in contents.items():
        for host in lab.nodes:
            answer = lab.client(host.public).file("GET", key)
            figures.add(ops=1)
            if answer.status != 200 or answer.body != content:
                problems.append(f"CORRUPT or LOST: {key} at {host.name}: {answer.status} {answer.code()}")
    if not lab.wait(lambda: set(counted()) == {COPIES} and fsck("--verify")[0] == 0, WHOLE_WITHIN_S):
        problems.append(f"chunks by number of good copies are {counted()} {WHOLE_WITHIN_S} s after {victim.name} is back")
    figures.add(faults=len(forged), copied_corrupt=len(bad), corrupt=sum("CORRUPT" in text for text in problems))
    if not forged:
        problems.append("void: no chunk had a copy on the victim")
    return problems


def main() -> None:
    size, seed = sys.argv[1], int(sys.argv[2])
    lab = Lab(3, {"down_grace": f"{GRACE_S}s", "purge_interval": "1s", "version_linger": "1s"})
    rng, figures, problems = random.Random(seed), Figures(), []
    for number in range(SIZES[size][1]):
        problems += round_of(lab, number, size, rng, figures)
    end(figures, problems)


if __name__ == "__main__":
    main()
