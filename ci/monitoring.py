"""Checks k8s/monitoring against what the servers export, against the runbooks, and with promtool.

usage: monitoring.py check PROMTOOL | write
`check` changes nothing; `write` writes what is made from other files. Both need PyYAML.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

import dashboards
import metrics
import promql

FOLDER = metrics.ROOT / "k8s/monitoring"
RUNBOOKS = metrics.ROOT / "docs/runbooks"
RULES, TESTS, CUSTOM = FOLDER / "rules.yaml", FOLDER / "rules_test.yaml", FOLDER / "prometheusrule.yaml"
# Where deployments keep docs/runbooks is theirs to say; the name is reserved for examples.
RUNBOOK_BASE = "https://flotilla.example/docs/runbooks"
ALERTS_MIN = 12
SECTIONS = ["What it means", "Look", "Do"]
HEAD = """\
# Made from rules.yaml by `make monitoring`; for the Prometheus operator.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: flotilla
  labels:
    app.kubernetes.io/name: flotilla
spec:
"""


def alerts() -> dict[str, dict]:
    """Gives the alerts by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    listed = [rule for group in groups for rule in group["rules"]]
    named = {rule["alert"]: rule for rule in listed}
    return named if len(named) == len(listed) else {}


def custom_resource() -> str:
    """Wraps the rules for the operator."""
    lines = RULES.read_text().splitlines()
    body = [f"  {line}".rstrip() for line in lines if not line.startswith("#")]
    return HEAD + "\n".join(body) + "\n"


def of_alerts(rules: dict[str, dict], tests: dict, table: dict[str, metrics.Metric]) -> list[str]:
    """Tells what is wrong with alerts, their tests and their runbooks."""
    faults = [] if len(rules) >= ALERTS_MIN else [f"{len(rules)} alerts with names of their own, {ALERTS_MIN} are wanted"]
    expected: dict[str, list[bool]] = {}
    for test in tests["tests"]:
        for case in test["alert_rule_test"]:
            expected.setdefault(case["alertname"], []).append(bool(case["exp_alerts"]))
    for name, rule in rules.items():
        faults += [f"{name}: {fault}" for fault in promql.faults(rule["expr"], table)]
        if rule.get("annotations", {}).get("runbook_url") != f"{RUNBOOK_BASE}/{name}.md":
            faults.append(f"{name}: runbook_url is not {RUNBOOK_BASE}/{name}.md")
        if not rule.get("annotations", {}).get("summary"):
            faults.append(f"{name}: has no summary")
        if rule.get("labels", {}).get("severity") not in ("page", "ticket"):
            faults.append(f"{name}: severity is neither page nor ticket")
        if set(expected.get(name, [])) != {True, False}:
            faults.append(f"{name}: needs a test where it fires and one where it does not")
    faults += [f"{name} is tested, and there is no such alert" for name in sorted(set(expected) - set(rules))]
    return faults


def of_runbooks(rules: dict[str, dict], pages: dict[str, str], table: dict[str, metrics.Metric]) -> list[str]:
    """Tells what is wrong with the pages, by name."""
    faults = [f"{name}: has no docs/runbooks/{name}.md" for name in sorted(set(rules) - set(pages))]
    faults += [f"docs/runbooks/{name}.md: there is no such alert" for name in sorted(set(pages) - set(rules) - {"README"})]
    for name, text in pages.items():
        sections = re.findall(r"^## (.*)$", text, re.M)
        if name in rules and (not text.startswith(f"# {name}\n") or sections != SECTIONS):
            faults.append(f"docs/runbooks/{name}.md: wants the title {name} and the sections {', '.join(SECTIONS)}")
        if name in rules and f"({name}.md)" not in pages.get("README", ""):
            faults.append(f"docs/runbooks/README.md does not list {name}")
        for metric in set(re.findall(r"\b(?:flotilla_[a-z]\w*)", text)):
            if metric not in table:
                faults.append(f"docs/runbooks/{name}.md: nothing exports {metric}")
    return faults


def queries(document: dict) -> list[tuple[str, str, str]]:
    """Gives the queries of a dashboard: where they stand, what they ask, the legend."""
    found = []
    for panel in document["panels"]:
        found += [(panel["title"], target["expr"], target["legendFormat"]) for target in panel["targets"]]
    for variable in document["templating"]["list"]:
        if variable["type"] == "query" and (asked := re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])):
            found.append((f"${variable['name']}", f"count by ({asked[2]}) ({asked[1]})", ""))
        elif variable["type"] == "query":
            found.append((f"${variable['name']}", variable["query"], ""))
    return found


def without_variables(query: str, document: dict) -> tuple[str, list[str]]:
    """Puts something in the place of Grafana's variables; tells of those that are not there."""
    names = {variable["name"] for variable in document["templating"]["list"]}
    unknown = [name for name in re.findall(r"\$(\w+)", query) if name != "__rate_interval" and name not in names]
    query = query.replace("$__rate_interval", "5m")
    return re.sub(r"\$\w+", "x", query), [f"there is no variable {name}" for name in unknown]


