"""Floods a supernode as one principal while another one asks for little, then has idle clusters take from the queue of a stalled one."""

import asyncio
import collections
import http.client
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import threading
import time

from dev import Client, Dev, fail, note
from streams import put_paced
from wires import Reply, Wire

# Far more than both clusters have credits and places in their queues for; each asks again at once when it was served.
FLOOD, FLOOD_PAUSE_S = 400, 0.2
QUIET = 6
# Without and with uploads beside them.
PHASE_S = 7
UPLOADS, UPLOAD_BYTES = 2, 8 << 20
# What answers while requests wait must not wait itself.
PROBE_MAX_S = 1.0
# New files of a quiet connection against those of one of the flood, and how many of them may be refused. All in one line it is 1.3
# to 1.65, since the quiet one comes again sooner, and 0.35 to 0.54 are refused; with a line for each principal 2.9 to 5.6, and at
# most 0.05.
SHARE_MIN, REFUSED_MAX = 2.0, 0.1
# Uploads may use half of the credits, and the processor besides.
DELAY_MAX = 4.0
# As many at once as two clusters have no credits for, more after some tries, and how long one of them stands still meanwhile: less
# than it takes its nodes to look for another leader.
BURST, STALL_S, STALLS_MAX = 200, 0.8, 6
ACCEPTED = {"PUT": {200, 201}, "GET": {200}, "DELETE": {204}}
LOG_LINES_A_SECOND = 10


def content(key: str) -> bytes:
    return (key * 40).encode()


