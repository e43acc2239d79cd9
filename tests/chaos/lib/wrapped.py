"""The verdict of a row that wraps named checks, from their last lines.

usage: wrapped.py STATUS LINE...
"""

import json
import os
import re
import sys
from pathlib import Path


def verdict(status: str, lines: list[str]) -> dict:
    """Figures of all checks, and the lines of those that failed."""
    found = re.findall(r"(\w+)=(\d+(?:\.\d+)?)", " ".join(lines))
    figures = {name: float(value) if "." in value else int(value) for name, value in found}
    figures = {"faults": len(lines), "ops": figures.get("chunks", 0)} | figures
    problems = [line for line in lines if line.startswith("FAIL")]
    if status not in ("0", "77") and not problems:
        problems = lines
    return {"figures": figures, "problems": problems}


if __name__ == "__main__":
    Path(os.environ["WORK"], "verdict.json").write_text(json.dumps(verdict(sys.argv[1], sys.argv[2:])), encoding="utf-8")
