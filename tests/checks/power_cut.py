"""Writes a ledger, cuts the disk at a random moment and kills every server; later checks the ledger.

usage: power_cut.py MOUNT LEDGER | power_cut.py check LEDGER
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from dev import Dev, fail, ledger_verdict, note

ACKED_MIN = 200
# Long enough for acks, short enough that the kernel has not written everything back by itself.
CUT_AFTER_S = (4.0, 8.0)
# Syncs that do nothing and say yes. -D keeps the server's own pid.
LYING_SYNCS = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"]
LYING_SYNCS += ["-e", "trace=fsync,fdatasync,sync_file_range,msync"]
LYING_SYNCS += ["-e", "inject=fsync,fdatasync,sync_file_range,msync:retval=0"]


def lie(dev: Dev) -> None:
    """Starts every server again with syncs that do nothing."""
    dev.kill_all(dev.processes)
    for process in dev.processes:
        dev.start(process, wrapper=LYING_SYNCS)
    dev.wait_ready(dev.processes, 90)


def cut(mount: str, ledger: Path) -> None:
    dev = Dev()
    if os.environ.get("CONTROL") == "1":
        lie(dev)
    command = [os.environ["FLOTILLA"], "loadtest", "ledger", "run", "--file", str(ledger), "--clients", "8"]
    with open(dev.work / "ledger-run.log", "ab") as log:
        run = subprocess.Popen(command + ["--seconds", "60"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    time.sleep(random.uniform(*CUT_AFTER_S))
    # Without -f the journal is not written out first: this is the cut.
    done = subprocess.run(["xfs_io", "-x", "-c", "shutdown", mount], capture_output=True, text=True, check=False)
    dev.kill_all(dev.processes)
    run.send_signal(signal.SIGINT)
    try:
        run.wait(timeout=20)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
    if done.returncode != 0:
        fail(f"xfs_io ended with {done.returncode}: {done.stderr.strip()}")
    note("cut")


def main() -> None:
    what, ledger = sys.argv[1], Path(sys.argv[2])
    if what == "check":
        print(ledger_verdict(ledger, ACKED_MIN))
    else:
        cut(what, ledger)


main()
