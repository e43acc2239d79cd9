"""Puts files, damages copies on disk while nobody runs, and reads everything back: wrong bytes are the one thing that must not come."""

import hashlib
import http.client
import json
import os
import random
import sys
from pathlib import Path

from dev import Dev, fail, layout, note

SEED = int(os.environ.get("SEED", "1"))
READS = int(os.environ.get("READS", "10000"))
ONE_COPY = int(os.environ.get("COPIES", "200"))
BOTH_COPIES = 16
BIG, SMALL = 80, 140
HEADER_BYTES, PAGE_BYTES = 128, 4096


def content(number: int, size: int) -> bytes:
    return hashlib.shake_128(f"{SEED} {number}".encode()).digest(size)


def plant() -> None:
    """Puts files and notes where their copies are."""
    chance, client = random.Random(SEED), Dev().client()
    files = []
    for number in range(BIG + SMALL):
        size = chance.randrange(4 << 20, 7 << 20) if number < BIG else chance.randrange(5000, 300_000)
        key = f"rot/{number}"
        answer = client.file("PUT", key, content(number, size))
        if answer.status != 201:
            fail(f"{key}: PUT answered {answer.status} {answer.code()}")
        chunks = []
        for tree in layout(key)["trees"]:
            chunks += [chunk | {"file": number} for chunk in tree["chunks"]]
        files.append({"key": key, "size": size, "chunks": chunks, "both": False})
    print(json.dumps(files))


