"""Connections: the settings are in force, readers are kept and let go, threads may share."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_builders import read_again, sql

from meerkat.conversation import AppendMessages
from meerkat.errors import StoreError
from meerkat.store import SqliteStore
from meerkat.testing.store_rows import R1, R2, RUN, batch, prompt, receipt, row_of


class Recorder:
    """A binding that remembers its connections, and what each was asked."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.made.append(Recorded(sqlite3.connect(*args, **options)))
        return self.made[-1]

    @property
    def open(self) -> list[Any]:
        return [each for each in self.made if not each.closed]

    @property
    def writer(self) -> Any:
        (writer,) = [each for each in self.open if any("WAL" in said for said in each.said)]
        return writer


class Recorded:
    def __init__(self, inner: sqlite3.Connection) -> None:
        self.inner = inner
        self.said: list[str] = []
        self.closed = False
        self.before_fetch: Any = None

    def execute(self, statement: str, values: Any = ()) -> Any:
        self.said.append(statement)
        if self.before_fetch is not None:
            self.before_fetch()
        return self.inner.execute(statement, values)

    def close(self) -> None:
        self.closed = True
        self.inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def open_files() -> int:
    """How many descriptors this process has open, where that can be seen."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def pragma(connection: Any, name: str) -> Any:
    return connection.inner.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.mark.parametrize(("synchronous", "number"), [("full", 2), ("extra", 3)])
def test_the_writers_settings_are_in_force(path: Path, synchronous: str, number: int) -> None:
    binding = Recorder()
    store = SqliteStore(path, synchronous=synchronous, connect=binding)
    store.acquire()
    writer = binding.writer
    assert pragma(writer, "journal_mode") == "wal"
    assert pragma(writer, "synchronous") == number
    assert pragma(writer, "foreign_keys") == 1
    assert pragma(writer, "trusted_schema") == 0
    assert pragma(writer, "busy_timeout") > 0
    said = writer.said
    assert said.index("PRAGMA synchronous = EXTRA") < said.index("PRAGMA journal_mode = WAL")
    store.close()


def test_the_readers_settings_are_in_force(path: Path, figure: Callable[[str], None]) -> None:
    binding = Recorder()
    store = SqliteStore(path, connect=binding)
    store.commit(batch(R1))
    store.load_runtime(R1)
    (reader,) = [each for each in binding.open if each is not binding.writer]
    assert pragma(reader, "query_only") == 1
    trusting = [each for each in binding.open if pragma(each, "trusted_schema")]
    figure(f"database file: connections {len(binding.open)}; with a trusted schema {len(trusting)}")
    assert trusting == []
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.inner.execute("DELETE FROM runtimes")
    store.close()


@pytest.mark.parametrize("synchronous", ["off", "normal", 1])
def test_less_than_full_sync_is_refused(path: Path, synchronous: Any) -> None:
    with pytest.raises(ValueError, match="Synchronous"):
        SqliteStore(path, synchronous=synchronous)


def test_sqlite_that_is_too_old_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meerkat.store.sqlite_file.SQLITE_VERSION_MIN", (99, 0, 0))
    with pytest.raises(StoreError, match=r"is too old: 99\.0\.0 is needed"):
        SqliteStore(path).acquire()


def test_foreign_keys_hold(sqlite_store: SqliteStore, path: Path) -> None:
    sqlite_store.commit(batch(R1, row_of(prompt(1))))
    assert sql(path, "PRAGMA foreign_key_check") == []
    assert sqlite_store._writer.execute("PRAGMA foreign_keys").fetchone() == (1,)
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        sqlite_store._writer.execute("DELETE FROM runtimes")


def test_a_read_asks_the_schema_once_for_each_connection(path: Path) -> None:
    binding = Recorder()
    store = SqliteStore(path, connect=binding)
    store.commit(batch(R1))
    made = len(binding.made)
    for _ in range(10):
        store.load_runtime(R1)
    assert len(binding.made) == made + 1
    assert binding.made[-1].said.count("PRAGMA user_version") == 1
    store.close()


def test_a_reader_of_a_file_not_yet_migrated_looks_again(path: Path) -> None:
    path.touch()
    store, reader = SqliteStore(path), read_again(path)
    assert reader.load_runtime(R1) is None
    store.commit(batch(R1))
    assert reader.load_runtime(R1) is not None
    store.close()
    reader.close()


def test_load_works_after_close_and_nothing_leaks(path: Path) -> None:
    gc.collect()
    before = open_files()
    binding = Recorder()
    store = SqliteStore(path, connect=binding)
    for fence in range(3):
        store.commit(batch(R1, after=fence, fence=fence + 1))
        row = store.load_runtime(R1)
        assert row is not None
        assert row.fence == fence + 1
        store.close()
        assert store.load_runtime(R1) == row
        store.close()
        assert binding.open == []
    assert open_files() == before


def test_a_reader_in_use_while_the_store_closes_is_closed_when_it_comes_back(path: Path) -> None:
    binding = Recorder()
    store = SqliteStore(path, connect=binding)
    store.commit(batch(R1))
    store.load_runtime(R1)
    binding.made[-1].before_fetch = store.close
    assert store.load_runtime(R1) is not None
    assert binding.open == []


def test_a_reader_that_fails_is_closed_and_replaced(path: Path) -> None:
    def fail() -> None:
        raise error

    binding = Recorder()
    store = SqliteStore(path, connect=binding)
    store.commit(batch(R1))
    for error in (sqlite3.OperationalError("disk I/O error"), KeyboardInterrupt()):
        store.load_runtime(R1)
        binding.made[-1].before_fetch = fail
        wanted = StoreError if isinstance(error, sqlite3.Error) else KeyboardInterrupt
        with pytest.raises(wanted):
            store.load_runtime(R1)
        assert binding.open == [binding.writer]
    assert store.load_runtime(R1) is not None
    store.close()


def test_a_read_does_not_wait_for_a_commit(path: Path) -> None:
    """The commit is under way while another thread reads what was committed before it."""
    found: list[Any] = []
    binding = Recorder()
    store = SqliteStore(path, connect=binding)
    store.commit(batch(R1, row_of(prompt(1))))
    writer = binding.writer

    def read_elsewhere() -> None:
        writer.before_fetch = None
        reading = threading.Thread(target=lambda: found.append(store.load_active_inputs(R1)))
        reading.start()
        reading.join(timeout=30)

    writer.before_fetch = read_elsewhere
    store.commit(batch(R1, row_of(prompt(2)), after=1))
    assert [len(states) for states in found] == [1]
    store.close()


def test_eight_threads_read_while_one_writes(path: Path) -> None:
    """Each read sees a whole number of commits: as many inputs as receipts and messages."""
    binding = Recorder()
    store = SqliteStore(path, connect=binding)
    store.commit_many([batch(R1), batch(R2)])
    errors: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        last = 0
        try:
            while not done.is_set():
                session = store.load_session_snapshot(R1)
                count = 0 if session is None else session.message_count
                inputs = len(store.load_active_inputs(R1))
                receipts = len(store.page_receipts(R1).items)
                assert last <= count <= inputs <= receipts
                assert store.load_runtime(R2) is not None
                last = count
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(60):
        body = AppendMessages(number, 1, b"[0]")
        row = row_of(prompt(number), sequence=number)
        store.commit(batch(R1, row, after=1, receipts=(receipt(number),), session=(body,)))
    done.set()
    for thread in threads:
        thread.join(timeout=30)
    assert errors == []
    assert store.load_boundary_receipt(R1, RUN, 59) is not None
    assert len(binding.open) <= 1 + 8
    store.close()
    assert binding.open == []


def test_idle_readers_are_bounded(path: Path) -> None:
    binding = Recorder()
    store = SqliteStore(path, connect=binding)
    store.commit(batch(R1))
    together = threading.Barrier(24)

    def hold(_reader: Any) -> None:
        together.wait(timeout=30)

    threads = [threading.Thread(target=store._readers.read, args=(hold,)) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(binding.open) == 1 + 16
    store.close()
    assert binding.open == []
