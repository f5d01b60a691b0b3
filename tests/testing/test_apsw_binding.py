"""apsw in the clothes of sqlite3: the same answers, the same errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from meerkat import InputId, InputPhase, LogicalRuntimeId
from meerkat.errors import RecoveryCorruption, StoreError
from meerkat.store import RuntimeStore, SqliteStore
from meerkat.testing import StoreCapability, StoreConformance, apsw_connect
from meerkat.testing.store_rows import R1, batch, everything, prompt, receipt, row_of


def both(path: Path, *statements: str) -> list[Any]:
    """A connection of each binding, each on a file of its own, after some statements."""
    opened = []
    for name, connect in (("std", sqlite3.connect), ("apsw", apsw_connect)):
        connection: Any = connect(
            f"file:{path}/{name}.db",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=16,
        )
        for statement in ("CREATE TABLE t (x INTEGER PRIMARY KEY, y TEXT) STRICT", *statements):
            connection.execute(statement)
        opened.append(connection)
    return opened


def said(act: Callable[[], object]) -> object:
    """What comes back, or what is raised."""
    try:
        return act()
    except sqlite3.Error as error:
        return type(error), str(error), getattr(error, "sqlite_errorcode", None)
    except OverflowError as error:
        return type(error)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("SELECT x, y FROM t ORDER BY x", ()),
        ("SELECT count(*) FROM t WHERE x > ?", (1,)),
        ("SELECT CAST(y AS BLOB), NULL, 1.5, ? FROM t", (b"\0b",)),
        ("INSERT INTO t VALUES (?, ?), (?, ?)", (3, "c", 4, "d")),
        ("UPDATE t SET y = 'z'", ()),
        ("DELETE FROM t WHERE x = ?", (2,)),
        ("PRAGMA user_version", ()),
        ("INSERT INTO t VALUES (1, 'again')", ()),
        ("INSERT INTO t VALUES (5, x'00')", ()),
        ("INSERT INTO nowhere VALUES (1)", ()),
        ("SELEKT 1", ()),
        ("INSERT INTO t VALUES (?, 'x')", (2**70,)),
        ("SELECT CAST(x'ff' AS TEXT)", ()),
        ("COMMIT", ()),
    ],
)
def test_a_statement_answers_alike(tmp_path: Path, statement: str, values: Any) -> None:
    standard, ours = both(tmp_path, "INSERT INTO t VALUES (1, 'a'), (2, 'b')")

    def run(connection: Any) -> object:
        cursor = connection.execute(statement, values)
        return cursor.fetchone(), list(cursor), cursor.rowcount

    expected, found = said(lambda: run(standard)), said(lambda: run(ours))
    if statement.startswith("SELECT CAST(x'ff'"):  # the texts differ, of text as of errors
        expected, found = expected[0], found[0]  # type: ignore[index]
    assert found == expected
    standard.close()
    ours.close()


def test_many_rows_count_alike(tmp_path: Path) -> None:
    rows = [(1, "a"), (2, "b")]
    counts = {
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows).rowcount
        for connection in both(tmp_path)
    }
    assert counts == {2}


def test_a_transaction_is_what_the_statements_say(tmp_path: Path) -> None:
    for connection in both(tmp_path):
        assert not connection.in_transaction
        connection.execute("BEGIN IMMEDIATE")
        assert connection.in_transaction
        connection.execute("INSERT INTO t VALUES (1, 'a')")
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT * FROM t").fetchall() == []


def test_a_closed_connection_is_a_programming_error(tmp_path: Path) -> None:
    for connection in both(tmp_path):
        connection.close()
        connection.close()
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")


def test_a_file_that_cannot_be_opened_is_an_operational_error(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open") as caught:
        apsw_connect(f"file:{tmp_path}/none.db?mode=ro")
    assert caught.value.sqlite_errorname.startswith("SQLITE_CANTOPEN")


# --- the store over it ------------------------------------------------------------------


class TestSqliteStoreOverApsw(StoreConformance):
    capabilities = StoreCapability

    def open_store(self, place: Path) -> RuntimeStore:
        return SqliteStore(place / "sessions.db", connect=apsw_connect)

    def spoil_input(self, place: Path, runtime_id: LogicalRuntimeId, input_id: InputId) -> None:
        spoil = "UPDATE inputs SET state = '{' WHERE runtime_id = ? AND input_id = ?"
        with closing(sqlite3.connect(place / "sessions.db")) as connection, connection:
            connection.execute(spoil, (str(runtime_id), str(input_id)))


def test_what_one_binding_has_written_the_other_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    written = SqliteStore(path, connect=apsw_connect)
    rows = row_of(prompt(1, "a")), row_of(prompt(2), InputPhase.CONSUMED, 2**64 - 1)
    written.commit(batch(R1, *rows, receipts=(receipt(0, 2),)))
    assert everything(SqliteStore(path)) == everything(written)
    written.close()
    assert everything(SqliteStore(path)) == everything(written)


def test_a_row_that_cannot_be_read_is_named_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    SqliteStore(path).commit(batch(R1, row_of(prompt(1))))
    sqlite3.connect(path, isolation_level=None).execute(
        "UPDATE inputs SET state = CAST(x'ff' AS TEXT)"
    )
    texts = set()
    for connect in (sqlite3.connect, apsw_connect):
        with pytest.raises(RecoveryCorruption) as caught:
            SqliteStore(path, connect=connect).load_active_inputs(R1)
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match="file is not a database"):
        SqliteStore(tmp_path / "a.db", connect=apsw_connect).acquire()
