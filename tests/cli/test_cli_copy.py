"""``meerkat copy``: a store moved, and what is said of one that cannot be, or not yet."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cli_support import call, messages_of, prompt, write_inputs

from actors import ControlPlane
from actors.cli.copying import NAMES_MAX
from actors.cli.status import ExitStatus
from meerkat import PromptInput
from meerkat.store import SqliteStore
from meerkat.testing.postgres_server import PostgresServer

HERE, THERE = "sqlite:///meerkat.db", "sqlite:///moved.db"


@pytest.fixture
def stored(folder: Path, capsys: Any) -> Path:
    """Two sessions have worked, one has something that waits."""
    write_inputs(
        folder / "i.jsonl", [prompt(each, f"{each}{n}") for each in "ab" for n in range(3)]
    )
    assert call(capsys, "run", "i.jsonl")[0] == 0
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as plane:
        plane.register("c")
        plane.ingest("c", PromptInput("waits", idempotency_key="c0"))
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(durable=False) as made:
        yield made


@pytest.fixture
def postgres(server: PostgresServer) -> str:
    """The URL of an empty database."""
    with psycopg.connect(server.url) as session:
        session.execute("DROP SCHEMA IF EXISTS meerkat CASCADE")
    return server.url


def copied(capsys: Any, *arguments: str) -> dict[str, Any]:
    status, out, _ = call(capsys, "copy", *arguments, "--json")
    assert status == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_file_is_moved_to_postgres_and_back(stored: Path, capsys: Any, postgres: str) -> None:
    shown = messages_of(capsys, "a")
    found = copied(capsys, HERE, postgres)
    digest = found.pop("digest")
    assert len(digest) == 64
    assert found == {
        "finished": True,
        "copied": 3,
        "passes": 2,
        "verified": 3,
        "counts": {"runtime": 3, "inputs": 7, "receipts": 6, "operations": 0, "messages": 12},
        "owner": None,
        "missing": [],
        "differences": [],
        "unreadable": [],
    }
    assert copied(capsys, HERE, postgres, "--verify")["digest"] == digest
    assert copied(capsys, postgres, THERE)["digest"] == digest
    assert messages_of(capsys, "a", "--store", postgres) == shown
    assert messages_of(capsys, "a", "--store", THERE) == shown
    again = call(capsys, "run", "i.jsonl", "--store", THERE, "--json")
    assert json.loads(again[1])["deduplicated"] == 6
    assert call(capsys, "doctor", "--store", THERE)[0] == 0


def test_what_came_of_it_is_said(stored: Path, capsys: Any) -> None:
    status, out, err = call(capsys, "copy", HERE, THERE)
    counted = "7 inputs, 6 receipts, 0 operations, 12 messages"
    said, digest = out.splitlines()
    assert (status, err) == (0, "")
    assert said == f"the same in both: 3 runtimes, {counted}"
    assert digest.startswith("sha256 ")


def test_while_it_is_in_use_it_says_what_to_do(stored: Path, capsys: Any) -> None:
    with ControlPlane(SqliteStore(stored / "meerkat.db")) as plane:
        status, out, err = call(capsys, "copy", HERE, THERE)
        assert (status, out) == (
            ExitStatus.STORE,
            "brought by pass 2, and held back there: 3 runtimes\n",
        )
        assert "not finished: " in err
        assert "meerkat.db is in use by process" in err
        assert "stop the process that owns FROM, then run this again" in err
        plane.ingest("c", PromptInput("more"))
        status, _, err = call(capsys, "copy", "--verify", HERE, THERE)
        assert (status, "still to come: 3 runtimes: a, b, c\n" in err) == (1, True)
    assert call(capsys, "runtimes", "--store", THERE)[1].count("destroyed") == 3
    found = copied(capsys, HERE, THERE)
    assert (found["finished"], found["counts"]["inputs"]) == (True, 8)


def test_a_damaged_runtime_is_named_and_the_others_are_copied(stored: Path, capsys: Any) -> None:
    with closing(sqlite3.connect(stored / "meerkat.db")) as connection, connection:
        connection.execute("UPDATE inputs SET state = '{' WHERE runtime_id = 'a'")
    status, out, err = call(capsys, "copy", HERE, THERE)
    assert (status, out.startswith("the same in both: 2 runtimes,")) == (ExitStatus.TROUBLE, True)
    assert "runtime a is not copied: input " in err
    assert err.endswith("; meerkat doctor says what to do\n")
    found = json.loads(call(capsys, "copy", HERE, THERE, "--json")[1])
    assert [each["runtime_id"] for each in found["unreadable"]] == ["a"]
    shown = call(capsys, "show", "b", "--store", THERE)
    assert shown[0] == 0


def test_a_difference_is_named(stored: Path, capsys: Any) -> None:
    copied(capsys, HERE, THERE)
    with closing(sqlite3.connect(stored / "moved.db")) as connection, connection:
        connection.execute("DELETE FROM receipts WHERE runtime_id = 'b'")
    status, out, err = call(capsys, "copy", "--verify", HERE, THERE)
    assert (status, out.startswith("the same in both: 2 runtimes,")) == (ExitStatus.TROUBLE, True)
    assert "runtime b is not the same in both: receipts\n" in err


def test_no_more_than_some_runtimes_are_named(stored: Path, capsys: Any) -> None:
    with ControlPlane(SqliteStore(stored / "meerkat.db")) as plane:
        for number in range(2 * NAMES_MAX):
            plane.register(f"r{number:02d}")
        call(capsys, "copy", HERE, THERE)
        err = call(capsys, "copy", "--verify", HERE, THERE)[2]
    assert f"still to come: {3 + 2 * NAMES_MAX} runtimes: a, b, c, r00" in err
    assert err.endswith("r06, ...\n")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((HERE, HERE), 3, "/meerkat.db is the store that is to be copied"),
        ((HERE, "sqlite:///./meerkat.db"), 3, "is the store that is to be copied"),
        ((HERE, "memory:"), 2, "TO: a store in memory is gone with this command"),
        (("memory:", THERE), 2, "FROM: a store in memory"),
        (("meerkat.db", THERE), 2, "FROM: unknown store URL"),
        ((HERE, "mysql://u:secret@h/d"), 2, "TO: unknown store URL"),
        (("sqlite:///none.db", THERE), 3, "none.db: there is no such file"),
        ((HERE, "sqlite:///none.db", "--verify"), 3, "none.db: there is no such file"),
        ((HERE, "sqlite:///nowhere/moved.db"), 3, "moved.db"),
        ((HERE, THERE, "--passes", "0"), 2, "is not a positive number"),
        ((HERE,), 2, "TO"),
    ],
)
def test_what_is_refused(
    stored: Path, capsys: Any, arguments: tuple[str, ...], status: int, said: str
) -> None:
    before = (stored / "meerkat.db").read_bytes()
    found, out, err = call(capsys, "copy", *arguments)
    assert (found, out) == (status, "")
    assert said in err
    assert "secret" not in err
    assert (stored / "meerkat.db").read_bytes() == before
    assert not (stored / "none.db").exists()


def test_a_store_of_others_is_refused_unchanged(stored: Path, capsys: Any) -> None:
    with ControlPlane(SqliteStore(stored / "moved.db")) as plane:
        plane.register("another")
        status, _, err = call(capsys, "copy", HERE, THERE)
        assert (status, "stop it, as nobody else may write there" in err) == (3, True)
    status, out, err = call(capsys, "copy", HERE, THERE)
    assert (status, out) == (ExitStatus.STORE, "")
    assert "has runtime another, another's" in err
    assert call(capsys, "runtimes", "--store", THERE)[1].count("another") == 1
