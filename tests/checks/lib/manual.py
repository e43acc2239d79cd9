"""The shell blocks of docs/OPERATIONS.md, and the marks before them that say where a test runs each.

`<!-- run on dev -->`: each line alone, on a development deployment. `<!-- run on HOST… -->`: the block, on each of these machines.
`<!-- in checks NAME… -->`: its commands are run by these named checks, on fleets that are as they have to be for them.
What is not for a shell is a block of one of a few other kinds; a block that is written in any other way would be seen by no test.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent.parent
MANUAL = REPO / "docs/OPERATIONS.md"
BLOCK = re.compile(r"^(?:<!-- ([^\n]+) -->\n)?```sh\n(.*?)^```$", re.M | re.S)
# Also one within a list, or of a kind that nobody reads here.
FENCE = re.compile(r"^([ \t>]*)(`{3,}|~{3,})[ \t]*(.*)$")
# What is shown and not typed.
SHOWN = {"yaml", "json", "toml", "text"}
PROGRAM = "bin/flotilla"
# Subcommands and flags; what they are about is a name, a number or a file.
WORD = re.compile(r"--?[a-z][a-z-]*|[a-z][a-z-]+")
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
    return found, faults + fences(text)


def fences(text: str) -> list[str]:
    """Tells of blocks that are neither shown nor found by `blocks`: indented ones, of another kind, of no kind, without an end."""
    faults, opened = [], ""
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if fence is None:
            continue
        indent, ticks, kind = fence[1], fence[2], fence[3].strip()
        if opened:
            # Only a bare fence of the same sign ends a block; in what is shown there may be others.
            opened = "" if ticks.startswith(opened) and not kind else opened
            continue
        opened = ticks
        if kind == "sh" and not (indent or ticks != "```") or kind in SHOWN:
            continue
        faults.append(f"line {number}: no test reads a block that begins with '{line.strip()}'{', and is indented' if indent else ''}")
    return faults + (["the last block has no end"] if opened else [])


def said(paths: list[Path]) -> set[str]:
    """Gives the texts that these sources have in their code; what comments and docstrings say is not done."""
    texts: set[str] = set()
    for path in paths:
        for part in ast.walk(ast.parse(path.read_text())):
            # A text that stands alone is a docstring.
            own = part.value if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) else None
            values = [child for child in ast.iter_child_nodes(part) if isinstance(child, ast.Constant) and child is not own]
            texts.update(child.value for child in values if isinstance(child.value, str))
    return texts


def unchecked(block: Block) -> list[str]:
    """Tells which subcommands and flags none of the named checks has."""
    paths = [REPO / f"tests/checks/{name}.py" for name in block.where]
    faults = [f"line {block.line}: there is no check {path.stem}" for path in paths if not path.exists()]
    texts = said([path for path in paths if path.exists()] + [REPO / "tests/checks/lib/dev.py"])
    words: set[str] = set()
    for command in block.commands():
        program, *rest = command.split()
        if program != PROGRAM:
            faults.append(f"line {block.line}: '{program}' is not {PROGRAM}, which is all that checks run")
        words.update(word for text in rest if WORD.fullmatch(word := text.split("=", 1)[0]))
    return faults + [f"line {block.line}: no check of {block.where} runs '{word}'" for word in sorted(words - OF_MACHINES - texts)]
