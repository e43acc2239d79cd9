"""What is made of the memory, files and threads that processes held."""

import unittest

from held import DATABASE, DATABASE_MAX, Held, growth_percent, judge

MIB = 1 << 20
HOUR = 3600.0


def seen(rss=lambda s: 100 * MIB, database=lambda s: 40 * MIB, files=lambda s: 50, threads=lambda s: 16):
    """A look every ten seconds of an hour; what is held by the second."""
    return [Held(s, int(rss(s)), {DATABASE: int(database(s))}, int(files(s)), int(threads(s))) for s in range(0, 3600, 10)]


class Growth(unittest.TestCase):
    def test_is_the_slope_against_the_mean(self):
        rising = [(float(n), 100.0 + n / 60) for n in range(600)]
        self.assertAlmostEqual(growth_percent(rising, 600), 10 / 105 * 100, delta=0.2)
        self.assertAlmostEqual(growth_percent([(float(n), 100.0 + n % 2) for n in range(600)], 600), 0.0, delta=0.05)
        self.assertEqual(growth_percent([(1.0, 5.0)], 600), 0.0)


class Soak(unittest.TestCase):
    def problems(self, **of):
        return judge(seen(**of), 0.0, HOUR).problems

    def test_steady_processes_have_no_problem(self):
        self.assertEqual(self.problems(), [])
        self.assertEqual(self.problems(rss=lambda s: (100 + s // 10 % 9) * MIB), [], "a saw")

    def test_a_database_that_fills_its_budget_is_no_leak(self):
        fills = lambda s: min(64, 10 + s / 60) * MIB
        self.assertEqual(self.problems(rss=lambda s: 60 * MIB + fills(s), database=fills), [])

    def test_a_leak_beside_a_database_is_found(self):
        fills = lambda s: min(64, 10 + s / 60) * MIB
        leaks = lambda s: 1.5 * MIB * s / 600
        self.assertIn("grows by 2.", self.problems(rss=lambda s: 60 * MIB + fills(s) + leaks(s), database=fills)[0])
        self.assertEqual(self.problems(rss=lambda s: 100 * MIB + leaks(min(s, 1200))), [], "the first third fills what is kept")

    def test_a_database_beyond_its_budget_is_found(self):
        beyond = lambda s: DATABASE_MAX + MIB if s == 600 else 50 * MIB
        self.assertIn("holds up to 129 MiB", self.problems(rss=lambda s: beyond(s) + 60 * MIB, database=beyond)[0])

    def test_files_and_threads_that_are_kept_are_found(self):
        self.assertEqual(self.problems(files=lambda s: 50 + s % 100 // 10), [])
        self.assertIn("more and more files", self.problems(files=lambda s: 50 + s / 30)[0])
        self.assertIn("more and more threads", self.problems(threads=lambda s: 16 + s / 30)[0])

    def test_too_few_looks_tell_nothing(self):
        self.assertIn("void", judge(seen()[:200], 0.0, HOUR).problems[0])
        self.assertIn("void", judge([], 0.0, HOUR).problems[0])


if __name__ == "__main__":
    unittest.main()
