"""Three supernodes and two clusters as pods: they form, serve, are killed, restarted, scaled, and lose a disk, or are told to trust it, under the ledger.

MANIFESTS, JOBS and ACCEPT name the rendered manifests as JSON, IMAGE the image, NETWORK a network of podman with the addresses SUBNET.0/24,
PREFIX what the pods' names begin with. LIMITS=no leaves out limits of memory where control groups can't set them. PACE=1 lets DNS
and probes take as long as they do in the field. LOAD=yes runs the load test's Jobs as they are, and not with a small profile.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import pods  # noqa: E402
import watched  # noqa: E402
from census import chunks_of, clean_within  # noqa: E402
from dev import Client, fail, flotilla, ledger_acked, ledger_verdict, note, start_ticks  # noqa: E402
from kubelet import Kubelet, Pod  # noqa: E402

# Nine servers start on few processors.
FORM_S, READY_S = 120, 60
DRAIN_S, REMOVE_S, JOIN_S, REPAIR_S, HEAL_S = 120, 60, 90, 120, 300
CONFIG, DISK = 78, 74
LOST_AFTER_MS = 5_500
# The promise of a rolling restart.
GAP_MAX_S = 3
ACKED_MIN = 300
DEMO_BYTES = 20 << 20
# DNS forgets after 5 s and not after 30, and probes ask as much faster; what has to be waited for keeps its proportion.
PACE = 6
# In place of five minutes: longer than any pod is away that comes back.
DOWN_GRACE_S = 30
# The ledger replaces files all the time, and all nodes share one disk here: what was replaced goes soon.
SPACE = {"FLOTILLA_VERSION_LINGER": "5s", "FLOTILLA_PURGE_INTERVAL": "5s"}
COPIES = 2
# Files that a new node gets a copy of, and how many are written at most until it has these; one in four goes there.
COPIED, WRITTEN_MAX, FILE_BYTES = 20, 300, 256 << 10
# The end of a run that was late, or did not keep its thresholds.
MISSED = 1


class Ledger:
    """Clients that write until they are told to end, and what they were told."""

    def __init__(self, work: Path, name: str):
        self.file, self.begun_ns = work / f"ledger-{name}", time.time_ns()
        command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(self.file), "--clients", "2"]
        with open(work / f"ledger-{name}.log", "wb") as log:
            self.run = subprocess.Popen(command + ["--seconds", "3600"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        # Who cleans up ends it, if this process can't.
        with open(work / "started", "a") as started:
            started.write(f"{self.run.pid} {start_ticks(self.run.pid)}\n")

    def still_runs(self) -> None:
        if self.run.poll() is not None:
            fail(f"the ledger ended with {self.run.returncode} too early")

    def end(self) -> None:
        if self.run.poll() is None:
            self.run.send_signal(signal.SIGINT)
            try:
                self.run.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.run.kill()
                self.run.wait()

    def gap_s(self, begin_ns: int, end_ns: int) -> float:
        """The longest time without a write that succeeded."""
        at = [begin_ns, end_ns]
        for text in self.file.read_text(errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if 200 <= (line.get("status") or 0) < 300 and begin_ns <= line["answered_ns"] <= end_ns:
                at.append(line["answered_ns"])
        at.sort()
        return max(later - earlier for earlier, later in zip(at, at[1:])) / 1e9


def members(cluster: str) -> dict[int, dict]:
    """The members of a cluster by their ids."""
    result = flotilla("node", "list", "--cluster", cluster, "--json")
    if result.returncode != 0:
        return {}
    return {entry["id"]: entry for entry in map(json.loads, result.stdout.splitlines())}


def id_of(pod: Pod) -> int:
    for number, entry in members(pod.cluster).items():
        if entry["peer"] == pod.peer:
            return number
    fail(f"{pod.name} is no member of {pod.cluster}: {members(pod.cluster)}")


def ordered(*arguments: str, within_s: float) -> None:
    result = flotilla("node", *arguments, within_s=within_s)
    if result.returncode != 0:
        fail(f"node {' '.join(arguments)} ended with {result.returncode}: {result.stderr.strip()}")


def form(kubelet: Kubelet) -> float:
    """All pods at once, in no order, and nothing else is done."""
    begun = time.monotonic()
    for pod in reversed(kubelet.pods):
        pod.create()
    if not Pod.wait(lambda: kubelet.resolver.heard > 0, FORM_S):
        fail(f"no pod asks for a name: a firewall of this machine may keep pods from {kubelet.place.dns}")
    for pod in kubelet.pods:
        pod.wait_ready(FORM_S)
    return time.monotonic() - begun


def looks_as_told(kubelet: Kubelet) -> None:
    """Probes without a shell, a root that can't be written, a user that is not root."""
    for pod in (kubelet.supernodes[0], kubelet.of_cluster("a")[0]):
        for asked in ("live", "ready"):
            result = pod.run("healthcheck", asked)
            if result.returncode != 0:
                fail(f"{pod.name}: healthcheck {asked} ended with {result.returncode}: {result.stderr.strip()}")
        if not (pod.probe("startup") and pod.probe("liveness")):
            fail(f"{pod.name} is ready, and its other probes fail")
        if pod.run("fleet-secret", "/etc/other.secret").returncode == 0:
            fail(f"{pod.name} can write outside of its volume")
        for shell in ("/bin/sh", "/bin/bash", "/usr/bin/sh"):
            if subprocess.run(["podman", "exec", pod.container, shell, "-c", "true"], capture_output=True, check=False).returncode == 0:
                fail(f"the image has {shell}")
        status = Path(f"/proc/{process_of(pod)}/status").read_text()
        if "Uid:\t65532" not in status or "CapEff:\t0000000000000000" not in status or "NoNewPrivs:\t1" not in status:
            fail(f"{pod.name} has more rights than it should:\n{status}")


