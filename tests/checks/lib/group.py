"""Who belongs to a Raft group and who votes there, as the command line tells it: `node` for a cluster's, `supernode` for theirs."""

import json
import time

from dev import Dev, fail, flotilla


class Group:
    def __init__(self, command: str):
        self.command = command

    def members(self) -> dict[int, dict]:
        result = flotilla(self.command, "list", "--json")
        if result.returncode != 0:
            return {}  # between two leaders nobody tells
        return {entry["id"]: entry for entry in map(json.loads, result.stdout.splitlines())}

    def voters(self) -> list[int]:
        return sorted(id for id, entry in self.members().items() if entry["role"] != "learner")

    def expect_voters(self, dev: Dev, wanted: list[int], within_s: float) -> float:
        begun = time.monotonic()
        if not dev.wait(lambda: self.voters() == wanted, within_s):
            fail(f"{self.command}s {wanted} should vote, {self.voters()} do after {within_s} s; members are {self.members()}")
        return time.monotonic() - begun

    def ordered(self, *arguments: str, within_s: float = 30) -> float:
        begun = time.monotonic()
        result = flotilla(self.command, *arguments, within_s=within_s)
        if result.returncode != 0:
            said = " ".join(f"{result.stdout} {result.stderr}".split())
            fail(f"{self.command} {arguments} ended with {result.returncode}: {said}")
        return time.monotonic() - begun

    def refused(self, *arguments: str, says: str) -> None:
        result = flotilla(self.command, *arguments)
        if result.returncode != 4 or says not in result.stderr:
            fail(f"{self.command} {arguments} should be refused with '{says}': {result.returncode} {result.stderr}")
