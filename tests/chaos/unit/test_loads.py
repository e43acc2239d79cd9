"""What the overload check makes of a load's files: windows, quantiles, goodput, counters."""

import tomllib
import unittest
from collections import Counter

import loads
from loads import Load, Part, Phase, Request

CSV = """at_s,operation,file,bytes,sent_s,ended_s,outcome
1.500000,put,2,2000,1.500000,1.900000,busy_with_retry_after
0.500000,put,1,2000,0.500000,0.600000,ok
2.500000,put,3,2000,2.700000,3.500000,ok
"""


def ok(due, latency, outcome="ok"):
    return Request(due, due + latency, outcome)


def load(requests, errors=(), **more):
    report = {"lost": 0, "corrupt": 0, "unreadable": 0, "errors": list(errors), "runner": {"dropped": 0, "lag_p99_ms": 1.0}} | more
    return Load("x", 0.0, report, requests, 0)


class Requests(unittest.TestCase):
    def test_are_read_in_the_order_in_which_they_were_due(self):
        found = loads.read_requests(CSV.splitlines())
        self.assertEqual([request.due for request in found], [0.5, 1.5, 2.5])
        self.assertEqual([request.outcome for request in found], ["ok", loads.REFUSED, "ok"])
        self.assertAlmostEqual(found[2].latency, 1.0)

    def test_belong_to_the_phase_in_which_they_were_due(self):
        found = load(loads.read_requests(CSV.splitlines())).phases([Part("one", 1.5, 1), Part("two", 1.5, 2)])
        self.assertEqual([len(phase.requests) for phase in found], [1, 2])
        self.assertEqual(found[1].outcomes(), Counter({"ok": 1, loads.REFUSED: 1}))

    def test_the_line_of_a_phase_tells_who_was_never_sent(self):
        line = Phase("x/spike", 0, 2, 5, [ok(0, 0.1), ok(1, 0.2, loads.REFUSED), ok(1, 9, "timeout")]).line()
        for part in ("due 5/s", "ok 0/s", "other 1", "never sent 7", "p50 100 ms"):
            self.assertIn(part, line)


class Quantiles(unittest.TestCase):
    def test_are_values_that_were_seen(self):
        values = [float(n) for n in range(1, 101)]
        self.assertEqual([loads.quantile(values, share) for share in (0.0, 0.5, 0.99, 1.0)], [1.0, 50.0, 99.0, 100.0])
        self.assertEqual(loads.quantile([7.0], 0.99), 7.0)
        self.assertEqual(loads.quantile([], 0.5), 0.0)


class Goodput(unittest.TestCase):
    def test_counts_what_came_in_time(self):
        phase = Phase("p", 0, 10, 1, [ok(n, 0.1) for n in range(8)] + [ok(8, 5.0), ok(9, 0.1, loads.REFUSED)])
        self.assertAlmostEqual(phase.good(1.0), 0.8)
        self.assertAlmostEqual(phase.good(5.0), 0.9)

    def test_what_was_never_sent_is_not_good(self):
        self.assertAlmostEqual(Phase("p", 0, 10, 2, [ok(n, 0.1) for n in range(10)]).good(1.0), 0.5)
        self.assertEqual(Phase("p", 0, 10, 0, []).good(1.0), 0.0)

    def test_a_collapse_shows_though_all_succeed_in_the_end(self):
        before = Phase("before", 0, 10, 10, [ok(n / 10, 0.05) for n in range(100)])
        after = Phase("after", 20, 30, 10, [ok(20 + n / 10, 25) for n in range(100)])
        patience = 20 * loads.quantile(before.latencies(), 0.99)
        self.assertEqual((before.good(patience), after.good(patience)), (1.0, 0.0))


class Profiles(unittest.TestCase):
    def test_bursts_raise_the_mean(self):
        self.assertAlmostEqual(loads.mean_rate(10, 8, None), 10)
        self.assertAlmostEqual(loads.mean_rate(10, 8, (50, 1, 4)), 15)
        # The second burst begins when the phase is over, and the last one is cut off.
        self.assertAlmostEqual(loads.mean_rate(0, 4.5, (90, 1, 4)), 10)

    def test_text_is_that_of_a_profile(self):
        part = Part("bursts", 1.5, 30, (300, 0.5, 1))
        found = tomllib.loads(loads.profile("what", 7, part.text(), {"put": 1}, "2KB", 20))
        self.assertEqual((found["connections"], found["mix"], found["sizes"], found["arrivals"]), (7, {"put": 1}, {"2KB": 1}, "even"))
        self.assertEqual(found["phase"][0], {"name": "bursts", "for": "1500ms", "rate": 30.0, "burst": {"rate": 300.0, "for": "500ms", "every": "1000ms"}})


class Verdicts(unittest.TestCase):
    def test_an_honest_refusal_is_no_problem_and_all_else_is(self):
        refusal = {"kind": loads.REFUSED, "count": 9, "example": "429"}
        self.assertEqual(load([], [refusal]).problems(), [])
        for kind in ("busy", "timeout", "refused", "broken", "server_error", "abandoned", "client_error"):
            found = load([], [refusal, {"kind": kind, "count": 1, "example": "why"}]).problems()
            self.assertEqual(len(found), 1)
            self.assertIn(f"answers that are neither good nor a 429 or 503 with Retry-After: {{'{kind}': 1}}", found[0])
        for kind in ("lost", "corrupt", "unreadable"):
            self.assertIn(kind, load([], **{kind: 2}).problems()[0])
        self.assertIn("void", load([], runner={"dropped": 3, "lag_p99_ms": 0.0}).problems()[0])


class Metrics(unittest.TestCase):
    BEFORE = 'flotilla_stolen_total{from="c",to="a"} 2\nflotilla_queue_depth{cluster="a"} 7\n'
    AFTER = '# HELP x y\nflotilla_stolen_total{from="c",to="a"} 12\nflotilla_stolen_total{from="b",to="a"} 1\nflotilla_up 1\n'

    def test_samples_have_names_labels_and_values(self):
        page = loads.samples(self.AFTER)
        self.assertEqual(page["flotilla_up"], 1)
        self.assertEqual(loads.labelled(page, "flotilla_stolen_total")[(("from", "b"), ("to", "a"))], 1)
        self.assertEqual(loads.labelled(page, "flotilla_stolen"), {})

    def test_counters_grow(self):
        before, after = loads.samples(self.BEFORE), loads.samples(self.AFTER)
        self.assertEqual(loads.grown(before, after, "flotilla_stolen_total", "from", "to"), Counter({"c/a": 10, "b/a": 1}))
        self.assertEqual(loads.grown(before, after, "flotilla_stolen_total", "to"), Counter({"a": 11}))
        self.assertEqual(loads.grown({}, after, "nothing", "to"), Counter())


if __name__ == "__main__":
    unittest.main()