def process_of(pod: Pod) -> int:
    return int(subprocess.run(["podman", "inspect", "--format", "{{.State.Pid}}", pod.container], capture_output=True, text=True, check=True).stdout)


def serves_the_demo(kubelet: Kubelet, token: str, content: bytes) -> None:
    """A bucket by the image's own command line, then a file in by one supernode and out by each."""
    made = kubelet.supernodes[0].run("bucket", "create", "demo", "--api", "http://127.0.0.1:7401", "--token-file", "/etc/flotilla/root.key")
    if made.returncode != 0:
        fail(f"bucket create ended with {made.returncode}: {made.stderr.strip()}")
    put = Client(kubelet.supernodes[0].url(), token).file("PUT", "pods/demo", content)
    if put.status != 201:
        fail(f"the demo file is answered with {put.status} {put.body[:200]}")
    still_there(kubelet, token, content)
    clusters = {entry["name"]: len(entry["nodes"]) for entry in map(json.loads, flotilla("status", "--json").stdout.splitlines())}
    if clusters != {"a": 3, "b": 3}:
        fail(f"the supernodes know the clusters {clusters}")


def still_there(kubelet: Kubelet, token: str, content: bytes) -> None:
    for pod in kubelet.supernodes:
        got = Client(pod.url(), token).file("GET", "pods/demo")
        if got.status != 200 or got.body != content:
            fail(f"{pod.name} answers the demo file with {got.status} and {len(got.body)} bytes")


def kills(kubelet: Kubelet, ledger: Ledger) -> float:
    """Each pod in turn; the kubelet starts its container again."""
    begun = time.time_ns()
    for pod in list(kubelet.pods):
        led = pod.leads()
        pod.kill()
        pod.restart()
        took = pod.wait_ready(READY_S)
        note(f"{pod.name}{' (leader)' if led else ''} killed, ready {took:.1f} s after its restart")
        ledger.still_runs()
    return ledger.gap_s(begun, time.time_ns())


