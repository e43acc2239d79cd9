"""A fleet of real processes, each on a host of its own: one supernode and one cluster, as `dev up` would start them.

It writes the same dev.json as `dev up`, so that everything that the named checks have works here too.
"""

import http.client
import json
import os
import secrets
import subprocess
import time
import urllib.parse
from pathlib import Path

import net as network
from dev import Dev, Process, fail, note, start_ticks

PUBLIC, PEER, OPS = 7400, 7401, 7402
CLUSTER = "a"
# A debug build on a busy machine takes its time for the first start.
READY_WITHIN_S = 90


class Host(Process):
    """One server; its operations listener is asked on its own loopback, past every fault of the network."""

    net: network.Net

    def connect_ops(self, timeout_s: float) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", OPS, timeout=timeout_s)
        connection.sock = self.net.connect(self.name, OPS, timeout_s)
        return connection

    @property
    def address(self) -> str:
        return urllib.parse.urlsplit(self.public).hostname or ""


class Lab(Dev):
    """The fleet. Made once by each run of a row; run.sh ends what is left of it."""

    def __init__(self, nodes: int = 3, settings: dict[str, str] | None = None, spare: int = 0, start: bool = True, own: dict[str, dict] | None = None):
        self.dir, self.work = Path(os.environ["DIR"]), Path(os.environ["WORK"])
        self.settings, self.own = settings or {}, own or {}
        members = {"supernode-1": "10.66.1.1"} | {f"a-n{n}": f"10.66.2.{n}" for n in range(1, nodes + spare + 1)}
        self.net = network.Net(os.environ["CHAOS_PREFIX"], members, os.environ["WORK"] + "/namespaces")
        (self.dir / "log").mkdir(parents=True, exist_ok=True)
        secret = self.dir / "fleet.secret"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_hex(32))
        voters = [f"a-n{n}" for n in range(1, nodes + 1)]
        entries = [self.entry("supernode-1", ["supernode-1"])]
        entries += [self.entry(f"a-n{n}", voters) for n in range(1, nodes + spare + 1)]
        token_file = self.dir / "root.key"
        api = [f"http://{members['supernode-1']}:{PUBLIC}"]
        document = {"schema": 1, "state": "ready", "api": api, "token_file": str(token_file), "bucket": "demo"}
        (self.dir / "dev.json").write_text(json.dumps(document | {"processes": entries}, indent=1))
        Host.net = self.net
        self.document, self.api, self.token = document, api[0], ""
        self.processes = [Host(entry) for entry in entries]
        self.supernodes = [p for p in self.processes if p.role == "supernode"]
        everyone = [p for p in self.processes if p.role == "node"]
        self.nodes, self.spares = everyone[:nodes], everyone[nodes:]
        self.clusters = [CLUSTER]
        if start:
            self.start_all()

    def entry(self, name: str, members: list[str], data: str | None = None) -> dict:
        """A process as dev.json describes it; its settings lie in a file of its own."""
        role = "supernode" if name.startswith("supernode") else "node"
        address = self.net.hosts[name]
        peers = lambda names: [f"{self.net.hosts[one]}:{PEER}" for one in names]
        data_dir = self.dir / (data or name)
        told: dict = {
            "name": name,
            "data_dir": str(data_dir),
            "public": f"{address}:{PUBLIC}",
            "peer": f"{address}:{PEER}",
            "ops": f"127.0.0.1:{OPS}",
            "initial_members": peers(members),
            "fleet_secret_file": str(self.dir / "fleet.secret"),
        }
        if role == "node":
            told |= {"cluster": CLUSTER, "supernodes": peers(["supernode-1"])} | self.settings | self.own.get(name, {})
        else:
            told |= {"root_key_file": str(self.dir / "root.key")}
            told |= {k: v for k, v in self.settings.items() if k == "claim_idle"}
        file = self.dir / f"{name}.toml"
        file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items()))
        passed = ("PATH", "HOME", "TMPDIR", "RUST_BACKTRACE", "FLOTILLA_LOG", "FAILPOINTS")
        return {
            "name": name,
            "role": role,
            "cluster": CLUSTER if role == "node" else None,
            "node_id": None,
            "pid": 0,
            "start_ticks": 0,
            "argv": [*self.net.inside(name), os.environ["FLOTILLA"], role, "--config", str(file)],
            "env": {key: os.environ[key] for key in passed if key in os.environ},
            "cwd": str(self.dir),
            "public": f"http://{address}:{PUBLIC}",
            "peer": f"{address}:{PEER}",
            "ops": f"http://127.0.0.1:{OPS}",
            "data_dir": str(data_dir),
            "log_file": str(self.dir / "log" / f"{name}.log"),
        }

    def start_all(self) -> None:
        """Starts everything, makes the bucket and learns the nodes' ids."""
        for process in self.supernodes + self.nodes:
            self.start(process)
        self.open()

    def open(self) -> None:
        """Waits for the first start of all, whoever started them."""
        self.wait_ready(self.supernodes + self.nodes, READY_WITHIN_S)
        self.know()
        (self.work / "revision").write_text(json.loads(self.nodes[0].get("/healthz").body)["rev"])
        made = self.client().request("PUT", "/v1/buckets/demo")
        if made.status not in (200, 201):
            fail(f"the bucket was answered {made.status} {made.code()}")
        # Documents reach the nodes a moment later.
        known = lambda p: self.client(p.public).file("GET", "nothing").code() == "file_not_found"
        if not self.wait(lambda: all(known(p) for p in self.nodes), 30):
            fail("the nodes don't know the bucket after 30 s")

    def know(self) -> None:
        """Reads the root key, and the ids that the cluster gave its nodes."""
        self.token = (self.dir / "root.key").read_text().strip()
        os.environ["FLOTILLA_API"], os.environ["FLOTILLA_TOKEN"] = self.api, self.token
        for member in self.members():
            for process in self.nodes + self.spares:
                if process.name == member["name"]:
                    process.node_id = member["id"]

    def members(self) -> list[dict]:
        answer = self.client().request("GET", f"/v1/clusters/{CLUSTER}/nodes")
        if answer.status != 200:
            fail(f"the members were answered {answer.status} {answer.code()}")
        return json.loads(answer.body)["items"]

    def end(self) -> None:
        """Ends the fleet and its hosts, for those that need several."""
        self.kill_all([p for p in self.processes if p.ticks])
        self.net.remove()

    def by_name(self, name: str) -> Process:
        return next(p for p in self.processes if p.name == name)

    def now_leads(self, within_s: float = 15) -> Process:
        """The leader; a deposed one that has not noticed yet has a lower term."""

        def find() -> Process | None:
            leading = [p for p in self.nodes if p.alive() and p.leads()]
            return max(leading, key=lambda p: p.metric("flotilla_raft_term", 'group="a"') or 0, default=None)

        return self.wait(find, within_s) or fail(f"no leader after {within_s} s")

    def make_lead(self, target: Process) -> bool:
        """Makes one of three nodes the leader: the other one that could win can grant votes, and not ask for them."""
        for _ in range(4):
            leader = self.now_leads()
            if leader is target or not target.alive():
                return target.alive()
            third = next(p for p in self.nodes if p not in (leader, target))
            self.net.mute(third.name, PEER, deaf_to=leader.name)
            try:
                # What is acked from now on is on the target's disk, so that the third one can't know more than it.
                time.sleep(0.5)
                self.kill_all([leader])
                self.wait(lambda: not target.alive() or target.leads(), 10)
            finally:
                self.net.unmute(third.name)
            self.start(leader)
            self.wait(leader.ready, 20)
        return False

    def revive(self, processes: list[Process], env: dict | None = None) -> None:
        """Starts those that are dead."""
        for process in processes:
            if not process.alive():
                self.start(process, env)

    def end_ledger(self, run: subprocess.Popen, within_s: float = 60) -> None:
        """Asks a ledger's writer to stop."""
        run.terminate()
        try:
            run.wait(within_s)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()

    def begin_ledger(self, file: Path, seconds: int, seed: int, clients: int = 8) -> subprocess.Popen:
        command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(file)]
        command += ["--clients", str(clients), "--seconds", str(seconds), "--seed", str(seed)]
        with open(self.work / "ledger-run.log", "ab") as log:
            run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        with open(self.work / "started", "a", encoding="utf-8") as started:
            started.write(f"{run.pid} {start_ticks(run.pid)}\n")
        return run

    def still_runs(self, run: subprocess.Popen) -> None:
        if run.poll() is not None:
            fail(f"the ledger's writer ended early with {run.returncode}")


def another(name: str, *arguments, **more) -> Lab:
    """One more fleet, beside those that this run had before; the calling thread becomes its client."""
    os.environ["DIR"] = str(Path(os.environ["WORK"]) / name)
    os.environ["CHAOS_PREFIX"] = f"{os.environ['CHAOS_PREFIX'].split('x')[0]}x{name}"
    return Lab(*arguments, **more)


def sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


__all__ = ["Host", "Lab", "another", "fail", "note", "sleep_until"]
