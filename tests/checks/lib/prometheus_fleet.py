"""Debian's Prometheus beside a deployment, with our alert rules, whose patience is cut to a twentieth."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from dev import Dev, Process, fail, flotilla, start_ticks

REPO = Path(__file__).resolve().parent.parent.parent.parent
RULES = REPO / "k8s/monitoring/rules.yaml"
TESTS = REPO / "k8s/monitoring/rules_test.yaml"
# `for: 1m` is 3 s here; windows like [5m] stay, and see what there is.
FASTER = 20
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000}
START_S = 30
# What a machine's own disk and memory decide, and not the fleet: promtool alone raises these.
OF_THE_MACHINE = {"FlotillaDirectoryFull", "FlotillaDiskFilling", "FlotillaMemoryLow", "FlotillaSyncSlow"}


def faster(rules: str) -> str:
    """Cuts how long alerts wait before they fire."""
    return re.sub(r"^(\s+for: )(\d+)([smh])$", lambda m: f"{m[1]}{int(m[2]) * UNITS_MS[m[3]] // FASTER}ms", rules, flags=re.M)


def key_file(work: Path) -> Path:
    """Makes a principal's key for Prometheus, as docs/OPERATIONS.md says, in a file that nobody else can read."""
    made = flotilla("key", "create", "prometheus")
    if made.returncode != 0:
        fail(f"key create ended with {made.returncode}: {made.stderr.strip()}")
    return kept(work / "flotilla.key", made.stdout)


def wrong_key_file(work: Path) -> Path:
    """A file with what is nobody's key."""
    return kept(work / "wrong.key", "f" * 64)


def kept(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def job(name: str, targets: dict[str, dict[str, str]], key: Path) -> dict:
    """A job that scrapes these addresses, which have these labels besides, with the key in a file."""
    static = [{"targets": [address], "labels": labels} for address, labels in targets.items()]
    return {"job_name": name, "authorization": {"credentials_file": str(key)}, "static_configs": static}


def only_up(of: dict) -> dict:
    """A job that tells whether its targets answer, and adds nothing to what others scrape."""
    return of | {"metric_relabel_configs": [{"source_labels": ["__name__"], "regex": "flotilla_.*", "action": "drop"}]}


class Prometheus:
    """A running Prometheus that scrapes once a second."""

    def __init__(self, work: Path, port: int, jobs: list[dict]):
        self.url, self.raised = f"http://127.0.0.1:{port}", set()
        folder = work / "prometheus"
        folder.mkdir()
        (folder / "rules.yaml").write_text(faster(RULES.read_text()))
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yaml")],
            "scrape_configs": jobs,
        }
        # JSON is YAML, too.
        (folder / "prometheus.yaml").write_text(json.dumps(config))
        checked = subprocess.run(
            [os.environ["PROMTOOL"], "check", "config", str(folder / "prometheus.yaml")], capture_output=True, text=True, check=False
        )
        if checked.returncode != 0:
            fail(f"promtool does not like the configuration: {(checked.stdout + checked.stderr)[-400:]}")
        command = [
            os.environ["PROMETHEUS"], f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        ]
        with open(work / "prometheus.log", "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        with open(work / "started", "a") as started:
            started.write(f"{self.child.pid} {start_ticks(self.child.pid)}\n")
        if not Dev.wait(self.ready, START_S):
            self.end()
            fail(f"Prometheus is not ready after {START_S} s")

    def ready(self) -> bool:
        if self.child.poll() is not None:
            fail(f"Prometheus ended with {self.child.returncode}")
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def end(self) -> None:
        self.child.terminate()
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait(20)

    def ask(self, path: str, **parameters: str) -> dict | list:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            return fail(f"{path} {parameters}: {error.read()[:400]!r}")

    def value(self, query: str) -> float | None:
        """The one value of a query; None if there is none."""
        result = self.ask("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    def firing(self) -> list[dict]:
        """The alerts that fire: labels and annotations."""
        return [alert for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]

    def names(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.firing()}

    def is_up(self, process: Process) -> bool:
        return self.value(f'up{{instance="{process.ops.removeprefix("http://")}"}}') == 1

    def answers(self, of: str) -> list[tuple[str, str]]:
        """What the targets of a job last answered: `up`, `down` or `unknown`, and the error."""
        active = [target for target in self.ask("targets", state="active")["activeTargets"] if target["labels"]["job"] == of]
        return [(target["health"], target["lastError"]) for target in active]

    def reaches(self, of: str, count: int, within_s: float) -> None:
        """Waits until so many targets of a job are up, which are all of it."""
        if not Dev.wait(lambda: [health for health, _ in self.answers(of)] == ["up"] * count, within_s):
            fail(f"of {count} targets of {of} after {within_s} s: {self.answers(of)}")

    def is_refused(self, of: str, count: int, within_s: float) -> None:
        """Waits until all so many targets of a job have answered 401."""
        refused = lambda: [health == "down" and "401" in error for health, error in self.answers(of)]  # noqa: E731
        if not Dev.wait(lambda: refused() == [True] * count, within_s):
            fail(f"{count} targets of {of} should answer 401, after {within_s} s: {self.answers(of)}")

    def evaluates(self, alert: str, within_s: float) -> None:
        """Waits until the rule has been looked at, without an error."""

        def looked_at() -> bool:
            rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
            return any(rule["name"] == alert and rule["health"] == "ok" for rule in rules)

        if not Dev.wait(looked_at, within_s):
            fail(f"Prometheus does not evaluate {alert}")

    def fires(self, alert: str, within_s: float, **labels: str) -> None:
        """Waits until the alert fires with these labels, and looks at where it leads."""

        def found() -> dict | None:
            wanted = {"alertname": alert} | labels
            return next((one for one in self.firing() if wanted.items() <= one["labels"].items()), None)

        fired = Dev.wait(found, within_s)
        if not fired:
            fail(f"{alert} {labels} does not fire within {within_s} s; {sorted(self.names())} do")
        page = fired["annotations"]["runbook_url"].rsplit("/", 1)[1]
        if page != f"{alert}.md" or not (REPO / "docs/runbooks" / page).is_file():
            fail(f"{alert} leads to {fired['annotations']['runbook_url']}, which is no page of its own")
        self.raised.add(alert)

    def is_over(self, alert: str, within_s: float, **labels: str) -> None:
        """Waits until the alert does not fire with these labels any more."""
        wanted = {"alertname": alert} | labels
        if not Dev.wait(lambda: not any(wanted.items() <= one["labels"].items() for one in self.firing()), within_s):
            fail(f"{alert} {labels} still fires {within_s} s after its cause was mended")


def tested() -> set[str]:
    """Runs the unit tests of the rules; gives the alerts that fire in them."""
    ended = subprocess.run([os.environ["PROMTOOL"], "test", "rules", str(TESTS)], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        fail(f"promtool test rules: {(ended.stdout + ended.stderr)[-600:]}")
    cases = re.findall(r"alertname: (\w+)\n\s+exp_alerts:(?: \[\])?\n(\s+- exp_labels)?", TESTS.read_text())
    return {name for name, fires in cases if fires}
