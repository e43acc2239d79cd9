"""Many kept HTTP/1.1 connections in one thread, for loads that a thread for each would not carry."""

import asyncio
import json
import time
import urllib.parse

TIMEOUT_S = 15


class Reply:
    """One answer, read whole; `seconds` from the request's first byte to the answer's last one."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, seconds: float):
        self.status, self.headers, self.body, self.seconds = status, headers, body, seconds

    def problem(self) -> dict:
        """The problem document, or an empty one."""
        try:
            return json.loads(self.body) if self.status >= 400 else {}
        except ValueError:
            return {}

    def cluster(self) -> str:
        return self.headers.get("flotilla-cluster", "")


class Wire:
    """One connection; opened again when the server has closed it."""

    def __init__(self, url: str, token: str):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port, self.token = parts.hostname, parts.port, token
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.opened = 0

    async def request(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        """Sends one request. TimeoutError and OSError mean that there is no answer."""
        try:
            return await asyncio.wait_for(self.exchange(method, path, body, headers or {}), TIMEOUT_S)
        except (OSError, TimeoutError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            self.close()
            raise OSError(f"{method} {path}: {type(error).__name__} {error}") from error

    async def exchange(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        begun = time.monotonic()
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
            self.opened += 1
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", f"Authorization: Bearer {self.token}"]
        if body or method == "PUT":
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in head[1:] if line)
        told = {name.strip().lower(): value.strip() for name, _, value in fields}
        length = 0 if method == "HEAD" else int(told.get("content-length", 0))
        content = await self.reader.readexactly(length)
        if told.get("connection", "").lower() == "close":
            self.close()
        return Reply(int(head[0].split()[1]), told, content, time.monotonic() - begun)

    async def file(self, method: str, key: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        return await self.request(method, f"/v1/files/demo/{urllib.parse.quote(key)}", body, headers)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None
