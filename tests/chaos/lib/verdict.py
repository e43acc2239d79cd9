"""The one verdict of a row: a line for people, and a line of JSON for the table."""

import json
import os
import sys
from pathlib import Path


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
