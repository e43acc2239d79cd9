"""Reads PromQL as far as names go: metrics, labels, and values that labels are held against.

Whether a query makes sense is promtool's affair.
"""

import re
from dataclasses import dataclass, field

from metrics import Metric, known_values

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[a-zA-Z_:][\w:]*|\d[\w.]*|=~|!~|!=|==|<=|>=|[-+*/%^<>={}()\[\],]|\S')
FUNCTIONS = set(
    "abs absent avg avg_over_time bottomk changes clamp_max clamp_min count delta deriv group histogram_quantile increase irate "
    "label_replace last_over_time max max_over_time min min_over_time predict_linear quantile rate resets round scalar stddev sum "
    "sum_over_time time timestamp topk vector".split()
)
OPERATORS = {"and", "or", "unless", "bool", "offset"}
GROUPINGS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
# Labels that a scrape adds.
TARGET = {"namespace", "job", "instance", "pod", "service", "container", "endpoint"}
# Of Prometheus itself.
OTHERS = {"up": Metric("gauge"), "ALERTS": Metric("gauge", {"alertname": set(), "alertstate": {"pending", "firing"}, "severity": set()})}


@dataclass
class Query:
    """What a query names."""

    selectors: list[tuple[str, list[tuple[str, str, str]]]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


def read(text: str) -> Query:
    """Takes a query apart."""
    tokens = TOKEN.findall(re.sub(r"#.*", "", text))
    query, at = Query(), 0
    while at < len(tokens):
        token, then = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        if token == "[":
            at = tokens.index("]", at)
        elif token in GROUPINGS:
            if then == "(":
                end = tokens.index(")", at)
                query.grouped.update(label for label in tokens[at + 2 : end] if label != ",")
                at = end
        elif token in FUNCTIONS and then in ("(", *GROUPINGS) or token in OPERATORS or not re.match(r"[a-zA-Z_:]", token):
            pass
        else:
            matchers: list[tuple[str, str, str]] = []
            if then == "{":
                end = tokens.index("}", at)
                inner = [inner for inner in tokens[at + 2 : end] if inner != ","]
                matchers = [(inner[n], inner[n + 1], inner[n + 2][1:-1]) for n in range(0, len(inner) - 2, 3)]
                if len(inner) % 3:
                    query.faults.append(f"{token}{{…}} can't be read")
                at = end
            query.selectors.append((token, matchers))
        at += 1
    return query


def of_table(name: str, table: dict[str, Metric]) -> Metric | None:
    """Finds a metric by the name that a query gives it."""
    if name in table:
        return None if table[name].kind == "histogram" else table[name]
    if name in OTHERS:
        return OTHERS[name]
    base, _, part = name.rpartition("_")
    if part in ("bucket", "sum", "count") and base in table and table[base].kind == "histogram":
        labels = dict(table[base].labels)
        return Metric("counter", labels | {"le": set()} if part == "bucket" else labels)
    return None


def faults(text: str, table: dict[str, Metric], legend: str = "") -> list[str]:
    """Tells which names of a query nothing exports."""
    query = read(text)
    found, exported = list(query.faults), set(TARGET)
    for name, matchers in query.selectors:
        metric = of_table(name, table)
        if metric is None:
            found.append(f"nothing exports {name}")
            continue
        exported.update(metric.labels)
        for label, operator, value in matchers:
            if label not in metric.labels and label not in TARGET:
                found.append(f"{name} has no label {label}")
                continue
            values = metric.labels.get(label, set()) or known_values(label)
            if values and label in metric.labels:
                wanted = value.split("|") if "~" in operator else [value]
                found += [f"{name} has no {label} = {one}" for one in wanted if one not in values]
    found += [f"no metric of the query has the label {label}" for label in sorted(query.grouped - exported)]
    found += [f"no metric of the query has the label {label} of the legend" for label in re.findall(r"\{\{(\w+)\}\}", legend) if label not in exported]
    if not query.selectors and "vector(" not in text and "time(" not in text:
        found.append("names no metric")
    return found
