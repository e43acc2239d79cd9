"""A proxy between the command line and a deployment: writes down what is asked, and breaks answers when it is told to.

cli_proxy.py UPSTREAM_HOST:PORT FOLDER: listens on a free port, which it writes to FOLDER/port. FOLDER/mode is read for every
request: `pass`; `stall N` holds the answer back behind N bytes of its body; `cut N` breaks the connection there, once for each
request; `flip N` changes the body's byte N. FOLDER/requests gets one line for each request: method, path, Range, If-Range.
"""

import os
import socket
import sys
import threading
from pathlib import Path

HEAD_MAX = 64 << 10
PIECE = 64 << 10


def read_head(source: socket.socket) -> tuple[bytes, bytes]:
    """The head of a message, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = source.recv(PIECE)
        if not piece or len(data) > HEAD_MAX:
            return b"", b""
        data += piece
    head, rest = data.split(b"\r\n\r\n", 1)
    return head, rest


def header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode()
    return "-"


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(PIECE):
            target.sendall(piece)
    except OSError:
        pass


def serve(client: socket.socket, upstream: tuple[str, int], folder: Path) -> None:
    with client:
        head, rest = read_head(client)
        if not head:
            return
        method, path = head.split(b" ", 2)[:2]
        line = f"{method.decode()} {path.decode()} {header(head, b'range')} {header(head, b'if-range')}\n"
        # One write of a short line is not mixed with another one's.
        with (folder / "requests").open("a") as log:
            log.write(line)
        mode, _, place = (folder / "mode").read_text().strip().partition(" ")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        with socket.create_connection(upstream) as server:
            server.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + rest)
            threading.Thread(target=copy, args=(client, server), daemon=True).start()
            answer, body = read_head(server)
            if answer:
                client.sendall(answer + b"\r\n\r\n")
                relay(client, server, body, mode, int(place or -1))
            # The thread that still reads from it would keep a connection open that is only closed.
            client.shutdown(socket.SHUT_RDWR)


def relay(client: socket.socket, server: socket.socket, body: bytes, mode: str, place: int) -> None:
    sent = 0
    while body:
        if sent <= place < sent + len(body):
            at = place - sent
            if mode == "flip":
                body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
            elif mode in ("stall", "cut"):
                client.sendall(body[:at])
                if mode == "stall":
                    client.recv(1)
                return
        client.sendall(body)
        sent += len(body)
        body = server.recv(PIECE)


def main() -> None:
    host, port = sys.argv[1].rsplit(":", 1)
    folder = Path(sys.argv[2])
    listener = socket.create_server(("127.0.0.1", 0))
    temporary = folder / "port.tmp"
    temporary.write_text(str(listener.getsockname()[1]))
    os.rename(temporary, folder / "port")

    def guarded(client: socket.socket) -> None:
        try:
            serve(client, (host, int(port)), folder)
        except OSError:
            pass

    while True:
        client, _ = listener.accept()
        threading.Thread(target=guarded, args=(client,), daemon=True).start()


if __name__ == "__main__":
    main()
