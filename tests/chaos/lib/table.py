"""Writes the table of rows into docs/RELIABILITY.md, between its markers, from the results file.

Of each row stands the last full run, else the last one of each part of it, else the last short one. Lines of the page stay where
the results have nothing as large.
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


def name(entry: dict) -> str:
    """The row, and which part of it, if it was one."""
    return f"{entry['row']} {entry['of']}" if entry.get("of") else entry["row"]


def line(entry: dict) -> str:
    figures = dict(entry["figures"])
    cells = [shown(figures.pop(name)) if name in figures else "-" for name in COLUMNS]
    rest = ", ".join(f"{name} {shown(value)}" for name, value in figures.items())
    verdict = entry["verdict"].lower()
    if entry["verdict"] != "PASS":
        rest = entry["line"].replace("|", "/")[:160]
    return f"| {name(entry)} | {entry['size']} | {verdict} | {' | '.join(cells)} | {rest} | `{entry['revision']}` |"


def main() -> None:
    best: dict[str, dict[str, dict]] = {}
    for text in Path(os.environ["RESULTS"]).read_text(encoding="utf-8").splitlines():
        entry = json.loads(text)
        held = best.get(entry["row"], {})
        before = max((ORDER.index(one["size"]) for one in held.values()), default=0)
        if ORDER.index(entry["size"]) >= before:
            kept = held if entry["size"] == "part" and before == ORDER.index("part") else {}
            best[entry["row"]] = kept | {name(entry): entry}
    page = Path(os.environ["REPO"], "docs", "RELIABILITY.md")
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"chaos: {page} has no markers for the table")
    before, rest = text.split(BEGIN, 1)
    held, after = rest.split(END, 1)
    lines = {label: line(entry) for parts in best.values() for label, entry in parts.items()}
    for text in held.splitlines():
        cells = [cell.strip() for cell in text.split("|")]
        if len(cells) > 2 and cells[2] in ORDER:
            label, size = cells[1:3]
            found = best.get(label.split()[0], {}).values()
            if not found or ORDER.index(size) > max(ORDER.index(one["size"]) for one in found):
                lines[label] = text
    number = lambda label: label.split()[0][1:]
    rows = sorted(lines, key=lambda label: (label.startswith("control"), int(number(label)) if number(label).isdigit() else 0, label))
    table = ["| row | size | verdict | faults | operations | lost | stale | corrupt | resurrected | more | revision |"]
    table += ["|---|---|---|---|---|---|---|---|---|---|---|"] + [lines[row] for row in rows]
    page.write_text(before + BEGIN + "\n" + "\n".join(table) + "\n" + END + after, encoding="utf-8")


main()
