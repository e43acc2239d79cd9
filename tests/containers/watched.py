"""Debian's Prometheus beside the pods: it scrapes each of them, is let in by a key alone, and finds nothing that someone should come for.

Prometheus runs on this machine, which pods see at an address of their network: metrics want a key there, as they do in Kubernetes.
"""

import os
import subprocess
import time
from pathlib import Path

import pods
from dev import fail, note
from kubelet import Kubelet, Pod
from ports import free
from prometheus_fleet import OF_THE_MACHINE, REPO, Prometheus, job, key_file, only_up, wrong_key_file

# A key works everywhere within 5 s, and the machine is busy.
WITHIN_S = 60
# Longer than FlotillaNoLeader waits where patience is cut to a twentieth.
QUIET_S = 10
# The supernodes' and the clusters'.
LEADERS = 3
# Below the ports of outgoing connections, and above those that checks take for their fleets.
PORTS = range(31_200, 31_300)


def tools() -> None:
    """Has the tools installed, unless the caller has said where they are."""
    for name in ("prometheus", "promtool"):
        if name.upper() not in os.environ:
            found = subprocess.run([str(REPO / "ci/tool.sh"), name], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if found.returncode != 0:
                fail(f"{name} can't be installed: {found.stderr.strip()[-400:]}")
            os.environ[name.upper()] = found.stdout.strip()


def targets(kubelet: Kubelet) -> dict[str, dict[str, str]]:
    """The address of every pod's metrics, with the labels that the operator gives."""
    found = {}
    for pod in kubelet.pods:
        port, labels = pods.scraped(pod.set, pod.ordinal, kubelet.documents)
        found[f"{pod.address}:{port}"] = labels
    return found


def pages(prometheus: Prometheus) -> set[str]:
    """The alerts that fire now and that someone should come for."""
    firing = {alert["labels"]["alertname"] for alert in prometheus.firing() if alert["labels"]["severity"] == "page"}
    return firing - OF_THE_MACHINE


def look(kubelet: Kubelet, work: Path) -> None:
    """Scrapes a fleet that has formed, for some seconds; its pods have to keep their addresses meanwhile."""
    tools()
    scraped = targets(kubelet)
    (namespace,) = {labels["namespace"] for labels in scraped.values()}
    jobs = [job("flotilla", scraped, key_file(work)), only_up(job("stranger", scraped, wrong_key_file(work)))]
    prometheus = Prometheus(work, next(port for port in PORTS if free(port)), jobs)
    try:
        prometheus.reaches("flotilla", len(kubelet.pods), WITHIN_S)
        prometheus.is_refused("stranger", len(kubelet.pods), WITHIN_S)
        leaders = f'sum(flotilla_raft_is_leader{{namespace="{namespace}"}})'
        if not Pod.wait(lambda: prometheus.value(leaders) == LEADERS, WITHIN_S):
            fail(f"of {LEADERS} groups in {namespace} Prometheus sees {prometheus.value(leaders)} led")
        prometheus.evaluates("FlotillaNoLeader", WITHIN_S)
        time.sleep(QUIET_S)
        # Not at once: names of pods that were just made are found late, and a supernode hears a cluster after that.
        if not Pod.wait(lambda: not pages(prometheus), WITHIN_S):
            fail(f"a fleet that has formed raises {sorted(pages(prometheus))}")
    finally:
        prometheus.end()
    note(f"Prometheus scrapes {len(scraped)} pods by its key, and sees {LEADERS} leaders")
