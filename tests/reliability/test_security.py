"""The table of risks, what no other test shows: hostile bytes, ids as paths, SQL.

What is shown beside the part that it is about prints its figure there: floods in
tests/actors/test_plane_limits.py and test_plane_live_limit.py, secrets in logs in
tests/actors/test_plane_canary.py, the database file in tests/store/test_sqlite_file.py.
"""

from __future__ import annotations

import ast
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from source_rules import formatted_statements, object_makers, sources, statements

from actors import ControlPlane
from meerkat import PromptInput, RunContext, RunOutput, StagedInput, from_json
from meerkat.errors import DecodeError
from meerkat.store import SqliteStore
from meerkat.testing.strategies import SABOTAGES, HostileDocument, hostile_json

Figure = Callable[[str], None]
Sized = Callable[[int, int], int]


# --- hostile bytes ----------------------------------------------------------------------


def refuses(document: HostileDocument) -> bool:
    try:
        from_json(document.type, document.data)
    except DecodeError:
        return True
    return False


def test_hostile_documents_are_refused_all_of_them(sized: Sized, figure: Figure) -> None:
    offered = Counter[str]()
    taken: list[HostileDocument] = []

    @settings(
        max_examples=sized(1_000, 100_000),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile_json())
    def offer(document: HostileDocument) -> None:
        offered[document.wrong] += 1
        if not refuses(document):
            taken.append(document)

    offer()
    refused = offered.total() - len(taken)
    figure(f"hostile bytes: hostile documents {offered.total()}; refused {refused}")
    assert taken == []
    assert offered.keys() == SABOTAGES.keys()


BETWEEN_OUR_PROCESSES = "actors/ray/wire.py"
"""What Ray carries from one process of a cluster to another it pickles anyhow: nothing comes that
way but from this application, and whoever can write there can run code on the cluster."""


def test_nothing_makes_objects_or_code_of_bytes(figure: Figure) -> None:
    files = {name: tree for name, tree in sources() if name != BETWEEN_OUR_PROCESSES}
    found = {name: places for name, tree in files.items() if (places := object_makers(tree))}
    figure(
        f"hostile bytes: files looked through {len(files)}; pickle, marshal or eval {len(found)}"
    )
    assert found == {}
    assert {"meerkat/codec.py", "actors/control_plane.py"} <= files.keys()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import os, marshal as m",
        "def f():\n    import shelve",
        "value = eval(text)",
        "exec(text)",
        "__import__('pickle')",
    ],
)
def test_what_makes_objects_of_bytes_would_be_found(source: str) -> None:
    assert object_makers(ast.parse(source)) != []


# --- ids as paths -----------------------------------------------------------------------

PATH_LIKE = [
    "a/../../../etc/passwd",
    "a/../b",
    "a//b",
    "a/.",
    "C:/windows/a",
    "file:/etc/passwd",
    "sessions.db",
    "sessions.db-wal",
    "a" * 255,
]
NO_IDS = ["../a", "/etc/passwd", "", ".", "..", "a\x00b", "a\nb", "a b", "é", "a" * 256, "~a", "-a"]


def echo(_context: RunContext, primitive: StagedInput) -> RunOutput:
    return RunOutput(append=[{"role": "user", "content": primitive.text}])


def test_ids_never_become_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    folder = tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with ControlPlane(SqliteStore(folder / "sessions.db"), echo) as plane:
        refused = 0
        for name in NO_IDS:
            with pytest.raises(ValueError, match="runtime id"):
                plane.register(name)
            refused += 1
        for name in PATH_LIKE:
            plane.register(name)
            sent = plane.submit(name, PromptInput("x", idempotency_key=name))
            assert sent.completion.result(10).kind == "completed_without_result"
        there = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")}
    ours = {f"deep/deeper/sessions.db{end}" for end in ("", "-wal", "-shm", "-owner")}
    others = there - ours - {"deep", "deep/deeper"}
    figure(
        f"ids as paths: ids like paths {len(PATH_LIKE)}; files of theirs {len(others)}; "
        f"texts that are no ids {len(NO_IDS)}; refused {refused}"
    )
    assert others == set()
    assert ours <= there


# --- SQL --------------------------------------------------------------------------------

THE_KIT = "meerkat/testing/"
"""Which is no part of what runs, and speaks to databases that it breaks."""

CANARY = "'; DROP TABLE inputs; --"


def test_statements_are_put_together_of_constants(figure: Figure) -> None:
    files = {name: tree for name, tree in sources() if not name.startswith(THE_KIT)}
    found = {name: places for name, tree in files.items() if (places := formatted_statements(tree))}
    count = sum(map(statements, files.values()))
    figure(f"SQL: texts of statements {count}; formatted with a value {len(found)}")
    assert found == {}
    assert count > 50


@pytest.mark.parametrize(
    "source",
    [
        'connection.execute(f"SELECT * FROM inputs WHERE id = {name}")',
        'connection.execute("DELETE FROM inputs WHERE id = " + name)',
        'connection.execute("DELETE FROM inputs WHERE id = %s" % name)',
        'connection.execute("DELETE FROM inputs WHERE id = {}".format(name))',
        'text = name\n    connection.execute(f"SELECT {text}")',
    ],
)
def test_a_statement_with_a_value_in_it_would_be_found(source: str) -> None:
    tree = ast.parse(f"def f(connection, name):\n    {source}")
    assert formatted_statements(tree) != []


class Listening:
    """A binding that keeps every statement it is given."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __call__(self, *args: Any, **options: Any) -> Any:
        heard = self.statements

        class Heard(sqlite3.Connection):
            def execute(self, statement: str, *values: Any) -> Any:
                heard.append(statement)
                return super().execute(statement, *values)

            def executemany(self, statement: str, *values: Any) -> Any:
                heard.append(statement)
                return super().executemany(statement, *values)

        return sqlite3.connect(*args, factory=Heard, **options)


def test_values_reach_the_database_as_values(tmp_path: Path, figure: Figure) -> None:
    binding, name = Listening(), "session-4711"
    with ControlPlane(SqliteStore(tmp_path / "sessions.db", connect=binding), echo) as plane:
        plane.register(name)
        sent = plane.submit(name, PromptInput(CANARY, idempotency_key=CANARY))
        assert sent.completion.result(10).kind == "completed_without_result"
        assert plane.ingest(name, PromptInput("again", idempotency_key=CANARY)).is_deduplicated
        plane.recycle(name)
        plane.unregister(name)
    told = [each for each in binding.statements if CANARY in each or name in each]
    figure(f"SQL: statements heard {len(binding.statements)}; values in their texts {len(told)}")
    assert told == []
    assert any("INSERT" in each for each in binding.statements)
