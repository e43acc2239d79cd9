"""Plants a fault that a row must find: the control passes when the row fails, and for the reason that is meant.

usage: control.py SIZE SEED, with the control's name in ROW.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from verdict import Figures, end

SKIPPED = 77
# Servers are started with it by the lab.
FAILPOINTS = "FAILPOINTS"


@dataclass
class Control:
    """A row, the environment that plants the fault, and what the row must complain about."""

    row: str
    env: dict[str, str]
    finds: str
    # Names of failpoints that the servers must have.
    needs: list[str] = field(default_factory=list)
    # Chance decides whether a fault shows; more seeds are tried then.
    tries: int = 1


CONTROLS = {
    "control-no-syncs": Control("r1", {"CONTROL": "syncs", "HOW": "all"}, r"LOST|STALE|CORRUPT|RESURRECTED"),
    "control-no-dir-sync": Control("r1", {"CONTROL": "dirs", "HOW": "quiet"}, r"LOST"),
    "control-no-read-index": Control(
        "r5",
        {FAILPOINTS: "raft.read_index=return", "SCENARIOS": "halves"},
        r"can't be explained",
        ["raft.read_index"],
        tries=3,
    ),
    "control-no-recheck": Control("r7", {FAILPOINTS: "purge.recheck=return"}, r"LOST|STALE|good copies", ["purge.recheck"], tries=2),
    "control-trust-holders": Control(
        "r8", {FAILPOINTS: "repair.trust_holders=return"}, r"CORRUPT|good copies", ["repair.trust_holders"]
    ),
    "control-fresh-ids": Control("r26", {"IDS": "fresh"}, r"TWICE|twice=[1-9]"),
    "control-open": Control(
        "r31", {FAILPOINTS: "admission.open=return", "PHASES": "spike"}, r"goodput after the spike|answers that are", ["admission.open"]
    ),
    "control-no-stealing": Control("r31", {"STEALING": "never", "PHASES": "slow"}, r"nothing was stolen"),
}


def lacks(names: list[str]) -> str:
    """A failpoint that the binary does not have: its name stands in the binary if it has it."""
    program = Path(os.environ["FLOTILLA"]).read_bytes()
    return next((name for name in names if name.encode() not in program), "")


def main() -> None:
    seed, name = int(sys.argv[2]), os.environ["ROW"]
    control = CONTROLS[name]
    if missing := lacks(control.needs):
        print(f"the servers have no failpoint {missing}")
        sys.exit(SKIPPED)
    script = Path(__file__).with_name(f"{control.row}.py")
    command = [sys.executable, str(script)] if script.exists() else [str(script.with_suffix(".sh"))]
    figures, last = Figures(tries=0, found=0), ""
    for attempt in range(control.tries):
        # A fleet of its own for every try; what it leaves is undone with the rest.
        own = {"DIR": f"{os.environ['DIR']}-{attempt}", "CHAOS_PREFIX": f"{os.environ['CHAOS_PREFIX']}t{attempt}"}
        Path(own["DIR"]).mkdir()
        done = subprocess.run(
            [*command, "short", str(seed + attempt)],
            env=os.environ | control.env | own, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False,
        )
        lines = done.stdout.strip().splitlines()
        last = lines[-1] if lines else f"status {done.returncode} and no word"
        figures.add(tries=1)
        if done.returncode == 1 and re.search(control.finds, done.stdout):
            figures.add(found=1)
            break
    Path(os.environ["WORK"], "verdict.json").unlink(missing_ok=True)
    print(f"{control.row}: {last}", file=sys.stderr)
    end(figures, [] if figures["found"] else [f"{control.row} did not find the planted fault: {last}"])


if __name__ == "__main__":
    main()
