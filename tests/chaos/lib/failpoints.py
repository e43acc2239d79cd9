"""The failpoints that a binary has, and how often the servers of a fleet passed each."""

import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

HITS = re.compile(r'^flotilla_failpoint_hits_total\{name="([^"]+)"\} (\d+)$', re.M)
CRASHED = '"failpoint":"'


def points() -> dict[str, list[str]]:
    """Each failpoint with its actions, planted faults left out; nothing when the binary has no such command."""
    command = [os.environ["FLOTILLA"], "failpoints", "--json"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        return {}
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    return {entry["name"]: entry["actions"] for entry in entries if not entry["planted"]}


def crashes(process, name: str) -> int:
    """How often a server crashed at a failpoint: its last word says so."""
    try:
        return Path(process.log_file).read_text(errors="replace").count(f'{CRASHED}{name}"')
    except OSError:
        return 0  # it never ran


class Hits:
    """Passes of all failpoints, of all processes that ever ran: a process takes its counts with it when it ends."""

    def __init__(self) -> None:
        self.live: dict[tuple[str, int], Counter] = {}

    def look(self, processes: list) -> None:
        for process in processes:
            answer = process.get("/metrics", 1) if process.alive() else None
            if answer is not None and answer.status == 200:
                found = {name: int(count) for name, count in HITS.findall(answer.body.decode())}
                self.live[process.name, process.pid] = Counter(found)

    def note_crash(self, process, name: str) -> None:
        self.live.setdefault((process.name, process.pid), Counter())[name] += 1

    def of(self, process, name: str) -> int:
        return self.live.get((process.name, process.pid), Counter())[name]

    def total(self) -> Counter:
        return sum(self.live.values(), Counter())
