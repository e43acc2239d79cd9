"""Ends what is left of a deployment after `dev down`: by pid, only while pid and start time still match.

usage: reap.py DIR WORK
"""

import json
import os
import signal
import sys
from pathlib import Path

from dev import note, start_ticks, wait_gone


def known(folder: Path, work: Path) -> set[tuple[int, int]]:
    found = set()
    try:
        for entry in json.loads((folder / "dev.json").read_text())["processes"]:
            found.add((entry["pid"], entry["start_ticks"]))
    except (OSError, ValueError, KeyError):
        pass
    try:
        for line in (work / "started").read_text().splitlines():
            pid, ticks = line.split()
            if ticks != "None":
                found.add((int(pid), int(ticks)))
    except OSError:
        pass
    return found


def main() -> None:
    left = [(pid, ticks) for pid, ticks in known(Path(sys.argv[1]), Path(sys.argv[2])) if start_ticks(pid) == ticks]
    for pid, _ in left:
        note(f"reap: process {pid} was left over")
        os.kill(pid, signal.SIGKILL)
    for pid, ticks in left:
        wait_gone(pid, ticks, 10)


main()
