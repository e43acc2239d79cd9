"""The checker of histories itself: good histories pass, each kind of bad one is found."""

import random
import unittest

from linear import ABSENT, Op, cut, linearizable, smallest_bad, told


def put(value, start, end, existed=None, outcome="ok"):
    return Op("put", start, end, outcome, value, existed=existed)


def get(value, start, end):
    return Op("get", start, end, "ok", value)


def cas(expect, value, start, end, outcome="ok", seen=...):
    return Op("cas", start, end, outcome, value, expect, seen=seen)


def delete(start, end, existed=None, outcome="ok"):
    return Op("delete", start, end, outcome, existed=existed)


class Good(unittest.TestCase):
    def test_nothing_happened(self):
        self.assertTrue(linearizable([]))

    def test_one_after_the_other(self):
        ops = [get(ABSENT, 0, 1), put("a", 2, 3, False), get("a", 4, 5), delete(6, 7, True), get(ABSENT, 8, 9)]
        self.assertTrue(linearizable(ops))

    def test_at_once_either_order(self):
        self.assertTrue(linearizable([put("a", 0, 5), put("b", 0, 5), get("a", 6, 7), get("a", 8, 9)]))
        self.assertTrue(linearizable([put("a", 0, 5), put("b", 0, 5), get("b", 6, 7)]))

    def test_read_during_a_write_may_see_either(self):
        self.assertTrue(linearizable([put("a", 0, 1), put("b", 2, 9), get("a", 3, 4), get("b", 5, 6)]))

    def test_unknown_write_may_be_seen_late_or_never(self):
        lost = put("b", 2, 3, outcome="unknown")
        self.assertTrue(linearizable([put("a", 0, 1), lost, get("a", 4, 5), get("a", 6, 7)]))
        self.assertTrue(linearizable([put("a", 0, 1), lost, get("a", 4, 5), get("b", 6, 7)]))

    def test_unknown_cas_may_have_been_refused(self):
        self.assertTrue(linearizable([put("a", 0, 1), cas("x", "b", 2, 3, "unknown"), get("a", 4, 5)]))

    def test_refused_cas_saw_another_value(self):
        self.assertTrue(linearizable([put("a", 0, 1), cas("x", "b", 2, 3, "refused", "a"), get("a", 4, 5)]))

    def test_chain_of_cas(self):
        ops = [put("0", 0, 1)] + [cas(str(i), str(i + 1), 2 * i + 2, 2 * i + 3) for i in range(40)]
        self.assertTrue(linearizable(ops))


class Bad(unittest.TestCase):
    def test_stale_read(self):
        self.assertFalse(linearizable([put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)]))

    def test_lost_write(self):
        self.assertFalse(linearizable([put("a", 0, 1), get(ABSENT, 2, 3)]))

    def test_resurrected(self):
        self.assertFalse(linearizable([put("a", 0, 1), delete(2, 3, True), get("a", 4, 5)]))

    def test_back_in_time_after_a_read_of_an_unknown_write(self):
        lost = put("b", 2, 3, outcome="unknown")
        self.assertFalse(linearizable([put("a", 0, 1), lost, get("b", 4, 5), get("a", 6, 7)]))

    def test_value_from_before_its_write(self):
        self.assertFalse(linearizable([get("a", 0, 1), put("a", 2, 3)]))

    def test_value_that_nobody_wrote(self):
        self.assertFalse(linearizable([put("a", 0, 1), get("z", 2, 3)]))

    def test_two_cas_from_one_value(self):
        self.assertFalse(linearizable([put("a", 0, 1), cas("a", "b", 2, 9), cas("a", "c", 2, 9)]))

    def test_refused_although_the_value_stood_there(self):
        self.assertFalse(linearizable([put("a", 0, 1), cas("a", "b", 2, 3, "refused")]))

    def test_refused_with_a_value_that_was_gone(self):
        ops = [put("a", 0, 1), put("b", 2, 3), cas("x", "c", 4, 5, "refused", "a")]
        self.assertFalse(linearizable(ops))

    def test_made_a_file_that_was_there(self):
        self.assertFalse(linearizable([put("a", 0, 1, False), put("b", 2, 3, False)]))

    def test_deleted_a_file_that_was_gone(self):
        self.assertFalse(linearizable([put("a", 0, 1), delete(2, 3, True), delete(4, 5, True)]))

    def test_unknown_delete_can_not_bring_back(self):
        gone = delete(2, 3, outcome="unknown")
        self.assertFalse(linearizable([put("a", 0, 1), gone, get(ABSENT, 4, 5), get("a", 6, 7)]))


class Drawn(unittest.TestCase):
    """Histories of a register that works, seen by clients at once; then one answer is falsified."""

    def draw(self, seed: int) -> list[Op]:
        chance = random.Random(seed)
        state, moment, ops = ABSENT, 0.0, []
        for number in range(80):
            moment += 1
            start, end = moment - chance.uniform(0, 4), moment + chance.uniform(0, 4)
            kind = chance.choice(["put", "get", "get", "cas", "delete"])
            if kind == "put":
                ops.append(put(number, start, end, state is not ABSENT))
                state = number
            elif kind == "get":
                ops.append(get(state, start, end))
            elif kind == "delete":
                ops.append(delete(start, end, state is not ABSENT))
                state = ABSENT
            elif chance.random() < 0.5 and state is not ABSENT:
                ops.append(cas(state, number, start, end))
                state = number
            else:
                ops.append(cas("never", number, start, end, "refused", state))
            if chance.random() < 0.08 and not ops[-1].reads_only:
                ops[-1].outcome, ops[-1].existed = "unknown", None
        return ops

    def test_good_ones_pass(self):
        for seed in range(40):
            self.assertTrue(linearizable(self.draw(seed)), f"seed {seed}")

    def test_a_value_from_the_future_or_the_past_is_found(self):
        for seed in range(40):
            ops = self.draw(seed)
            last = max(op.end for op in ops)
            first = next(op for op in ops if op.kind == "put" and op.outcome == "ok")
            overwritten = put("end", last + 1, last + 2)
            self.assertFalse(linearizable(ops + [overwritten, get(first.value, last + 3, last + 4)]), f"seed {seed}")


class Shown(unittest.TestCase):
    def test_the_shortest_beginning_ends_with_the_wrong_answer(self):
        wrong = get("a", 4, 5)
        ops = [put("a", 0, 1), put("b", 2, 3), wrong] + [get("b", t, t + 1) for t in range(6, 30, 2)]
        self.assertIs(smallest_bad(ops)[-1], wrong)
        self.assertIn("get", told(smallest_bad(ops)))

    def test_a_cut_forgets_later_answers(self):
        ops = cut([put("a", 0, 10), get("a", 1, 2), get("a", 20, 21)], 5)
        self.assertEqual([op.outcome for op in ops], ["unknown", "ok"])


if __name__ == "__main__":
    unittest.main()
