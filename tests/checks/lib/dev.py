"""A development deployment as checks see it: dev.json, its processes, requests to it.

Processes are only ever signalled by pid, after /proc confirmed that the pid is still the process that is meant.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

POLL_S = 0.02
# Servers close connections that rest longer than their idle_timeout.
IDLE_S = 5


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fail(text: str) -> None:
    """Ends the check; the line is its reason."""
    print(text, flush=True)
    sys.exit(1)


def layout(key: str) -> dict:
    """Where a file's bytes lie, as `stat --layout` tells it."""
    command = [os.environ["FLOTILLA"], "stat", f"demo/{key}", "--layout", "--json"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0:
        fail(f"{key}: stat ended with {result.returncode}: {result.stderr.strip()}")
    document = json.loads(result.stdout)
    return document.get("layout", document)


def start_ticks(pid: int) -> int | None:
    """The start time of a live process in clock ticks since boot; None when it is gone or a zombie."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        # A killed process is a zombie by its first thread while others still hold its ports.
        ended = rest[0] == "Z" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except (OSError, IndexError):
        return None
    return None if ended else int(rest[19])


def exit_code(pid: int) -> tuple[int] | None:
    """The exit code of a child of ours that has ended, in a tuple, since 0 is one."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return (-1,)
    return (os.waitstatus_to_exitcode(status),) if ended else None


def wait_gone(pid: int, ticks: int, within_s: float) -> bool:
    """Waits until the process is gone; reaps it when it is our child."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
        if start_ticks(pid) != ticks:
            return True
        time.sleep(POLL_S)
    return False


class Answer:
    """One HTTP answer, read whole."""

    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def problem(self) -> dict:
        """The problem document, or an empty one."""
        if not self.headers.get("content-type", "").startswith("application/problem+json"):
            return {}
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def code(self) -> str:
        return self.problem().get("code", "")

    def etag(self) -> str:
        return self.headers.get("etag", "").strip('"')

    def cluster(self) -> str:
        return self.headers.get("flotilla-cluster", "")


class Client:
    """One kept connection to one listener."""

    def __init__(self, url: str, token: str, timeout_s: float = 30):
        parts = urllib.parse.urlsplit(url)
        self.token = token
        self.used = time.monotonic()
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)

    def request(self, method: str, path: str, body: bytes | None = None, headers: dict | None = None) -> Answer:
        sent = {"Authorization": f"Bearer {self.token}"} | (headers or {})
        if time.monotonic() - self.used > IDLE_S:
            self.connection.close()  # the server may close it at the same moment
        self.used = time.monotonic()
        try:
            self.connection.request(method, path, body=body, headers=sent)
            got = self.connection.getresponse()
            return Answer(got.status, got.headers, got.read())
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise

    def file(self, method: str, key: str, body: bytes | None = None, headers: dict | None = None) -> Answer:
        return self.request(method, f"/v1/files/demo/{urllib.parse.quote(key)}", body, headers)


class Process:
    """One server of the deployment."""

    def __init__(self, entry: dict):
        self.name, self.role, self.cluster = entry["name"], entry["role"], entry.get("cluster")
        self.node_id = entry.get("node_id")
        self.public, self.ops, self.peer = entry["public"], entry["ops"], entry["peer"]
        self.argv, self.env, self.cwd = entry["argv"], entry["env"], entry["cwd"]
        self.data_dir, self.log_file = Path(entry["data_dir"]), entry["log_file"]
        self.pid, self.ticks = entry["pid"], entry["start_ticks"]

    def connect_ops(self, timeout_s: float) -> http.client.HTTPConnection:
        """The way to the operations listener."""
        parts = urllib.parse.urlsplit(self.ops)
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)

    def get(self, path: str, timeout_s: float = 1) -> Answer | None:
        """Asks the operations listener; None when nobody answers."""
        try:
            with contextlib.closing(self.connect_ops(timeout_s)) as connection:
                connection.request("GET", path)
                got = connection.getresponse()
                return Answer(got.status, got.headers, got.read())
        except (OSError, http.client.HTTPException):
            return None

    def metric(self, name: str, label: str = "") -> float | None:
        """The sum of a metric's samples whose labels contain `label`; None when there is no answer or sample."""
        answer = self.get("/metrics")
        if answer is None or answer.status != 200:
            return None
        found = re.findall(rf"^{name}(\{{[^}}]*\}})? (\S+)$", answer.body.decode(), re.M)
        values = [float(value) for labels, value in found if label in labels]
        return sum(values) if values else None

    def leads(self) -> bool:
        return self.metric("flotilla_raft_is_leader") == 1

    def ready(self) -> bool:
        answer = self.get("/readyz", 3)
        return answer is not None and answer.status == 200

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.ticks

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.alive():
            os.kill(self.pid, number)

    def rss_peak_bytes(self) -> int:
        """The largest resident size since the process began."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.M).group(1)) * 1024


class Dev:
    """The deployment in one folder."""

    def __init__(self, folder: str | None = None, work: str | None = None):
        self.dir = Path(folder or os.environ["DIR"])
        self.work = Path(work or os.environ["WORK"])
        self.document = json.loads((self.dir / "dev.json").read_text())
        self.api = self.document["api"][0]
        self.token = Path(self.document["token_file"]).read_text().strip()
        self.processes = [Process(entry) for entry in self.document["processes"]]
        self.nodes = [p for p in self.processes if p.role == "node"]
        self.supernodes = [p for p in self.processes if p.role == "supernode"]
        self.clusters = sorted({p.cluster for p in self.nodes})

    def client(self, url: str | None = None, timeout_s: float = 30) -> Client:
        return Client(url or self.api, self.token, timeout_s)

    def of_cluster(self, cluster: str) -> list[Process]:
        return [p for p in self.nodes if p.cluster == cluster]

    def leader(self, cluster: str, within_s: float = 10) -> Process:
        found = self.wait(lambda: next((p for p in self.of_cluster(cluster) if p.leads()), None), within_s)
        return found or fail(f"cluster {cluster} has no leader after {within_s} s")

    def newcomer(self, name: str, at: int | Process, like: Process, join: list[str]) -> Process:
        """A server as `like`, with a folder of its own and ports of its own or of another one, that joins the group of those peer
        addresses; not started. A supernode gets no root key."""
        if isinstance(at, Process):
            public, peer, ops = (url.removeprefix("http://") for url in (at.public, at.peer, at.ops))
        else:
            public, peer, ops = (f"127.0.0.1:{at + n}" for n in range(3))
        folder = self.dir / (like.cluster or "") / name
        own = {"name": name, "data_dir": str(folder), "public": public, "peer": peer, "ops": ops}
        kept = [text for text in like.argv[3::2] if text.split("=", 1)[0] not in {*own, "root_key_file"}]
        argv = [like.argv[0], like.role, "join", ",".join(join)]
        for text in kept + [f"{key}={value}" for key, value in own.items()]:
            argv += ["--set", text]
        entry = {
            "name": name, "role": like.role, "cluster": like.cluster, "node_id": None, "argv": argv, "env": like.env,
            "cwd": like.cwd, "public": f"http://{public}", "peer": peer, "ops": f"http://{ops}", "pid": 0,
            "start_ticks": None, "data_dir": own["data_dir"], "log_file": str(self.dir / "log" / f"{name}.log"),
        }
        of_role = self.nodes if like.role == "node" else self.supernodes
        of_role.append(Process(entry))
        return of_role[-1]

    def ends_with(self, process: Process, code: int, says: str, within_s: float = 20) -> None:
        """Starts a process that has to end with this code and a last word like that."""
        self.start(process)
        status = self.wait(lambda: exit_code(process.pid), within_s)
        last = Path(process.log_file).read_text().splitlines()[-1]
        if status != (code,) or says not in last:
            fail(f"{process.name} should end with {code} and say '{says}'; it ended with {status} and said: {last[-600:]}")

    def start(self, process: Process, env: dict | None = None, wrapper: list[str] | None = None) -> None:
        """Starts a process as dev.json says, in a session of its own, and notes its pid for the clean-up."""
        with open(process.log_file, "ab") as log:
            child = subprocess.Popen(
                (wrapper or []) + process.argv,
                env=process.env | (env or {}),
                cwd=process.cwd or None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process.pid, process.ticks = child.pid, start_ticks(child.pid)
        with open(self.work / "started", "a") as started:
            started.write(f"{process.pid} {process.ticks}\n")

    def wait_ready(self, processes: list[Process], within_s: float = 30) -> float:
        """Waits until all are ready; gives the seconds that it took."""
        begun = time.monotonic()
        if not self.wait(lambda: all(p.ready() for p in processes), within_s):
            late = [p.name for p in processes if not p.ready()]
            fail(f"not ready after {within_s} s: {' '.join(late)}")
        return time.monotonic() - begun

    def kill_all(self, processes: list[Process]) -> None:
        for process in processes:
            process.kill()
        for process in processes:
            if process.ticks is not None and not wait_gone(process.pid, process.ticks, 20):
                fail(f"{process.name} does not end after SIGKILL")

    @staticmethod
    def wait(probe, within_s: float):
        """Polls until the probe gives something true; gives that, or None in the end."""
        end = time.monotonic() + within_s
        while True:
            found = probe()
            if found:
                return found
            if time.monotonic() > end:
                return None
            time.sleep(POLL_S)


def must(answer: Answer, status: int, what: str) -> Answer:
    if answer.status != status:
        fail(f"{what}: answered {answer.status} {answer.code()}, not {status}")
    return answer


def flotilla(*arguments: str, within_s: float = 30) -> subprocess.CompletedProcess:
    """Runs `flotilla …` to its end."""
    command = [os.environ["FLOTILLA"], *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s, check=False)


def flotilla_json(*arguments: str, code: int = 0) -> list[dict]:
    """Runs `flotilla … --json` to its end, which has to be `code`; gives its lines."""
    ended = flotilla(*arguments, "--json", within_s=180)
    if ended.returncode != code:
        fail(f"{' '.join(arguments)} ended with {ended.returncode}, not {code}: {(ended.stdout + ended.stderr).strip()[-600:]}")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def node(*arguments: str, within_s: float = 30) -> subprocess.CompletedProcess:
    """Runs `flotilla node …` to its end."""
    return flotilla("node", *arguments, within_s=within_s)


def ledger(*arguments: str) -> subprocess.CompletedProcess:
    """Runs `flotilla loadtest ledger …` to its end."""
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)


def ledger_acked(path: Path) -> int:
    """Counts the operations of a ledger that were acked; a torn last line does not count."""
    acked = 0
    for line in path.read_text(errors="replace").splitlines():
        try:
            status = json.loads(line).get("status")
        except ValueError:
            continue
        acked += isinstance(status, int) and 200 <= status < 300
    return acked


def ledger_verdict(path: Path, acked_min: int) -> str:
    """Checks a ledger against the deployment; gives figures, or ends the check."""
    acked = ledger_acked(path)
    if acked < acked_min:
        fail(f"only {acked} acked operations, {acked_min} are needed to mean something")
    result = ledger("check", "--file", str(path))
    if result.returncode != 0:
        note(result.stdout + result.stderr)
        bad = [line for line in result.stdout.splitlines() if re.match(r"(LOST|STALE|RESURRECTED|CORRUPT) ", line)]
        fail(f"ledger check ended with {result.returncode}: {len(bad)} findings, first: {(bad or ['none'])[0]}")
    return f"acked={acked} findings=0"
