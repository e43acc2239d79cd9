"""Plants findings on the disks of a small cluster and asks fsck for them."""

import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

from dev import Dev, fail

SIZE = 8 << 20  # two chunks that are files of their own
CLEAN, FINDINGS = 0, 8
HEALED_WITHIN_S = 60


def let_heal(dev: Dev) -> None:
    """Starts the nodes again without the failpoints that kept them from mending what was planted."""
    dev.kill_all(dev.nodes)
    for node in dev.nodes:
        dev.start(node, env={"FAILPOINTS": ""})
    dev.wait_ready(dev.processes, 60)


def fsck(*arguments: str) -> tuple[int, list[dict], dict]:
    """Runs the command; gives exit code, findings and the summary."""
    command = [os.environ["FLOTILLA"], "fsck", "--json", *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    summaries = [line for line in lines if line["line"] == "summary"]
    if len(summaries) != 1:
        fail(f"fsck {arguments} ended with {result.returncode} and {len(summaries)} summaries: {result.stderr[:300]}")
    return result.returncode, [line for line in lines if line["line"] == "finding"], summaries[0]


def layout(front, key: str) -> list[dict]:
    answer = front.request("GET", f"/v1/files/demo/{key}?layout")
    if answer.status != 200:
        fail(f"layout of {key} answered {answer.status}")
    return [chunk for tree in json.loads(answer.body)["trees"] for chunk in tree["chunks"]]


def expect_clean(when: str) -> dict:
    for arguments in ([], ["--verify"]):
        status, findings, summary = fsck(*arguments)
        if status != CLEAN or findings:
            fail(f"{when}: fsck {arguments} ended with {status} and named {findings[:3]}")
    return summary


def main() -> None:
    dev = Dev()
    front = dev.client()
    rng = random.Random(3)
    for n in range(4):
        if front.file("PUT", f"f{n}", rng.randbytes(SIZE)).status != 201:
            fail(f"f{n} was not stored")
    summary = expect_clean("before")
    if (summary["chunks"], summary["copies"]) != (8, 16):
        fail(f"8 chunks in 16 copies are stored, fsck looked at {summary}")

    planted = []  # what, chunk, node, file, key
    missing = layout(front, "f0")[0]
    copy = missing["replicas"][0]
    os.unlink(copy["file"])
    planted.append(("MISSING", missing["id"], copy["node"], "", "demo/f0"))

    extra = layout(front, "f1")[1]
    holders = {replica["node"] for replica in extra["replicas"]}
    other = next(process for process in dev.nodes if process.node_id not in holders)
    home = next(p for p in dev.nodes if p.node_id == extra["replicas"][0]["node"])
    source = Path(extra["replicas"][0]["file"])
    target = other.data_dir.resolve() / source.resolve().relative_to(home.data_dir.resolve())
    shutil.copyfile(source, target)
    planted.append(("EXTRA", extra["id"], other.node_id, str(target), ""))

    flipped = layout(front, "f2")[0]
    copy = flipped["replicas"][1]
    with open(copy["file"], "r+b") as file:
        file.seek(copy["file_offset"] + 1234567)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    planted.append(("CORRUPT", flipped["id"], copy["node"], copy["file"], "demo/f2"))

    cut = layout(front, "f3")[1]
    copy = cut["replicas"][0]
    os.truncate(copy["file"], 4096 * 100)
    planted.append(("SHORT or CORRUPT", cut["id"], copy["node"], None, "demo/f3"))

    for arguments, hidden in (([], "CORRUPT"), (["--verify"], None)):
        status, findings, _ = fsck(*arguments)
        if status != FINDINGS:
            fail(f"fsck {arguments} ended with {status} over planted findings")
        wanted = [one for one in planted if one[0] != hidden]
        for what, chunk, node, file, key in wanted:
            named = [f for f in findings if (f["chunk"], f["node"]) == (chunk, node)]
            if len(named) != 1 or named[0]["what"] not in what:
                fail(f"fsck {arguments}: {what} {chunk} on node {node} was planted, told was {named}")
            if file is not None and named[0]["file"] not in (file, os.path.realpath(file) if file else ""):
                fail(f"fsck {arguments}: {what} lies in {file}, told was {named[0]['file']}")
            if key and named[0]["keys"] != [key]:
                fail(f"fsck {arguments}: {what} is needed by {key}, told was {named[0]['keys']}")
        if len(findings) != len(wanted):
            fail(f"fsck {arguments}: {len(wanted)} were planted, {len(findings)} told: {findings}")

    began = time.monotonic()
    let_heal(dev)
    if not dev.wait(lambda: fsck("--verify")[0] == CLEAN, HEALED_WITHIN_S):
        fail(f"what was planted is still told after {HEALED_WITHIN_S} s: {fsck('--verify')[1]}")
    healed = time.monotonic() - began
    print(f"copies={summary['copies']} planted={len(planted)} named={len(planted)} healed_s={healed:.1f}")


main()
