"""Runs the services of examples/compose.yaml as `docker compose` would, without an image: what a container shares with this machine is
its programs.

Each has an address and a namespace of mounts, the image's user, its volumes, and no rights; names are found in /etc/hosts. It can
write in its volumes alone, since the rest is root's.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from dev import Client, fail, flotilla, note
from machine import SYSTEM_PATH, Machine, as_user, new_etc
from net import Net

REPO = Path(os.environ["REPO"])
FILE = REPO / "examples/compose.yaml"
OURS = "/usr/local/bin/flotilla"
# Where the client's own network has the services.
NETWORK = "10.66.1."
UP_S, COMMAND_S, REPORT_S = 60, 30, 10
UNITS_S = {"s": 1, "m": 60}
CONTENT = b"written before the services went down"


def image() -> tuple[str, str, str]:
    """User, group and folder of the image, as the Dockerfile says."""
    text = (REPO / "Dockerfile").read_text()
    runtime = text[text.index("AS runtime") :]
    user, folder = re.search(r"^USER (\d+):(\d+)$", runtime, re.M), re.search(r"^WORKDIR (\S+)$", runtime, re.M)
    entry = re.search(r'^ENTRYPOINT \["(\S+)"\]$', runtime, re.M)
    if not (user and folder and entry and entry[1].endswith("/flotilla")):
        fail("the Dockerfile does not say who runs the program, and where")
    return user[1], user[2], folder[1]


def seconds(duration: str) -> int:
    return int(duration[:-1]) * UNITS_S[duration[-1]]


class Service:
    """One service: what it is told, and its process while it has one."""

    def __init__(self, name: str, told: dict, hosts: dict[str, str], volumes: Path):
        self.name, self.told = name, told
        self.address = hosts.get(name)
        self.user, self.group, self.folder = image()
        work = Path(os.environ["WORK"])
        self.log = work / f"{name}.log"
        self.machine = Machine(work / "containers" / name, f"{os.environ['PREFIX']}-{name}" if self.address else None)
        new_etc(self.machine.folder / "etc", hosts if self.address else {})
        (self.machine.folder / "usr/local/bin").mkdir(parents=True)
        (self.machine.folder / OURS[1:]).touch()
        for target in ("/etc", "/var/lib", "/usr/local/bin"):
            self.machine.mount(target)
        self.machine.mount(OURS, Path(os.environ["FLOTILLA"]).resolve(), "ro")
        for volume in told.get("volumes", []):
            source, target, *mode = volume.split(":")
            (self.machine.folder / target[1:]).mkdir(parents=True)
            self.machine.mount(target, self.volume(volumes / source), mode[0] if mode else "rw")
        (self.machine.folder / self.folder[1:]).mkdir(parents=True, exist_ok=True)
        self.env = {"PATH": SYSTEM_PATH} | told.get("environment", {})
        self.child: subprocess.Popen | None = None

    def volume(self, folder: Path) -> Path:
        """An empty volume is like the folder of the image that it is put on."""
        if not folder.exists():
            folder.mkdir(parents=True)
            os.chown(folder, int(self.user), int(self.group))
            folder.chmod(0o700)
        return folder

    def confined(self, words: list[str]) -> list[str]:
        """The program as the image's user; what the file takes away is not there."""
        if self.told["cap_drop"] != ["ALL"] or self.told["security_opt"] != ["no-new-privileges:true"] or not self.told["read_only"]:
            fail(f"{self.name} has rights that no service needs")
        return [*as_user(self.user, self.group, self.told.get("ulimits", {}).get("nofile", 1024)), *words]

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs the program beside the service, as `docker compose exec` does."""
        return self.machine.run(self.confined([OURS, *arguments]), self.env, COMMAND_S)

    def settings(self) -> None:
        """Holds its variables against what the server knows; one that it does not know would change nothing."""
        role = self.told["command"][0]
        shown = self.run("config", "show", role, "--json")
        if shown.returncode != 0:
            fail(f"{self.name}: config show {role} ended with {shown.returncode}: {(shown.stdout + shown.stderr).strip()[-400:]}")
        origins = {json.loads(line)["origin"] for line in shown.stdout.splitlines()}
        # Of the client, in the same environment.
        given = {f"from {name}" for name in self.told["environment"]} - {"from FLOTILLA_API"}
        if unknown := given - origins:
            fail(f"{self.name}: no setting is taken {' and '.join(sorted(unknown))}")

    def start(self) -> None:
        self.child = self.machine.start(self.confined([OURS, *self.told["command"]]), self.env, self.log, cwd=self.folder)

    def healthy(self) -> bool:
        if self.child.poll() is not None:
            fail(f"{self.name} ended with {self.child.returncode}: {self.log.read_text()[-600:]}")
        kind, *words = self.told["healthcheck"]["test"]
        if kind != "CMD" or words[0] != "flotilla":
            fail(f"{self.name}: {kind} {words[0]} is not in the image")
        return self.run(*words[1:]).returncode == 0

    def ended(self, since: float) -> None:
        """Waits for its end, which was asked for then."""
        grace_s = seconds(self.told["stop_grace_period"])
        try:
            code = self.child.wait(max(0.0, since + grace_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            fail(f"{self.name} has not ended within {grace_s} s")
        if code != 0:
            fail(f"{self.name} was asked to end and did with {code}: {self.log.read_text()[-600:]}")


class Project:
    """All services."""

    def __init__(self, document: dict):
        work = Path(os.environ["WORK"])
        told = document["services"]
        named = [name for name, service in told.items() if service.get("network_mode") != "none"]
        hosts = {name: f"{NETWORK}{number}" for number, name in enumerate(named, start=1)}
        Net(os.environ["PREFIX"], hosts, str(work / "namespaces"))
        self.services = {name: Service(name, service, hosts, work / "volumes") for name, service in told.items()}
        waited_for = {other for service in told.values() for other in service.get("depends_on", {})}
        self.first = [self.services[name] for name in sorted(waited_for)]
        self.servers = [service for service in self.services.values() if service not in self.first]

    def up(self) -> float:
        """Those that others wait for run to their end; then all start at once. Gives the seconds until all are healthy."""
        begun = time.monotonic()
        for service in self.first:
            made = service.run(*service.told["command"])
            if made.returncode != 0:
                fail(f"{service.name} ended with {made.returncode}: {made.stderr.strip()[-400:]}")
        for service in self.servers:
            service.start()
        left = list(self.servers)
        while left and time.monotonic() < begun + UP_S:
            left = [service for service in left if not service.healthy()]
        if left:
            fail(f"{', '.join(service.name for service in left)}: not healthy after {UP_S} s")
        return time.monotonic() - begun

    def down(self) -> float:
        """Asks all to end; gives the seconds that it took."""
        begun = time.monotonic()
        for service in self.servers:
            service.child.terminate()
        for service in self.servers:
            service.ended(begun)
        return time.monotonic() - begun

    def published(self) -> tuple[str, str]:
        """The address that this machine has for the fleet, and the one behind it."""
        ports = [(port, service) for service in self.servers for port in service.told.get("ports", [])]
        if len(ports) != 1:
            fail(f"{len(ports)} ports are published")
        (text, service) = ports[0]
        host, port, inner = text.split(":")
        return f"{host}:{port}", f"{service.address}:{inner}"

    def volume_file(self, service: str, path: str) -> Path:
        """Where a file of a service lies here."""
        for _, source, target in reversed(self.services[service].machine.mounts):
            if path.startswith(f"{target}/"):
                return source / path[len(target) + 1 :]
        return fail(f"{path} of {service} lies in no volume")


def head(project: Project) -> int:
    """Runs the commands of the file's head. Published ports are reached at the services themselves."""
    work, count = Path(os.environ["WORK"]), 0
    compose = "docker compose -f examples/compose.yaml "
    here, there = project.published()
    for line in re.findall(r"^#   (.+)$", FILE.read_text(), re.M):
        words = shlex.split(line.removeprefix(compose))
        if not line.startswith(compose):
            if words[0] != "flotilla" or not any(here in word for word in words):
                fail(f"'{line}' is no command for {here}")
            words = [word.replace(here, there) for word in words[1:]]
            words = [str(REPO / word) if word == "README.md" else str(work / word) if word == "root.key" else word for word in words]
            ended = flotilla(*words, within_s=COMMAND_S)
        elif words[0] == "exec":
            service, program, *arguments = words[1:]
            if program != "flotilla":
                fail(f"'{line}': {program} is not in the image")
            ended = project.services[service].run(*arguments)
        elif words[0] == "cp":
            service, _, path = words[1].partition(":")
            shutil.copy(project.volume_file(service, path), work / words[2])
            ended = None
        else:
            fail(f"'{line}': nobody knows what {words[0]} does")
        if ended is not None and ended.returncode != 0:
            fail(f"'{line}' ended with {ended.returncode}: {(ended.stdout + ended.stderr).strip()[-600:]}")
        count += 1
    return count


