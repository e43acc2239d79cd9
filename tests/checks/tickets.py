"""Has three principals take tickets at busy supernodes, kills each of these in turn, and looks at how every ticket ends."""

import os
import re
import socket
import subprocess
import threading
import time
import urllib.parse

from dev import Client, Dev, Process, fail, note
from raw import Raw, answers

PRINCIPALS, TICKETS = ("ann", "ben", "cy"), 20
# Uploads at once through each supernode: more than the places that a cluster gives it for long bodies.
BUSY = 24
# Above what is kept and sent again: long bodies have the fewest places.
BODY = 80 << 10
AWAY_S, FINISH_S, TRIES_MAX = 3, 150, 400
# For so long a place is held; the leader looks twice a second.
HOLD_S, LOOK_S = 10, 2
NOT_NOW = (429, 503, 504)


def flotilla(*arguments: str) -> str:
    command = [os.environ["FLOTILLA"], *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        fail(f"flotilla {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def send(url: str, token: str, method: str, key: str, body: bytes, headers: dict) -> Raw | None:
    """One request that sends its body when it is asked for; None if the connection ended without an answer."""
    parts = urllib.parse.urlsplit(url)
    fields = {
        "Host": "checks", "Authorization": f"Bearer {token}", "Content-Length": str(len(body)),
        "Expect": "100-continue", "Connection": "close",
    } | headers
    head = f"{method} /v1/files/demo/{key} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
    received = b""
    try:
        with socket.create_connection((parts.hostname, parts.port), 60) as connection:
            connection.settimeout(60)
            connection.sendall(head.encode())
            received = connection.recv(65536)
            if received.startswith(b"HTTP/1.1 100"):
                connection.sendall(body)
            while part := connection.recv(65536):
                received += part
    except OSError:
        pass
    found = answers(received)
    return found[0] if found else None


def field(answer: Raw, name: str) -> str:
    """A text or a number of a JSON answer."""
    found = re.search(rf'"{name}":"?([^",}}]*)', answer[2].decode())
    return found.group(1) if found else ""


class Busy:
    """Uploads through all supernodes, more than there are places."""

    def __init__(self, dev: Dev):
        self.dev, self.over, self.spared = dev, threading.Event(), set()
        for supernode in dev.supernodes:
            for number in range(BUSY):
                threading.Thread(target=self.one, args=(supernode, number), daemon=True).start()

    def one(self, supernode: Process, number: int) -> None:
        key, body = f"busy/{supernode.name}/{number}", os.urandom(BODY)
        while not self.over.is_set():
            answer = None
            if supernode.name not in self.spared:
                answer = send(supernode.public, self.dev.token, "PUT", key, body, {})
            if answer is None or answer[0] in NOT_NOW:
                self.over.wait(0.5)


class Ticket:
    """One ticket and what became of it."""

    def __init__(self, principal: str, token: str, number: int, answer: Raw, body: bytes, key: str):
        self.principal, self.token, self.number, self.body, self.key = principal, token, number, body, key
        self.id = field(answer, "id")
        self.granted, self.status, self.odd = 0, 0, ""
        location = answer[1].get("location", "")
        applied = answer[1].get("preference-applied", "")
        if location != f"/v1/tickets/{self.id}" or applied != "respond-async" or "retry-after" not in answer[1]:
            fail(f"a 202 has the headers {answer[1]}")

    def ask(self, supernode: Process, wait_s: int, method: str = "GET"):
        """Looks at the ticket; None if nobody answers."""
        try:
            return Client(supernode.public, self.token, wait_s + 10).request(method, f"/v1/tickets/{self.id}?wait={wait_s}")
        except (OSError, ValueError):
            return None
        except Exception as error:  # http.client has several of its own for a server that is gone
            note(f"{self.id}: {type(error).__name__}")
            return None

    def wait(self, supernodes: list[Process], end: float) -> bool:
        """Waits for the ticket's turn, at one supernode after the other."""
        turn = self.number
        while time.monotonic() < end:
            turn += 1
            answer = self.ask(supernodes[turn % len(supernodes)], 5)
            if answer is None or answer.status in NOT_NOW:
                time.sleep(0.2)
                continue
            if answer.status != 200:
                self.odd = f"a look at it is answered {answer.status} {answer.code()}"
                return False
            raw = (answer.status, {}, answer.body)
            if field(raw, "state") != "waiting":
                self.granted = int(field(raw, "granted"))
                return True
        return False

    def use(self, supernodes: list[Process], end: float) -> None:
        """Sends the request under the ticket until it is answered."""
        turn = self.number
        while time.monotonic() < end:
            turn += 1
            supernode = supernodes[turn % len(supernodes)]
            answer = send(supernode.public, self.token, "PUT", self.key, self.body, {"Flotilla-Ticket": self.id})
            if answer is None or answer[0] in (202, *NOT_NOW):
                time.sleep(0.2)
                continue
            self.status = answer[0]
            if answer[0] not in (200, 201):
                self.odd = f"its request is answered {answer[0]} {field(answer, 'code')}"
            return

    def live(self, supernodes: list[Process], end: float) -> None:
        if self.wait(supernodes, end):
            self.use(supernodes, end)


def take(principal: str, token: str, number: int, supernodes: list[Process]) -> Ticket:
    """Asks until a request would have to wait: those that would not are served."""
    body = os.urandom(BODY)
    for attempt in range(TRIES_MAX):
        key = f"tickets/{principal}/{number}/{attempt}"
        supernode = supernodes[(number + attempt) % len(supernodes)]
        answer = send(supernode.public, token, "PUT", key, body, {"Prefer": "respond-async"})
        if answer is not None and answer[0] == 202:
            return Ticket(principal, token, number, answer, body, key)
        if answer is not None and answer[0] not in (200, 201, *NOT_NOW):
            fail(f"a request that would rather have a ticket is answered {answer[0]} {field(answer, 'code')}")
        time.sleep(0.05)
    fail(f"none of {TRIES_MAX} requests had to wait: nothing is busy here")


def in_order(tickets: list[Ticket]) -> None:
    for principal in PRINCIPALS:
        mine = sorted((ticket for ticket in tickets if ticket.principal == principal), key=lambda ticket: ticket.id)
        turns = [ticket.granted for ticket in mine]
        if turns != sorted(set(turns)):
            fail(f"the turns of {principal}'s tickets came in another order: {turns}")


def kill_each(dev: Dev, tickets: list[Ticket]) -> tuple[int, int]:
    """Kills each supernode; gives how many of them led, and how many tickets stood at least."""
    led, least = 0, len(tickets)
    for victim in dev.supernodes:
        standing = sum(1 for ticket in tickets if not ticket.status)
        led, least = led + victim.leads(), min(least, standing)
        note(f"{victim.name} is killed while {standing} tickets stand{', it leads' if victim.leads() else ''}")
        if not standing:
            fail(f"all tickets were used before {victim.name} was killed: nothing is shown by that")
        dev.kill_all([victim])
        time.sleep(AWAY_S)
        dev.start(victim)
        dev.wait_ready([victim], 60)
    return led, least


def ended_once(dev: Dev, tickets: list[Ticket]) -> None:
    late = [ticket for ticket in tickets if not ticket.status and not ticket.odd]
    odd = [f"{ticket.principal}/{ticket.number}: {ticket.odd}" for ticket in tickets if ticket.odd]
    if odd:
        fail(f"{len(odd)} tickets ended in another way, the first is {odd[0]}")
    if late:
        fail(f"{len(late)} of {len(tickets)} tickets still wait after {FINISH_S} s")
    for number, ticket in enumerate(tickets):
        supernode = dev.supernodes[number % 3]
        answer = dev.client(supernode.public).file("GET", ticket.key)
        if answer.status != 200 or answer.body != ticket.body:
            fail(f"{ticket.key} is answered {answer.status} {answer.code()}")
        if (again := ticket.ask(supernode, 0, "DELETE")) is None or (again.status, again.code()) != (409, "conflict"):
            fail(f"giving up a used ticket is answered {again and again.status}")
    left = dev.wait(lambda: sum(p.metric("flotilla_tickets", 'state="waiting"') or 0 for p in dev.supernodes) == 0, 5)
    if not left:
        fail("tickets wait that nobody has")


def size(dev: Dev, supernode: Process, key: str) -> int:
    answer = dev.client(supernode.public).file("GET", key)
    return len(answer.body) if answer.status == 200 else -1


def until_answered(supernode: Process, token: str, method: str, key: str, body: bytes, headers: dict) -> Raw:
    """Sends a request until it is made or refused for good."""
    for _ in range(TRIES_MAX):
        answer = send(supernode.public, token, method, key, body, headers)
        if answer is not None and answer[0] not in NOT_NOW:
            return answer
        time.sleep(0.2)
    fail(f"{method} of {key} is refused for too long")


def made_once(dev: Dev, busy: Busy, token: str) -> None:
    """Loses the answer to an append under a ticket with its supernode, and sends it again under the ticket."""
    victim = next(p for p in dev.supernodes if not p.leads())
    others = [p for p in dev.supernodes if p is not victim]
    key, begin, more = "append", os.urandom(BODY), os.urandom(BODY)
    put = until_answered(others[0], token, "PUT", key, begin, {})
    if put[0] not in (200, 201):
        fail(f"the file to append to is answered {put[0]}")
    busy.spared.add(victim.name)
    dev.kill_all([victim])
    dev.start(victim, env={"FAILPOINTS": "supernode.answered=panic"})
    dev.wait_ready([victim], 60)
    append, ticket = {"Flotilla-Append": "true"}, None
    for _ in range(TRIES_MAX):
        answer = send(others[0].public, token, "PATCH", key, more, append | {"Prefer": "respond-async"})
        if answer is not None and answer[0] == 202:
            ticket = Ticket("ann", token, 0, answer, more, key)
            break
        time.sleep(0.05)
    if ticket is None or not ticket.wait(others, time.monotonic() + 60):
        fail("an append got no ticket, or no turn")
    before = size(dev, others[0], key)
    lost = send(victim.public, token, "PATCH", key, more, append | {"Flotilla-Ticket": ticket.id})
    if lost is not None or not dev.wait(lambda: not victim.alive(), 5):
        fail(f"the answer to the append was not lost: {lost and lost[0]}")
    if not dev.wait(lambda: size(dev, others[0], key) == before + len(more), 10):
        fail(f"the append whose answer was lost was not made: {size(dev, others[0], key)} bytes after {before}")
    for supernode in others:
        again = until_answered(supernode, token, "PATCH", key, more, append | {"Flotilla-Ticket": ticket.id})
        if again[0] != 200 or size(dev, supernode, key) != before + len(more):
            fail(f"the append was sent again under its ticket: {again[0]}, {size(dev, supernode, key)} bytes after {before}")
    other = send(others[0].public, token, "PUT", "another", more, {"Flotilla-Ticket": ticket.id})
    if other is None or (other[0], field(other, "code")) != (409, "conflict"):
        fail(f"another request under a ticket is answered {other and other[0]}")
    # A control: without the ticket the same bytes are appended once more.
    until_answered(others[0], token, "PATCH", key, more, append)
    if size(dev, others[0], key) != before + 2 * len(more):
        fail("an append without a ticket can't be told from one that was made before: the control shows nothing")
    dev.start(victim)
    dev.wait_ready([victim], 60)
    busy.spared.clear()


def lost_in_time(dev: Dev, token: str) -> float:
    """Lets a turn pass, and gives how long its place was held."""
    ticket = take("ben", token, 900, dev.supernodes)
    if not ticket.wait(dev.supernodes, time.monotonic() + 60):
        fail("a ticket had no turn")
    since, gone = time.monotonic(), None
    while time.monotonic() < since + HOLD_S + 10 * LOOK_S:
        gone = ticket.ask(dev.supernodes[0], 0)
        if gone is not None and gone.status == 410:
            break
        time.sleep(0.1)
    held_s = time.monotonic() - since
    if gone is None or (gone.status, gone.code()) != (410, "ticket_lost"):
        fail(f"a ticket that nobody uses is answered {gone and gone.status} after {held_s:.1f} s")
    if held_s < HOLD_S - LOOK_S:
        fail(f"a place was held for {held_s:.1f} s, {HOLD_S} s are promised")
    late = send(dev.supernodes[1].public, token, "PUT", ticket.key, ticket.body, {"Flotilla-Ticket": ticket.id})
    if late is None or (late[0], field(late, "code")) != (410, "ticket_lost"):
        fail(f"a request that comes too late is answered {late and late[0]}")
    if (status := dev.client().file("GET", ticket.key).status) != 404:
        fail(f"a request that came too late was made: {status}")
    return held_s


def main() -> None:
    dev = Dev()
    tokens = {principal: flotilla("key", "create", principal) for principal in PRINCIPALS}

    def known() -> bool:
        doors = [Client(p.public, token) for p in dev.supernodes for token in tokens.values()]
        return all(door.file("GET", "nothing").status == 404 for door in doors)

    if not dev.wait(known, 10):
        fail("the keys are not known everywhere after 10 s")
    busy = Busy(dev)
    time.sleep(3)
    tickets, threads, end = [], [], time.monotonic() + FINISH_S
    for number in range(TICKETS * len(PRINCIPALS)):
        principal = PRINCIPALS[number % len(PRINCIPALS)]
        tickets.append(take(principal, tokens[principal], number, dev.supernodes))
        # The first turns come while the last tickets are taken.
        threads.append(threading.Thread(target=tickets[-1].live, args=(dev.supernodes, end), daemon=True))
        threads[-1].start()
    led, least = kill_each(dev, tickets)
    for thread in threads:
        thread.join(max(0, end - time.monotonic()) + 30)
    in_order([ticket for ticket in tickets if ticket.granted])
    ended_once(dev, tickets)
    if not led:
        fail("no supernode that was killed led: nothing is shown by that")
    made_once(dev, busy, tokens["ann"])
    held_s = lost_in_time(dev, tokens["ben"])
    busy.over.set()
    print(f"tickets={len(tickets)} used={len(tickets)} kills={len(dev.supernodes) + 2} led={led} stood={least} held_s={held_s:.1f}")


main()
