"""Has Prometheus scrape a fleet, breaks it in several ways, and waits for the alerts."""

import json
import os
import re
import shutil
import signal
import socket
import time

import metrics
from dev import Dev, Process, fail, flotilla, note
from ports import free
from prometheus_fleet import FASTER, OF_THE_MACHINE, RULES, Prometheus, job, key_file, only_up, tested, wrong_key_file

# Those that faults raise here.
LIVE = {
    "FlotillaLeaderUnstable", "FlotillaRestarting", "FlotillaTargetDown", "FlotillaMemberSilent", "FlotillaDiskFailed",
    "FlotillaNotReady", "FlotillaNoLeader", "FlotillaClusterSilent", "FlotillaUnavailable", "FlotillaClusterForeign", "FlotillaAbsent",
}
WITHIN_S = 40
QUIET_S = 10
BIG, SMALL = 3 << 20, 20_000
FILES = 20
ELECTIONS, RESTARTS = 5, 3


def used(dev: Dev) -> dict[str, str]:
    """Uses what a fleet can do, so that it has something to count; gives the homes of files."""
    client, homes = dev.client(), {}
    # A node makes a new file in its own cluster, so that each has some.
    for number, url in enumerate([dev.api] * FILES + [node.public for node in dev.nodes]):
        key = f"metrics/{number}"
        answer = dev.client(url).file("PUT", key, os.urandom(SMALL))
        if answer.status != 201:
            fail(f"PUT {key} was answered {answer.status} {answer.code()}")
        homes[key] = answer.cluster()
    for key, size in (("big", BIG), ("inline", 100)):
        client.file("PUT", f"metrics/{key}", os.urandom(size))
        client.file("GET", f"metrics/{key}")
    client.file("GET", "metrics/big")
    client.file("DELETE", "metrics/inline")
    client.file("GET", "metrics/nothing")
    if len(set(homes.values())) != len(dev.clusters):
        fail(f"all files are in {set(homes.values())}")
    return homes


def shown(dev: Dev) -> dict[str, set[str]]:
    """What all processes together show."""
    found: dict[str, set[str]] = {}
    for process in dev.processes:
        answer = process.get("/metrics", 5)
        if answer is None or answer.status != 200:
            fail(f"{process.name} does not show metrics")
        for name, labels in metrics.scraped(answer.body.decode()).items():
            found.setdefault(name, set()).update(labels)
    return found


def as_documented(dev: Dev) -> int:
    """Holds what processes show against the table, and looks for the gauges that alerts ask for; counters begin with their event."""
    table = metrics.documented()
    asked = set(re.findall(r"\bflotilla_\w+", RULES.read_text()))
    gauges = {name for name in asked if name in table and table[name].kind == "gauge"}
    if len(gauges) < 10:
        fail(f"alerts ask for {sorted(gauges)} alone")
    if not dev.wait(lambda: gauges <= shown(dev).keys(), WITHIN_S):
        fail(f"no process shows {sorted(gauges - shown(dev).keys())}")
    found = shown(dev)
    if faults := metrics.shown_differences(table, found):
        fail("; ".join(faults))
    for node in dev.nodes:
        cpu, free_bytes, total = node.metric("flotilla_cpu_busy"), *(node.metric("flotilla_memory_bytes", f'"{kind}"') for kind in ("free", "total"))
        disk_free, disk_total = (node.metric("flotilla_disk_bytes", f'"{kind}"') for kind in ("free", "total"))
        age = time.time() - node.metric("flotilla_start_time_seconds")
        if not (0 <= cpu <= 1 and 0 < free_bytes <= total and 0 < disk_free <= disk_total and 0 < age < 3600):
            fail(f"{node.name}: cpu {cpu}, memory {free_bytes} of {total}, disk {disk_free} of {disk_total}, age {age} s")
    for process in dev.supernodes:
        disk_free, disk_total = (process.metric("flotilla_disk_bytes", f'"{kind}"') for kind in ("free", "total"))
        if not 0 < disk_free <= disk_total:
            fail(f"{process.name}: disk {disk_free} of {disk_total}")
    note(f"not shown yet: {' '.join(sorted(set(table) - found.keys()))}")
    return len(found)


def own_address() -> str:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            fail(f"this machine has no address but loopback, where no key is asked for: {error}")
        return probe.getsockname()[0]


