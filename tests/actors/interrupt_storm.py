"""A program that is sent a signal at random moments of its life, again and again.

    python tests/actors/interrupt_storm.py FOLDER SEED TIMES

Each time a child starts a plane, offers inputs and stops it, over and over, until the signal
comes. Then its end is looked at, and another child takes its store up. Children are forks of a
process without threads: what is imported once is there at once.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from actors import ControlPlane
from meerkat import IdempotencyKey, LogicalRuntimeId, PromptInput, RunContext, RunOutput
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

PATIENCE_S = 30.0
STATUS = {signal.SIGINT: {-signal.SIGINT}, signal.SIGTERM: {143, -signal.SIGTERM}}
"""How a child ends: between two blocks SIGTERM has its default action."""
CAUGHT = "a control plane was not stopped"
"""Said at the interpreter's end of one whose start was interrupted just before."""


def agent(_context: RunContext, primitive: object) -> RunOutput:
    return RunOutput(append=[{"role": "user", "content": "noted"}], result="noted")


def work(path: Path, said: int) -> None:
    """Offer inputs for ever; every acknowledged one is said."""
    number = 0
    while True:
        with ControlPlane(SqliteStore(path), agent, grace_s=0.5) as plane:
            os.write(said, b"begun\n")
            plane.register_many(["a", "b"])
            for name in ("a", "b"):
                number += 1
                key = f"{name}-{number}"
                plane.ingest(name, PromptInput("1", idempotency_key=key))
                os.write(said, f"{key}\n".encode())
                sent = plane.submit(name, PromptInput("2", idempotency_key=f"{key}-second"))
                sent.accepted.result()
                os.write(said, f"{key}-second\n".encode())
            sent.completion.result()


def take_up(path: Path, keys: list[str]) -> None:
    """Everything that was acknowledged is there, and comes to its end."""
    with ControlPlane(SqliteStore(path), agent) as plane:
        store = SqliteStore(path)
        for key in keys:
            name = key[0]
            state = store.load_input_by_key(LogicalRuntimeId(name), IdempotencyKey(key))
            assert state is not None, f"{key} is lost"
            ended = plane.completion(name, state.input_id, timeout=PATIENCE_S)
            assert ended.result(PATIENCE_S).kind is CompletionKind.COMPLETED, key
        store.close()


def ended(pid: int) -> int | None:
    """How a child ended; None for one that had to be killed."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def fault(folder: Path, chance: random.Random) -> str:
    """One child's life and end; what is wrong with it, or nothing."""
    path, errors = folder / "sessions.db", folder / "errors.txt"
    number = chance.choice([signal.SIGINT, signal.SIGTERM])
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.close(read)
        os.write(write, b"begun\n")
        work(path, write)
    os.close(write)
    with os.fdopen(read) as told:
        told.readline()
        if number == signal.SIGTERM:
            told.readline()  # before the block it ends the process at once, as ever
        time.sleep(chance.random() * 0.06)
        os.kill(child, number)
        status = ended(child)
        keys = [line.strip() for line in told if line != "begun\n" and line.endswith("\n")]
    text = errors.read_text()
    if status is None:
        return f"{number.name}: it did not end\n{text}"
    if status not in STATUS[number]:
        return f"{number.name}: it ended with {status}\n{text}"
    said = [line for line in text.splitlines() if not line.startswith(CAUGHT)]
    last = said[-1:]
    if last not in ([], ["KeyboardInterrupt"]) or "ERROR" in text or "WARNING" in text:
        return f"{number.name}: it complained\n{text}"
    child = os.fork()
    if not child:
        take_up(path, keys)
        sys.exit(0)
    taken = ended(child)
    return "" if taken == 0 else f"{number.name}: its store was not taken up: {taken}"


def main() -> None:
    folder, seed, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever was inherited
    chance, faults = random.Random(seed), []
    for _ in range(times):
        assert threading.active_count() == 1
        said = fault(folder, chance)
        if said:
            faults.append(said)
    sys.stdout.writelines([*faults, f"signals {times}, faults {len(faults)}\n"])


if __name__ == "__main__":
    main()
