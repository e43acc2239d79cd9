"""Bodies that checks send and read slowly, and where they came to lie."""

import http.client
import os
import subprocess
import time
import urllib.parse
from pathlib import Path

from dev import Answer, layout

FRAME_BYTES = 1 << 18


def put_paced(url: str, token: str, key: str, file: Path, rate: float | None, at, timeout_s: float = 120) -> Answer:
    """Sends a file with one PUT to one listener, `rate` bytes a second; calls `at` with the bytes sent after every frame."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    begun, sent = time.monotonic(), 0
    with open(file, "rb") as body:
        connection.putrequest("PUT", f"/v1/files/demo/{urllib.parse.quote(key)}")
        connection.putheader("Authorization", f"Bearer {token}")
        connection.putheader("Content-Length", str(file.stat().st_size))
        connection.endheaders()
        try:
            while frame := body.read(FRAME_BYTES):
                connection.send(frame)
                sent += len(frame)
                at(sent)
                if rate and (early := sent / rate - (time.monotonic() - begun)) > 0:
                    time.sleep(early)
        except OSError:
            pass  # the server answered before the end; what it says is the answer
        got = connection.getresponse()
        answer = Answer(got.status, got.headers, got.read())
    connection.close()
    return answer


def layout_chunks(key: str) -> list[dict]:
    """Every chunk of a file with its offset in the file and its replicas, as `stat --layout` tells it."""
    chunks, tree_offset = [], 0
    for tree in layout(key)["trees"]:
        chunks += [chunk | {"offset": tree_offset + chunk["offset"]} for chunk in tree["chunks"]]
        tree_offset += tree["length"]
    return chunks


def b3sum_of_download(url: str, token: str, key: str, timeout_s: float = 300) -> str:
    """The BLAKE3 of what a GET gives; the empty string when it breaks off."""
    command = ["curl", "-sSf", "--max-time", str(timeout_s), "-H", f"Authorization: Bearer {token}"]
    command.append(f"{url}/v1/files/demo/{urllib.parse.quote(key)}")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as curl:
        tool = [os.environ["B3SUM"], "--no-names"]
        summed = subprocess.run(tool, stdin=curl.stdout, capture_output=True, text=True, timeout=timeout_s, check=False)
    return summed.stdout.strip() if curl.returncode == 0 else ""