def rolling_restart(kubelet: Kubelet, ledger: Ledger) -> tuple[float, float]:
    """As the StatefulSet controller does it: the last pod first, and the next one when that is ready. Each gets a new address."""
    begun, slowest = time.time_ns(), 0.0
    for of in pods.sets(kubelet.documents):
        for pod in reversed([pod for pod in kubelet.pods if pod.set is of]):
            led = pod.leads()
            ended = pod.delete()
            pod.create()
            ready = pod.wait_ready(READY_S)
            slowest = max(slowest, ended)
            note(f"{pod.name}{' (leader)' if led else ''} ended in {ended:.1f} s, its successor is ready after {ready:.1f} s")
            ledger.still_runs()
    gap = ledger.gap_s(begun, time.time_ns())
    if gap > GAP_MAX_S:
        fail(f"a rolling restart kept all writes waiting for {gap:.2f} s, {GAP_MAX_S} s are promised")
    return gap, slowest


def scale(kubelet: Kubelet, ledger: Ledger) -> None:
    """One node more, and one node less, as docs/OPERATIONS.md says."""
    of = kubelet.of_cluster("a")[0].set
    more = kubelet.more(of, of["spec"]["replicas"])
    took = more.wait_ready(JOIN_S)
    number = id_of(more)
    note(f"{more.name} joined as node {number} and is ready after {took:.1f} s")
    ordered("drain", str(number), "--cluster", "a", within_s=DRAIN_S)
    ordered("remove", str(number), "--cluster", "a", within_s=REMOVE_S)
    if not more.wait(lambda: more.state() == "exited", 30) or more.exit_code() != CONFIG:
        fail(f"{more.name} was removed; it is {more.state()}: {more.last_words()}")
    more.remove()
    kubelet.pods.remove(more)
    kubelet.empty(more)
    is_no_member(number, of)
    ledger.still_runs()


def is_no_member(number: int, of: dict) -> None:
    left = members("a")
    if number in left or len(left) != of["spec"]["replicas"]:
        fail(f"without node {number} the members of a are {sorted(left)}")


def copied_to(kubelet: Kubelet, number: int) -> dict[str, bytes]:
    """Writes files until so many have a copy on that node of a; gives these."""
    client, contents = kubelet.client(), {}
    for written in range(WRITTEN_MAX):
        key, content = f"undrained/{written}", os.urandom(FILE_BYTES)
        answer = client.file("PUT", key, content)
        if answer.status != 201:
            fail(f"{key}: PUT is answered with {answer.status} {answer.code()}")
        if answer.cluster() == "a" and number in copies(client, key)[0]:
            contents[key] = content
        if len(contents) == COPIED:
            return contents
    fail(f"of {WRITTEN_MAX} files only {len(contents)} have a copy on node {number} of a")


def copies(client: Client, key: str) -> list[list[int]]:
    """The nodes that have a copy of each chunk."""
    return [[copy["node"] for copy in chunk["replicas"]] for _, chunk in chunks_of(client, key)]


def undrained(kubelet: Kubelet, ledger: Ledger) -> None:
    """A pod less without a drain, and its volume is gone, too: a dead node. What it had is copied, and its place is freed by hand."""
    of = kubelet.of_cluster("a")[0].set
    more = kubelet.more(of, of["spec"]["replicas"])
    more.wait_ready(JOIN_S)
    number = id_of(more)
    contents = copied_to(kubelet, number)
    more.delete()
    kubelet.pods.remove(more)
    kubelet.empty(more)
    begun, client = time.monotonic(), kubelet.client()
    elsewhere = lambda key: [[node for node in held if node != number] for held in copies(client, key)]  # noqa: E731
    whole = lambda: all(len(held) >= COPIES for key in contents for held in elsewhere(key))  # noqa: E731
    if not more.wait(whole, DOWN_GRACE_S + REPAIR_S):
        fail(f"node {number} is gone, and other nodes with copies are {[elsewhere(key) for key in contents]}")
    note(f"{more.name} went without a drain; {len(contents)} files have their copies elsewhere after {time.monotonic() - begun:.1f} s")
    for key, content in contents.items():
        got = client.file("GET", key)
        if got.status != 200 or got.body != content:
            fail(f"{key} is answered with {got.status} and {len(got.body)} bytes")
    if not more.wait(lambda: number in members("a"), 10):
        fail(f"node {number} lost its place by itself: {members('a')}")
    ordered("remove", str(number), "--cluster", "a", "--lost", within_s=REMOVE_S)
    is_no_member(number, of)
    ledger.still_runs()


