"""Sends bad requests over bare sockets, since every HTTP library would mend or refuse them itself."""

import json
import time
from dataclasses import dataclass, field

from dev import Dev, fail, note
from raw import exchange

COUNT_MIN = 50
FILES = "/v1/files/demo"


@dataclass
class Case:
    """One bad request and the answer that it must get."""

    name: str
    method: str
    path: str
    status: int | None  # None: any 4xx
    code: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b"x"
    token: bool = True
    fleet: bool = False  # a route that only supernodes have

    def bytes(self, token: str) -> bytes:
        headers = [("Host", "flotilla.test"), ("Connection", "close")] + self.headers
        if self.token:
            headers.append(("Authorization", f"Bearer {token}"))
        body = self.body if self.method in ("PUT", "POST", "PATCH") else b""
        if body:
            headers.append(("Content-Length", str(len(body))))
        lines = [f"{self.method} {self.path} HTTP/1.1"] + [f"{name}: {value}" for name, value in headers]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def key_cases() -> list[Case]:
    keys = {
        "zero byte": "bad%00key",
        "newline": "bad%0Akey",
        "carriage return": "bad%0Dkey",
        "delete character": "bad%7Fkey",
        "control above ASCII": "bad%C2%85key",
        "dot": ".",
        "two dots": "..",
        "two dots in the middle": "bad/../key",
        "two dots at the end": "bad/..",
        "dot in the middle": "bad/./key",
        "encoded dots": "bad/%2e%2e/key",
        "encoded slashes around dots": "bad%2F..%2Fkey",
        "not UTF-8": "bad%FFkey",
        "cut UTF-8": "bad%C3%28key",
        "surrogate": "bad%ED%A0%80key",
        "1,025 bytes": "k" * 1025,
        "513 times two bytes": "%C3%A9" * 513,
    }
    return [Case(f"key: {name}", "PUT", f"{FILES}/{key}", 400, "key_invalid") for name, key in keys.items()] + [
        Case("key of a read: two dots", "GET", f"{FILES}/bad/../key", 400, "key_invalid"),
        Case("key of a delete: zero byte", "DELETE", f"{FILES}/bad%00key", 400, "key_invalid"),
    ]


def bucket_cases() -> list[Case]:
    names = {
        "capitals": "DEMO",
        "two letters": "de",
        "64 letters": "d" * 64,
        "underscore": "de_mo",
        "dot in front": ".demo",
        "dash at the end": "demo-",
        "two dots": "de..mo",
        "space": "de%20mo",
    }
    return [Case(f"bucket: {name}", "PUT", f"/v1/files/{bucket}/key", 400, "bucket_invalid") for name, bucket in names.items()] + [
        Case("make a bucket: capitals", "PUT", "/v1/buckets/DEMO", 400, "bucket_invalid", body=b"", fleet=True),
        Case("write to no bucket", "PUT", "/v1/files/no-such-bucket/key", 404, "bucket_not_found"),
        Case("read from no bucket", "GET", "/v1/files/no-such-bucket/key", 404, "bucket_not_found"),
        Case("delete from no bucket", "DELETE", "/v1/files/no-such-bucket/key", 404, "bucket_not_found"),
        Case("list no bucket", "GET", "/v1/files/no-such-bucket", 404, "bucket_not_found"),
    ]


def credential_cases(token: str) -> list[Case]:
    values = {
        "empty bearer": "Bearer ",
        "wrong token": f"Bearer {'0' * len(token)}",
        "cut token": f"Bearer {token[:-1]}",
        "longer token": f"Bearer {token}0",
        "other scheme": "Basic cm9vdDpyb290",
    }
    cases = [Case("credential: none", "PUT", f"{FILES}/bad", 401, "unauthenticated", token=False)]
    for name, value in values.items():
        headers = [("Authorization", value)]
        cases.append(Case(f"credential: {name}", "PUT", f"{FILES}/bad", 401, "unauthenticated", headers, token=False))
    return cases


def header_cases() -> list[Case]:
    return [
        Case("If-Match without quotes", "PUT", f"{FILES}/bad", 400, "header_invalid", [("If-Match", "abc")]),
        Case("If-None-Match without quotes", "PUT", f"{FILES}/bad", 400, "header_invalid", [("If-None-Match", "abc")]),
        Case("Idempotency-Key with a space", "PUT", f"{FILES}/bad", 400, "header_invalid", [("Idempotency-Key", "a b")]),
        Case("Idempotency-Key of 65", "PUT", f"{FILES}/bad", 400, "header_invalid", [("Idempotency-Key", "a" * 65)]),
        # Refused either way: as a precondition that does not hold, or as one that is not evaluated.
        Case("If-Match on no file", "PUT", f"{FILES}/bad", None, None, [("If-Match", '"' + "0" * 64 + '"')]),
        Case("If-Match any on no file", "PUT", f"{FILES}/bad", None, None, [("If-Match", "*")]),
        Case("If-None-Match any on a file", "PUT", f"{FILES}/seed", None, None, [("If-None-Match", "*")]),
        Case("range behind the end", "GET", f"{FILES}/seed", 416, "range_invalid", [("Range", "bytes=1000-")]),
        Case("limit is no number", "GET", f"{FILES}?limit=many", 400, "header_invalid"),
        Case("limit is negative", "GET", f"{FILES}?limit=-1", 400, "header_invalid"),
        Case("limit is zero", "GET", f"{FILES}?limit=0", 400, "header_invalid"),
        Case("limit is over the largest page", "GET", f"{FILES}?limit=1001", 400, "header_invalid"),
        Case("parameter that no list has", "GET", f"{FILES}?sort=size", 400, "header_invalid"),
        Case("cursor is not ours", "GET", f"{FILES}?cursor=%21%21%21", 400, "header_invalid"),
        Case("partial is neither", "GET", f"{FILES}?partial=maybe", 400, "header_invalid"),
    ]


