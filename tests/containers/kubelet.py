"""Runs pods with podman as a machine's kubelet would: probes, restarts, and an end in which the hook comes first.

Containers are only ever addressed by their full names, which begin with the test's own prefix.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pods
from dev import Answer, fail, note

PUBLIC, OPS = 7401, 7403
POLL_S = 0.1
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
        self.address = kubelet.place.addresses[self.name]
        self.peer = f"{self.name}.{statefulset['spec']['serviceName']}:7402"
        self.volume = Path(kubelet.place.volumes) / self.name / "data"

    def create(self) -> None:
        """Makes the pod and its volume, unless that is there, and starts it."""
        self.volume.mkdir(parents=True, exist_ok=True)
        os.chown(self.volume, USER, USER)
        document = pods.member(self.set, self.ordinal, self.kubelet.documents, self.kubelet.place)
        self.kubelet.play(self.full, document, self.address)

    def kill(self) -> None:
        """Kills the server as the kernel does when memory is short."""
        podman("kill", "--signal", "KILL", self.container)
        if not self.wait(lambda: self.state() != "running", 20):
            fail(f"{self.name} does not end after SIGKILL")

    def restart(self) -> None:
        """Starts a container that has ended, in the same pod."""
        podman("start", self.container)

    def delete(self) -> float:
        """Ends the pod as Kubernetes does: hook, SIGTERM, and only after the whole grace SIGKILL. Gives the seconds until it ended."""
        begun, grace = time.monotonic(), pods.grace_s(self.set)
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
        self.keep_log()
        podman("pod", "rm", "--force", self.full)

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
        asked = self.set["spec"]["template"]["spec"]["containers"][0][f"{kind}Probe"]["httpGet"]
        answer = self.get(asked["path"])
        return answer is not None and answer.status == 200

    def ready(self) -> bool:
        return self.probe("readiness")

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
        begun = time.monotonic()
        if not self.wait(self.ready, within_s):
            answer = self.get("/readyz")
            fail(f"{self.name} is not ready after {within_s} s ({self.state()}): {answer and answer.body[:200]} {self.last_words()}")
        return time.monotonic() - begun

    def url(self) -> str:
        return f"http://{self.address}:{PUBLIC}"


class Kubelet:
    """All pods of the rendered manifests on this machine."""

    def __init__(self, documents: list[dict], place: pods.Place, network: str, work: Path, token: str):
        self.documents, self.place, self.network, self.work, self.token = documents, place, network, work, token
        self.pods = [Pod(self, of, ordinal) for of in pods.sets(documents) for ordinal in range(of["spec"]["replicas"])]
        self.supernodes = [pod for pod in self.pods if pod.role == "supernode"]
        self.clusters = sorted({pod.cluster for pod in self.pods if pod.cluster})

    def of_cluster(self, cluster: str) -> list[Pod]:
        return [pod for pod in self.pods if pod.cluster == cluster]

    def play(self, full: str, document: dict, address: str | None) -> None:
        path = self.work / f"{full}.json"
        path.write_text(json.dumps(document))
        at = ["--ip", address] if address else []
        podman("play", "kube", "--network", self.network, *at, str(path))

    def step(self, document: dict) -> None:
        """Runs a pod of one container to its end."""
        full = document["metadata"]["name"]
        container = f"{full}-{document['spec']['containers'][0]['name']}"
        self.play(full, document, None)
        code = int(podman("wait", container, within_s=1800).stdout.strip())
        said = podman("logs", container, check=False)
        note(f"{container} ended with {code}\n{(said.stdout + said.stderr)[-1500:]}")
        podman("pod", "rm", "--force", full)
        if code != 0:
            fail(f"{container} ended with {code}")

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
