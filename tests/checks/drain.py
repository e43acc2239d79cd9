"""Drains a node under load, looks at its disk, stops it, then stops the leader; each has long requests under way."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

from census import census, clean_within, fill
from dev import Answer, Dev, Process, exit_code, fail, ledger_verdict, node, note
from elections import FILTER, Elections
from streams import put_paced

COPIES = 2
SMALL, BIG = 40, 6
DRAIN_S, STOP_S, WITHIN_S = 120, 30, 30
# Requests that end within a node's time for them (drain_timeout), and some that don't.
LONG_BYTES, LONG_S, TOO_LONG_S = 10_000_000, 5, 14
FRONT = 5
# So that the kernel does not take a whole body off the server's hands.
WINDOW_BYTES = 1 << 16


def listed(id: int) -> dict:
    result = node("list", "--json")
    if result.returncode != 0:
        fail(f"node list ended with {result.returncode}: {result.stderr.strip()}")
    return next(found for found in map(json.loads, result.stdout.splitlines()) if found["id"] == id)


def drain(dev: Dev, contents: dict[str, bytes], victim: Process) -> float:
    begun = time.monotonic()
    result = node("drain", str(victim.node_id), within_s=DRAIN_S)
    took = time.monotonic() - begun
    if result.returncode != 0 or "safe to stop" not in result.stdout:
        fail(f"drain ended with {result.returncode}: {result.stdout}{result.stderr}")
    entry = listed(victim.node_id)
    if entry["drain"] != {"named": 0, "empty": True, "safe_to_stop": True}:
        fail(f"{victim.name} is listed as {entry}")
    # The number comes with the heartbeats, so it is a little late.
    if not dev.wait(lambda: listed(victim.node_id)["copies"] == 0, 5):
        fail(f"{victim.name} says that it has {listed(victim.node_id)['copies']} copies")
    left = [path for path in (victim.data_dir / "chunks" / "chunks").rglob("*") if path.is_file()]
    if left:
        fail(f"{len(left)} chunk files lie on the drained disk, {left[0]} among them")
    counted = census(dev.client(), contents, {victim.node_id})
    if any(copies != COPIES for copies in counted):
        fail(f"chunks by number of good copies elsewhere are {counted}")
    return took


class Request(threading.Thread):
    """A request that takes its time, to one listener."""

    def __init__(self, dev: Dev, url: str, key: str, body: Path, seconds: float):
        super().__init__(daemon=True)
        self.dev, self.url, self.key, self.body, self.seconds = dev, url, key, body, seconds
        self.rate = body.stat().st_size / seconds
        self.moved, self.ended = 0, 0.0
        self.answer: Answer | None = None
        self.start()

    def run(self) -> None:
        # A connection that breaks is no answer.
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.answer = self.ask()
        self.ended = time.monotonic()

    def ask(self) -> Answer:
        raise NotImplementedError

    def said(self) -> str:
        return f"{self.answer.status} {self.answer.code()}" if self.answer else "a connection that broke"


class Upload(Request):
    def ask(self) -> Answer:
        def at(sent: int) -> None:
            self.moved = sent

        return put_paced(self.url, self.dev.token, self.key, self.body, self.rate, at)


class Download(Request):
    def ask(self) -> Answer:
        parts = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        connection.sock = socket.socket()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
        connection.sock.settimeout(60)
        connection.sock.connect((parts.hostname, parts.port))
        with contextlib.closing(connection):
            connection.request("GET", f"/v1/files/demo/{self.key}", headers={"Authorization": f"Bearer {self.dev.token}"})
            got, body, begun = connection.getresponse(), b"", time.monotonic()
            while part := got.read(WINDOW_BYTES):
                body += part
                self.moved = len(body)
                time.sleep(max(0.0, self.moved / self.rate - (time.monotonic() - begun)))
        return Answer(got.status, got.headers, body)


class Long:
    """Requests to a node that is to be stopped, and a count of how they ended."""

    def __init__(self, dev: Dev, victim: Process, body: Path, too_long: bool):
        self.dev, self.victim, self.body = dev, victim, body
        name = f"long/{victim.name}"
        self.whole: list[Request] = [
            Upload(dev, victim.public, f"{name}/up", body, LONG_S),
            Download(dev, victim.public, "long/down", body, LONG_S),
            *(Upload(dev, dev.api, f"{name}/through-{n}", body, LONG_S) for n in range(FRONT)),
        ]
        self.cut = [Upload(dev, victim.public, f"{name}/too-long", body, 3 * STOP_S)] if too_long else []
        # Which node each of these came to is not known.
        self.front = [Upload(dev, dev.api, f"{name}/front-{n}", body, TOO_LONG_S) for n in range(FRONT)] if too_long else []
        if not dev.wait(lambda: all(one.moved for one in self.all()), 10):
            fail(f"{victim.name} takes no long requests")

    def all(self) -> list[Request]:
        return self.whole + self.cut + self.front

    def end(self, stopped: float) -> int:
        """Waits for all; gives how many were told that they were interrupted."""
        for one in self.all():
            one.join(60)
            if one.ended < stopped:
                fail(f"{one.key} had ended with {one.said()} before {self.victim.name} was stopped")
        want = self.body.read_bytes()
        for one in self.whole:
            if one.answer is None or one.answer.status not in (200, 201):
                fail(f"{one.key} ended with {one.said()} after {one.moved} bytes when {self.victim.name} was stopped")
            if isinstance(one, Download) and one.answer.body != want:
                fail(f"{one.key} ended with {len(one.answer.body)} bytes, not the file's, when {self.victim.name} was stopped")
        for one in self.cut:
            if one.answer is not None and one.answer.status < 400:
                fail(f"{one.key} was told {one.said()}, although {self.victim.name} had the time for {one.moved} bytes of it only")
            if (found := self.dev.client().file("GET", one.key)).code() != "file_not_found":
                fail(f"{one.key} was never sent whole, and reads as {found.status} with {len(found.body)} bytes")
        interrupted = [one for one in self.front if one.said() == "503 upload_interrupted"]
        for one in self.front:
            if one not in interrupted and one.said() != "201 ":
                fail(f"{one.key}, sent to the supernode, ended with {one.said()} when {self.victim.name} was stopped")
        for one in interrupted:
            if self.dev.client().file("PUT", one.key, want).status != 201:
                fail(f"{one.key} was interrupted, and is refused when it is sent again")
        for one in self.all():
            if one not in self.cut and self.dev.client().file("GET", one.key).body != want:
                fail(f"{one.key} reads otherwise than it was sent")
        return len(interrupted)


def stop(dev: Dev, victim: Process, body: Path, too_long: bool) -> tuple[float, int]:
    """Stops a node; gives how long it still lived, and how many uploads through the supernode it interrupted."""
    requests = Long(dev, victim, body, too_long)
    begun = time.monotonic()
    result = node("stop", str(victim.node_id))
    if result.returncode != 0:
        fail(f"stop of {victim.name} ended with {result.returncode}: {result.stderr}")
    code = dev.wait(lambda: exit_code(victim.pid), STOP_S)
    lived = time.monotonic() - begun
    last = json.loads(open(victim.log_file).read().splitlines()[-1])
    if code != (0,) or last.get("message") != "stopped":
        fail(f"{victim.name} ended with {code} {lived:.1f} s after it was stopped, its last word is {last}")
    return lived, requests.end(begun)


def our_own(dev: Dev) -> None:
    """Starts the nodes once more: the exit code is told to the parent alone, and they are to say why they elect."""
    dev.kill_all(dev.nodes)
    elections = Elections(dev.nodes)
    for process in dev.nodes:
        process.env["FLOTILLA_LOG"] = FILTER
        dev.start(process)
    dev.wait_ready(dev.nodes)
    # A control: nobody handed over, and that has to be seen.
    leader = dev.leader("a")
    if not elections.timed_out() or elections.handed_over(leader, leader) is None:
        fail(f"{leader.name} leads after all nodes were killed, and their logs don't show that it was elected")


def main() -> None:
    dev = Dev()
    our_own(dev)
    contents = fill(dev, SMALL, BIG)
    body = dev.work / "long"
    body.write_bytes(os.urandom(LONG_BYTES))
    if dev.client().file("PUT", "long/down", body.read_bytes()).status != 201:
        fail("the file for long downloads can't be written")
    log = dev.work / "ledger"
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(log), "--clients", "4", "--seconds", "600"]
    load = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        victim = next(p for p in dev.nodes if not p.leads())
        drained_s = drain(dev, contents, victim)
        note(f"{victim.name} is drained after {drained_s:.1f} s")
        stopped_s, _ = stop(dev, victim, body, too_long=False)
        note(f"{victim.name} ended {stopped_s:.1f} s after it was stopped")
        dev.start(victim)
        dev.wait_ready([victim])
        if listed(victim.node_id)["drain"] is None:
            fail("a drain is forgotten by a restart")
        if node("drain", str(victim.node_id), "--undo").returncode != 0 or listed(victim.node_id)["drain"] is not None:
            fail("a drain can't be taken back")
        leader = dev.leader("a")
        elections = Elections(dev.nodes)
        ended_s, interrupted = stop(dev, leader, body, too_long=True)
        new = dev.leader("a", 5)
        if why := elections.handed_over(leader, new):
            fail(f"{leader.name} was stopped as the leader, and {new.name} leads, but {why}")
        note(f"{leader.name} handed over to {new.name} and ended {ended_s:.1f} s after it was stopped")
        dev.start(leader)
        dev.wait_ready([leader])
    finally:
        load.terminate()
        load.wait(60)
    clean_within(WITHIN_S)
    verdict = ledger_verdict(log, 200)
    times = f"drained_in={drained_s:.1f}s stopped_in={stopped_s:.1f}s leader_stopped_in={ended_s:.1f}s"
    print(f"{times} interrupted={interrupted} {verdict}")


main()
