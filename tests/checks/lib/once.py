"""Uploads that their clients repeat at another supernode until they are answered, each under one Idempotency-Key; and what must be
true of them: answered, there, and made once.
"""

import asyncio
import json
import random
import time
import urllib.parse
from dataclasses import dataclass

ANSWER_S, PATIENCE_S = 20, 60
# Nobody waits longer than this, whatever Retry-After says: the fleet is small, and a round short.
AFTER_MAX_S = 2.0


@dataclass(slots=True)
class Made:
    """One upload."""

    key: str
    body: bytes
    # 0: no answer that ends it in time.
    status: int = 0
    code: str = ""
    version: str = ""
    etag: str = ""
    tries: int = 0
    # From the first try to the last answer.
    took_s: float = 0.0
    # What it was told that nobody may be told.
    odd: str = ""


@dataclass(slots=True)
class Told:
    """An answer: names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def document(self) -> dict:
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


async def ask(url: str, token: str, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Told:
    """One request on a connection of its own."""
    parts = urllib.parse.urlsplit(url)
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            sent = {"Host": parts.netloc, "Authorization": f"Bearer {token}", "Connection": "close"} | (headers or {})
            if method == "PUT":
                sent["Content-Length"] = str(len(body))
            head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
            writer.write(head.encode() + b"\r\n" + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines[1:] if line)
            found = {name.lower(): value.strip() for name, _, value in pairs}
            length = 0 if method == "HEAD" else int(found.get("content-length", 0))
            return Told(int(lines[0].split()[1]), found, await reader.readexactly(length))
        finally:
            writer.close()


def path_of(key: str) -> str:
    return f"/v1/files/demo/{urllib.parse.quote(key)}"


FAILURES = (OSError, EOFError, TimeoutError, ValueError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


async def make(urls: list[str], token: str, made: Made, first: int, fresh_ids: bool = False) -> Made:
    """Uploads a new file until an answer ends it. With `fresh_ids` every try has an Idempotency-Key of its own, as if it was meant
    anew."""
    begun, at = time.monotonic(), first
    name = made.key.replace("/", "-")
    while time.monotonic() < begun + PATIENCE_S:
        made.tries += 1
        headers = {"Idempotency-Key": f"{name}-{made.tries if fresh_ids else 0}"}
        try:
            told = await ask(urls[at % len(urls)], token, "PUT", path_of(made.key), made.body, headers)
        except FAILURES:
            at += 1
            await asyncio.sleep(random.uniform(0.05, 0.3))
            continue
        document = told.document()
        made.code = str(document.get("code", ""))
        if told.status in (200, 201):
            made.status, made.version, made.etag = told.status, str(document.get("version", "")), str(document.get("etag", "")).strip('"')
            break
        after = told.headers.get("retry-after", "")
        if told.status in (429, 503) and not after.isdigit():
            made.odd = f"{told.status} {made.code} without Retry-After"
        elif told.status not in (429, 503, 504):
            made.odd = f"{told.status} {made.code}"
            break
        at += 1
        wait = min(float(after) if after.isdigit() else 0.2, AFTER_MAX_S)
        await asyncio.sleep(wait * random.uniform(0.8, 1.2))
    made.took_s = time.monotonic() - begun
    return made


async def look(urls: list[str], token: str, made: Made) -> str:
    """What is wrong with an upload that was acked; nothing if it is there as it was told."""
    last = "no answer"
    for number in range(40):
        try:
            told = await ask(urls[number % len(urls)], token, "HEAD", path_of(made.key))
        except FAILURES as error:
            last = type(error).__name__
            await asyncio.sleep(0.3)
            continue
        if told.status == 404:
            return f"LOST {made.key}"
        if told.status == 200:
            version, etag = told.headers.get("flotilla-version", ""), told.headers.get("etag", "").strip('"')
            if version != made.version:
                return f"TWICE {made.key}: acked as version {made.version}, and has {version}"
            return "" if etag == made.etag else f"CORRUPT {made.key}: acked with {made.etag}, and has {etag}"
        last = str(told.status)
        await asyncio.sleep(0.3)
    return f"UNREADABLE {made.key}: {last}"


def wrong(made: list[Made]) -> list[str]:
    """What is wrong by the answers alone: a new key is created, once, and every request is answered in the end."""
    found = [f"ODD {one.key} was told {one.odd}" for one in made if one.odd]
    found += [f"TWICE {one.key} was replaced, and nobody else writes it" for one in made if one.status == 200]
    return found + [f"UNANSWERED {one.key} after {one.tries} tries, last {one.code or 'nothing'}" for one in made if not one.status and not one.odd]


def unfair(times: list[float]) -> float:
    """How many times as long as the mean the longest wait is."""
    return max(times) / (sum(times) / len(times)) if times and sum(times) > 0 else 0.0