def flotilla(*arguments: str) -> subprocess.CompletedProcess:
    command = [os.environ["FLOTILLA"], *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def key_of(name: str) -> str:
    made = flotilla("key", "create", name)
    if made.returncode != 0:
        fail(f"key create {name}: {made.stderr}")
    return made.stdout.strip()


class Seen:
    """What one principal was answered."""

    def __init__(self):
        self.acked: list[str] = []
        self.seconds: list[tuple[float, float]] = []  # when it was asked, how long it took
        self.served: list[tuple[str, str, dict]] = []  # request id, key, headers
        self.refused: list[tuple[str, dict]] = []  # request id, problem
        self.codes: collections.Counter = collections.Counter()
        self.odd: list[str] = []

    def note(self, method: str, key: str, request: str, reply: Reply, may: tuple[int, ...] = ()) -> bool:
        """Takes an answer in; says whether the request was served."""
        if reply.status in ACCEPTED[method]:
            self.codes[str(reply.status)] += 1
            if method == "PUT":
                self.served.append((request, key, reply.headers))
            return True
        problem = reply.problem()
        self.codes[f"{reply.status} {problem.get('code')}"] += 1
        if reply.status in may:
            return False
        if reply.status not in (429, 503):
            self.odd.append(f"{method} was answered {reply.status} {problem}")
            return False
        after, after_ms = reply.headers.get("retry-after", ""), problem.get("retry_after_ms")
        if not after.isdigit() or not isinstance(after_ms, int) or int(after) != -(-after_ms // 1000):
            self.odd.append(f"{method} was refused with Retry-After '{after}' and {problem}")
        if method == "PUT" and problem.get("code") in ("queue_full", "queue_timeout") and "connection" in reply.headers:
            self.odd.append(f"a refused PUT of a few bytes cost its connection: {reply.headers}")
        self.refused.append((request, problem))
        return False


async def put_on(wire: Wire, name: str, number: int, seen: Seen, end: float, pause_s: float) -> None:
    """Puts new files on one connection until the end."""
    count = 0
    while time.monotonic() < end:
        count += 1
        key, request = f"{name}/{number}/{count}", f"{name}-{number}-{count}".replace("/", ".")
        begun = time.monotonic()
        try:
            reply = await wire.file("PUT", key, content(key), {"X-Request-Id": request})
        except OSError as error:
            seen.odd.append(f"no answer: {error}")
            return
        if seen.note("PUT", key, request, reply):
            seen.acked.append(key)
            seen.seconds.append((begun, reply.seconds))
        else:
            await asyncio.sleep(pause_s)


def flood(url: str, token: str, end: float, pipe) -> None:
    """Runs in a process of its own, so that it takes no turn of the quiet principal's interpreter."""
    seen = Seen()

    async def all_of_it() -> None:
        wires = [Wire(url, token) for _ in range(FLOOD)]
        await asyncio.gather(*(put_on(wire, "flood", n, seen, end, FLOOD_PAUSE_S) for n, wire in enumerate(wires)))

    asyncio.run(all_of_it())
    # A thousand of each kind is enough to ask about.
    seen.served, seen.refused = seen.served[-1000:], seen.refused[-1000:]
    pipe.send(seen)


async def use_quietly(url: str, token: str, seen: Seen, end: float) -> None:
    async def one(number: int) -> None:
        wire, count = Wire(url, token), 0
        while time.monotonic() < end:
            count += 1
            name = f"quiet/{number}/{count}"
            await put_on(wire, name, 0, seen, min(end, time.monotonic() + 0.5), 0.1)
            for key in [key for key in seen.acked if key.startswith(f"{name}/")][:2]:
                try:
                    got = await wire.file("GET", key)
                    if seen.note("GET", key, "", got) and got.body != content(key):
                        seen.odd.append(f"{key} is not what was sent")
                    if seen.note("DELETE", key, "", await wire.file("DELETE", key)):
                        seen.acked.remove(key)
                except OSError as error:
                    seen.odd.append(f"no answer: {error}")
                    return

    await asyncio.gather(*(one(number) for number in range(QUIET)))


class Watch:
    """What people and probes are told while all of that goes on."""

    def __init__(self, dev: Dev, tokens: dict[str, str]):
        self.dev, self.tokens, self.over = dev, tokens, threading.Event()
        self.slowest: dict[str, float] = collections.defaultdict(float)
        self.waiting, self.found, self.principals, self.odd = 0, 0, set(), []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def ask(self, client: Client, path: str) -> dict:
        begun = time.monotonic()
        answer = client.request("GET", path)
        self.slowest[path.split("?")[0]] = max(self.slowest[path.split("?")[0]], time.monotonic() - begun)
        if answer.status != 200:
            self.odd.append(f"{path} was answered {answer.status}")
            return {}
        return json.loads(answer.body)

    def run(self) -> None:
        try:
            clients = {name: Client(self.dev.api, token) for name, token in self.tokens.items()}
            while not self.over.wait(0.2):
                self.look(clients)
        except Exception as error:  # whatever it is, the check has to hear of it
            self.odd.append(f"the watch ended: {type(error).__name__} {error}")

    def look(self, clients: dict[str, Client]) -> None:
        queue = self.ask(clients["root"], "/v1/queue")
        self.waiting = max(self.waiting, sum(lane["waiting"] for side in queue["clusters"] for lane in side["lanes"]))
        for item in queue["items"]:
            self.principals.add(item["principal"])
            if item["position"] < 1 or item["waited_ms"] > 2000:
                self.odd.append(f"a request waits so: {item}")
        if queue["items"]:
            self.found += self.ask(clients["root"], f"/v1/queue?request={queue['items'][-1]['request']}")["found"]
        for name in ("flood", "quiet"):
            others = {item["principal"] for item in self.ask(clients[name], "/v1/queue")["items"]} - {name}
            if others:
                self.odd.append(f"{name} is told of requests of {others}")
        clusters = self.ask(clients["root"], "/v1/clusters")["clusters"]
        if not all(cluster["queue"]["credits"] > 0 for cluster in clusters):
            self.odd.append(f"clusters have no credits: {[cluster['queue'] for cluster in clusters]}")
        for path in ("/readyz", "/metrics"):
            begun = time.monotonic()
            answer = self.dev.supernodes[0].get(path, 5)
            self.slowest[path] = max(self.slowest[path], time.monotonic() - begun)
            if answer is None or answer.status != 200:
                self.odd.append(f"{path} was answered {answer and answer.status}")

    def end(self) -> None:
        self.over.set()
        self.thread.join()


def upload(dev: Dev, number: int, end: float, done: list[str], odd: list[str]) -> None:
    body, count = dev.work / "upload", 0
    while time.monotonic() < end:
        count += 1
        try:
            answer = put_paced(dev.api, dev.token, f"upload/{number}/{count}", body, None, lambda _: None)
        except (OSError, http.client.HTTPException):
            continue  # refused in mid-body, and the answer was lost with the connection
        if answer.status == 201:
            done.append(f"upload/{number}/{count}")
        elif answer.status in (429, 503):
            time.sleep(0.2)
        else:
            odd.append(f"an upload was answered {answer.status} {answer.code()}")


def explained(client: Client, request: str) -> dict:
    answer = client.request("GET", f"/v1/explain/{request}")
    if answer.status != 200:
        fail(f"explain of {request} was answered {answer.status} {answer.code()}")
    return json.loads(answer.body)


def steps(told: dict, what: str) -> list[dict]:
    return [step["what"][what] for step in told.get("steps", []) if isinstance(step["what"], dict) and what in step["what"]]


def check_served(dev: Dev, client: Client, request: str, key: str, headers: dict) -> dict:
    """A served request is told as it was: where it went, under which claim, to which node."""
    told, home = explained(client, request), headers["flotilla-cluster"]
    now = client.file("HEAD", key).cluster()
    wrong = [
        what
        for what, holds in {
            "it is not found": told["found"],
            "the status": told.get("status") == 201,
            "the operation": told.get("op") == "put",
            "the candidates": {one["cluster"] for one in told.get("candidates", [])} == set(dev.clusters),
            "the grant": [step["cluster"] for step in steps(told, "granted")] == [home],
            "the claim": told.get("claim") == {"cluster": home, "epoch": int(headers["flotilla-epoch"]), "granted": True},
            "the home": now == home,
            "the nodes": told.get("nodes") and set(told["nodes"]) <= {p.peer.removeprefix("http://") for p in dev.of_cluster(home)},
        }.items()
        if not holds
    ]
    if wrong:
        fail(f"explain of a served request: {', '.join(wrong)}: {told}, home {home}, directory {now}")
    return told


def check_refused(client: Client, request: str, problem: dict) -> None:
    told = explained(client, request)
    refused = steps(told, "refused")
    if not refused or told["status"] != problem["status"] or refused[-1]["again_ms"] != problem["retry_after_ms"]:
        fail(f"a request was refused with {problem}, and is explained as {told}")


def check_stolen(dev: Dev, client: Client, request: str, key: str, headers: dict) -> None:
    told = check_served(dev, client, request, key, headers)
    stolen = steps(told, "stolen")[-1]
    take, seen = stolen["verdict"]["take"], {side["cluster"]: side for side in stolen["seen"]}
    thief, victim = seen[take["thief"]], seen[take["from"]]
    counted = dev.supernodes[0].metric("flotilla_stolen_total", f'from="{take["from"]}",to="{take["thief"]}"')
    wrong = [
        what
        for what, holds in {
            "the thief is not where it is": take["thief"] == headers["flotilla-cluster"] != take["from"],
            "the thief was not idle": thief["free_small"] > 0 and thief["waiting_small"] + thief["waiting_big"] == 0,
            "the victim was not stuck": victim["free_small"] == 0 and victim["movable_small"] > 0,
            "the grant": steps(told, "granted")[-1]["why"] == "stolen",
            "the metric": bool(counted),
        }.items()
        if not holds
    ]
    if wrong:
        fail(f"explain of a stolen request: {', '.join(wrong)}: {told}")


async def burst(dev: Dev, token: str, number: int, seen: Seen) -> None:
    """Puts many new files at once while one cluster stands still, so that what waits for it goes to the other one."""
    wires = [Wire(dev.api, token) for _ in range(BURST * (1 + number // 2))]
    stalled = dev.of_cluster(dev.clusters[number % len(dev.clusters)])

    async def one(at: int) -> None:
        key, request = f"burst/{number}/{at}", f"burst-{number}-{at}"
        try:
            reply = await wires[at].file("PUT", key, content(key), {"X-Request-Id": request})
        except OSError as error:
            seen.odd.append(f"no answer: {error}")
            return
        # A cluster that stood still may not know what became of a commit.
        if seen.note("PUT", key, request, reply, (504,)):
            seen.acked.append(key)

    for process in stalled:
        process.kill(signal.SIGSTOP)
    asked = [asyncio.create_task(one(at)) for at in range(len(wires))]
    await asyncio.sleep(STALL_S)
    for process in stalled:
        process.kill(signal.SIGCONT)
    await asyncio.gather(*asked)
    for wire in wires:
        wire.close()


def find_stolen(dev: Dev, token: str, client: Client) -> tuple[Seen, int]:
    """Bursts until requests were stolen, and looks at what people are told of these; gives how many there were."""
    seen = Seen()
    for number in range(STALLS_MAX):
        before = len(seen.served)
        asyncio.run(burst(dev, token, number, seen))
        found = [one for one in seen.served[before:] if steps(explained(client, one[0]), "stolen")]
        note(f"burst {number}: {dict(seen.codes)}, {len(found)} stolen")
        if seen.odd:
            fail(f"{len(seen.odd)} odd answers to bursts, the first is: {seen.odd[0]}")
        if found:
            for one in found[:5]:
                check_stolen(dev, client, *one)
            return seen, len(found)
    fail(f"nothing was stolen in {STALLS_MAX} bursts: {dict(seen.codes)}")


async def read_back(url: str, token: str, keys: list[str]) -> list[str]:
    """Reads all acked files; gives those that are not what was sent."""
    left, wrong = collections.deque(keys), []

    async def one() -> None:
        wire = Wire(url, token)
        while left:
            key = left.popleft()
            reply = await wire.file("GET", key)
            for _ in range(20):
                if reply.status not in (429, 503):
                    break
                await asyncio.sleep(0.5)
                reply = await wire.file("GET", key)
            if reply.status != 200 or reply.body != content(key):
                wrong.append(f"{key}: {reply.status}")

    await asyncio.gather(*(one() for _ in range(16)))
    return wrong


def settled(client: Client) -> bool:
    sides = json.loads(client.request("GET", "/v1/queue").body)["clusters"]
    waiting = sum(lane["waiting"] for side in sides for lane in side["lanes"])
    return waiting + sum(side["in_flight"] + side["streams"] for side in sides) == 0


def refused_lines(dev: Dev, begun: int) -> int:
    """Lines of the supernode's log about refused requests since then."""
    with open(dev.supernodes[0].log_file, "rb") as log:
        log.seek(begun)
        lines = log.read().splitlines()
    return sum(b'"flotilla::access"' in line and re.search(rb'"status":(429|503)\b', line) is not None for line in lines)


def median(pairs: list[tuple[float, float]], begin: float, end: float) -> float | None:
    found = [seconds for at, seconds in pairs if begin <= at < end]
    return statistics.median(found) if found else None


def main() -> None:
    dev = Dev()
    os.sched_setaffinity(0, {int(cpu) for cpu in os.environ["CLIENT_CPUS"].split()})
    tokens = {"root": dev.token, "flood": key_of("flood"), "quiet": key_of("quiet")}
    root, supernode = dev.client(), dev.supernodes[0]
    for name in ("flood", "quiet"):
        known = dev.wait(lambda: Client(dev.api, tokens[name]).request("GET", "/v1/queue").status == 200, 5)
        known or fail(f"the key of {name} is not known after 5 s")
    (dev.work / "upload").write_bytes(os.urandom(UPLOAD_BYTES))
    log_begun = os.stat(supernode.log_file).st_size

    begun = time.monotonic()
    middle, end = begun + PHASE_S, begun + 2 * PHASE_S
    receive, send = multiprocessing.Pipe(duplex=False)
    flooder = multiprocessing.Process(target=flood, args=(dev.api, tokens["flood"], end, send), daemon=True)
    flooder.start()
    send.close()  # so that its death is the end of the pipe
    watch, quiet, uploads = Watch(dev, tokens), Seen(), []
    uploaders = [threading.Timer(PHASE_S, upload, (dev, number, end, uploads, watch.odd)) for number in range(UPLOADS)]
    for uploader in uploaders:
        uploader.start()
    asyncio.run(use_quietly(dev.api, tokens["quiet"], quiet, end))
    flooded: Seen = receive.recv()
    flooder.join()
    for uploader in uploaders:
        uploader.join()
    watch.end()
    took_s = time.monotonic() - begun

    note(f"flood: {dict(flooded.codes)}; quiet: {dict(quiet.codes)}; uploads: {len(uploads)}")
    note(f"slowest: {({path: round(seconds, 2) for path, seconds in watch.slowest.items()})}")
    odd = flooded.odd + quiet.odd + watch.odd
    if odd:
        fail(f"{len(odd)} odd answers, the first is: {odd[0]}")
    refusals = sum(count for code, count in flooded.codes.items() if "queue_" in code)
    alone, beside = median(quiet.seconds, begun, middle), median(quiet.seconds, middle, end)
    if refusals < 100 or len(flooded.acked) < 100 or not uploads or alone is None or beside is None:
        fail(f"void: {refusals} refused, {len(flooded.acked)} served, {len(uploads)} uploads, {len(quiet.seconds)} quiet ones")
    if not watch.waiting or not watch.found or not {"flood"} <= watch.principals <= {"flood", "quiet", "root"}:
        fail(f"people were told of {watch.waiting} waiting requests of {watch.principals}, {watch.found} found by id")
    late = {path: seconds for path, seconds in watch.slowest.items() if seconds > PROBE_MAX_S}
    if late:
        fail(f"what never waits took long: {late}")

    share = (len(quiet.seconds) / QUIET) / (len(flooded.seconds) / FLOOD)
    asked = len(quiet.seconds) + len(quiet.refused)
    refused = len(quiet.refused) / max(1, asked)
    figures = f"served={len(flooded.acked)} refused={refusals} share={share:.1f} quiet_refused={refused:.3f}"
    if share < SHARE_MIN or refused > REFUSED_MAX:
        fail(f"the quiet principal has not its part: {figures}")
    if beside > DELAY_MAX * alone:
        fail(f"uploads delay small requests from {alone:.3f} to {beside:.3f} s: {figures}")

    counted = supernode.metric("flotilla_refused_total", 'code="queue_') or 0
    told = sum(count for seen in (flooded, quiet) for code, count in seen.codes.items() if "queue_" in code)
    if counted < told:
        fail(f"{told} requests were refused, {counted} are counted: {figures}")
    lines = refused_lines(dev, log_begun)
    if lines > LOG_LINES_A_SECOND * (took_s + 2) * 1.5:
        fail(f"{lines} lines of refused requests in {took_s:.0f} s: {figures}")

    dev.wait(lambda: settled(root), 20) or fail(f"credits are lost: {root.request('GET', '/v1/queue').body.decode()}")
    for request, problem in [one for one in flooded.refused if "queue_" in one[1].get("code", "")][-5:]:
        check_refused(root, request, problem)
    for one in flooded.served[-3:] + [one for one in quiet.served if one[1] in quiet.acked][-3:]:
        check_served(dev, root, *one)
    request = flooded.served[-1][0]
    if Client(dev.api, tokens["quiet"]).request("GET", f"/v1/explain/{request}").body != root.request("GET", "/v1/explain/never").body:
        fail("a principal is told of somebody else's request")
    if (code := flotilla("explain", request, "--json").returncode) != 0:
        fail(f"flotilla explain ended with {code}")
    for command in (["explain", "never"], ["queue", "--request", "never"]):
        if (code := flotilla(*command).returncode) != 3:
            fail(f"flotilla {' '.join(command)} ended with {code}, not 3")

    bursts, stolen = find_stolen(dev, tokens["quiet"], root)
    dev.wait(lambda: settled(root), 20) or fail(f"credits are lost: {root.request('GET', '/v1/queue').body.decode()}")
    keys = flooded.acked + quiet.acked + bursts.acked
    wrong = asyncio.run(read_back(dev.api, dev.token, keys))
    body = (dev.work / "upload").read_bytes()
    wrong += [key for key in uploads if root.file("GET", key).body != body]
    if wrong:
        fail(f"{len(wrong)} of {len(keys)} acked files are not what was sent, the first is {wrong[0]}: {figures}")
    print(f"{figures} delay={beside / alone:.1f} stolen={stolen} read_back={len(keys)} findings=0")


if __name__ == "__main__":
    main()
