"""Runs pods with podman as a machine's kubelet would: probes, restarts, and an end in which the hook comes first.

Containers are only ever addressed by their full names, which begin with the test's own prefix.
"""

import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import names
import pods
from dev import Answer, Client, fail, note
from probes import Readiness
from service import Service

PUBLIC, OPS = 7401, 7403
# Of the addresses of a network 10.x.y.0/24: what comes before is this machine's, and no pod gets one that another one had.
FIRST, LAST = 10, 250
POLL_S = 0.1
# A pod that was away is not missed at once by everyone; a kubelet waits so long, too, before it starts a container again.
AWAY_S = 1
# A podman command; the machine may be busy.
COMMAND_S = 120
# The user of the image.
USER = 65532


def podman(*arguments: str, check: bool = True, within_s: float = COMMAND_S) -> subprocess.CompletedProcess:
    """Runs podman to its end; ends the test if it fails and `check` is set."""
    command = ["podman", *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s, check=False)
    if check and result.returncode != 0:
        fail(f"podman {' '.join(arguments)} ended with {result.returncode}: {result.stderr.strip()[-600:]}")
    return result


class Pod:
    """One pod of a StatefulSet, running or not."""

    def __init__(self, kubelet: "Kubelet", statefulset: dict, ordinal: int):
        self.kubelet, self.set, self.ordinal = kubelet, statefulset, ordinal
        self.name = pods.name_of(statefulset, ordinal)
        template = statefulset["spec"]["template"]
        self.full = f"{kubelet.place.prefix}-{self.name}"
        self.container = f"{self.full}-{template['spec']['containers'][0]['name']}"
        self.role = template["metadata"]["labels"]["app.kubernetes.io/component"]
        self.cluster = template["metadata"]["labels"].get("flotilla/cluster")
        self.whole_name = pods.whole_name(statefulset, ordinal, kubelet.documents)
        self.address: str | None = None
        self.readiness: Readiness | None = None
        self.peer = f"{self.name}.{statefulset['spec']['serviceName']}:7402"
        self.claim = pods.claim("data", self.name)
        self.volume = Path(kubelet.place.volumes) / self.claim

    def create(self) -> None:
        """Makes the pod, at a new address, and its volume, unless that is there, and starts it."""
        self.volume.mkdir(parents=True, exist_ok=True)
        os.chown(self.volume, USER, USER)
        self.address = self.kubelet.new_address()
        document = pods.member(self.set, self.ordinal, self.kubelet.place)
        self.kubelet.play(self.full, document, self.address)
        self.kubelet.zone.point(self.whole_name, self.address)
        self.readiness = Readiness(lambda: self.probe("readiness"), pods.probe(self.set, "readiness"), self.kubelet.pace)
        self.readiness.start()

    def kill(self) -> None:
        """Kills the server as the kernel does when memory is short."""
        podman("kill", "--signal", "KILL", self.container)
        self.readiness.reset()
        # Between running and exited podman still takes it apart, and can't start it.
        if not self.wait(lambda: self.state() == "exited", 20):
            fail(f"{self.name} does not end after SIGKILL")

    def restart(self) -> None:
        """Starts a container that has ended, in the same pod."""
        time.sleep(AWAY_S)
        podman("start", self.container)

    def delete(self) -> float:
        """Ends the pod as Kubernetes does: hook, SIGTERM, and only after the whole grace SIGKILL. Gives the seconds until it ended."""
        begun, grace = time.monotonic(), pods.grace_s(self.set)
        # From now on no service names it.
        self.readiness.end()
        hook = pods.hook(self.set)
        if "sleep" in hook:
            time.sleep(hook["sleep"]["seconds"])
        else:
            done = podman("exec", self.container, *hook["exec"]["command"], check=False)
            # The server may be gone before the hook has said so; a refusal says otherwise.
            if done.returncode != 0 and self.state() == "running":
                fail(f"{self.name}: the hook ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        podman("stop", "--time", str(grace), self.container, within_s=grace + COMMAND_S)
        took = time.monotonic() - begun
        code = self.exit_code()
        if code != 0:
            fail(f"{self.name} was asked to end and ended with {code}: {self.last_words()}")
        self.remove()
        return took

    def remove(self) -> None:
        self.readiness.end()
        self.keep_log()
        podman("pod", "rm", "--force", self.full)
        self.kubelet.zone.point(self.whole_name, None)

    def state(self) -> str:
        return podman("inspect", "--format", "{{.State.Status}}", self.container, check=False).stdout.strip()

    def exit_code(self) -> int:
        return int(podman("inspect", "--format", "{{.State.ExitCode}}", self.container).stdout)

    def last_words(self) -> str:
        result = podman("logs", "--tail", "3", self.container, check=False)
        return (result.stdout + result.stderr)[-800:]

    def keep_log(self) -> None:
        """What the container said, for when the test fails."""
        result = podman("logs", self.container, check=False)
        with open(self.kubelet.work / f"{self.name}.log", "a") as log:
            log.write(result.stdout + result.stderr)

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs the image's one program beside the server."""
        return podman("exec", self.container, "flotilla", *arguments, check=False)

    def get(self, path: str, timeout_s: float = 3) -> Answer | None:
        """Asks the operations listener from outside of the pod, as kubelets and Prometheus do."""
        headers = {"Authorization": f"Bearer {self.kubelet.token}"}
        try:
            with contextlib.closing(http.client.HTTPConnection(self.address, OPS, timeout=timeout_s)) as connection:
                connection.request("GET", path, headers=headers)
                got = connection.getresponse()
                return Answer(got.status, got.headers, got.read())
        except (OSError, http.client.HTTPException):
            return None

    def probe(self, kind: str) -> bool:
        """What one of the manifest's probes says."""
        told = pods.probe(self.set, kind)
        answer = self.get(told["httpGet"]["path"], told["timeoutSeconds"])
        return answer is not None and answer.status == 200

    def ready(self) -> bool:
        return self.readiness is not None and self.readiness.ready

    def leads(self) -> bool:
        answer = self.get("/metrics")
        return bool(answer and re.search(rb"^flotilla_raft_is_leader(\{[^}]*\})? 1$", answer.body, re.M))

    @staticmethod
    def wait(found, within_s: float) -> bool:
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            if found():
                return True
            time.sleep(POLL_S)
        return False

    def wait_ready(self, within_s: float) -> float:
        """Waits until the pod answers and is found, which is when an update goes on; gives the seconds that it took."""
        begun = time.monotonic()
        within_s += (names.TTL_S + pods.ready_after_s(self.set)) / self.kubelet.pace
        if not self.wait(self.ready, within_s):
            answer = self.get("/readyz")
            fail(f"{self.name} is not ready after {within_s:.0f} s ({self.state()}): {answer and answer.body[:200]} {self.last_words()}")
        return time.monotonic() - begun

    def url(self) -> str:
        return f"http://{self.address}:{PUBLIC}"


class Kubelet:
    """All pods of the rendered manifests on this machine, their names, and the service in front of them.

    `subnet` is the first three numbers of the network's addresses; with a `pace` above 1, DNS forgets and probes ask the faster.
    """

    def __init__(self, documents: list[dict], place: pods.Place, network: str, subnet: str, pace: float, work: Path, token: str):
        self.documents, self.place, self.network, self.work, self.token = documents, place, network, work, token
        self.pace, self.unused = pace, iter(f"{subnet}.{number}" for number in range(FIRST, LAST))
        self.zone = names.Zone(names.TTL_S / pace)
        self.pods = [Pod(self, of, ordinal) for of in pods.sets(documents) for ordinal in range(of["spec"]["replicas"])]
        self.supernodes = [pod for pod in self.pods if pod.role == "supernode"]
        self.clusters = sorted({pod.cluster for pod in self.pods if pod.cluster})
        self.front, name, self.port, target = pods.front(documents)
        self.zone.point(name, place.dns)
        try:
            self.resolver = names.Resolver(place.dns, self.zone)
            self.service = Service(place.dns, self.port, target, self.in_front)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            fail(f"names and the service need the ports {names.PORT} and {self.port} of {place.dns}{', and something else has one' if taken else ''}: {error}")
        self.resolver.start()
        self.service.start()

    def in_front(self) -> list[str]:
        """The pods that clients are sent to."""
        return [pod.address for pod in self.pods if pod.ready() and pods.selects(self.front, pod.set)]

    def new_address(self) -> str:
        return next(self.unused, None) or fail("no address is left that no pod had")

    def url(self) -> str:
        """The service, for clients on this machine."""
        return f"http://{self.place.dns}:{self.port}"

    def client(self) -> Client:
        """A connection through the service."""
        return Client(self.url(), self.token)

    def of_cluster(self, cluster: str) -> list[Pod]:
        return [pod for pod in self.pods if pod.cluster == cluster]

    def play(self, full: str, document: dict, address: str) -> None:
        path = self.work / f"{full}.json"
        path.write_text(json.dumps(document))
        podman("play", "kube", "--network", self.network, "--ip", address, str(path))

    def step(self, document: dict) -> int:
        """Runs a pod of one container to its end; gives the container's exit code."""
        full = document["metadata"]["name"]
        container = f"{full}-{document['spec']['containers'][0]['name']}"
        self.play(full, document, self.new_address())
        code = int(podman("wait", container, within_s=1800).stdout.strip())
        said = podman("logs", container, check=False)
        note(f"{container} ended with {code}\n{(said.stdout + said.stderr)[-1500:]}")
        podman("pod", "rm", "--force", full)
        return code

    def more(self, statefulset: dict, ordinal: int) -> Pod:
        """One more pod, as after `kubectl scale`."""
        pod = Pod(self, statefulset, ordinal)
        self.pods.append(pod)
        pod.create()
        return pod

    def empty(self, pod: Pod) -> None:
        """Gives a pod that does not run a new, empty volume."""
        shutil.rmtree(pod.volume)

    def end(self) -> None:
        """Keeps the logs of what still runs; whoever started the test removes the pods."""
        for pod in self.pods:
            if pod.state():
                pod.keep_log()
