"""Makes keys through one supernode, uses them everywhere, revokes them, and looks for them on every disk."""

import json
import os
import subprocess
import time
import urllib.parse

from dev import Client, Dev, fail, note

EVERYWHERE_S = 5
CONTENT = b"for all who may"


def flotilla(*arguments: str, token: str | None = None) -> subprocess.CompletedProcess:
    env = os.environ | ({"FLOTILLA_TOKEN": token} if token else {})
    command = [os.environ["FLOTILLA"], *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=env, check=False)


def everywhere(dev: Dev, key: str, opens: bool) -> float:
    """Waits until every listener takes the key, or none does; gives the seconds."""
    begun = time.monotonic()
    servers = dev.supernodes + dev.nodes

    def status(process) -> int:
        return Client(process.public, key).file("GET", "kept").status

    def wrong() -> list[str]:
        # A key elsewhere at home is answered with 421, by who knows the caller.
        told = {process.name: status(process) for process in servers}
        return [f"{name} {code}" for name, code in told.items() if code not in ((200, 421) if opens else (401,))]

    if not dev.wait(lambda: not wrong(), EVERYWHERE_S):
        fail(f"{EVERYWHERE_S} s after the key was {'made' if opens else 'revoked'}: {', '.join(wrong())}")
    return time.monotonic() - begun


def sent_on(dev: Dev, key: str) -> list[tuple[str, str]]:
    """Asks every listener to redirect a read and a write; gives the methods and addresses, which carry capabilities."""
    found, ways = [], set()
    for process in dev.supernodes + dev.nodes:
        for method, body in (("GET", None), ("PUT", CONTENT)):
            answer = Client(process.public, key).file(method, "kept", body, {"Prefer": "redirect"})
            if answer.status == 307:
                found.append((method, answer.headers["location"]))
                ways.add((process.role, method))
            elif answer.status != 200:
                fail(f"{method} with Prefer: redirect at {process.name} was answered {answer.status} {answer.code()}")
    expect("who redirects", sorted(ways), [(role, method) for role in ("node", "supernode") for method in ("GET", "PUT")])
    return found


def follow(method: str, address: str) -> int:
    """Goes where a redirect points to, with no credential but what is in the address; gives the status."""
    parts = urllib.parse.urlsplit(address)
    body = CONTENT if method == "PUT" else None
    return Client(address, "unknown").request(method, f"{parts.path}?{parts.query}", body).status


def lies_somewhere(dev: Dev, key: str) -> list[str]:
    found = []
    for folder, _, names in os.walk(dev.dir):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                if key.encode() in file.read():
                    found.append(os.path.join(folder, name))
    return found


def expect(what: str, got: object, want: object) -> None:
    if got != want:
        fail(f"{what}: {got}, not {want}")


def main() -> None:
    dev = Dev()
    expect("the first PUT", dev.client().file("PUT", "kept", CONTENT).status, 201)
    made = flotilla("key", "create", "backup")
    expect("key create", (made.returncode, len(made.stdout.strip())), (0, 68))
    key = made.stdout.strip()
    known_s = everywhere(dev, key, opens=True)
    note(f"the key opens every listener after {known_s:.1f} s")

    capabilities, of_root = sent_on(dev, key), sent_on(dev, dev.token)
    expect("redirects of a good key", {follow(*sent) for sent in capabilities + of_root}, {200})

    expect("the same name again", flotilla("key", "create", "backup").returncode, 4)
    expect("a bad name", flotilla("key", "create", "Back up").returncode, 2)
    expect("a principal that makes keys", flotilla("key", "create", "other", token=key).returncode, 5)
    expect("a principal that makes buckets", Client(dev.api, key).request("PUT", "/v1/buckets/more").status, 403)
    expect("revoking root", flotilla("key", "revoke", "root").returncode, 4)
    expect("revoking nobody", flotilla("key", "revoke", "nobody").returncode, 3)
    listed = flotilla("key", "list", "--json").stdout
    expect("key list", [json.loads(line)["name"] for line in listed.splitlines()], ["backup", "root"])
    if key in listed or (lies := lies_somewhere(dev, key)):
        fail(f"the key lies in {lies if key not in listed else 'the list'}")

    # Through another supernode, whose group has lost its leader just then.
    leader = next(p for p in dev.supernodes if p.leads())
    dev.kill_all([leader])
    left = [p.public for p in dev.supernodes if p is not leader]
    revoked = flotilla("key", "revoke", "backup", "--api", ",".join(left))
    expect("key revoke", revoked.returncode, 0)
    dev.start(leader)
    dev.wait_ready([leader])
    revoked_s = everywhere(dev, key, opens=False)
    # The nodes know by now, and what was made with the key ends with it; other principals' redirects go on.
    expect("redirects of a revoked key", {follow(*sent) for sent in capabilities}, {403})
    expect("redirects of root", {follow(*sent) for sent in of_root}, {200})
    expect("the list afterwards", json.loads(flotilla("key", "list", "--json").stdout)["name"], "root")
    figures = f"listeners={len(dev.supernodes + dev.nodes)} known_s={known_s:.1f} revoked_s={revoked_s:.1f}"
    print(f"{figures} redirects_ended={len(capabilities)}")


main()
