"""What a kubelet makes of the answers to a readiness probe."""

import math
import threading
from collections.abc import Callable


class Readiness(threading.Thread):
    """Asks one pod until it is told to end: ready after so many good answers in a row, not ready after so many bad ones.

    `told` is the probe of the manifest. With a `pace` above 1 the same number of good answers comes faster; bad ones have to come for
    as long as ever, since what passes in a moment is meant to be borne.
    """

    def __init__(self, probe: Callable[[], bool], told: dict, pace: float):
        super().__init__(name="readiness", daemon=True)
        self.probe, self.period_s = probe, told["periodSeconds"] / pace
        self.needed = {True: told.get("successThreshold", 1), False: math.ceil(told.get("failureThreshold", 3) * pace)}
        self.over = threading.Event()
        self.reset()

    def reset(self) -> None:
        """The container ended, or has not started."""
        self.ready, self.last, self.in_a_row = False, None, 0

    def heard(self, good: bool) -> None:
        self.in_a_row = self.in_a_row + 1 if good == self.last else 1
        self.last = good
        if self.in_a_row >= self.needed[good]:
            self.ready = good

    def end(self) -> None:
        """The pod goes: nobody is sent to it any more."""
        self.over.set()
        self.reset()

    def run(self) -> None:
        while not self.over.wait(self.period_s):
            good = self.probe()
            if not self.over.is_set():
                self.heard(good)
