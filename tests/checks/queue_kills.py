"""Kills supernodes with queues and clusters that steal from them, in the middle of it, under uploads that are repeated elsewhere.

usage: queue_kills.py ROUNDS REQUESTS; IDS=fresh is a control: each repetition is meant anew, so some files are made twice
"""

import asyncio
import os
import random
import sys
import threading
import time

import loads
import once
from crowded import SLOW_SHARE, Fleet, conclude
from dev import Process, note
from once import Made
from streams import put_paced

# Of three supernodes each has its own part of all credits, so this many at once leave queues at all of them.
AT_ONCE, UNFAIR_MAX = 300, 5
SMALL_CLIENTS, SMALL_S = 30, 5
# Large uploads that go on all the time while small ones come, and how slowly their clients send.
LARGE, LARGE_BYTES, LARGE_RATE, SLOWER_MAX = 40, 512 << 10, 64 << 10, 2
STEAL_WITHIN_S, AWAY_S = 3, (0.0, 0.3, 1.0)
MID_STEAL_MIN = 0.5
SHORT = "c"


class Check:
    """One run."""

    def __init__(self, seed: int):
        self.fleet = Fleet(limited_front=False)
        self.dev, self.rng = self.fleet.dev, random.Random(seed)
        self.urls = [p.public for p in self.dev.supernodes]
        self.fresh = os.environ.get("IDS") == "fresh"
        self.problems: list[str] = []
        self.figures: dict[str, float | int] = {"ops": 0, "lost": 0, "corrupt": 0, "twice": 0, "unanswered": 0, "faults": 0, "mid_steal": 0}
        self.fleet.shares[SHORT] = SLOW_SHARE
        self.fleet.limit()

    def bad(self, *problems: str) -> None:
        for problem in problems:
            if len(self.problems) < 20:
                note(f"PROBLEM: {problem}")
            self.problems.append(problem)
            kind = problem.split()[0].lower()
            if kind in self.figures:
                self.figures[kind] += 1

    def at_once(self, name: str, count: int) -> list[Made]:
        """Uploads that begin together, spread over the supernodes."""

        async def all_of() -> list[Made]:
            made = [Made(f"{name}/{number}", f"{name} {number} ".encode() * 60) for number in range(count)]
            return await asyncio.gather(*(once.make(self.urls, self.dev.token, one, at, self.fresh) for at, one in enumerate(made)))

        return asyncio.run(all_of())

    def check_all(self, made: list[Made]) -> None:
        """Reads all that was acked, at full speed."""
        self.fleet.lift()

        async def all_of() -> list[str]:
            some = asyncio.Semaphore(32)

            async def one(upload: Made) -> str:
                async with some:
                    return await once.look(self.urls, self.dev.token, upload)

            return await asyncio.gather(*(one(upload) for upload in made if upload.status))

        found = [problem for problem in asyncio.run(all_of()) if problem]
        self.bad(*once.wrong(made), *found)
        self.figures["ops"] += sum(1 for one in made if one.status)
        self.fleet.limit()

    def fairness(self) -> None:
        """Nobody waits much longer than others who came at the same time."""
        made = self.at_once("fair", AT_ONCE)
        times = [one.took_s for one in made if one.status and one.tries == 1]
        unfair = once.unfair(times)
        self.figures["max_over_mean"] = round(unfair, 2)
        note(f"fairness: of {AT_ONCE} uploads at once {len(times)} were admitted at their first try, mean {sum(times) / max(1, len(times)):.2f} s, longest {max(times, default=0):.2f} s")
        self.check_all(made)
        if len(times) < AT_ONCE / 2:
            self.bad(f"void: only {len(times)} of {AT_ONCE} uploads at once were admitted at their first try")
        if unfair > UNFAIR_MAX:
            self.bad(f"the longest wait is {unfair:.1f} times the mean")

    def small(self, name: str) -> float:
        """The p99 of small uploads, one after the other by each of some clients."""

        async def client(number: int, until: float, times: list[float], made: list[Made]) -> None:
            turn = 0
            while time.monotonic() < until:
                turn += 1
                upload = Made(f"{name}/{number}/{turn}", b"small" * 40)
                made.append(await once.make(self.urls, self.dev.token, upload, number, self.fresh))
                times.append(upload.took_s)

        async def all_of() -> tuple[list[float], list[Made]]:
            times: list[float] = []
            made: list[Made] = []
            until = time.monotonic() + SMALL_S
            await asyncio.gather(*(client(number, until, times, made) for number in range(SMALL_CLIENTS)))
            return times, made

        times, made = asyncio.run(all_of())
        self.bad(*once.wrong(made))
        self.figures["ops"] += len(made)
        return loads.quantile(sorted(times), 0.99)

    def behind_large(self) -> None:
        """Small uploads don't stand behind large ones."""
        alone = self.small("alone")
        body = self.dev.work / "large"
        body.write_bytes(os.urandom(LARGE_BYTES))
        answers: list[str] = []

        def upload(number: int) -> None:
            try:
                answer = put_paced(self.urls[number % len(self.urls)], self.dev.token, f"large/{number}", body, LARGE_RATE, lambda _: None)
                answers.append(f"{answer.status} {answer.code()}".strip())
            except OSError as error:
                answers.append(type(error).__name__)

        threads = [threading.Thread(target=upload, args=(number,), daemon=True) for number in range(LARGE)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        behind = self.small("behind")
        for thread in threads:
            thread.join(150)
        ratio = behind / alone if alone else 0.0
        self.figures["small_ratio"] = round(ratio, 2)
        taken = sum(1 for answer in answers if answer.startswith("201"))
        note(f"small behind large: p99 {alone * 1000:.0f} ms alone, {behind * 1000:.0f} ms beside {LARGE} large ones, of which {taken} were taken")
        if taken < LARGE / 2:
            self.bad(f"void: of {LARGE} large uploads only {taken} were taken: {sorted(set(answers))}")
        if ratio > SLOWER_MAX:
            self.bad(f"small uploads take {ratio:.1f} times as long beside large ones")

    def stolen(self, supernode: Process) -> dict[str, int]:
        """What clusters have stolen at a supernode: FROM/TO, and how often."""
        return dict(loads.grown({}, self.fleet.page(0.5, supernode), "flotilla_stolen_total", "from", "to"))

    def caught(self, before: dict[str, dict[str, int]]) -> tuple[Process, str] | None:
        """The first supernode at which something is stolen from now on, and who stole it."""
        end = time.monotonic() + STEAL_WITHIN_S
        while time.monotonic() < end:
            for supernode in self.dev.supernodes:
                now = self.stolen(supernode)
                for pair, count in now.items():
                    if count > before.get(supernode.name, {}).get(pair, 0):
                        return supernode, pair.split("/")[1]
            time.sleep(0.03)
        return None

    def strike(self, number: int, before: dict[str, dict[str, int]]) -> None:
        """Kills the queue's owner, the thief, or both, while requests are stolen; and starts them again."""
        caught = self.caught(before)
        self.figures["mid_steal"] += caught is not None
        owner, thief = caught or (self.rng.choice(self.dev.supernodes), SHORT)
        victims = [[owner], self.dev.of_cluster(thief), [owner, *self.dev.of_cluster(thief)]][number % 3]
        time.sleep(self.rng.uniform(0, 0.05))
        self.dev.kill_all(victims)
        self.figures["faults"] += len(victims)
        away = self.rng.choice(AWAY_S)
        time.sleep(away)
        for victim in victims:
            self.fleet.start(victim)
        told = f"{thief} stole at {owner.name}" if caught else "nothing was stolen"
        note(f"  round {number}: {told}; killed {' '.join(p.name for p in victims)} for {away} s")

    def one_round(self, number: int, count: int) -> None:
        before = {p.name: self.stolen(p) for p in self.dev.supernodes}
        striking = threading.Thread(target=self.strike, args=(number, before))
        striking.start()
        made = self.at_once(f"round/{number}", count)
        striking.join()
        self.dev.wait_ready(self.dev.processes, 60)
        self.check_all(made)
        again = sum(1 for one in made if one.tries > 1)
        note(f"round {number}: {sum(1 for one in made if one.status)} of {count} acked, {again} after more than one try")

    def run(self, rounds: int, count: int) -> None:
        self.dev.wait_ready(self.dev.processes, 60)
        self.fleet.wait_offers()
        self.fairness()
        self.behind_large()
        for number in range(rounds):
            self.one_round(number, count)
        if self.figures["mid_steal"] < MID_STEAL_MIN * rounds:
            self.bad(f"void: in only {self.figures['mid_steal']} of {rounds} rounds something was stolen when the kill came")


def main() -> None:
    check = Check(int(os.environ.get("SEED", 1)))
    check.run(int(sys.argv[1]), int(sys.argv[2]))
    conclude(check.figures, check.problems)


if __name__ == "__main__":
    main()
