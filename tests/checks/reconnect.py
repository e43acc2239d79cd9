"""Kills the supernode under many clients, counts at its address when they knock, and starts it again.

usage: reconnect.py CLIENTS
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

from dev import Dev, fail, note

CALM_S, AWAY_S, AFTER_S = 8, 3, 15
# Half of every wait is drawn, so that clients that lost their server together don't come back together. All first retries come
# within 50 ms; what counts is what comes of them.
SPREAD_AFTER_S, SLICE_S, PEAK_MAX = 1.0, 0.02, 4


class Knocks:
    """Stands at a dead server's address: takes connections, notes when they came, and closes them."""

    def __init__(self, url: str):
        parts = urllib.parse.urlsplit(url)
        self.times: list[float] = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((parts.hostname, parts.port))
        self.listener.listen(1024)
        self.listener.settimeout(0.05)
        self.over = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.over:
            try:
                came, _ = self.listener.accept()
            except TimeoutError:
                continue
            self.times.append(time.monotonic())
            # Reset at once: nothing was read, so nothing can have been done, and no port stays in use.
            came.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            came.close()

    def end(self) -> list[float]:
        self.over = True
        self.thread.join()
        self.listener.close()
        return self.times


def answers(supernode) -> dict[str, int]:
    """How many answers of each kind a process has given."""
    text = supernode.get("/metrics").body.decode()
    found = re.findall(r'^flotilla_requests_total\{[^}]*code="(\w+)"[^}]*\} (\d+)$', text, re.M)
    totals: dict[str, int] = {}
    for code, count in found:
        totals[code] = totals.get(code, 0) + int(count)
    return totals


def crowding(times: list[float]) -> float:
    """How many times as many knocks as usual came in the busiest slice, once retries had time to spread."""
    late = [at for at in times if at > times[0] + SPREAD_AFTER_S]
    slices: dict[int, int] = {}
    for at in late:
        slices[int(at / SLICE_S)] = slices.get(int(at / SLICE_S), 0) + 1
    return max(slices.values()) / (len(late) * SLICE_S / (late[-1] - late[0])) if late else 0.0


def main() -> None:
    dev, clients = Dev(), int(sys.argv[1])
    supernode = dev.supernodes[0]
    file = dev.work / "ledger"
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(file), "--clients", str(clients)]
    command += ["--seconds", str(CALM_S + AWAY_S + AFTER_S + 10)]
    run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(CALM_S)
    dev.kill_all([supernode])
    knocks = Knocks(supernode.public)
    time.sleep(AWAY_S)
    times = knocks.end()
    started_ns = time.time_ns()
    dev.start(supernode)
    ready_s = dev.wait_ready([supernode], 20)
    time.sleep(AFTER_S)
    told = answers(supernode)
    run.wait(60)

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    back: dict[str, float] = {}
    for line in lines:
        if line.get("answered_ns") and line["status"] in (200, 201, 204) and line["answered_ns"] > started_ns:
            client = line["key"].split("/")[2]
            back[client] = min(back.get(client, 1e9), (line["answered_ns"] - started_ns) / 1e9)
    peak = crowding(times)
    check = subprocess.run([*command[:3], "check", "--file", str(file)], capture_output=True, text=True, timeout=300, check=False)
    odd = {code: count for code, count in told.items() if code.startswith("5") and code != "503"}
    slowest = max(back.values(), default=0)
    figures = f"clients={clients} back={len(back)} slowest={slowest:.1f}s ready={ready_s:.1f}s knocks={len(times)} peak={peak:.1f} answers={told}"
    note(figures)
    if len(back) < clients:
        fail(f"{clients - len(back)} clients were not served again within {AFTER_S} s: {figures}")
    if len(times) < clients or peak > PEAK_MAX:
        fail(f"clients knock all at once: {figures}")
    if odd:
        fail(f"clients were told {odd}: {figures}")
    if check.returncode != 0:
        fail(f"the ledger says: {check.stdout[-500:]}")
    print(figures)


main()
