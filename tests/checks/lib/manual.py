"""The shell blocks of docs/OPERATIONS.md, and the marks before them that say where a test runs each.

`<!-- run on dev -->`: each line alone, on a development deployment. `<!-- run on HOST… -->`: the block, on each of these machines.
`<!-- in checks NAME… -->`: its commands are run by these named checks, on fleets that are as they have to be for them.
"""

import re
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent.parent
MANUAL = REPO / "docs/OPERATIONS.md"
BLOCK = re.compile(r"^(?:<!-- ([^\n]+) -->\n)?```sh\n(.*?)^```$", re.M | re.S)
# How a server is given its settings differs between a check and a machine of its own; the blocks that are run there have it.
OF_MACHINES = {"--config"}


@dataclass
class Block:
    """One block: which test runs it, on which machines or in which checks, and what it says."""

    how: str
    where: list[str]
    text: str
    line: int

    def commands(self) -> list[str]:
        """Gives its lines without their comments."""
        return [line for raw in self.text.splitlines() if (line := re.sub(r"(^|\s+)# .*$", "", raw).strip())]


def blocks(text: str | None = None) -> tuple[list[Block], list[str]]:
    """Reads the blocks, and tells of those that no test runs."""
    text = MANUAL.read_text() if text is None else text
    found, faults = [], []
    for block in BLOCK.finditer(text):
        line = text[: block.start()].count("\n") + 1
        mark = re.fullmatch(r"(run on|in checks) (.+)", block[1] or "")
        if mark is None:
            faults.append(f"line {line}: no mark says which test runs this block")
        else:
            found.append(Block(mark[1], mark[2].split(), block[2], line))
    return found, faults


def unchecked(block: Block) -> list[str]:
    """Tells which words of commands none of the named checks has."""
    paths = [REPO / f"tests/checks/{name}.{ending}" for name in block.where for ending in ("py", "sh")]
    paths += [REPO / "tests/checks/lib/dev.py"]
    sources = "\n".join(path.read_text() for path in paths if path.exists())
    # The names of what the manual's examples are about don't count, nor does who is asked.
    words = {word for command in block.commands() for word in command.split()[2:] if re.fullmatch(r"--[a-z]+|[a-z]{3,}", word)}
    return [f"line {block.line}: no check of {block.where} runs '{word}'" for word in sorted(words - OF_MACHINES) if f'"{word}"' not in sources]
