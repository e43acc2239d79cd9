"""What Flotilla's processes export: as docs/OPERATIONS.md says, as the sources have it, as a process shows it.

The table under "Metrics" is the list that everything else is held against.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs/OPERATIONS.md"
# Crates that measure no server.
NO_SERVERS = {"loadtest", "simtest", "target", "xtask"}
MACRO = re.compile(r"\b(counter|gauge|histogram)!\(")
# Whose labels are not literals in the macro: the table alone says which they are.
ELSEWHERE = {"flotilla_transfers_total", "flotilla_transfer_bytes_total", "flotilla_transfer_failures_total"}
# What a library shows of the process, by the names that Prometheus has for it.
PROCESS = {f"process_{name}" for name in (
    "cpu_seconds_total", "max_fds", "open_fds", "resident_memory_bytes", "start_time_seconds", "threads", "virtual_memory_bytes",
    "virtual_memory_max_bytes")}
# Where the values of labels stand that the table does not list.
VALUES = {
    "op": (r'=> "([a-z_]+)"', ["cluster-node/src/ops.rs", "supernode/src/http/mod.rs", "http-server/src/operations.rs"]),
    "reason": (r'Self::\w+ => "([a-z_]+)"', ["http-server/src/operations.rs"]),
}


@dataclass
class Metric:
    """One name: its kind, and its labels with their values, if these are known."""

    kind: str
    labels: dict[str, set[str]] = field(default_factory=dict)


def documented(text: str | None = None) -> dict[str, Metric]:
    """Reads the table."""
    text = TABLE.read_text() if text is None else text
    found: dict[str, Metric] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 6 or cells[3] not in ("counter", "gauge", "histogram"):
            continue
        labels: dict[str, set[str]] = {}
        of = None
        for name, equals in re.findall(r"`([a-z_]+)`( =)?", cells[2]):
            if equals or of is None:
                labels.setdefault(name, set())
                of = name if equals else None
            else:
                labels[of].add(name)
        for name in re.findall(r"`((?:flotilla|process)_\w+)`", cells[1]):
            metric = found.setdefault(name, Metric(cells[3]))
            for label, values in labels.items():
                metric.labels.setdefault(label, set()).update(values)
    return found


def known_values(label: str) -> set[str]:
    """Gives the values of a label that the sources list."""
    pattern, paths = VALUES.get(label, ("", []))
    return {value for path in paths for value in re.findall(pattern, (ROOT / path).read_text())}


def in_source(text: str) -> list[tuple[str, str, dict[str, set[str]]]]:
    """Finds the macros of one source before its tests: kind, name, labels with the values that are literals."""
    text = re.sub(r"//.*", "", text.split("#[cfg(test)]\nmod tests {")[0])
    found = []
    for macro in MACRO.finditer(text):
        end, depth = macro.end(), 1
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        body = text[macro.end() : end - 1]
        name = re.match(r'\s*"(\w+)"', body)
        if name is None:
            continue
        labels: dict[str, set[str]] = {}
        for label, value in re.findall(r'"(\w+)"\s*=>\s*(?:"(\w+)")?', body):
            labels.setdefault(label, set()).update([value] if value else [])
        found.append((macro[1], name[1], labels))
    return found


def sources() -> list[Path]:
    """Gives the sources of servers, without tests."""
    paths = (path for path in ROOT.glob("*/src/**/*.rs") if path.relative_to(ROOT).parts[0] not in NO_SERVERS)
    return sorted(path for path in paths if path.name != "tests.rs" and not path.stem.endswith("_tests") and "tests" not in path.parts)


def differences(table: dict[str, Metric], macros: list[tuple[str, str, dict[str, set[str]]]]) -> list[str]:
    """Holds the table against the sources."""
    faults = []
    for kind, name, labels in macros:
        metric = table.get(name)
        if metric is None:
            faults.append(f"{name} is exported, and {TABLE.name} does not list it")
            continue
        if metric.kind != kind:
            faults.append(f"{name} is a {kind}, and {TABLE.name} calls it a {metric.kind}")
        if name not in ELSEWHERE and set(labels) != set(metric.labels):
            faults.append(f"{name} has the labels {sorted(labels)}, and {TABLE.name} gives it {sorted(metric.labels)}")
        for label, values in labels.items():
            listed = metric.labels.get(label, set())
            if listed and not values <= listed:
                faults.append(f"{name} has {label} = {sorted(values - listed)}, and {TABLE.name} does not list that")
    exported = PROCESS | {name for _, name, _ in macros}
    faults += [f"{TABLE.name} lists {name}, and nothing exports it" for name in sorted(set(table) - exported)]
    return sorted(set(faults))


def scraped(text: str) -> dict[str, set[str]]:
    """Reads what a process shows: names of metrics, as the table has them, with their labels."""
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.M):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        name = base if kinds.get(base) == "histogram" else name
        found.setdefault(name, set()).update(set(re.findall(r'(\w+)="', labels)) - {"le"})
    return found


def shown_differences(table: dict[str, Metric], shown: dict[str, set[str]]) -> list[str]:
    """Holds the table against what processes show; what they never had to count is not missing."""
    faults = []
    for name, labels in sorted(shown.items()):
        if name not in table:
            faults.append(f"{name} is shown, and {TABLE.name} does not list it")
        elif labels != set(table[name].labels):
            faults.append(f"{name} is shown with {sorted(labels)}, and {TABLE.name} gives it {sorted(table[name].labels)}")
    return faults
