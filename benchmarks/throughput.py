"""How many inputs a second go all the way: accepted, run, completed; full sync to disk.

    python benchmarks/throughput.py [--items N] [--rounds N] [--store sqlite|memory|postgres]

Each round measures 1 session and 100 sessions on a fresh database, and beside them, in the
same round, what SQLite alone does with one small row per full-sync commit: the figures are
quoted as ratios to that, since machines differ and drift. PostgreSQL is a server of its own,
made for the measurement and durable, over a socket; ``MEERKAT_POSTGRES_URL`` takes its place.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from actors import ControlPlane
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.store import MemoryStore, PostgresStore, RuntimeStore, SqliteStore
from meerkat.testing.postgres_server import URL_VARIABLE, PostgresServer

SESSIONS = (1, 100)
RAW_COMMITS = 1_000


def answer(_context: RunContext, primitive: StagedInput) -> RunOutput:
    """An executor that costs next to nothing."""
    return RunOutput(
        append=[
            {"role": "user", "content": primitive.text},
            {"role": "assistant", "content": "noted"},
        ],
        result="noted",
    )


def raw_commits_a_second(folder: Path) -> float:
    """One row of 500 bytes per commit, WAL, full sync."""
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE item (body TEXT)")
    began = time.perf_counter()
    for _ in range(RAW_COMMITS):
        connection.execute("INSERT INTO item VALUES (?)", ("x" * 500,))
    seconds = time.perf_counter() - began
    connection.close()
    return RAW_COMMITS / seconds


def work_off(plane: ControlPlane, names: Sequence[str], items: int, mark: object = "key") -> None:
    """Submit inputs over sessions in turn, without waiting, and then wait until all have ended.

    Their keys begin with ``mark``: what is stored already must not have the same.
    """
    submissions = [
        plane.submit(
            names[number % len(names)],
            PromptInput(f"message {number}", idempotency_key=f"{mark}-{number}"),
        )
        for number in range(items)
    ]
    for submission in submissions:
        submission.completion.result()


def pipelined(store: RuntimeStore, sessions: int, items: int) -> float:
    """Items a second over some sessions, submitted without waiting."""
    names = [f"session-{number}" for number in range(sessions)]
    with ControlPlane(store=store, executor=answer) as plane:
        plane.register_many(names)
        began = time.perf_counter()
        work_off(plane, names, items)
        return items / (time.perf_counter() - began)


def synchronous(store: RuntimeStore, items: int) -> float:
    """Durable ingests a second of one caller that waits for each."""
    with ControlPlane(store=store) as plane:
        plane.register("session")
        began = time.perf_counter()
        for number in range(items):
            plane.ingest("session", PromptInput("message", idempotency_key=f"key-{number}"))
        return items / (time.perf_counter() - began)


def one_round(kind: str, items: int) -> dict[str, float]:
    """Every figure once, on fresh databases."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = os.environ.get(URL_VARIABLE)
        if kind == "postgres" and url is None:
            url = stack.enter_context(PostgresServer()).url

        def store(label: str) -> RuntimeStore:
            if kind == "postgres":
                return PostgresStore(url or "", schema=f"b{uuid4().hex}")
            return MemoryStore() if kind == "memory" else SqliteStore(folder / f"{label}.db")

        figures = {"raw SQLite commits": raw_commits_a_second(folder)}
        for sessions in SESSIONS:
            label = f"accept + run + complete, {sessions} session{'s' if sessions > 1 else ''}"
            figures[label] = pipelined(store(f"p{sessions}"), sessions, items)
        figures["durable ingest, 1 caller"] = synchronous(store("s"), min(items, 1_000))
        return figures


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", choices=("sqlite", "memory", "postgres"), default="sqlite")
    options = parser.parse_args()
    rounds = [one_round(options.store, options.items) for _ in range(options.rounds)]
    print(f"store: {options.store}, {options.items} items, median of {options.rounds} rounds\n")
    print(f"{'':45} {'items/s':>9} {'to raw commits':>15}")
    for label in rounds[0]:
        rate = statistics.median(figures[label] for figures in rounds)
        ratio = statistics.median(
            figures[label] / figures["raw SQLite commits"] for figures in rounds
        )
        print(f"{label:45} {rate:9,.0f} {ratio:15.2f}")


if __name__ == "__main__":
    main()