def from_elsewhere(dev: Dev) -> str:
    """Has a node show its metrics on all addresses, as machines of their own do; gives one at which a key is needed."""
    node = dev.nodes[0]
    port = node.ops.rsplit(":", 1)[1]
    argv = [f"ops=0.0.0.0:{port}" if text == f"ops=127.0.0.1:{port}" else text for text in node.argv]
    if argv == node.argv:
        fail(f"{node.name} is not told where its metrics are: {node.argv}")
    node.argv = argv
    dev.kill_all([node])
    dev.start(node)
    dev.wait_ready([node])
    return f"{own_address()}:{port}"


def watched(dev: Dev, elsewhere: str) -> Prometheus:
    """Prometheus beside the fleet. Metrics need no key on loopback, so it is another address that shows whether it is sent."""
    key = key_file(dev.work)
    jobs = [
        job("flotilla", {instance(process): {} for process in dev.processes}, key),
        only_up(job("elsewhere", {elsewhere: {}}, key)),
        only_up(job("stranger", {elsewhere: {}}, wrong_key_file(dev.work))),
    ]
    first = int(dev.api.rsplit(":", 1)[1])
    return Prometheus(dev.work, next(port for port in range(first + 90, first + 100) if free(port)), jobs)


def dashboards(prometheus: Prometheus) -> int:
    """Asks Prometheus every query of the dashboards, with all of everything chosen; tells how many answer with something."""
    answered, asked = 0, 0
    for path in sorted((RULES.parent / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "30s").replace("$group", "a")
                asked += 1
                answered += bool(prometheus.ask("query", query=re.sub(r"\$\w+", ".*", query))["result"])
    # Some show what a healthy and idle fleet has none of.
    if answered < asked * 3 // 5:
        fail(f"only {answered} of {asked} queries of the dashboards find something")
    return answered


def flapping(dev: Dev, prometheus: Prometheus) -> None:
    for _ in range(ELECTIONS):
        leader = dev.leader("a")
        leader.kill(signal.SIGSTOP)
        try:
            others = [node for node in dev.of_cluster("a") if node is not leader]
            if not dev.wait(lambda: any(node.leads() for node in others), WITHIN_S):
                fail(f"nobody leads after {leader.name} was stopped")
        finally:
            leader.kill(signal.SIGCONT)
        # Prometheus sees this term, too, and the one that was stopped that it leads no more.
        time.sleep(2)
    prometheus.fires("FlotillaLeaderUnstable", WITHIN_S, group="a")
    note("elections raise their alert")


def follower(dev: Dev, cluster: str) -> Process:
    leader = dev.leader(cluster)
    return next(node for node in dev.of_cluster(cluster) if node is not leader)


def instance(process: Process) -> str:
    return process.ops.removeprefix("http://")


def restarted(dev: Dev, prometheus: Prometheus, process: Process) -> None:
    """Starts a process that is dead, and waits until Prometheus knows."""
    dev.start(process)
    dev.wait_ready([process])
    if not dev.wait(lambda: prometheus.is_up(process), WITHIN_S):
        fail(f"Prometheus does not see that {process.name} is back")
    started = process.metric("flotilla_start_time_seconds")
    query = f'flotilla_start_time_seconds{{instance="{instance(process)}"}}'
    if not dev.wait(lambda: prometheus.value(query) == started, WITHIN_S):
        fail(f"Prometheus has {prometheus.value(query)} as the start of {process.name}, which says {started}")


def down(dev: Dev, prometheus: Prometheus) -> None:
    victim = follower(dev, "a")
    for _ in range(RESTARTS):
        dev.kill_all([victim])
        restarted(dev, prometheus, victim)
    prometheus.fires("FlotillaRestarting", WITHIN_S, instance=instance(victim))
    dev.kill_all([victim])
    prometheus.fires("FlotillaTargetDown", WITHIN_S, instance=instance(victim))
    prometheus.fires("FlotillaMemberSilent", WITHIN_S, group="a")
    restarted(dev, prometheus, victim)
    prometheus.is_over("FlotillaTargetDown", WITHIN_S, instance=instance(victim))
    prometheus.is_over("FlotillaMemberSilent", WITHIN_S, group="a")
    note("a node that is down raises its alerts, and they end")


def poisoned(dev: Dev, prometheus: Prometheus) -> None:
    """Takes the folder of a node's chunks of more than a mebibyte away: a disk that loses its files is a failed one."""
    victim = follower(dev, "a")
    folder = victim.data_dir / "chunks" / "chunks"
    folder.rename(folder.with_name("away"))

    def written() -> bool:
        dev.client(victim.public).file("PUT", "metrics/poison", os.urandom(BIG))
        return b"disk_failed" in (victim.get("/readyz", 3) or fail(f"{victim.name} is gone")).body

    # Through the node itself, which claims the key for its own cluster.
    if not dev.wait(written, WITHIN_S):
        fail(f"{victim.name} does not say disk_failed")
    folder.with_name("away").rename(folder)
    prometheus.fires("FlotillaDiskFailed", WITHIN_S, instance=instance(victim), reason="disk_failed")
    note("a failed disk raises its alert")


def without_quorum(dev: Dev, prometheus: Prometheus, homes: dict[str, str]) -> None:
    left, *dead = dev.of_cluster("b")
    keys = [key for key, home in homes.items() if home == "b"]
    dev.kill_all(dead)
    client, end = dev.client(), time.monotonic() + 2 * WITHIN_S
    # Until enough of what Prometheus sees in five minutes are errors, for long enough.
    while "FlotillaUnavailable" not in prometheus.names() and time.monotonic() < end:
        for key in keys[:3]:
            client.file("GET", key)
    prometheus.fires("FlotillaUnavailable", 1)
    prometheus.fires("FlotillaNotReady", WITHIN_S, instance=instance(left), reason="no_quorum")
    prometheus.fires("FlotillaNoLeader", WITHIN_S, group="b")
    prometheus.fires("FlotillaClusterSilent", WITHIN_S)
    if any(alert["labels"].get("group") == "a" for alert in prometheus.firing() if alert["labels"]["alertname"] == "FlotillaNoLeader"):
        fail("cluster a is said to have no leader, too")
    for process in dead:
        dev.start(process)
    dev.wait_ready([left, *dead])
    for alert in ("FlotillaNotReady", "FlotillaNoLeader", "FlotillaClusterSilent"):
        prometheus.is_over(alert, WITHIN_S)
    note("a cluster without a quorum raises its alerts, and they end")


def lost_directory(dev: Dev, prometheus: Prometheus) -> None:
    dev.kill_all(dev.supernodes)
    for process in dev.supernodes:
        shutil.move(process.data_dir, dev.work / f"{process.name}.lost")
        process.data_dir.mkdir(mode=0o700)
        dev.start(process)
    prometheus.fires("FlotillaClusterForeign", WITHIN_S)
    note("an emptied directory raises its alert")


def main() -> None:
    dev = Dev()
    homes = used(dev)
    count = as_documented(dev)
    prometheus = watched(dev, from_elsewhere(dev))
    try:
        prometheus.reaches("flotilla", len(dev.processes), WITHIN_S)
        prometheus.reaches("elsewhere", 1, WITHIN_S)
        prometheus.is_refused("stranger", 1, WITHIN_S)
        note("Prometheus is let in by its key, and nobody without")
        time.sleep(QUIET_S)
        used_again = dev.client().file("GET", "metrics/0")
        if raised := prometheus.names() - OF_THE_MACHINE:
            fail(f"a healthy fleet raises {sorted(raised)}; it answered {used_again.status}")
        answered = dashboards(prometheus)
        flapping(dev, prometheus)
        down(dev, prometheus)
        without_quorum(dev, prometheus, homes)
        poisoned(dev, prometheus)
        lost_directory(dev, prometheus)
        dev.kill_all(dev.processes)
        prometheus.fires("FlotillaAbsent", WITHIN_S)
    finally:
        prometheus.end()
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    if missing := alerts - tested():
        fail(f"promtool does not raise {sorted(missing)}")
    if prometheus.raised != LIVE:
        fail(f"faults raised {sorted(prometheus.raised)}, and should raise {sorted(LIVE)}")
    print(f"metrics={count} queries_answered={answered} alerts={len(alerts)} raised_by_faults={len(prometheus.raised)} raised_by_promtool={len(alerts)} faster={FASTER}")


if __name__ == "__main__":
    main()
