"""HTTP/1.1 over bare sockets, for requests that every library would mend or refuse itself."""

import json
import socket
import urllib.parse

from dev import Dev, Process

TIMEOUT_S = 15

Raw = tuple[int, dict[str, str], bytes]


def exchange(url: str, request: bytes, shut: bool = False) -> list[Raw]:
    """Sends bytes (and, with `shut`, the end of them), reads until the server closes; gives all final answers in order.

    No answer at all is an empty list. TimeoutError means that the server neither answered nor closed.
    """
    parts = urllib.parse.urlsplit(url)
    received = b""
    with socket.create_connection((parts.hostname, parts.port), TIMEOUT_S) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.sendall(request)
            if shut:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                received += part
        except ConnectionError:
            pass
    return answers(received)


def answers(received: bytes) -> list[Raw]:
    """Splits what came into answers; what stands behind a body of its announced length is the next one."""
    found = []
    while received.startswith(b"HTTP/1."):
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        status = int(lines[0].split()[1])
        length = int(headers.get("content-length", 0 if status < 200 else len(rest)))
        if status >= 200:
            found.append((status, headers, rest[:length]))
        received = rest[length:]
    return found


class SlowUpload:
    """A PUT straight to a node, of which the second half of the body is still to come; the key is claimed by then."""

    def __init__(self, dev: Dev, node: Process, key: str, body: bytes):
        parts = urllib.parse.urlsplit(node.public)
        self.body = body
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=60)
        head = (
            f"PUT /v1/files/demo/{key} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {dev.token}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.socket.sendall(head.encode() + body[: len(body) // 2])

    def finish(self) -> tuple[int, dict]:
        self.socket.sendall(self.body[len(self.body) // 2 :])
        answer = b""
        while part := self.socket.recv(65536):
            answer += part
        self.socket.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    def give_up(self) -> None:
        self.socket.close()
