"""Network namespaces on one bridge, and what can be done to the links between them.

Every host has a namespace of its own. Faults drop what comes in from an address, so that connections that are open hang
as they do when a cable is cut; a connection that is refused would be noticed at once.
"""

import ctypes
import os
import socket
import subprocess
import threading

RUN = "/run/netns"
CLIENT_IP = "10.66.0.1"
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str, check: bool = True, text: str | None = None) -> str:
    """Runs a tool to its end; gives what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, input=text)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def enter(namespace: str) -> None:
    """Moves the calling thread, and the threads and processes that it makes from now on, into a namespace."""
    with open(f"{RUN}/{namespace}", "rb") as file:
        if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


class Net:
    """The hosts, by name. The thread that makes it becomes the client."""

    def __init__(self, prefix: str, hosts: dict[str, str], noted: str):
        self.prefix, self.hosts = prefix, hosts
        self.cuts: set[tuple[str, str]] = set()
        self.lock = threading.Lock()
        # Written before the first one is made: whoever cleans up after a kill reads it.
        with open(noted, "a", encoding="utf-8") as file:
            file.writelines(f"{self.name(host)}\n" for host in ["hub", "c", *hosts])
        hub = self.name("hub")
        run("ip", "netns", "add", hub)
        run("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", hub, "link", "set", "br0", "up")
        for host, address in {"c": CLIENT_IP, **hosts}.items():
            self.add(host, address)
        enter(self.name("c"))

    def name(self, host: str) -> str:
        return f"{self.prefix}-{host}"

    def add(self, host: str, address: str) -> None:
        space, hub = self.name(host), self.name("hub")
        run("ip", "netns", "add", space)
        run("ip", "link", "add", "e0", "netns", space, "type", "veth", "peer", "name", f"v-{host}"[:15], "netns", hub)
        run("ip", "-n", hub, "link", "set", f"v-{host}"[:15], "master", "br0", "up")
        run("ip", "-n", space, "addr", "add", f"{address}/16", "dev", "e0")
        run("ip", "-n", space, "link", "set", "e0", "up")
        run("ip", "-n", space, "link", "set", "lo", "up")

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connection to a port of the host's own loopback, which no fault between hosts touches."""
        with open("/proc/thread-self/ns/net", "rb") as home:
            enter(self.name(host))
            try:
                return socket.create_connection(("127.0.0.1", port), timeout_s)
            finally:
                if _libc.setns(home.fileno(), CLONE_NEWNET) != 0:
                    os._exit(70)  # a client in the wrong namespace would measure nonsense

    def inside(self, host: str) -> list[str]:
        """What stands before a command that is to run on the host; the pid stays the command's own."""
        return ["nsenter", f"--net={RUN}/{self.name(host)}"]

    def set_cuts(self, cuts: set[tuple[str, str]]) -> None:
        """Makes exactly these (from, to) links drop everything, and all others work."""
        with self.lock:
            for host in self.hosts:
                want = sorted(a for a, b in cuts if b == host)
                if want == sorted(a for a, b in self.cuts if b == host):
                    continue
                rules = "table inet chaos\ndelete table inet chaos\n"
                if want:
                    drops = "\n".join(f"ip saddr {self.hosts[a]} drop" for a in want)
                    rules += f"table inet chaos {{\nchain i {{\ntype filter hook input priority 0;\n{drops}\n}}\n}}\n"
                run(*self.inside(host), "nft", "-f", "-", text=rules)
            self.cuts = set(cuts)

    def mute(self, host: str, port: int, deaf_to: str) -> None:
        """The host's own requests to a port reach nobody, and it hears nothing from another host; it answers all others."""
        silent = f"chain o {{\ntype filter hook output priority 0;\ntcp dport {port} drop\n}}\n"
        deaf = f"chain i {{\ntype filter hook input priority 0;\nip saddr {self.hosts[deaf_to]} drop\n}}\n"
        run(*self.inside(host), "nft", "-f", "-", text=f"table inet mute {{\n{silent}{deaf}}}\n")

    def unmute(self, host: str) -> None:
        run(*self.inside(host), "nft", "-f", "-", text="table inet mute\ndelete table inet mute\n")

    def remove(self) -> None:
        """Removes the hosts; what runs on them must have ended."""
        for host in ["hub", "c", *self.hosts]:
            run("ip", "netns", "del", self.name(host), check=False)

    def heal(self) -> None:
        self.set_cuts(set())


def apart(left: set[str], right: set[str]) -> set[tuple[str, str]]:
    """Nothing passes between two groups."""
    return {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}


def isolated(host: str, hosts: set[str]) -> set[tuple[str, str]]:
    return apart({host}, hosts - {host})


def ring(order: list[str]) -> set[tuple[str, str]]:
    """Each host sees its two neighbours only."""
    count = len(order)
    near = lambda i, j: (i - j) % count in (1, count - 1)
    return {(a, b) for i, a in enumerate(order) for j, b in enumerate(order) if i != j and not near(i, j)}
