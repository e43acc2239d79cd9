"""Poisons two chunk stores, then kills two nodes, and asks what each of them and the supernode say."""

import os

from dev import Answer, Dev, Process, fail, note

BIG = 3 << 20
SMALL = 1000
FILES = 6


def expect(what: str, answer: Answer, status: int, code: str = "") -> None:
    if (answer.status, answer.code()) != (status, code):
        fail(f"{what}: {answer.status} {answer.code()}, not {status} {code}: {answer.body[:300]!r}")


def poison(dev: Dev, victims: list[Process]) -> None:
    """Takes the folders of the chunks away until the store has noticed: a disk that loses its files is a failed one."""
    folders = [p.data_dir / "chunks" / "chunks" for p in victims]
    for folder in folders:
        folder.rename(folder.with_name("away"))
    reasons = lambda p: b"disk_failed" in ((p.get("/readyz", 3) or Answer(0, None, b"")).body)
    content = os.urandom(BIG)
    for number, victim in enumerate(victims):
        for attempt in range(5):
            dev.client(victim.public).file("PUT", f"poison/{number}-{attempt}", content)
            if dev.wait(lambda p=victim: reasons(p), 1):
                break
        else:
            fail(f"{victim.name} does not say disk_failed")
    for folder in folders:
        folder.with_name("away").rename(folder)


def main() -> None:
    dev = Dev()
    urls = [dev.api] + [p.public for p in dev.nodes]
    files = {f"poisoned/{n}": os.urandom(BIG) for n in range(FILES)}
    for n, (key, content) in enumerate(files.items()):
        expect(f"first PUT of {key}", dev.client(urls[n % len(urls)]).file("PUT", key, content), 201)
    poison(dev, [p for p in dev.nodes if not p.leads()])
    for n, url in enumerate(urls):
        # A connection per request: an idle one is closed after a while.
        ask = lambda method, key, body=None, url=url: dev.client(url).file(method, key, body)
        for key, content in files.items():
            answer = ask("GET", key)
            if answer.status != 200 or answer.body != content:
                fail(f"with two poisoned stores GET of {key} answers {answer.status} {answer.code()}")
        expect("small PUT", ask("PUT", f"small/{n}", os.urandom(SMALL)), 201)
        answer = ask("PUT", f"big/{n}", os.urandom(BIG))
        expect("big PUT with two poisoned stores", answer, 503, "replicas_unavailable")
        expect("GET after the refused PUT", ask("GET", f"big/{n}"), 404, "file_not_found")
    note("two poisoned stores: as promised")

    # One that follows stays: it knows that nobody leads. Then again with the leader, which must find that out.
    for round_number, keep_leader in enumerate([False, True]):
        leader = dev.leader("a")
        survivor = leader if keep_leader else next(p for p in dev.nodes if p is not leader)
        dead = [p for p in dev.nodes if p is not survivor]
        for process in dev.nodes:
            (process.data_dir / "chunks" / "chunks.poisoned").unlink(missing_ok=True)
        dev.kill_all(dead)
        dev.wait(lambda: not survivor.ready(), 10)
        ask = lambda method, key, body=None, url=survivor.public: dev.client(url).file(method, key, body)
        expect("small PUT", ask("PUT", f"dead/{round_number}", os.urandom(SMALL)), 503, "no_leader")
        expect("big PUT", ask("PUT", f"dead/{round_number}-big", os.urandom(BIG)), 503, "no_leader")
        expect("GET", ask("GET", "poisoned/0"), 503, "no_leader")
        for process in dead:
            dev.start(process)
        # The one left may still be poisoned; one that has just started may lead before it serves.
        dev.wait_ready(dead)
        note(f"two nodes dead, {survivor.name} left: as promised")
    print(f"files={FILES} listeners={len(urls)} dead_rounds=2")


main()