class Damage:
    """Ways to damage one copy; each gives its name, or None where the copy does not allow it."""

    def __init__(self, chance: random.Random):
        self.chance = chance

    @staticmethod
    def own_file(chunk: dict, copy: dict) -> bool:
        return Path(copy["file"]).name == chunk["id"]

    def flip(self, path: str, at: int) -> None:
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ (1 << self.chance.randrange(8))]))

    def data(self, chunk: dict, copy: dict) -> str:
        self.flip(copy["file"], copy["file_offset"] + self.chance.randrange(chunk["length"]))
        return "flipped"

    def header(self, chunk: dict, copy: dict) -> str | None:
        if not self.own_file(chunk, copy):
            return None
        end = os.path.getsize(copy["file"])
        used = [*range(0, 12), *range(16, 84), *range(124, 128)]
        self.flip(copy["file"], end - HEADER_BYTES + self.chance.choice(used))
        return "header"

    def sums(self, chunk: dict, copy: dict) -> str | None:
        if not self.own_file(chunk, copy):
            return None
        start = -(-chunk["length"] // PAGE_BYTES) * PAGE_BYTES
        self.flip(copy["file"], start + self.chance.randrange(4 * -(-chunk["length"] // 65_536)))
        return "sums"

    def truncated(self, chunk: dict, copy: dict) -> str | None:
        if not self.own_file(chunk, copy):
            return None
        os.truncate(copy["file"], self.chance.choice([0, PAGE_BYTES, chunk["length"] // 2, chunk["length"]]))
        return "truncated"

    def zeroed(self, chunk: dict, copy: dict) -> str:
        length = os.path.getsize(copy["file"]) if self.own_file(chunk, copy) else chunk["length"]
        with open(copy["file"], "r+b") as file:
            file.seek(copy["file_offset"])
            file.write(bytes(length))
        return "zeroed"

    def lost(self, chunk: dict, copy: dict) -> str | None:
        if not self.own_file(chunk, copy):
            return None
        os.unlink(copy["file"])
        return "lost"

    def any(self, chunk: dict, copy: dict) -> str:
        ways = [self.data] * 6 + [self.header, self.sums, self.truncated, self.zeroed, self.lost]
        return self.chance.choice(ways)(chunk, copy) or self.data(chunk, copy)


def exchange(a: dict, b: dict) -> bool:
    """Exchanges the files of two chunks on a node that has copies of both."""
    for one in a["replicas"]:
        for other in b["replicas"]:
            if one["node"] == other["node"] and Damage.own_file(a, one) and Damage.own_file(b, other):
                os.rename(one["file"], one["file"] + ".away")
                os.rename(other["file"], one["file"])
                os.rename(one["file"] + ".away", other["file"])
                return True
    return False


def damage(planted: str) -> None:
    """Damages one copy of many chunks, and both copies of some chunks of other files."""
    files, chance = json.loads(Path(planted).read_text()), random.Random(SEED + 1)
    ways, counts = Damage(chance), {}
    chance.shuffle(files)
    for file in files[:BOTH_COPIES]:
        file["both"] = True
        chunk = chance.choice(file["chunks"])
        for copy in chunk["replicas"]:
            ways.any(chunk, copy)
    chunks = [chunk for file in files[BOTH_COPIES:] for chunk in file["chunks"]]
    chance.shuffle(chunks)
    done = 0
    for _ in range(10):
        if len(chunks) > 1 and exchange(chunks[-1], chunks[-2]):
            counts["exchanged"] = counts.get("exchanged", 0) + 2
            done += 2
        del chunks[-2:]
    for chunk in chunks[: ONE_COPY - done]:
        way = ways.any(chunk, chance.choice(chunk["replicas"]))
        counts[way] = counts.get(way, 0) + 1
        done += 1
    if done < ONE_COPY:
        fail(f"only {done} chunks could be damaged")
    Path(planted).write_text(json.dumps(files))
    note(f"bit-rot: damaged {counts}")


def read(planted: str) -> None:
    files, chance, dev = json.loads(Path(planted).read_text()), random.Random(SEED + 2), Dev()
    good, bad = [f for f in files if not f["both"]], [f for f in files if f["both"]]
    clients = [dev.client()] + [dev.client(node.public) for node in dev.nodes]
    whole = [(file, None) for file in good for _ in range(3)]
    ranged = []
    while len(whole) + len(ranged) < READS:
        file = chance.choice(good)
        first = chance.randrange(file["size"])
        ranged.append((file, (first, min(first + chance.choice([1, 1000, 200_000]), file["size"]))))
    work = whole + ranged
    chance.shuffle(work)
    kept = {f["key"]: content(int(f["key"].split("/")[1]), f["size"]) for f in files}
    for file, part in work:
        first, end = part or (0, file["size"])
        headers = {"Range": f"bytes={first}-{end - 1}"} if part else {}
        answer = chance.choice(clients).file("GET", file["key"], None, headers)
        if answer.status != (206 if part else 200):
            fail(f"{file['key']} {part}: {answer.status} {answer.code()}, though one copy of each chunk is good")
        if answer.body != kept[file["key"]][first:end]:
            fail(f"{file['key']} {part}: WRONG BYTES")
    refused = aborted = 0
    for file in bad:
        for client in clients:
            try:
                answer = client.file("GET", file["key"])
            except OSError:
                aborted += 1
                continue
            except http.client.IncompleteRead as broken:
                if not kept[file["key"]].startswith(broken.partial):
                    fail(f"{file['key']}: WRONG BYTES before the body was aborted")
                aborted += 1
                continue
            if (answer.status, answer.code()) != (500, "data_corrupt"):
                fail(f"{file['key']}: {answer.status} {answer.code()} though both copies of a chunk are damaged")
            refused += 1
    if refused == 0 or aborted == 0:
        fail(f"{refused} refused and {aborted} aborted reads: both ends should be seen")
    corrupt = sum(node.metric("flotilla_chunks", 'state="corrupt"') or 0 for node in dev.nodes)
    told = dev.wait(lambda: (dev.leader(dev.clusters[0]).metric("flotilla_corrupt_copies_told") or 0) >= corrupt, 5)
    if corrupt < ONE_COPY / 2 or not told:
        fail(f"{corrupt} damaged copies counted, and the leader was {'' if told else 'not '}told")
    print(f"reads={READS} wrong=0 damaged={ONE_COPY} found={corrupt:.0f} both_refused={refused} both_aborted={aborted}")


{"plant": plant, "damage": damage, "read": read}[sys.argv[1]](*sys.argv[2:])
