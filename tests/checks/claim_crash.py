"""Holds every gateway right behind the claim, kills them all there, and uses the key afterwards.

ACTION is the action of the failpoint; the default holds the request long enough to be killed.
"""

import json
import os
import threading
import time

from dev import Dev, fail, note

FAILPOINT = "gateway.after_claim"
ACTION = os.environ.get("ACTION", "sleep(60000)")
CREATE_WITHIN_S = 5.0
# Above the inline size, so that chunks would be the next step.
# Longer than what a supernode keeps and sends to another gateway by itself.
BODY = b"claimed " * 32768


def put_and_lose(dev: Dev, key: str, outcome: dict) -> None:
    try:
        answer = dev.client(timeout_s=50).file("PUT", key, BODY)
        outcome[key] = f"{answer.status} {answer.code()}"
    except OSError as error:
        outcome[key] = type(error).__name__


def claims(dev: Dev) -> float:
    return sum(p.metric("flotilla_claims_total") or 0 for p in dev.supernodes)


def restart(dev: Dev, env: dict) -> None:
    dev.kill_all(dev.nodes)
    for node in dev.nodes:
        dev.start(node, env=env)
    dev.wait_ready(dev.processes, 60)


def main() -> None:
    dev = Dev()
    restart(dev, {"FAILPOINTS": f"{FAILPOINT}={ACTION}"})
    keys = ["claimed/one", "claimed/two"]
    before, outcome = claims(dev), {}
    threads = [threading.Thread(target=put_and_lose, args=(dev, key, outcome), daemon=True) for key in keys]
    for thread in threads:
        thread.start()
    if not dev.wait(lambda: claims(dev) >= before + len(keys), 20):
        fail(f"{claims(dev) - before} claims were made for {len(keys)} uploads; answers so far: {outcome}")
    time.sleep(0.3)  # from the claim's answer to the failpoint
    early = {key: text for key, text in outcome.items() if text.startswith("2")}
    if early:
        fail(f"the failpoint did not hold: {early}")
    restart(dev, {})
    for thread in threads:
        thread.join(timeout=60)
    note(f"lost uploads ended with {outcome}")
    if any(text.startswith("2") for text in outcome.values()):
        fail(f"an upload was acked although its gateway died: {outcome}")

    client, slowest = dev.client(), 0.0
    listing = client.request("GET", "/v1/files/demo?prefix=claimed/")
    if listing.status != 200 or json.loads(listing.body)["items"]:
        fail(f"the list answered {listing.status}: {listing.body[:200]!r}")
    for key in keys:
        read = client.file("GET", key)
        if (read.status, read.code()) != (404, "file_not_found"):
            fail(f"{key}: claimed but not committed reads {read.status} {read.code()}, not 404")
        begun = time.monotonic()
        put = client.file("PUT", key, BODY)
        slowest = max(slowest, time.monotonic() - begun)
        if put.status != 201:
            fail(f"{key}: creating it answered {put.status} {put.code()}")
        if client.file("GET", key).body != BODY:
            fail(f"{key}: content differs")
    if slowest > CREATE_WITHIN_S:
        fail(f"creating took {slowest:.1f} s, {CREATE_WITHIN_S} s are allowed")
    print(f"claims={len(keys)} slowest_create_s={slowest:.2f}")


main()
