"""Real sessions moved to another store in the middle: cut off here, they go on there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airline import INPUT_COUNT, INPUTS, needs_recordings
from checks import all_receipts, check_replayed, finished_inputs

from actors.cli.status import ExitStatus
from meerkat.store import RuntimeStore, open_store
from meerkat.store.copying import copy_store
from meerkat.store.postgres_owning import PostgresInUse
from meerkat.testing.postgres_server import PostgresServer

pytestmark = needs_recordings
LONGEST_S = 200
HALF = INPUT_COUNT // 2


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(durable=False) as made:
        yield made


@pytest.fixture
def places(server: PostgresServer, tmp_path: Path) -> dict[str, str]:
    """The URLs of an empty store of each kind."""
    with psycopg.connect(server.url) as session:
        session.execute("DROP SCHEMA IF EXISTS meerkat CASCADE")
    return {"sqlite": f"sqlite:///{tmp_path}/airline.db", "postgres": server.url}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "actors.cli", *arguments, "--json"]


def finished(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=LONGEST_S, check=False
    )


def answer(*arguments: str) -> dict[str, Any]:
    """What a command says that does all it is to do."""
    done = finished(*arguments)
    assert done.returncode == ExitStatus.OK, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def working(url: str, executor: str, **more: str) -> subprocess.Popen[bytes]:
    """A process that works the file."""
    return subprocess.Popen(
        command("run", str(INPUTS), "--executor", f"airline:{executor}", "--store", url),
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def begun(url: str) -> bool:
    """Has a process taken the store, and put something there?"""
    store = open_store(url)
    try:
        return bool(store.list_runtimes(limit=1).items)
    finally:
        store.close()


def run_until_killed(url: str) -> None:
    """Work the file, up to a SIGKILL at about the half of it."""
    moment = {"MEERKAT_KILL_AT_RUN": str(HALF), "MEERKAT_KILL_DELAY_S": "0.005"}
    ended = working(url, "replay_until_killed", **moment).wait(LONGEST_S)
    assert ended == -signal.SIGKILL


def run_to_the_end(url: str) -> dict[str, Any]:
    return answer("run", str(INPUTS), "--executor", "airline:replay", "--store", url)


def counted(store: RuntimeStore) -> tuple[int, int]:
    """How many inputs there are, and how many of them have ended."""
    rows = store.list_runtimes().items
    over = sum(len(finished_inputs(store, row.runtime_id)) for row in rows)
    waiting = sum(len(store.load_active_inputs(row.runtime_id)) for row in rows)
    return over + waiting, over


def receipts_of(store: RuntimeStore) -> set[object]:
    rows = store.list_runtimes().items
    return {
        (row.runtime_id, receipt) for row in rows for receipt in all_receipts(store, row.runtime_id)
    }


@pytest.mark.parametrize(("of", "to"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_sessions_that_are_moved_in_the_middle_go_on_as_if_nothing_had_been(
    places: dict[str, str], of: str, to: str
) -> None:
    source, target = places[of], places[to]
    run_until_killed(source)
    before = open_store(source)
    known, over = counted(before)
    proven = receipts_of(before)
    before.close()
    assert 0 < over < INPUT_COUNT  # it was cut in the middle
    moved = answer("copy", source, target)
    assert (moved["finished"], moved["differences"], moved["unreadable"]) == (True, [], [])
    assert (moved["counts"]["inputs"], moved["counts"]["receipts"]) == (known, len(proven))
    assert answer("copy", source, target, "--verify")["digest"] == moved["digest"]
    rest = run_to_the_end(target)
    assert (rest["accepted"], rest["deduplicated"]) == (INPUT_COUNT - known, known)
    assert rest["abandoned"] == 0
    after = open_store(target)
    check_replayed(after)  # as without the move: transcripts, order, receipts
    assert proven <= receipts_of(after)
    after.close()
    assert run_to_the_end(target)["runs"] == 0
    refused = finished("copy", source, target)
    assert (refused.returncode, refused.stdout) == (ExitStatus.STORE, "")
    assert "has gone on there" in refused.stderr


def test_sessions_are_copied_while_they_are_worked(places: dict[str, str]) -> None:
    source, target = places["sqlite"], places["postgres"]
    process = working(source, "replay_slowly")
    while not begun(source):  # before that a copy may own it at its end, and refuse the process
        assert process.poll() is None
        time.sleep(0.01)
    seen = moved = 0
    while seen < 3:
        assert process.poll() is None
        ours, theirs = open_store(source), open_store(target)
        with suppress(PostgresInUse):  # the server has yet to notice that the last one has left
            report = copy_store(ours, theirs, passes=2)
            seen += report.owner is not None and report.copied > 0
            moved += report.copied
        ours.close()
        theirs.close()
    process.kill()
    process.wait(LONGEST_S)
    last = answer("copy", source, target)
    assert last["finished"]
    assert last["copied"] < moved  # most was there already
    run_to_the_end(target)
    after = open_store(target)
    check_replayed(after)
    after.close()
