"""What is made of rounds with stealing and without."""

import unittest

from compared import Compared, Round


def rounds(on, off, use_on=0.4, use_off=0.4, stolen=None, gain_min=0.6, refused_on=0.0, refused_off=0.0, wants=True):
    both = Compared("slow", gain_min, wants)
    both.of[True] += [Round(p99, use_on, refused_on, {"c/a": 30, "c/b": 20, "a/b": 10} if stolen is None else stolen) for p99 in on]
    both.of[False] += [Round(p99, use_off, refused_off, {}) for p99 in off]
    return both


class Rounds(unittest.TestCase):
    def test_gain_is_that_of_medians(self):
        both = rounds([1.0, 9.0, 1.2], [1.8, 0.1, 2.4])
        self.assertAlmostEqual(both.gain, 1.5)
        self.assertEqual(both.problems(), [])

    def test_refused_ones_are_no_quick_ones(self):
        self.assertAlmostEqual(rounds([1.0], [1.1], refused_on=0.1, refused_off=0.25).gain, 1.32)
        self.assertAlmostEqual(rounds([1.0], [1.1], refused_on=0.25, refused_off=0.1).gain, 0.917, 3)
        self.assertEqual(rounds([1.0], [1.0], refused_off=1.0).gain, 0.0, "nothing to compare with")

    def test_stolen_is_counted_by_where_it_was_taken(self):
        both = rounds([1.0, 1.0], [1.0])
        self.assertEqual((both.stolen(True), both.stolen(True, "c"), both.stolen(True, "a")), (120, 100, 20))

    def test_harm_is_found(self):
        self.assertIn("0.50 times better", rounds([2.0], [1.0]).problems()[0])
        self.assertIn("1.10 times better", rounds([1.0], [1.1], gain_min=1.2).problems()[0])

    def test_idle_clusters_are_found(self):
        self.assertIn("let the other clusters idle", rounds([1.0], [1.0], use_on=0.28).problems()[0])

    def test_what_was_stolen_is_no_matter_of_noise(self):
        for both in (rounds([1.0], [1.0], stolen={}), rounds([1.0], [1.0])):
            if both.stolen(True):
                both.of[False].append(Round(1.0, 0.4, 0.0, {"a/b": 1}))
            self.assertEqual((len(both.problems()), both.doubts()), (1, []))

    def test_where_nothing_is_wrong_nothing_has_to_be_stolen(self):
        self.assertEqual(rounds([1.0], [1.0], stolen={}, wants=False).problems(), [])