def route_cases() -> list[Case]:
    return [
        Case("no route", "GET", "/v1/nothing", 404, "route_not_found"),
        Case("no version", "GET", "/files/demo/seed", 404, "route_not_found"),
        Case("metrics on the public listener", "GET", "/metrics", 404, "route_not_found"),
        Case("peer route on the public listener", "PUT", "/peer/v1/chunk", 404, "route_not_found"),
        Case("no such file", "GET", f"{FILES}/missing", 404, "file_not_found"),
        Case("layout of no file", "GET", f"{FILES}/missing?layout", 404, "file_not_found"),
        Case("POST to a file without a source", "POST", f"{FILES}/bad", 400, "header_invalid"),
        Case("unknown method", "BREW", f"{FILES}/bad", 405, "method_not_allowed"),
        Case("DELETE of the clusters", "DELETE", "/v1/clusters", 405, "method_not_allowed", fleet=True),
    ]


def peer_cases() -> list[Case]:
    """Requests to a peer listener: whatever they ask for, they are refused before it is looked at."""
    now = int(time.time() * 1000)
    signature = f"v1 127.0.0.1:1 {{target}} {now} 00000000000000aa 1 {'ab' * 32}"
    routes = {
        "chunk": ("GET", "/peer/v1/chunk"),
        "file": ("PUT", "/peer/v1/file"),
        "vote": ("POST", "/peer/v1/raft/vote"),
        "claim": ("POST", "/peer/v1/claim"),
        "unknown route": ("GET", "/peer/v1/nothing"),
    }
    cases = []
    for name, (method, path) in routes.items():
        for what, headers in {
            "no signature": [],
            "malformed signature": [("Flotilla-Peer", "v1 x")],
            "another secret": [("Flotilla-Peer", signature)],
        }.items():
            cases.append(Case(f"peer {name}: {what}", method, path, 401, "unauthenticated", headers=headers))
    return cases


def check(where: str, url: str, case: Case, token: str) -> list[str]:
    answers = exchange(url, case.bytes(token))
    status, headers, body = answers[0] if answers else (0, {}, b"")
    wrong = []
    if status != case.status and (case.status or not 400 <= status < 500):
        wrong.append(f"status {status}, not {case.status or 'a 4xx'}")
    if not headers.get("content-type", "").startswith("application/problem+json"):
        wrong.append(f"content type '{headers.get('content-type')}'")
        return [f"{where}: {case.name}: {'; '.join(wrong)}"]
    try:
        document = json.loads(body)
    except ValueError:
        return [f"{where}: {case.name}: the body is no JSON"]
    for name in ("type", "title", "status", "detail", "code", "request_id"):
        if not document.get(name):
            wrong.append(f"no {name}")
    if document.get("status") != status or document.get("type") != f"urn:flotilla:{document.get('code')}":
        wrong.append("status or type contradict the answer")
    if case.code and document.get("code") != case.code:
        wrong.append(f"code {document.get('code')}, not {case.code}")
    if headers.get("x-request-id") != document.get("request_id"):
        wrong.append("X-Request-Id is not the document's request_id")
    return [f"{where}: {case.name}: {'; '.join(wrong)}"] if wrong else []


def main() -> None:
    dev = Dev()
    client = dev.client()
    seed = client.file("PUT", "seed", b"seed")
    if seed.status != 201:
        fail(f"the seed answered {seed.status}")
    cases = key_cases() + bucket_cases() + credential_cases(dev.token) + header_cases() + route_cases()
    if len(cases) < COUNT_MIN:
        fail(f"{len(cases)} cases, {COUNT_MIN} are promised")
    # A key at home in another cluster answers 421 there, so the node asked is one of the seed's home.
    node = dev.of_cluster(seed.cluster())[0]
    wrong = []
    for where, url in (("supernode", dev.api), (node.name, node.public)):
        for case in cases:
            if case.fleet and where != "supernode":
                continue
            wrong += check(where, url, case, dev.token)
    for process in (next(p for p in dev.processes if p.role == "supernode"), node):
        for case in peer_cases():
            case.headers = [(name, value.replace("{target}", process.peer)) for name, value in case.headers]
            wrong += check(f"{process.name} peer", f"http://{process.peer}", case, dev.token)
    listing = client.request("GET", f"{FILES}?limit=1000")
    keys = [item["key"] for item in json.loads(listing.body).get("items", [])]
    if keys != ["seed"] or client.file("GET", "seed").body != b"seed":
        wrong.append(f"something was stored: {len(keys)} keys, {[key[:40] for key in keys[:5]]}")
    late = [p.name for p in dev.processes if not p.ready()]
    if late:
        wrong.append(f"not ready afterwards: {late}")
    for line in wrong:
        note(line)
    if wrong:
        fail(f"{len(wrong)} wrong answers, first: {wrong[0]}")
    print(f"requests={len(cases)} peer={len(peer_cases())} listeners=4")


main()
