"""Makes the log of a cluster grow, by many small files."""

import os
import subprocess

from lab import Lab

# Entries after which a snapshot of a small state is built, and those that stay in the log: fixed in the servers.
SNAPSHOT_ENTRIES, KEPT_ENTRIES = 50_000, 10_000
CLIENTS = 48

PROFILE = """
description = "Small files, mostly replaced."
loop = "closed"
connections = {clients}
timeout = "20s"
prefill = 200

[mix]
put = {put}
replace = {replace}

[sizes]
"100B" = 1

[popularity]
kind = "uniform"

[[phase]]
name = "fill"
for = "{seconds}s"
"""


def index(process, name: str) -> int:
    return int(process.metric(f"flotilla_raft_{name}", 'group="a"') or 0)


def fill(lab: Lab, until: int, put: int, within_s: float, meanwhile=lambda: None, enough=lambda: True) -> int:
    """Writes until the longest log has reached an index and it is `enough`; calls `meanwhile` all the time."""
    file = lab.work / "fill.toml"
    file.write_text(PROFILE.format(clients=CLIENTS, put=put, replace=100 - put, seconds=int(within_s)))
    command = [os.environ["FLOTILLA"], "loadtest", "run", str(file), "--seed", "1"]
    with open(lab.work / "fill.log", "ab") as log:
        run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=lab.work)

    def longest() -> int:
        meanwhile()
        return max((index(p, "last_log_index") for p in lab.nodes if p.alive()), default=0)

    lab.wait(lambda: (longest() >= until and enough()) or run.poll() is not None, within_s)
    reached = longest()
    run.kill()
    run.wait()
    return reached
