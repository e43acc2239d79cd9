"""Writes the table of rows into docs/RELIABILITY.md, between its markers, from the results file.

Of each row stands the last full run, else the last one of a part of it, else the last short one. Lines of the page stay where the
results have nothing as large.
"""

import json
import os
import sys
from pathlib import Path

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
ORDER = ("short", "part", "full")
COLUMNS = ("faults", "ops", "lost", "stale", "corrupt", "resurrected")


def shown(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def line(entry: dict) -> str:
    figures = dict(entry["figures"])
    cells = [shown(figures.pop(name)) if name in figures else "-" for name in COLUMNS]
    rest = ", ".join(f"{name} {shown(value)}" for name, value in figures.items())
    verdict = entry["verdict"].lower()
    if entry["verdict"] != "PASS":
        rest = entry["line"].replace("|", "/")[:160]
    return f"| {entry['row']} | {entry['size']} | {verdict} | {' | '.join(cells)} | {rest} | `{entry['revision']}` |"


def main() -> None:
    best: dict[str, dict] = {}
    for text in Path(os.environ["RESULTS"]).read_text(encoding="utf-8").splitlines():
        entry = json.loads(text)
        held = best.get(entry["row"])
        if held is None or ORDER.index(entry["size"]) >= ORDER.index(held["size"]):
            best[entry["row"]] = entry
    page = Path(os.environ["REPO"], "docs", "RELIABILITY.md")
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"chaos: {page} has no markers for the table")
    before, rest = text.split(BEGIN, 1)
    held, after = rest.split(END, 1)
    lines = {row: line(entry) for row, entry in best.items()}
    for text in held.splitlines():
        cells = [cell.strip() for cell in text.split("|")]
        if len(cells) > 2 and cells[2] in ORDER:
            row, size = cells[1:3]
            if row not in best or ORDER.index(size) > ORDER.index(best[row]["size"]):
                lines[row] = text
    rows = sorted(lines, key=lambda row: (row.startswith("control"), int(row[1:]) if row[1:].isdigit() else 0, row))
    table = ["| row | size | verdict | faults | operations | lost | stale | corrupt | resurrected | more | revision |"]
    table += ["|---|---|---|---|---|---|---|---|---|---|---|"] + [lines[row] for row in rows]
    page.write_text(before + BEGIN + "\n" + "\n".join(table) + "\n" + END + after, encoding="utf-8")


main()
