"""The units of examples/systemd, as far as a check does what systemd would: what is started, as whom, with which folders."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from machine import SYSTEM_PATH, Machine, as_user

# What says so in a unit, and is given to the process here. The rest keeps it from what it does not need.
FOLDERS = ("StateDirectory", "StateDirectoryMode")


@dataclass
class Unit:
    """A unit's settings; of those that are given several times the last one."""

    values: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Unit":
        return cls(dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.M)))

    def command(self) -> list[str]:
        return shlex.split(self.values["ExecStart"])

    def program(self) -> str:
        return self.command()[0]

    def umask(self) -> int:
        return int(self.values["UMask"], 8)

    def start(self, machine: Machine, command: list[str], log: Path) -> int:
        """Starts its process: a folder that is the user's own, and no rights. Gives the pid."""
        user, group = self.values["User"], self.values["Group"]
        name, mode = (self.values[key] for key in FOLDERS)
        made = machine.run(["install", "-d", "-m", mode, "-o", user, "-g", group, f"/var/lib/{name}"])
        if made.returncode != 0:
            raise ValueError(f"the folder of the unit: {made.stderr.strip()}")
        env = {"PATH": SYSTEM_PATH, "USER": user, "LOGNAME": user, "HOME": f"/var/lib/{name}"}
        prefix = as_user(user, group, int(self.values["LimitNOFILE"]))
        return machine.start(prefix + command, env, log, self.umask()).pid
