"""Rounds of one load with stealing and without, and what is to be said of the difference."""

import statistics
from dataclasses import dataclass

# The clusters that are not short must not be used less with stealing than without, but for noise: two rounds alike of ten seconds differ
# by an eighth.
USE_MIN = 0.75


@dataclass(frozen=True)
class Round:
    """What came of one load: the p99 of admitted uploads, processors that the other clusters used, the share that was refused, and what
    was stolen, FROM/TO."""

    p99: float
    use: float
    refused: float
    stolen: dict[str, int]


class Compared:
    """Rounds with stealing and without, of which medians count. Their power, what is served by how long that takes, has to be so many
    times higher with it at least: where many are refused, the p99 of those that are left says little. `wants` tells whether there is
    something to steal for sure: where requests wait at the right cluster there may be nothing."""

    def __init__(self, name: str, gain_min: float, wants: bool):
        self.name, self.gain_min, self.wants = name, gain_min, wants
        self.of: dict[bool, list[Round]] = {True: [], False: []}

    def p99(self, on: bool) -> float:
        return statistics.median(one.p99 for one in self.of[on])

    def served(self, on: bool) -> float:
        """The share of uploads that was admitted."""
        return 1 - statistics.median(one.refused for one in self.of[on])

    def use(self, on: bool) -> float:
        return statistics.median(one.use for one in self.of[on])

    def stolen(self, on: bool, start: str = "") -> int:
        """What was stolen, from one cluster or from any."""
        return sum(n for one in self.of[on] for pair, n in one.stolen.items() if pair.startswith(start and f"{start}/"))

    @property
    def gain(self) -> float:
        with_it, without = self.served(True) * self.p99(False), self.served(False) * self.p99(True)
        return with_it / without if without else 0.0

    def line(self, short: str) -> str:
        return (
            f"{self.name}: p99 of admitted uploads {self.p99(True) * 1000:.0f} ms with stealing, {self.p99(False) * 1000:.0f} ms without, which are "
            f"{self.served(True) * 100:.1f} and {self.served(False) * 100:.1f} % of all; the others used {self.use(True):.2f} and {self.use(False):.2f} processors; stolen {self.stolen(True)}, {self.stolen(True, short)} of them from {short}"
        )

    def figures(self) -> dict[str, float | int]:
        of = {
            "gain": round(self.gain, 2), "p99_on_ms": round(self.p99(True) * 1000), "p99_off_ms": round(self.p99(False) * 1000),
            "served_on": round(self.served(True), 3), "served_off": round(self.served(False), 3),
            "stolen": self.stolen(True), "use_on": round(self.use(True), 2), "use_off": round(self.use(False), 2), "rounds": sum(map(len, self.of.values())),
        }
        return {f"{self.name}_{name}": value for name, value in of.items()}

    def problems(self) -> list[str]:
        return self.wrong() + self.doubts()

    def wrong(self) -> list[str]:
        """Problems that more rounds don't mend."""
        problems = []
        if self.wants and not self.stolen(True):
            problems.append(f"{self.name}: nothing was stolen with stealing on, and flotilla_stolen_total says so")
        if self.stolen(False):
            problems.append(f"{self.name}: {self.stolen(False)} requests were stolen with stealing off")
        return problems

    def doubts(self) -> list[str]:
        """Problems that may be noise: more rounds show whether they are."""
        problems = []
        if self.gain < self.gain_min:
            problems.append(
                f"{self.name}: stealing made uploads {self.gain:.2f} times better, {self.gain_min} is allowed: {self.served(True) * 100:.1f} % admitted with a p99 of "
                f"{self.p99(True):.3f} s with, {self.served(False) * 100:.1f} % and {self.p99(False):.3f} s without"
            )
        if self.use(True) < USE_MIN * self.use(False):
            problems.append(f"{self.name}: stealing let the other clusters idle: {self.use(True):.2f} processors with, {self.use(False):.2f} without")
        return problems
