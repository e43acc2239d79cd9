"""Uploads that are repeated until they are answered: what their clients do with each answer, and what is found wrong."""

import asyncio
import unittest

import once
from once import Made

VERSION = "0" * 31 + "7"


class Server:
    """Answers requests with what it was given, in that order; an empty answer closes the connection."""

    def __init__(self, answers):
        self.answers, self.heads = list(answers), []

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
        await reader.readexactly(length)
        self.heads.append(head)
        writer.write(self.answers.pop(0))
        writer.close()

    def ids(self):
        lines = [line for head in self.heads for line in head.split("\r\n")]
        return [line.split(": ")[1] for line in lines if line.startswith("Idempotency-Key")]


def answer(status, body=b"", **headers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


DONE = answer(201, b'{"version": "%s", "etag": "abc"}' % VERSION.encode())


def against(server, deed):
    async def run():
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()[:2]
        async with listener:
            return await deed([f"http://{host}:{port}"])

    return asyncio.run(run())


def make(answers, **more):
    server, made = Server(answers), Made("k/1", b"body")
    against(server, lambda urls: once.make(urls, "token", made, 0, **more))
    return server, made


class Make(unittest.TestCase):
    def test_it_is_repeated_under_one_id_until_it_is_answered(self):
        server, made = make([b"", answer(503, b'{"code": "not_ready"}', Retry_After=0), answer(504), DONE])
        self.assertEqual((made.status, made.version, made.etag, made.tries, made.odd), (201, VERSION, "abc", 4, ""))
        self.assertEqual(len(set(server.ids())), 1)
        self.assertEqual(once.wrong([made]), [])

    def test_the_control_means_each_try_anew(self):
        server, _ = make([b"", DONE], fresh_ids=True)
        self.assertEqual(len(set(server.ids())), 2)

    def test_a_refusal_that_does_not_say_when_is_odd(self):
        _, made = make([answer(429, b'{"code": "queue_full"}'), DONE])
        self.assertEqual(made.status, 201)
        self.assertIn("ODD k/1 was told 429 queue_full without Retry-After", once.wrong([made]))

    def test_any_other_answer_ends_it(self):
        _, made = make([answer(500, b'{"code": "internal"}')])
        self.assertEqual(once.wrong([made]), ["ODD k/1 was told 500 internal"])


class Look(unittest.TestCase):
    def look(self, *answers):
        made = Made("k/1", b"", 201, version=VERSION, etag="abc")
        return against(Server(answers), lambda urls: once.look(urls, "token", made))

    def test_what_is_there_as_it_was_told_is_fine(self):
        self.assertEqual(self.look(answer(503), answer(200, Flotilla_Version=VERSION, ETag='"abc"')), "")

    def test_what_is_not_is_named(self):
        self.assertTrue(self.look(answer(404)).startswith("LOST k/1"))
        self.assertTrue(self.look(answer(200, Flotilla_Version="8", ETag='"abc"')).startswith("TWICE k/1"))
        self.assertTrue(self.look(answer(200, Flotilla_Version=VERSION, ETag='"x"')).startswith("CORRUPT k/1"))


class Wrong(unittest.TestCase):
    def test_replaced_and_unanswered_are_found(self):
        found = once.wrong([Made("a", b"", 200), Made("b", b"", 0, "queue_full", tries=3), Made("c", b"", 201)])
        self.assertEqual([one.split()[:2] for one in found], [["TWICE", "a"], ["UNANSWERED", "b"]])

    def test_a_wait_is_held_against_the_mean(self):
        self.assertAlmostEqual(once.unfair([1.0, 1.0, 4.0]), 2.0)
        self.assertEqual(once.unfair([]), 0.0)


if __name__ == "__main__":
    unittest.main()
