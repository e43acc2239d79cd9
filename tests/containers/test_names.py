"""Names are answered as resolvers expect it, and forgotten in time; pods are ready when a kubelet would say so."""

import socket
import struct
import unittest

import names
from probes import Readiness

AAAA = 28


def asked(name: str, kind: int = names.A, flags: int = names.RECURSION_WANTED, questions: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return names.HEADER.pack(4711, flags, questions, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, names.IN)


class Names(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.zone = names.Zone(30, lambda: self.now)
        self.zone.point("a.b", "10.0.0.1")

    def reply(self, *arguments) -> tuple[int, int, bytes]:
        """The code of an answer, how many records it has, and what follows the question."""
        query = asked(*arguments)
        answer = names.reply(query, self.zone.ask)
        number, flags, questions, records, *_ = names.HEADER.unpack_from(answer)
        self.assertEqual((number, flags & names.ANSWER, questions), (4711, names.ANSWER, 1))
        self.assertEqual(answer[names.HEADER.size : len(query)], query[names.HEADER.size :])
        return flags & 0xF, records, answer[len(query) :]

    def test_a_name_has_an_address_of_one_kind(self) -> None:
        code, records, rest = self.reply("A.b")
        self.assertEqual((code, records), (0, 1))
        self.assertEqual(rest, b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", 30, 4) + socket.inet_aton("10.0.0.1"))
        # It exists, so a resolver that asks for both kinds takes the other one.
        self.assertEqual(self.reply("a.b", AAAA), (0, 0, b""))
        self.assertEqual(self.reply("b"), (names.NO_SUCH_NAME, 0, b""))

    def test_what_is_no_query_gets_no_answer(self) -> None:
        whole = asked("a.b")
        for query in (b"", whole[:11], whole[:-1], whole[:15], asked("a.b", flags=names.ANSWER), asked("a.b", questions=2), b"\xff" * 40):
            self.assertIsNone(names.reply(query, self.zone.ask), query)

    def test_an_answer_stands_until_its_time_is_over(self) -> None:
        self.assertEqual(self.zone.ask("a.b"), ("10.0.0.1", 30))
        self.assertEqual(self.zone.ask("c.d"), (None, 30))
        self.zone.point("a.b", "10.0.0.2")
        self.zone.point("c.d", "10.0.0.3")
        self.now += 29
        self.assertEqual(self.zone.ask("a.b"), ("10.0.0.1", 1))
        self.assertEqual(self.zone.ask("c.d"), (None, 1))
        self.now += 1
        self.assertEqual(self.zone.ask("a.b"), ("10.0.0.2", 30))
        self.assertEqual(self.zone.ask("c.d"), ("10.0.0.3", 30))
        self.zone.point("a.b", None)
        self.now += 30
        self.assertEqual(self.zone.ask("a.b"), (None, 30))


class Probes(unittest.TestCase):
    def heard(self, answers: str, pace: float = 1) -> str:
        """Whether the pod is ready after each answer: + is good."""
        told = {"periodSeconds": 3, "successThreshold": 3, "failureThreshold": 2}
        readiness = Readiness(lambda: True, told, pace)
        ready = ""
        for answer in answers:
            readiness.heard(answer == "+")
            ready += "+" if readiness.ready else "-"
        return ready

    def test_a_pod_is_ready_after_some_answers_in_a_row(self) -> None:
        self.assertEqual(self.heard("++-+++-+--+++"), "-----++++---+")

    def test_what_is_faster_bears_as_much(self) -> None:
        self.assertEqual(self.heard("+++---+----", 2), "--++++++++-")

    def test_a_container_that_starts_anew_has_to_answer_anew(self) -> None:
        readiness = Readiness(lambda: True, {"periodSeconds": 3, "successThreshold": 2}, 1)
        readiness.heard(True)
        readiness.heard(True)
        self.assertTrue(readiness.ready)
        readiness.reset()
        self.assertFalse(readiness.ready)
        readiness.heard(True)
        self.assertFalse(readiness.ready)


if __name__ == "__main__":
    unittest.main()
