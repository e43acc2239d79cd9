"""The Service of clients: one address whose connections go to pods that are ready, as those of a Kubernetes cluster do."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable

from names import IP_FREEBIND

CONNECT_S = 3
PIECE_BYTES = 1 << 16
BACKLOG = 512


def pump(source: socket.socket, to: socket.socket) -> None:
    """Passes on what comes until it ends; if either side breaks, both do."""
    try:
        while piece := source.recv(PIECE_BYTES):
            to.sendall(piece)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Service(threading.Thread):
    """Listens at an address of this machine; `ready` gives the addresses of pods that may get a connection now."""

    def __init__(self, address: str, port: int, target: int, ready: Callable[[], list[str]]):
        super().__init__(name="service", daemon=True)
        self.target, self.ready = target, ready
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        self.socket.bind((address, port))
        self.socket.listen(BACKLOG)

    def run(self) -> None:
        while True:
            client, _ = self.socket.accept()
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client: socket.socket) -> None:
        """One connection, to a pod of chance. Without a pod it is closed, and so it is if the pod does not answer."""
        with contextlib.closing(client):
            ready = self.ready()
            try:
                pod = socket.create_connection((random.choice(ready), self.target), timeout=CONNECT_S) if ready else None
            except OSError:
                return
            if pod is None:
                return
            with contextlib.closing(pod):
                pod.settimeout(None)
                for one in (client, pod):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=pump, args=(pod, client), daemon=True)
                back.start()
                pump(client, pod)
                back.join()
