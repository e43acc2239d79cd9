"""Debian's Prometheus beside a deployment, with our alert rules, whose patience is cut to a twentieth."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from dev import Dev, Process, fail, start_ticks

REPO = Path(__file__).resolve().parent.parent.parent.parent
RULES = REPO / "k8s/monitoring/rules.yaml"
TESTS = REPO / "k8s/monitoring/rules_test.yaml"
# `for: 1m` is 3 s here; windows like [5m] stay, and see what there is.
FASTER = 20
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000}
START_S = 30


def faster(rules: str) -> str:
    """Cuts how long alerts wait before they fire."""
    return re.sub(r"^(\s+for: )(\d+)([smh])$", lambda m: f"{m[1]}{int(m[2]) * UNITS_MS[m[3]] // FASTER}ms", rules, flags=re.M)


class Prometheus:
    """A running Prometheus that scrapes every process once a second."""

    def __init__(self, dev: Dev, port: int):
        self.dev, self.url = dev, f"http://127.0.0.1:{port}"
        folder = dev.work / "prometheus"
        folder.mkdir()
        (folder / "rules.yaml").write_text(faster(RULES.read_text()))
        targets = [process.ops.removeprefix("http://") for process in dev.processes]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yaml")],
            "scrape_configs": [{"job_name": "flotilla", "static_configs": [{"targets": targets}]}],
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
        with open(dev.work / "prometheus.log", "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        with open(dev.work / "started", "a") as started:
            started.write(f"{self.child.pid} {start_ticks(self.child.pid)}\n")
        if not dev.wait(self.ready, START_S):
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

    def fires(self, alert: str, within_s: float, **labels: str) -> None:
        """Waits until the alert fires with these labels, and looks at where it leads."""

        def found() -> dict | None:
            wanted = {"alertname": alert} | labels
            return next((one for one in self.firing() if wanted.items() <= one["labels"].items()), None)

        fired = self.dev.wait(found, within_s)
        if not fired:
            fail(f"{alert} {labels} does not fire within {within_s} s; {sorted(self.names())} do")
        page = fired["annotations"]["runbook_url"].rsplit("/", 1)[1]
        if page != f"{alert}.md" or not (REPO / "docs/runbooks" / page).is_file():
            fail(f"{alert} leads to {fired['annotations']['runbook_url']}, which is no page of its own")

    def is_over(self, alert: str, within_s: float, **labels: str) -> None:
        """Waits until the alert does not fire with these labels any more."""
        wanted = {"alertname": alert} | labels
        if not self.dev.wait(lambda: not any(wanted.items() <= one["labels"].items() for one in self.firing()), within_s):
            fail(f"{alert} {labels} still fires {within_s} s after its cause was mended")


def tested() -> set[str]:
    """Runs the unit tests of the rules; gives the alerts that fire in them."""
    ended = subprocess.run([os.environ["PROMTOOL"], "test", "rules", str(TESTS)], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        fail(f"promtool test rules: {(ended.stdout + ended.stderr)[-600:]}")
    cases = re.findall(r"alertname: (\w+)\n\s+exp_alerts:(?: \[\])?\n(\s+- exp_labels)?", TESTS.read_text())
    return {name for name, fires in cases if fires}