def new_disk(kubelet: Kubelet, ledger: Ledger) -> None:
    """The first member of a cluster loses its volume; with the same settings its pod joins as a new node."""
    pod = kubelet.of_cluster("b")[0]
    number = id_of(pod)
    pod.kill()
    pod.remove()
    kubelet.empty(pod)
    pod.create()
    if not pod.wait(lambda: pod.state() == "exited", 60) or pod.exit_code() != CONFIG:
        fail(f"{pod.name} has a new disk and the old one's place; it is {pod.state()}: {pod.last_words()}")
    if "has another disk" not in pod.last_words():
        fail(f"{pod.name} does not say what to do: {pod.last_words()}")
    # One that was heard a moment ago is not taken for lost.
    if not pod.wait(lambda: members("b").get(number, {}).get("silent_ms", 0) > LOST_AFTER_MS, READY_S):
        fail(f"node {number} of b has no disk, and is heard of: {members('b')}")
    ordered("remove", str(number), "--cluster", "b", "--lost", within_s=REMOVE_S)
    pod.restart()
    took = pod.wait_ready(JOIN_S)
    new = id_of(pod)
    if new == number:
        fail(f"{pod.name} has the id {number} of the lost node")
    if not pod.wait(lambda: members("b").get(new, {}).get("role") in ("voter", "leader"), JOIN_S):
        fail(f"{pod.name} gets no vote: {members('b')}")
    note(f"{pod.name} joined as node {new} in place of {number}, ready after {took:.1f} s")
    ledger.still_runs()


