"""The DNS of a Kubernetes cluster, small: what it said of a name once it goes on saying until the answer's time is over.

So a pod with a new address is looked for at the old one for a while, and one that was asked for too early is not found at first.
"""

import contextlib
import socket
import struct
import threading
import time

# The domain of a Kubernetes cluster, and how long CoreDNS keeps an answer there, also one that there is no such name.
DOMAIN, TTL_S = "cluster.local", 30
PORT = 53
HEADER = struct.Struct("!6H")
ANSWER, AUTHORITATIVE, RECURSION_WANTED, RECURSION, NO_SUCH_NAME = 0x8000, 0x0400, 0x0100, 0x0080, 3
A, IN = 1, 1
# The name stands in the question, which follows the header.
NAME_OF_QUESTION = 0xC000 | HEADER.size
LABEL_MAX = 63
# From linux/in.h: an address may be taken before an interface has it, and podman makes the bridge with the first pod.
IP_FREEBIND = 15


class Zone:
    """The addresses of names, and what is still said of them. It keeps one answer for each name that was ever asked for."""

    def __init__(self, ttl_s: float, now=time.monotonic):
        self.ttl_s, self.now = ttl_s, now
        self.addresses: dict[str, str] = {}
        self.said: dict[str, tuple[float, str | None]] = {}

    def point(self, name: str, address: str | None) -> None:
        """Gives a name another address, or none; who asks hears of it when the last answer is too old."""
        if address is None:
            self.addresses.pop(name, None)
        else:
            self.addresses[name] = address

    def ask(self, name: str) -> tuple[str | None, float]:
        """What is said of a name, and for how many more seconds."""
        until, address = self.said.get(name, (0.0, None))
        now = self.now()
        if now >= until:
            until, address = now + self.ttl_s, self.addresses.get(name)
            self.said[name] = (until, address)
        return address, until - now


def reply(query: bytes, ask) -> bytes | None:
    """The answer to a query as RFC 1035 has them, 4.1; None if it is none. Names have IPv4 addresses or do not exist."""
    if len(query) < HEADER.size:
        return None
    number, flags, questions, *_ = HEADER.unpack_from(query)
    labels, at = [], HEADER.size
    while at < len(query) and 0 < query[at] <= LABEL_MAX:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace").lower())
        at += 1 + query[at]
    # A zero ends the name; type and class follow.
    end = at + 5
    if flags & ANSWER or questions != 1 or end > len(query) or query[at] != 0:
        return None
    kind, _ = struct.unpack_from("!HH", query, at + 1)
    address, left_s = ask(".".join(labels))
    records = b""
    if address is not None and kind == A:
        records = struct.pack("!HHHIH", NAME_OF_QUESTION, A, IN, int(left_s), 4) + socket.inet_aton(address)
    flags = ANSWER | AUTHORITATIVE | RECURSION | flags & RECURSION_WANTED | (NO_SUCH_NAME if address is None else 0)
    return HEADER.pack(number, flags, 1, 1 if records else 0, 0, 0) + query[HEADER.size : end] + records


class Resolver(threading.Thread):
    """Answers pods at an address of this machine that they reach."""

    def __init__(self, address: str, zone: Zone):
        super().__init__(name="names", daemon=True)
        self.zone, self.heard = zone, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        self.socket.bind((address, PORT))

    def run(self) -> None:
        while True:
            query, who = self.socket.recvfrom(512)
            self.heard += 1
            answer = reply(query, self.zone.ask)
            # Who asked may be gone; it asks again if it is not.
            with contextlib.suppress(OSError):
                if answer is not None:
                    self.socket.sendto(answer, who)