def root_key_is_kept(project: Project) -> None:
    """The root key lies in one volume, which the supernode alone has."""
    volumes = Path(os.environ["WORK"]) / "volumes"
    keys = [path.parent for path in volumes.glob("*/root.key")]
    having = [service.name for service in project.services.values() if any(source in keys for _, source, _ in service.machine.mounts)]
    if having != ["supernode"]:
        fail(f"{having} have the root key, in {[str(path.relative_to(volumes)) for path in keys]}")


def serves(project: Project, method: str, key: str, wanted: int, body: bytes | None = None) -> bytes:
    """Sends a request through the published port."""
    _, there = project.published()
    token = (Path(os.environ["WORK"]) / "root.key").read_text().strip()
    client, end = Client(f"http://{there}", token), time.monotonic() + REPORT_S
    answer = client.file(method, key, body)
    # Health says that a supernode can do its work, and not that the clusters have reported to it.
    while answer.status == 503 and time.monotonic() < end:
        time.sleep(0.2)
        answer = client.file(method, key, body)
    if answer.status != wanted:
        fail(f"{method} {key} was answered {answer.status} {answer.code()}, not {wanted}")
    return answer.body


def main() -> None:
    document = json.loads((Path(os.environ["WORK"]) / "compose.json").read_text())
    project = Project(document)
    for service in project.servers:
        service.settings()
    up_s = project.up()
    note(f"all are healthy after {up_s:.1f} s")
    root_key_is_kept(project)
    count = head(project)
    if count < 4:
        fail(f"the file's head has {count} commands")
    for number in range(20):
        serves(project, "PUT", f"kept/{number}", 201, CONTENT + bytes([number]))
    down_s = project.down()
    again_s = project.up()
    for number in range(20):
        if serves(project, "GET", f"kept/{number}", 200) != CONTENT + bytes([number]):
            fail(f"kept/{number} reads as something else after down and up")
    if serves(project, "GET", "README.md", 200) != (REPO / "README.md").read_bytes():
        fail("what the head's command put is not what it was")
    project.down()
    print(f"services={len(project.servers)} up={up_s:.1f}s commands={count} down={down_s:.1f}s up_again={again_s:.1f}s")


main()
