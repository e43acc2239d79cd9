"""Prints the first port of a free range for one deployment.

The range lies below the kernel's ephemeral ports, so that no outgoing connection takes one of them.
"""

import random
import socket

COUNT = 64  # more than the deployments here need
ATTEMPTS = 200


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def main() -> None:
    for _ in range(ATTEMPTS):
        base = random.randrange(15000, 31000, 100)
        if all(free(port) for port in range(base, base + COUNT)):
            print(base)
            return
    raise SystemExit("no free range of ports")


if __name__ == "__main__":
    main()
