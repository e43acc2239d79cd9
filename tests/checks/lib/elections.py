"""Tells from the nodes' logs why somebody leads: because the one before handed over, or because nobody was heard in time."""

import json
from pathlib import Path

from dev import Process

# What openraft writes at its own level; a server is silent about it by default.
FILTER = "info,openraft=warn,openraft::core::heartbeat=error,openraft::core::raft_core=info"
ASKED, TIMED_OUT = "Transfer Leader from: ", "election timeout expired"


class Elections:
    """What the nodes' logs have on elections from now on."""

    def __init__(self, nodes: list[Process]):
        self.nodes = nodes
        self.read = {node.name: Path(node.log_file).stat().st_size for node in nodes}

    def messages(self, node: Process) -> list[str]:
        with open(node.log_file, "rb") as log:
            log.seek(self.read[node.name])
            lines = log.read().splitlines()
        return [json.loads(line).get("message", "") for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    def timed_out(self) -> list[str]:
        """The nodes that wanted to lead because they heard of no leader in time."""
        return [node.name for node in self.nodes if any(TIMED_OUT in text for text in self.messages(node))]

    def handed_over(self, old: Process, new: Process) -> str | None:
        """Why this was no hand-over; nothing if it was one."""
        own = f", to {new.node_id}"
        if not any(text.startswith(ASKED) and text.endswith(own) for text in self.messages(new)):
            return f"{new.name} was not asked to lead"
        if late := self.timed_out():
            return f"{' '.join(late)} heard of no leader in time"
        if "leadership handed over" not in self.messages(old):
            return f"{old.name} does not say that it handed over"
        return None
