"""Runs every row and control at its full size, one after the other; those that passed at this revision already are left out.

usage: long.py RUN.SH
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def passed(revision: str) -> set[str]:
    found = set()
    try:
        lines = Path(os.environ["RESULTS"]).read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        entry = json.loads(line)
        if entry["size"] == "full" and entry["revision"] == revision and entry["verdict"] == "PASS":
            found.add(entry["row"])
    return found


def main() -> None:
    run = sys.argv[1]
    command = ["git", "-C", os.environ["REPO"], "rev-parse", "--short", "HEAD"]
    revision = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    rows = [line.split()[0] for line in subprocess.run([run, "list"], capture_output=True, text=True, check=True).stdout.splitlines()]
    failed = []
    for row in rows:
        if row in passed(revision):
            print(f"PASS {row} before, at {revision}", flush=True)
            continue
        status = subprocess.run([run, "row", row, "full"], check=False).returncode
        if status not in (0, 77):
            failed.append(row)
        subprocess.run([run, "table"], check=False)
    sys.exit(f"chaos: failed: {' '.join(failed)}" if failed else 0)


main()