def of_dashboards(documents: dict[str, dict], table: dict[str, metrics.Metric]) -> tuple[list[str], list[str]]:
    """Tells what is wrong with dashboards; gives their queries, too."""
    faults, asked = [], []
    for name, document in documents.items():
        for where, query, legend in queries(document):
            plain, unknown = without_variables(query, document)
            asked.append(plain)
            faults += [f"{name}, '{where}': {fault}" for fault in unknown + promql.faults(plain, table, legend)]
    return faults, asked


def of_files(files: dict[str, str]) -> list[str]:
    """Tells which files of dashboards are not as they are made, by their names; in other words counts, too, as it would be undone."""
    return [f"dashboards/{name} is not what ci/dashboards.py makes: run make monitoring, or delete it" for name in dashboards.stale(files)]


def parse(promtool: str, asked: list[str]) -> list[str]:
    """Has promtool parse queries."""
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(asked)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries.yaml"
        path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
        return run(promtool, "check", "rules", str(path))


def run(promtool: str, *arguments: str) -> list[str]:
    """Runs promtool; what it says is a fault if it fails."""
    ended = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=300, check=False)
    return [] if ended.returncode == 0 else [f"promtool {' '.join(arguments[:2])}:\n{ended.stdout}{ended.stderr}"]


def macros() -> list[tuple[str, str, dict[str, set[str]]]]:
    """Gives the metrics of all sources."""
    return [macro for path in metrics.sources() for macro in metrics.in_source(path.read_text())]


def check(promtool: str) -> None:
    table, rules, tests = metrics.documented(), alerts(), yaml.safe_load(TESTS.read_text())
    files = {path.name: path.read_text() for path in sorted(dashboards.FOLDER.iterdir())}
    documents = {name: json.loads(files[f"{name}.json"]) for name in dashboards.DASHBOARDS if f"{name}.json" in files}
    pages = {path.stem: path.read_text() for path in sorted(RUNBOOKS.glob("*.md"))}
    found, asked = of_dashboards(documents, table)
    faults = metrics.differences(table, macros())
    faults += of_alerts(rules, tests, table) + of_runbooks(rules, pages, table) + found
    if not CUSTOM.exists() or CUSTOM.read_text() != custom_resource():
        faults.append("prometheusrule.yaml is not what rules.yaml makes it: run make monitoring")
    faults += of_files(files)
    faults += run(promtool, "check", "rules", str(RULES)) + run(promtool, "test", "rules", str(TESTS)) + parse(promtool, asked)
    faults += controls(promtool, table, rules, tests, pages, documents)
    for fault in faults:
        print(f"monitoring: {fault}", file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"monitoring: {len(table)} metrics, {len(rules)} alerts with tests and runbooks, {len(asked)} queries of {len(documents)} dashboards")


def controls(promtool: str, table: dict, rules: dict, tests: dict, pages: dict, documents: dict) -> list[str]:
    """Plants a mistake of each kind, which has to be found."""
    first = next(iter(rules))
    # What stands for the variable is no metric either.
    panel = {"title": "planted", "targets": [{"expr": "$nobody + flotilla_not_ready{reasons='x'}", "legendFormat": "{{store}}"}]}
    planted = documents | {"planted": {"templating": {"list": []}, "panels": [panel]}}
    typo = "flotilla_chunk{state='missing'} or flotilla_chunks{state='mising'} or sum by (nobody) (flotilla_queue_wait_seconds)"
    several = {
        "a metric that nothing exports": len(promql.faults(typo, table)) == 4,
        "a function that there is not": promql.faults("sums(up)", table) != [],
        "a variable, label and legend that there are not": len(of_dashboards(planted, table)[0]) == 4,
        "a query that does not parse": parse(promtool, ["sum(up"]) != [],
        "a dashboard that nobody makes": len(of_files({f"{name}.json": dashboards.dashboard(name) for name in dashboards.DASHBOARDS} | {"x.json": "{}"})) == 1,
        "a dashboard that is missing or has other words": len(of_files({"node.json": dashboards.dashboard("node") + " "})) == len(dashboards.DASHBOARDS),
        "a metric that is not documented": metrics.differences(table, [*macros(), ("gauge", "flotilla_planted", {})]) != [],
        "a metric with another label": metrics.differences(table, [*macros(), ("gauge", "flotilla_inflight_bytes", {"x": set()})]) != [],
        "a metric that nothing exports any more": metrics.differences(table | {"flotilla_planted": metrics.Metric("gauge")}, macros()) != [],
        "a runbook that is missing": of_runbooks(rules, {name: page for name, page in pages.items() if name != first}, table) != [],
        "a runbook of no alert": of_runbooks(rules, pages | {"Planted": ""}, table) != [],
        "an alert without a test": of_alerts(rules | {"Planted": rules[first]}, tests, table) != [],
        "a label that a process does not have": metrics.shown_differences(table, metrics.scraped('flotilla_chunks{x="1"} 1\n')) != [],
    }
    return [f"the check does not find {what}" for what, found in several.items() if not found]


def main() -> None:
    match sys.argv[1:]:
        case ["check", promtool]:
            check(promtool)
        case ["write"]:
            dashboards.write()
            CUSTOM.write_text(custom_resource())
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
