"""Requests that RFC 9112 tells a server to refuse, or that a proxy in front of us could read in another way than we do.

Each is followed by a second, good request on the same connection: it must never be answered, since a server that has lost its
place can't know where a request begins.
"""

import json

from dev import Dev, fail, note
from raw import exchange

FILES = "/v1/files/demo"
COUNT_MIN = 48
SMUGGLED = "smuggled"
HOST = "Host: flotilla.test\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
END = "0\r\n\r\n"


def heads() -> dict[str, str]:
    """Header lines behind a good request line, each with the body `0 CRLF CRLF`."""
    return {
        # Which length is it?
        "CL.TE": f"{HOST}Content-Length: 5\r\n{CHUNKED}",
        "TE.CL": f"{HOST}{CHUNKED}Content-Length: 5\r\n",
        "CL.TE in capitals": f"{HOST}CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n",
        "CL 0 and TE": f"{HOST}Content-Length: 0\r\n{CHUNKED}",
        "TE twice in one line": f"{HOST}Transfer-Encoding: chunked, chunked\r\n",
        "TE twice in two lines": f"{HOST}{CHUNKED}{CHUNKED}",
        "TE identity, chunked": f"{HOST}Transfer-Encoding: identity, chunked\r\n",
        "TE identity and chunked": f"{HOST}Transfer-Encoding: identity\r\n{CHUNKED}",
        "TE chunked and identity": f"{HOST}{CHUNKED}Transfer-Encoding: identity\r\n",
        "TE chunked, identity": f"{HOST}Transfer-Encoding: chunked, identity\r\n",
        "TE gzip": f"{HOST}Transfer-Encoding: gzip\r\n",
        "TE xchunked": f"{HOST}Transfer-Encoding: xchunked\r\n",
        "TE in quotes": f'{HOST}Transfer-Encoding: "chunked"\r\n',
        "TE behind a vertical tab": f"{HOST}Transfer-Encoding:\x0bchunked\r\n",
        "TE with a parameter": f"{HOST}Transfer-Encoding: chunked;x=1\r\n",
        "TE empty": f"{HOST}Transfer-Encoding:\r\n",
        "space before the colon of TE": f"{HOST}Transfer-Encoding : chunked\r\n",
        "tab before the colon of TE": f"{HOST}Transfer-Encoding\t: chunked\r\n",
        "CL and TE behind a bare CR": f"{HOST}Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked\r\n",
        "two different lengths": f"{HOST}Content-Length: 5\r\nContent-Length: 6\r\n",
        "two equal lengths": f"{HOST}Content-Length: 5\r\nContent-Length: 5\r\n",
        "a list of lengths": f"{HOST}Content-Length: 5, 5\r\n",
        "length with a plus": f"{HOST}Content-Length: +5\r\n",
        "length with a minus": f"{HOST}Content-Length: -5\r\n",
        "length in hex": f"{HOST}Content-Length: 0x5\r\n",
        "length with a space in it": f"{HOST}Content-Length: 5 5\r\n",
        "length is a word": f"{HOST}Content-Length: five\r\n",
        "length is empty": f"{HOST}Content-Length:\r\n",
        "length over 64 bits": f"{HOST}Content-Length: 99999999999999999999\r\n",
        "length of 2^64 - 1": f"{HOST}Content-Length: 18446744073709551615\r\n",
        "space before the colon of CL": f"{HOST}Content-Length : 5\r\n",
        # Where does a line end, and where does the head?
        "obs-fold": f"{HOST}X: a\r\n b\r\nContent-Length: 5\r\n",
        "obs-fold of TE": f"{HOST}Transfer-Encoding:\r\n chunked\r\n",
        "space before the first header": f" X: a\r\n{HOST}Content-Length: 5\r\n",
        "bare LF between headers": "Host: flotilla.test\nContent-Length: 5\r\n",
        "bare LF ends the head": f"{HOST}Content-Length: 5\n\n",
        "NUL in a value": f"{HOST}X: a\0b\r\nContent-Length: 5\r\n",
        "NUL in a name": f"{HOST}X\0: a\r\nContent-Length: 5\r\n",
        "bare CR in a value": f"{HOST}X: a\rb\r\nContent-Length: 5\r\n",
        "header without a colon": f"{HOST}Content-Length 5\r\n",
        "header without a name": f"{HOST}: a\r\nContent-Length: 5\r\n",
        "name with a space in it": f"{HOST}X Y: a\r\nContent-Length: 5\r\n",
        "name in brackets": f"{HOST}X(Y): a\r\nContent-Length: 5\r\n",
        # Which host?
        "no host": "Content-Length: 5\r\n",
        "two hosts": f"{HOST}Host: other.test\r\nContent-Length: 5\r\n",
        "the same host twice": f"{HOST}{HOST}Content-Length: 5\r\n",
        "host with a space": "Host: flotilla.test other\r\nContent-Length: 5\r\n",
        "host with a user": "Host: user@flotilla.test\r\nContent-Length: 5\r\n",
        "host with a path": "Host: flotilla.test/x\r\nContent-Length: 5\r\n",
        # How much is too much?
        "a header of 40 KiB": f"{HOST}X: {'x' * 40960}\r\nContent-Length: 5\r\n",
        "200 headers": HOST + "".join(f"X-{n}: 1\r\n" for n in range(200)) + "Content-Length: 5\r\n",
    }


