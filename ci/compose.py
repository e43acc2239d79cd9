"""Reads examples/compose.yaml as `docker compose` does, and says what is wrong with it: `compose.py FILE` prints its services as JSON.

Variables and anchors are expanded, the result is held against the Compose Specification, and against what its schema can't say.
"""

import json
import os
import re
import sys
from pathlib import Path

import compose_spec
import yaml

VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::-([^}]*))?\}|(\w+))")


def interpolated(text: str, env: dict[str, str]) -> str:
    """Puts variables in; one that is not set and has no default is a mistake here."""

    def value(match: re.Match) -> str:
        name = match[1] or match[3]
        if name is None:
            return "$"
        found = env.get(name) or match[2]
        if found is None:
            raise ValueError(f"variable {name} is not set")
        return found

    return VARIABLE.sub(value, text)


def expanded(text: str, env: dict[str, str]) -> dict:
    """Gives the document without anchors and extensions."""
    document = yaml.safe_load(interpolated(text, env))
    document = {key: value for key, value in document.items() if not key.startswith("x-")}
    compose_spec.PyCompose.from_json(json.dumps(document)).validate()
    return document


def readers(services: dict, name: str) -> list[str]:
    """Who else mounts the volume that a service has its root key in; the key opens everything."""
    path = services[name].get("environment", {}).get("FLOTILLA_ROOT_KEY_FILE", "")
    mounts = [(other, *volume.split(":")[:2]) for other, service in services.items() for volume in service.get("volumes", [])]
    own = {volume for other, volume, target in mounts if other == name and path.startswith(f"{target}/")}
    return sorted({other for other, volume, _ in mounts if other != name and volume in own})


def faults(document: dict) -> list[str]:
    """Tells what is valid and does not work."""
    found, services, volumes = [], document["services"], document.get("volumes") or {}
    used = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    found += [f"volume {name} is not defined" for name in sorted(used - volumes.keys())]
    found += [f"nobody uses volume {name}" for name in sorted(volumes.keys() - used)]
    for name, service in services.items():
        found += [f"{name} waits for {other}, which is not there" for other in service.get("depends_on", {}) if other not in services]
        # They are copied into the container, which the engine refuses where the root file system can't be written (docker/compose#12031).
        if service.get("read_only") and (service.get("configs") or service.get("secrets")):
            found.append(f"{name} has configs or secrets and can't be written")
        found += [f"{other} can read the root key of {name}" for other in readers(services, name)]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    found += [f"port {port} is published to other machines" for port in ports if not port.startswith("127.0.0.1:")]
    return found


def wrong(text: str) -> str:
    """What is wrong with a document, in one line; empty if nothing is."""
    try:
        return "; ".join(faults(expanded(text, {})))
    except (ValueError, yaml.YAMLError) as error:
        return " ".join(str(error).split())


def controls(text: str) -> list[str]:
    """Plants a mistake of each kind, which has to be found and named."""
    port = 'ports: ["127.0.0.1:7400:7401"]'
    planted = [
        ("read_only: true", "read_onli: true", "`read_onli`"),
        ("stop_grace_period: 60s", "stop_grace_period: 60x", "duration unit"),
        ("<<: *server", "<<: *nobody", "alias 'nobody'"),
        ("service_completed_successfully", "service_done", "`service_done`"),
        ("depends_on:\n    secret:", "depends_on:\n    nobody:", "waits for nobody"),
        ("KEY_FILE: /var/lib/flotilla", "KEY_FILE: /etc/flotilla", "a-1 can read the root key of supernode"),
        ('"a-1:/var', '"a-9:/var', "volume a-9 is not defined; nobody uses volume a-1"),
        (port, 'ports: ["7400:7401"]', "published to other machines"),
        (port, f"{port}\n    secrets: [planted]", "`planted`"),
        (port + "\n", f"{port}\n    secrets: [planted]\n", "can't be written"),
        ("${FLOTILLA_IMAGE:-flotilla:0.1.0}", "${FLOTILLA_IMAGE}", "FLOTILLA_IMAGE is not set"),
    ]
    found = []
    for old, new, says in planted:
        # One of the secrets is defined, so that only its use is wrong.
        with_it = text.replace(old, new) + ("\nsecrets: { planted: { environment: HOME } }\n" if "written" in says else "")
        if old not in text or says not in wrong(with_it):
            found.append(f"the check does not find '{new}': {wrong(with_it)}")
    return found


def main() -> None:
    text = Path(sys.argv[1]).read_text()
    try:
        document = expanded(text, dict(os.environ))
        found = faults(document) + controls(text)
    except (ValueError, yaml.YAMLError) as error:
        found = [str(error)]
    if found:
        sys.exit("\n".join(f"compose: {fault}" for fault in found))
    print(json.dumps(document))


if __name__ == "__main__":
    main()
