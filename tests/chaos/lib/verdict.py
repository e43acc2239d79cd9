"""The one verdict of a row: a line for people, and a line of JSON for the table."""

import json
import os
import re
import sys
from pathlib import Path

from dev import ledger, ledger_acked

# What every row counts that can find it; the table has a column for each.
FINDINGS = ("lost", "stale", "corrupt", "resurrected")


class Figures(dict):
    """Counted things, in the order in which they were first named."""

    def add(self, **more: float) -> None:
        for name, value in more.items():
            self[name] = self.get(name, 0) + value

    def worst(self, **more: float) -> None:
        for name, value in more.items():
            self[name] = max(self.get(name, value), value)

    def least(self, **more: float) -> None:
        for name, value in more.items():
            self[name] = min(self.get(name, value), value)

    def line(self) -> str:
        show = lambda value: f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        return " ".join(f"{name}={show(value)}" for name, value in self.items())


def check_ledger(file: Path, acked_min: int, figures: Figures) -> list[str]:
    """Reads back what a ledger's writer was told, and counts what is wrong."""
    acked = ledger_acked(file)
    figures.add(ops=acked, **dict.fromkeys(FINDINGS, 0))
    if acked < acked_min:
        return [f"void: only {acked} acked operations, {acked_min} are needed to mean something"]
    result = ledger("check", "--file", str(file))
    found = re.findall(r"^(LOST|STALE|CORRUPT|RESURRECTED) (\S+)", result.stdout, re.M)
    for kind, _ in found:
        figures.add(**{kind.lower(): 1})
    if result.returncode != 0 and not found:
        return [f"ledger check ended with {result.returncode}: {result.stderr.strip()[-300:]}"]
    return [f"{kind} {key}" for kind, key in found]


def end(figures: Figures, problems: list[str]) -> None:
    """Writes the verdict down and ends the row."""
    verdict = "FAIL" if problems else "PASS"
    document = {"verdict": verdict, "figures": dict(figures), "problems": problems[:20]}
    Path(os.environ["WORK"], "verdict.json").write_text(json.dumps(document), encoding="utf-8")
    for problem in problems[:20]:
        print(f"{os.environ.get('ROW', 'row')}: {problem}", file=sys.stderr)
    reason = f"{len(problems)} problems, first: {problems[0].splitlines()[0]}; " if problems else ""
    print(reason + figures.line(), flush=True)
    # Clients that still wait for an answer don't matter any more.
    os._exit(1 if problems else 0)
