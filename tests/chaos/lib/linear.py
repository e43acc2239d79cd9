"""Decides whether what clients saw of one key can have happened one after the other.

The search is that of Wing and Gong with Lowe's memory: a state of the search is the set of operations that already
happened and the value that they left. An operation may happen at any moment between its call and its answer. One
without an answer may happen at any moment after its call, or never.
"""

from dataclasses import dataclass, field

ABSENT = None
# Beyond this the key counts as undecided, which voids the run: never as good.
STATES_MAX = 2_000_000


@dataclass(slots=True)
class Op:
    """One request and what was learnt from its answer.

    `kind` is put, cas, delete or get. `value` is what is written, or what a get returned; `expect` is what a cas wanted to
    replace. `outcome` is ok, refused (a precondition failed: nothing changed, but something was seen) or unknown.
    """

    kind: str
    start: float
    end: float
    outcome: str
    value: object = ABSENT
    expect: object = ABSENT
    # A put's answer says whether it made or replaced the file; a refusal may name the value that stood in the way.
    existed: bool | None = None
    seen: object = field(default=...)
    where: str = ""
    note: str = ""

    def step(self, state: object) -> tuple[bool, object]:
        """Whether the operation can happen in this state, and the state that it leaves."""
        if self.kind == "get":
            return state == self.value, state
        if self.outcome == "refused":
            return self.may_be_refused(state), state
        if self.kind == "delete":
            # A delete of nothing changes nothing; without an answer it may have been that.
            return (self.existed is None or self.existed == (state is not ABSENT)), ABSENT
        if self.kind == "cas":
            if self.outcome == "ok":
                return state == self.expect, self.value
            # It may have been refused, and nobody was told.
            return True, (self.value if state == self.expect else state)
        return (self.existed is None or self.existed == (state is not ABSENT)), self.value

    def may_be_refused(self, state: object) -> bool:
        if state == self.expect:
            return False
        return self.seen is ... or state == self.seen

    @property
    def reads_only(self) -> bool:
        return self.kind == "get" or self.outcome == "refused"


class Undecided(Exception):
    """The search was given up."""


def linearizable(history: list[Op], initial: object = ABSENT) -> bool:
    """Whether some order explains the history of one key."""
    ops = sorted((op for op in history), key=lambda op: op.start)
    count = len(ops)
    starts = [op.start for op in ops]
    ends = [op.end if op.outcome != "unknown" else float("inf") for op in ops]
    required = sum(1 << i for i, op in enumerate(ops) if op.outcome != "unknown")
    seen: set[tuple[int, object]] = set()
    stack: list[tuple[int, object]] = [(0, initial)]
    while stack:
        done, state = stack.pop()
        if done & required == required:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > STATES_MAX:
            raise Undecided
        first = 0
        while done >> first & 1:
            first += 1
        # Nothing may happen after an operation whose answer came before it was called.
        deadline, candidates = float("inf"), []
        for i in range(first, count):
            if starts[i] > deadline:
                break
            if not done >> i & 1:
                candidates.append(i)
                deadline = min(deadline, ends[i])
        nexts = []
        for i in candidates:
            if starts[i] > deadline:
                break
            fits, after = ops[i].step(state)
            if not fits:
                continue
            if ops[i].reads_only:
                # What changes nothing may as well happen now: no other order needs to be tried.
                nexts = [(done | 1 << i, state)]
                break
            if ends[i] == float("inf") and after == state:
                continue  # it may as well not happen
            nexts.append((done | 1 << i, after))
        # The one that was answered first is tried first: it stands last.
        stack.extend(reversed(nexts))
    return False


def smallest_bad(history: list[Op]) -> list[Op]:
    """The shortest beginning of a history that can't be explained, for the reader of a failure."""
    ends = sorted(op.end for op in history if op.outcome != "unknown")
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if linearizable(cut(history, ends[middle])):
            low = middle + 1
        else:
            high = middle
    return cut(history, ends[low])


def cut(history: list[Op], moment: float) -> list[Op]:
    """What was known at a moment: later operations are left out, those under way have no answer yet."""
    known = []
    for op in history:
        if op.start > moment:
            continue
        if op.end <= moment or op.outcome == "unknown":
            known.append(op)
        elif not op.reads_only:
            known.append(Op(op.kind, op.start, float("inf"), "unknown", op.value, op.expect, where=op.where))
    return known


def told(history: list[Op]) -> str:
    """A history as lines, with times in milliseconds since its first call."""
    base = min((op.start for op in history), default=0)
    lines = []
    for op in sorted(history, key=lambda op: op.start):
        end = "?" if op.outcome == "unknown" else f"{(op.end - base) * 1e3:.1f}"
        extra = "" if op.existed is None else f" existed={op.existed}"
        extra += f" expect={op.expect}" if op.kind == "cas" else ""
        extra += "" if op.seen is ... else f" seen={op.seen}"
        times = f"{(op.start - base) * 1e3:10.1f} {end:>10}"
        lines.append(f"{times} {op.where:12} {op.kind:6} {op.outcome:8} value={op.value}{extra} {op.note}")
    return "\n".join(lines)