def bodies() -> dict[str, str]:
    """Chunked bodies that are none."""
    return {
        "size is no number": f"zz\r\nabc\r\n{END}",
        "size is negative": f"-3\r\nabc\r\n{END}",
        "size has 0x": f"0x3\r\nabc\r\n{END}",
        "size is empty": f"\r\nabc\r\n{END}",
        "size over 64 bits": f"ffffffffffffffff3\r\nabc\r\n{END}",
        "size is less than the data": f"3\r\nabcd\r\n{END}",
        "bare LF behind the size": f"3\nabc\r\n{END}",
        "bare LF behind the data": f"3\r\nabc\n{END}",
        "bare LF in an extension": f"3;a\nb\r\nabc\r\n{END}",
        "extension without an end": f"3;{'x' * 65536}\r\nabc\r\n{END}",
        "NUL behind the size": f"3\0\r\nabc\r\n{END}",
        "letters behind the size": f"3abc\r\nabc\r\n{END}",
    }


def lines() -> dict[str, str]:
    """Request lines; the key is `bad`."""
    path = f"{FILES}/bad"
    return {
        "no version": f"PUT {path}",
        "HTTP/1.2 in small letters": f"PUT {path} http/1.1",
        "HTTP/9.9": f"PUT {path} HTTP/9.9",
        "the preface of HTTP/2": "PRI * HTTP/2.0",
        "two spaces": f"PUT  {path} HTTP/1.1",
        "a tab for a space": f"PUT\t{path}\tHTTP/1.1",
        "a space in the target": f"PUT {path} x HTTP/1.1",
        "method in brackets": f"P(T {path} HTTP/1.1",
        "method with a NUL": f"P\0T {path} HTTP/1.1",
        "target of another host": f"PUT http://other.test{path} HTTP/1.1",
        "target without a slash": f"PUT {path[1:]} HTTP/1.1",
        "target with a fragment of bytes": f"PUT {path}\x7f HTTP/1.1",
        "CONNECT": "CONNECT flotilla.test:80 HTTP/1.1",
        "a target of 70 KiB": f"PUT {path}{'x' * 71680} HTTP/1.1",
    }


