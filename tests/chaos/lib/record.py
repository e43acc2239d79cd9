"""Prints a row's verdict and appends it to the results.

usage: record.py ROW SIZE SEED STATUS WORK
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SKIPPED = 77
TIMED_OUT = (124, 137)
# What a binary says that was not built by make.
UNTOLD = "development"
# Variables that make a row do less than it should at its full size.
NARROWING = ("SCENARIOS", "RUNS", "KILLS", "POINTS", "ACTIONS", "HOW", "PHASES", "ROUNDS")


def revision(work: Path) -> str:
    """The revision of the servers that ran; where none was asked, that of the checkout."""
    try:
        told = (work / "revision").read_text().strip()
    except OSError:
        told = UNTOLD
    if told != UNTOLD:
        return told
    command = ["git", "-C", os.environ["REPO"], "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> None:
    row, size, seed, status, work = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])
    of = " ".join(f"{name}={value}" for name in NARROWING if (value := os.environ.get(name))) if size == "full" else ""
    if of:
        size = "part"
    out = (work / "out").read_text(errors="replace").strip().splitlines() if (work / "out").exists() else []
    line = out[-1] if out else f"ended with status {status} and no word"
    verdict = {0: "PASS", SKIPPED: "SKIP"}.get(status, "FAIL")
    if status in TIMED_OUT:
        line = f"took too long; last: {line}"
    for word in ("PASS", "FAIL", "SKIP"):
        line = line.removeprefix(f"{word} ")
    try:
        told = json.loads((work / "verdict.json").read_text())
    except (OSError, ValueError):
        told = {"figures": {}, "problems": [] if status in (0, SKIPPED) else [line]}
    entry = {"row": row, "size": size, "seed": seed, "verdict": verdict, "line": line, "revision": revision(work), "of": of}
    entry |= {"figures": told["figures"], "problems": told["problems"], "at": int(time.time())}
    results = Path(os.environ["RESULTS"])
    results.parent.mkdir(parents=True, exist_ok=True)
    with open(results, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    print(f"{verdict} {row} {line}", flush=True)
    sys.exit({"PASS": 0, "SKIP": SKIPPED}.get(verdict, 1))


main()