def accepts_a_disk(kubelet: Kubelet, ledger: Ledger) -> None:
    """A node whose disk is marked as failed starts no more, until the pod of k8s/examples took the mark away."""
    pod = kubelet.of_cluster("b")[1]
    number, mark = id_of(pod), pod.volume / "data" / "metadata.failed"
    pod.kill()
    mark.write_text("planted")
    pod.restart()
    if not pod.wait(lambda: pod.state() == "exited", 60) or pod.exit_code() != DISK:
        fail(f"the disk of {pod.name} is marked as failed; it is {pod.state()}: {pod.last_words()}")
    if "accept-disk" not in pod.last_words():
        fail(f"{pod.name} does not say what to do: {pod.last_words()}")
    pod.remove()
    (document,) = json.loads(Path(os.environ["ACCEPT"]).read_text())
    document["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = pod.claim
    code = kubelet.step(pods.once(document, kubelet.place))
    if code != 0 or mark.exists():
        fail(f"the disk of {pod.name} was accepted with {code}; its mark is {'still there' if mark.exists() else 'gone'}")
    pod.create()
    took = pod.wait_ready(READY_S)
    if id_of(pod) != number:
        fail(f"{pod.name} was node {number} of b, and with the same disk it is {id_of(pod)}")
    note(f"{pod.name} has its disk accepted, ready after {took:.1f} s")
    ledger.still_runs()


def main() -> None:
    work = Path(os.environ["WORK"])
    documents = json.loads(Path(os.environ["MANIFESTS"]).read_text())
    token = (work / "secrets" / "fleet.secret+root.key" / "root.key").read_text().strip()
    place = pods.Place(
        os.environ["PREFIX"],
        os.environ["IMAGE"],
        str(work / "volumes"),
        str(work / "secrets"),
        # The network's gateway, which is this machine.
        f"{os.environ['SUBNET']}.1",
        os.environ.get("LIMITS") != "no",
        {"node": {"FLOTILLA_DOWN_GRACE": f"{DOWN_GRACE_S}s", **SPACE}},
    )
    pace = float(os.environ.get("PACE") or PACE)
    kubelet = Kubelet(documents, place, os.environ["NETWORK"], os.environ["SUBNET"], pace, work, token)
    os.environ["FLOTILLA_API"] = kubelet.url()
    os.environ["FLOTILLA_TOKEN"] = token
    content = os.urandom(DEMO_BYTES)
    figures, files = {}, []
    try:
        figures["formed_s"] = form(kubelet)
        note(f"{len(kubelet.pods)} pods are ready after {figures['formed_s']:.1f} s")
        looks_as_told(kubelet)
        watched.look(kubelet, work)
        serves_the_demo(kubelet, token, content)
        phases = {"kills": kills, "rolling": rolling_restart, "scale": scale, "undrained": undrained, "disk": new_disk, "accept": accepts_a_disk}
        for name, phase in phases.items():
            ledger = Ledger(work, name)
            files.append(ledger.file)
            try:
                # Some writes before anything happens.
                if not Pod.wait(lambda: ledger.file.exists() and ledger_acked(ledger.file) >= 20, 30):
                    fail(f"nothing is written before {name}")
                result = phase(kubelet, ledger)
            finally:
                ledger.end()
            if name == "kills":
                figures["kills_gap_s"] = result
            elif name == "rolling":
                figures["rolling_gap_s"], figures["slowest_end_s"] = result
            still_there(kubelet, token, content)
        load(kubelet, work)
        acked = 0
        for file in files:
            ledger_verdict(file, 1)
            acked += ledger_acked(file)
        if acked < ACKED_MIN:
            fail(f"only {acked} acked operations, {ACKED_MIN} are needed to mean something")
        figures["healed_s"] = heal(kubelet)
    finally:
        kubelet.end()
    print(f"pods={len(kubelet.pods)} acked={acked} lost=0 " + " ".join(f"{name}={value:.2f}" for name, value in figures.items()))


def heal(kubelet: Kubelet) -> float:
    """In the end nothing is left to find, and all pods are ready; gives the seconds that it took."""
    begun = time.monotonic()
    clean_within(HEAL_S)
    still = [pod.name for pod in kubelet.pods if not pod.ready()]
    if still:
        fail(f"at the end these are not ready: {still}")
    return time.monotonic() - begun


def load(kubelet: Kubelet, work: Path) -> None:
    """The Jobs of the load test, step by step. A run that fails is no failure here: that its report is stored is what counts."""
    documents = json.loads(Path(os.environ["JOBS"]).read_text())
    claim = next(document for document in documents if document["kind"] == "PersistentVolumeClaim")
    reports = work / "volumes" / claim["metadata"]["name"]
    reports.mkdir(parents=True)
    os.chown(reports, 65532, 65532)
    profiles = []
    for job in [document for document in documents if document["kind"] == "Job"]:
        for document in pods.steps(job, kubelet.place):
            (step,) = document["spec"]["containers"]
            runs = step["args"][:2] == ["loadtest", "run"]
            if runs and os.environ.get("LOAD") != "yes":
                step["args"] = [*step["args"][:2], "smoke", *step["args"][3:], "--scale=0.5"]
            profiles += step["args"][2:3] if runs else []
            code = kubelet.step(document)
            if code not in ((0, MISSED) if runs else (0,)):
                fail(f"the step {step['name']} of {job['metadata']['name']} ended with {code}")
    listed = flotilla("ls", "-r", "loadtest/reports", "--json")
    stored = re.findall(r'/([a-z]+)-[^/"]*\.json"', listed.stdout)
    if listed.returncode != 0 or len(profiles) != 2 or sorted(stored) != sorted(profiles):
        fail(f"of the reports of {profiles} these are stored: {stored}; {listed.stdout[-400:]} {listed.stderr[-400:]}")


main()
