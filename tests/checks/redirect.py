"""Follows redirects with curl, misuses their capabilities, and asks nodes for what is theirs and what is not."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from dev import Answer, Client, Dev, fail

REDIRECT = {"Prefer": "redirect"}
FILES = "/v1/files/demo"
BIG_BYTES = 6 << 20
# The deployment's capability_lifetime, and the difference of clocks that is allowed for.
EXPIRED_AFTER_S = 4 + 5 + 1


def need(true: object, what: str) -> None:
    if not true:
        fail(what)


def curl(dev: Dev, *arguments: str) -> tuple[dict, str]:
    """Runs curl after one redirect at most; gives what it wrote of itself, and its headers and notes."""
    wanted = '{"status":%{response_code},"redirects":%{num_redirects},"up":%{size_upload},"url":"%{url_effective}"}'
    command = ["curl", "-sv", "-L", "--max-redirs", "1", "--max-time", "30", "-H", "Prefer: redirect", "-w", wanted]
    command += ["-H", f"Authorization: Bearer {dev.token}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    need(done.returncode == 0, f"curl ended with {done.returncode}: {done.stderr[-300:]}")
    return json.loads(done.stdout[done.stdout.rindex('{"status"'):]), done.stderr


def up_and_down(dev: Dev) -> None:
    content = dev.work / "content"
    content.write_bytes(os.urandom(BIG_BYTES))
    told, log = curl(dev, "-T", str(content), f"{dev.api}{FILES}/big")
    need(told["status"] == 201 and told["redirects"] == 1, f"upload by redirect: {told}")
    need(not told["url"].startswith(dev.api), "the upload went through the supernode")
    # curl counts what it sent in the last exchange, and the trace shows what the first one was given.
    need(told["up"] == BIG_BYTES, f"curl sent {told['up']} bytes of {BIG_BYTES}")
    first = log.split("HTTP/1.1 307", 1)[0]
    need("Expect: 100-continue" in first and "100 Continue" not in first, "the body was asked for before the redirect")
    second = log.split("HTTP/1.1 307", 1)[1]
    need("Authorization" not in second, "curl kept its credential; the capability was not needed")
    need(re.search(r"(?i)cache-control: no-store", log), "the redirect may be cached")
    back = dev.work / "back"
    told, _ = curl(dev, "-o", str(back), f"{dev.api}{FILES}/big")
    need(told["status"] == 200 and told["redirects"] == 1, f"download by redirect: {told}")
    need(back.read_bytes() == content.read_bytes(), "the bytes differ")
    told, _ = curl(dev, "-I", f"{dev.api}{FILES}/big")
    need(told["status"] == 200 and told["redirects"] == 1, f"HEAD by redirect: {told}")
    told, _ = curl(dev, "-o", str(back), "-r", "5-14", f"{dev.api}{FILES}/big")
    need(told["status"] == 206 and back.read_bytes() == content.read_bytes()[5:15], f"range by redirect: {told}")


def ask(url: str, method: str, body: bytes | None = None, headers: dict | None = None) -> Answer:
    """Sends a request to a whole address without a credential."""
    base, path = re.fullmatch(r"(http://[^/]+)(/.*)", url).groups()
    client = Client(base, "", 15)
    client.connection.request(method, path, body=body, headers=headers or {})
    got = client.connection.getresponse()
    return Answer(got.status, got.headers, got.read())


def chunks(url: str, parts: list[bytes]) -> int:
    """Sends a chunked PUT to a whole address; gives the status."""
    base, path = re.fullmatch(r"(http://[^/]+)(/.*)", url).groups()
    connection = Client(base, "", 15).connection
    connection.request("PUT", path, body=iter(parts), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    return connection.getresponse().status


def location(dev: Dev, method: str, key: str, body: bytes | None = None) -> str:
    answer = dev.client().file(method, key, body, REDIRECT)
    need(answer.status == 307, f"{method} {key} with Prefer: redirect answered {answer.status}")
    return answer.headers["location"]


def misuse(dev: Dev) -> int:
    """Uses capabilities for what they were not made for; gives how many ways were tried."""
    read, write = location(dev, "GET", "big"), location(dev, "PUT", "cap", b"0123456789")
    need(ask(write, "PUT", b"0123456789").status == 201, "a good capability was refused")
    need(ask(read, "GET").status == 200, "a good capability was refused")
    path, query = read.split("?")
    seal = query.rindex(".") + 1
    tried = {
        "another key": ask(read.replace("/big?", "/cap?"), "GET"),
        "another method": ask(read, "PUT", b"x"),
        "a delete": ask(read, "DELETE"),
        "reading with a write": ask(write, "GET"),
        "a list": ask(f"{path.rsplit('/', 1)[0]}?{query}", "GET"),
        "the layout": ask(f"{read}&layout", "GET"),
        "no capability": ask(path, "GET"),
        "twice the capability": ask(f"{read}&{query}", "GET"),
        "a later end": ask(re.sub(r"\.(\d{13})\.", lambda m: f".{int(m[1]) + 60000}.", read), "GET"),
        "at the supernode": ask(dev.api + read[read.index("/v1"):], "GET"),
    }
    other = next(p for p in dev.nodes if not any(read.startswith(q.public) for q in dev.of_cluster(p.cluster)))
    tried["another cluster"] = ask(other.public + read[read.index("/v1"):], "GET")
    for at in range(seal, len(query), 9):
        flipped = query[:at] + ("0" if query[at] != "0" else "1") + query[at + 1:]
        tried[f"flipped character {at}"] = ask(f"{path}?{flipped}", "GET")
    for what, answer in tried.items():
        need(answer.status in (401, 403), f"capability used for {what}: {answer.status}")
        need(query[seal:] not in answer.body.decode(), f"capability used for {what}: the answer quotes it")
    need(ask(write, "PUT", b"0123456789a").status == 413, "more bytes than the capability allows were taken")
    chunked = chunks(write, [b"01234", b"56789", b"a"])
    need(chunked == 413, f"more bytes than the capability allows, in chunks: {chunked}")
    time.sleep(EXPIRED_AFTER_S)
    need(ask(read, "GET").status == 403 and ask(write, "PUT", b"0").status == 403, "an expired capability was taken")
    need(dev.client().file("GET", "cap").body == b"0123456789", "a refused write changed the file")
    for process in dev.processes:
        need(query[seal:] not in Path(process.log_file).read_text(errors="replace"), f"{process.name} logs capabilities")
    return len(tried) + 2


def direct(dev: Dev) -> None:
    client = dev.client()
    home = client.file("PUT", "direct", b"direct").cluster()
    own = dev.of_cluster(home)[0]
    other = next(p for p in dev.nodes if p.cluster != home)
    need(dev.client(own.public).file("GET", "direct").body == b"direct", "a node does not serve its cluster's key")
    for method in ("GET", "PUT", "DELETE"):
        answer = dev.client(other.public).file(method, "direct", b"x" if method == "PUT" else None)
        need((answer.status, answer.code()) == (421, "wrong_home"), f"{method} at another cluster: {answer.status}")
        told = answer.problem().get("home") or {}
        publics = {p.public for p in dev.of_cluster(home)}
        need(told.get("cluster") == home and set(told.get("addresses", [])) <= publics and told["addresses"],
             f"{method} at another cluster does not tell where to go: {told}")
    sent = dev.client(other.public).file("GET", "direct", None, REDIRECT)
    need(sent.status == 307 and ask(sent.headers["location"], "GET").body == b"direct", f"sent on: {sent.status}")
    sent = dev.client(other.public).file("PUT", "direct", b"again", REDIRECT)
    need(sent.status == 307 and ask(sent.headers["location"], "PUT", b"again").status == 200, f"sent on: {sent.status}")
    free = dev.client(other.public).file("PUT", "claimed", b"claimed")
    need(free.status == 201 and free.cluster() == other.cluster, "a free key was not claimed for the node's own cluster")
    need(client.file("GET", "claimed").body == b"claimed", "a key that a node claimed is not found by the supernode")
    need(dev.client(own.public).file("GET", "missing").code() == "file_not_found", "a key that is nowhere")
    whole = dev.client(own.public).request("GET", FILES)
    need((whole.status, whole.code()) == (503, "list_incomplete"), f"a node's list: {whole.status}")
    need(whole.problem().get("retryable") is False, "a node's list says that trying again may help")
    part = json.loads(dev.client(own.public).request("GET", f"{FILES}?partial=true").body)
    need(part["incomplete"] == [other.cluster], f"a node's partial list lacks {part['incomplete']}")
    need("claimed" not in [item["key"] for item in part["items"]], "a node lists another cluster's key")


def without_supernode(dev: Dev) -> None:
    """Nodes serve what they know while the supernode stands still, and never claim to know the rest."""
    home = dev.client().file("PUT", "known", b"known").cluster()
    node = dev.of_cluster(home)[0]
    other = next(p for p in dev.nodes if p.cluster != home)
    dev.supernodes[0].kill(signal.SIGKILL)
    at = dev.client(node.public)
    need(at.file("GET", "known").body == b"known", "a known key is not served without supernodes")
    need(at.file("PUT", "known", b"more").status == 200, "a known key is not written without supernodes")
    need(at.file("DELETE", "known").status == 204, "a known key is not deleted without supernodes")
    need(at.file("GET", "known").status == 404, "a deleted key is known to be deleted")
    for place, key in ((node, "unknown"), (other, "known")):
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            answer = dev.client(place.public).file(method, key, b"x" if method == "PUT" else None)
            code = answer.code() if method != "HEAD" else "directory_unavailable"
            need((answer.status, code) == (503, "directory_unavailable"),
                 f"{method} of an unknown key without supernodes: {answer.status} {code}")
    part = dev.client(node.public).request("GET", f"{FILES}?partial=true")
    need(part.code() == "directory_unavailable", "a partial list that can't tell what is missing")


def main() -> None:
    dev = Dev()
    up_and_down(dev)
    tried = misuse(dev)
    direct(dev)
    without_supernode(dev)
    print(f"redirects=8 misuses={tried} direct=ok without_supernode=ok")


main()
