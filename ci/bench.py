"""Compares the reports of two revisions: `bench.py OLD.json… -- NEW.json…`.

Prints, per row and figure, both medians with their range, and the median ratio of runs that followed each other.
"""

import json
import sys
from statistics import median

# Figures worth comparing, with their headings; a smaller value is better in all but rates.
FIGURES = {
    "cpu_seconds_per_gb": "CPU-s/GB",
    "mb_per_second": "MB/s",
    "cpu_us_per_operation": "CPU us",
    "per_second": "1/s",
    "p99_ms": "p99 ms",
    "spread_percent": "spread %",
    "largest_mb": "largest MB",
}


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ranged(values: list[float]) -> str:
    return f"{number(median(values))} ({number(min(values))} to {number(max(values))})"


def samples(reports: list[dict]) -> dict[tuple[str, str], list[float]]:
    """Gives each report's figure by row and name; a row that a report lacks is left out of all."""
    tables = [{row["name"]: row["figures"] for row in report["rows"]} for report in reports]
    found = {}
    for name in tables[0]:
        for figure in FIGURES:
            values = [table.get(name, {}).get(figure) for table in tables]
            if all(value is not None for value in values):
                found[name, figure] = values
    return found


def describe(what: str, reports: list[dict]) -> str:
    loads = ", ".join(number(report["load_1min"]) if report["load_1min"] is not None else "?" for report in reports)
    wrong = sum(report["lost"] + report["corrupt"] + report["failed"] for report in reports)
    scale = reports[0]["scale"]
    return f"{what}: rev {reports[0]['rev']}, {len(reports)} runs, scale {scale}, load before {loads}, wrong or failed {wrong}"


def main(arguments: list[str]) -> int:
    middle = arguments.index("--")
    old, new = ([json.load(open(path)) for path in paths] for paths in (arguments[:middle], arguments[middle + 1 :]))
    if not old or len(old) != len(new):
        print("bench: each revision needs the same number of runs", file=sys.stderr)
        return 2
    print(describe("old", old))
    print(describe("new", new))
    print()
    lines = [["work", "figure", "old", "new", "new / old"]]
    before, after = samples(old), samples(new)
    for key, values in before.items():
        if key not in after:
            continue
        ratios = [b / a for a, b in zip(values, after[key]) if a > 0]
        ratio = ranged(ratios) if ratios else "-"
        lines.append([key[0], FIGURES[key[1]], ranged(values), ranged(after[key]), ratio])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for at, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")
        if at == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return 1 if any(report["lost"] + report["corrupt"] + report["failed"] for report in old + new) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
