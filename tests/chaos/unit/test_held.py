"""What is made of the memory, files and threads that processes held."""

import unittest

from held import ALLOCATED, CHUNKS, DATABASE, DATABASE_MAX, Held, judge, slope

MIB = 1 << 20
HOUR = 3600.0


def seen(kept=lambda s: 60, database=lambda s: 40, reuse=lambda s: 5, chunks=lambda s: 0, files=lambda s: 50, threads=lambda s: 16):
    """A look every ten seconds of an hour: MiB that are kept, of the database, of the cache of chunks and of pages for reuse, by the second."""

    def look(s):
        allocated = kept(s) + database(s) + chunks(s)
        of = {ALLOCATED: int(allocated * MIB), DATABASE: int(database(s) * MIB), CHUNKS: int(chunks(s) * MIB)}
        return Held(s, int((allocated + reuse(s)) * MIB), of, int(files(s)), int(threads(s)))

    return [look(s) for s in range(0, 3600, 10)]


def fills(s):
    return min(64, 10 + s / 60)


class Slope(unittest.TestCase):
    def test_is_that_of_the_line_that_fits_best(self):
        self.assertAlmostEqual(slope([(float(n), 100.0 + n / 60) for n in range(600)]), 1 / 60)
        self.assertAlmostEqual(slope([(float(n), 100.0 + n % 2) for n in range(600)]), 0.0, delta=0.0001)
        self.assertEqual(slope([(1.0, 5.0)]), 0.0)


class Soak(unittest.TestCase):
    def problems(self, **of):
        return judge(seen(**of), 0.0, HOUR).problems

    def test_steady_processes_have_no_problem(self):
        self.assertEqual(self.problems(), [])
        self.assertEqual(self.problems(kept=lambda s: 60 + s // 10 % 9, reuse=lambda s: s // 10 % 7), [], "a saw")

    def test_caches_that_fill_are_no_leak(self):
        self.assertEqual(self.problems(database=fills), [])
        self.assertEqual(self.problems(chunks=fills, reuse=lambda s: 8), [])

    def test_a_database_that_shrinks_is_no_leak(self):
        self.assertEqual(self.problems(database=lambda s: 60 - s / 300, reuse=lambda s: 5 + s / 300), [], "its pages are kept for reuse")

    def test_pages_that_a_flush_leaves_for_a_moment_are_no_leak(self):
        flushes = lambda s: s > 2400 and s % 300 == 0
        self.assertEqual(self.problems(database=lambda s: 24 if flushes(s) else 55, reuse=lambda s: 36 if flushes(s) else 5), [])

    def test_a_leak_is_found_beside_a_database_that_fills_and_in_pages_for_reuse(self):
        leaks = lambda s: 60 + 2.5 * s / 600
        self.assertIn("keeps 2.", self.problems(kept=leaks)[0])
        self.assertIn("keeps 2.", self.problems(kept=leaks, database=fills)[0])
        self.assertIn("keeps 2.", self.problems(kept=leaks, reuse=lambda s: 20 - 2.5 * s / 600)[0])
        self.assertEqual(self.problems(kept=lambda s: leaks(min(s, 1200))), [], "the first third fills what is kept")

    def test_pages_that_become_more_are_found(self):
        self.assertIn("more and more MiB", self.problems(reuse=lambda s: 5 + s / 50)[0])

    def test_a_database_beyond_its_budget_is_found(self):
        self.assertIn("holds up to 97 MiB", self.problems(database=lambda s: DATABASE_MAX / MIB + 1 if s == 600 else 50)[0])

    def test_files_and_threads_that_are_kept_are_found(self):
        self.assertEqual(self.problems(files=lambda s: 50 + s % 100 // 10), [])
        self.assertIn("more and more files", self.problems(files=lambda s: 50 + s / 30)[0])
        self.assertIn("more and more files", self.problems(files=lambda s: 50 + max(0, s - 3300))[0], "in the last minutes alone")
        self.assertIn("more and more threads", self.problems(threads=lambda s: 16 + s / 30)[0])

    def test_too_few_looks_tell_nothing(self):
        self.assertIn("void", judge([], 0.0, HOUR).problems[0])
        self.assertIn("void", judge(seen()[::3], 0.0, HOUR).problems[0])
        self.assertIn("last after 2990 s", judge(seen()[:300], 0.0, HOUR).problems[0])


if __name__ == "__main__":
    unittest.main()