def cases(token: str) -> dict[str, bytes]:
    """All requests, each with a good one behind it."""
    credential = f"Authorization: Bearer {token}\r\n"
    good = f"PUT {FILES}/{SMUGGLED} HTTP/1.1\r\n{HOST}{credential}Content-Length: 1\r\n\r\nx"
    start = f"PUT {FILES}/bad HTTP/1.1\r\n{credential}"
    found = {f"head: {name}": f"{start}{head}\r\n{END}" for name, head in heads().items()}
    found |= {f"body: {name}": f"{start}{HOST}{CHUNKED}\r\n{body}" for name, body in bodies().items()}
    found |= {f"line: {name}": f"{line}\r\n{HOST}{credential}Content-Length: 0\r\n\r\n" for name, line in lines().items()}
    return {name: (request + good).encode("latin-1") for name, request in found.items()}


def cut(token: str) -> dict[str, bytes]:
    """Bodies whose client leaves before their end."""
    start = f"PUT {FILES}/bad HTTP/1.1\r\nAuthorization: Bearer {token}\r\n{HOST}"
    return {
        "shorter than its length": f"{start}Content-Length: 10\r\n\r\nx".encode(),
        "no last chunk": f"{start}{CHUNKED}\r\n1\r\nx\r\n".encode(),
        "in mid-chunk": f"{start}{CHUNKED}\r\na\r\nx".encode(),
        "in mid-head": f"{start}Content-Length: 1".encode(),
    }


def check(where: str, url: str, name: str, request: bytes, shut: bool) -> str | None:
    try:
        answers = exchange(url, request, shut)
    except TimeoutError:
        return f"{where}: {name}: neither answered nor closed"
    statuses = [status for status, _, _ in answers]
    if len(statuses) > 1:
        return f"{where}: {name}: {len(statuses)} answers {statuses}"
    if statuses and not 400 <= statuses[0] < 500:
        return f"{where}: {name}: status {statuses[0]}"
    return None


def main() -> None:
    dev = Dev()
    if dev.client().file("PUT", "seed", b"seed").status != 201:
        fail("the seed was not stored")
    supernode, node = dev.supernodes[0], dev.nodes[0]
    listeners = {
        "supernode": dev.api,
        "node": node.public,
        "supernode's peers": f"http://{supernode.peer}",
        "node's peers": f"http://{node.peer}",
    }
    sent, wrong = 0, []
    for where, url in listeners.items():
        for shut, requests in ((False, cases(dev.token)), (True, cut(dev.token))):
            if not shut and len(requests) < COUNT_MIN:
                fail(f"{len(requests)} cases, {COUNT_MIN} are promised")
            for name, request in requests.items():
                sent += 1
                bad = check(where, url, name, request, shut)
                if bad:
                    note(bad)
                    wrong.append(bad)
        # The controls: the same requests without their fault are taken, so it is the fault that is refused.
        if where in ("supernode", "node"):
            start = f"PUT {FILES}/seed HTTP/1.1\r\nAuthorization: Bearer {dev.token}\r\n{HOST}"
            for body in ("Content-Length: 4\r\n\r\nseed", f"{CHUNKED}\r\n2;x=y\r\nse\r\n2\r\ned\r\n0\r\nT: v\r\n\r\n"):
                statuses = [status for status, _, _ in exchange(url, f"{start}{body}{start}{body}".encode())]
                if statuses != [200, 200]:
                    wrong.append(f"{where}: two good requests on one connection: {statuses}")
    listing = json.loads(dev.client().request("GET", f"{FILES}?limit=1000").body)
    keys = [item["key"] for item in listing["items"]]
    if keys != ["seed"] or dev.client().file("GET", "seed").body != b"seed":
        wrong.append(f"something was stored: {keys[:5]}")
    if not all(process.ready() for process in dev.processes):
        wrong.append("a process is not ready afterwards")
    if wrong:
        fail(f"{len(wrong)} wrong answers, first: {wrong[0]}")
    print(f"cases={len(cases('')) + len(cut(''))} listeners={len(listeners)} requests={sent}")


main()
