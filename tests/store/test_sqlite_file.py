"""The database file: made private, recognised before it is touched, converted with its content."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from store_builders import read_again, sql
from store_processes import Child, child

from meerkat.errors import StoreError
from meerkat.limits import Retention
from meerkat.store import SqliteStore
from meerkat.store.schema import APPLICATION_ID, SCHEMA_VERSION
from meerkat.testing import RecordingDisk
from meerkat.testing.store_rows import R1, R2, START, batch, everything, prompt, row_of

NOBODY = 65534


def test_sto_13_a_new_file_is_in_wal_mode(sqlite_store: SqliteStore, path: Path) -> None:
    sqlite_store.acquire()
    assert sql(path, "PRAGMA journal_mode") == [("wal",)]
    assert sql(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert sql(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


def test_sto_13_a_delete_mode_file_is_converted_with_its_content(path: Path) -> None:
    store = SqliteStore(path)
    store.commit(batch(R1, row_of(prompt(1))))
    before = everything(store)
    store.close()
    assert sql(path, "PRAGMA journal_mode = DELETE") == [("delete",)]
    assert everything(read_again(path)) == before  # a reader does not convert
    assert sql(path, "PRAGMA journal_mode") == [("delete",)]
    store.acquire()
    assert sql(path, "PRAGMA journal_mode") == [("wal",)]
    assert everything(store) == before
    store.close()


def test_nothing_is_created_before_the_first_write(sqlite_store: SqliteStore, path: Path) -> None:
    assert sqlite_store.load_runtime(R1) is None
    assert list(path.parent.iterdir()) == []


def test_files_are_their_owners_alone(
    sqlite_store: SqliteStore, path: Path, figure: Callable[[str], None]
) -> None:
    before = os.umask(0)
    try:
        sqlite_store.commit(batch(R1))
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    names = ("sessions.db", "sessions.db-owner", "sessions.db-shm", "sessions.db-wal")
    open_to_others = [name for name, mode in modes.items() if mode & 0o077]
    figure(f"database file: files {len(modes)}; open to others {len(open_to_others)}")
    assert modes == dict.fromkeys(names, 0o600)


def test_an_older_empty_file_is_migrated(path: Path) -> None:
    path.touch()
    store = SqliteStore(path)
    assert store.load_runtime(R1) is None
    assert path.stat().st_size == 0
    store.commit(batch(R1))
    assert store.load_runtime(R1) is not None
    store.close()


def other_application(path: Path) -> None:
    sql(path, "CREATE TABLE notes (text)")


def marked_by_another(path: Path) -> None:
    sql(path, "PRAGMA application_id = 7")


def numbered_by_another(path: Path) -> None:
    sql(path, "PRAGMA user_version = 1")


def newer_schema(path: Path, version: int = SCHEMA_VERSION + 1) -> None:
    store = SqliteStore(path)
    store.commit(batch(R1))
    store.close()
    sql(path, f"PRAGMA user_version = {version}")


def negative_schema(path: Path) -> None:
    newer_schema(path, -1)


def newer_in_delete_mode(path: Path) -> None:
    newer_schema(path)
    sql(path, "PRAGMA journal_mode = DELETE")


def random_bytes(path: Path) -> None:
    path.write_bytes(bytes((7 * n) % 251 for n in range(5000)))


def text_file(path: Path) -> None:
    path.write_text("dear diary\n" * 100)


def one_byte(path: Path) -> None:
    path.write_bytes(b"x")


def broken_header(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 1000)


FOREIGN = [
    (other_application, "another application"),
    (marked_by_another, "another application"),
    (numbered_by_another, "another application"),
    (newer_schema, "newer meerkat"),
    (newer_in_delete_mode, "newer meerkat"),
    (negative_schema, "no meerkat"),
    (random_bytes, "not a database"),
    (text_file, "not a database"),
    (one_byte, "not a database"),
    (broken_header, "not a database"),
]


@pytest.mark.parametrize(("make", "why"), FOREIGN)
def test_what_is_not_ours_is_refused_unchanged(path: Path, make: object, why: str) -> None:
    make(path)  # type: ignore[operator]
    before = path.read_bytes()
    store = SqliteStore(path)
    for attempt in (store.acquire, lambda: store.commit(batch(R1)), store.list_runtimes):
        with pytest.raises(StoreError, match=why) as caught:
            attempt()
        assert str(path) in str(caught.value)
    store.close()
    assert path.read_bytes() == before
    path.unlink()
    store.acquire()  # and the refusal left no ownership behind
    store.close()


def test_a_symbolic_link_is_refused(path: Path, figure: Callable[[str], None]) -> None:
    target = path.with_name("target.db")
    path.symlink_to(target)
    store, real = SqliteStore(path), SqliteStore(target)
    refused = attempts = 0
    for prepare in (lambda: None, lambda: real.commit(batch(R1)), real.close):
        prepare()
        for attempt in (store.acquire, lambda: store.load_runtime(R1)):
            attempts += 1
            with pytest.raises(StoreError, match="symbolic link"):
                attempt()
            refused += 1
    figure(f"database file: looks through a symbolic link {attempts}; refused {refused}")


def test_an_owner_file_that_is_a_link_is_refused(path: Path) -> None:
    path.with_name("sessions.db-owner").symlink_to(path.with_name("elsewhere"))
    with pytest.raises(StoreError, match=r"sessions\.db-owner"):
        SqliteStore(path).acquire()
    assert not path.with_name("elsewhere").exists()


def test_a_folder_or_a_pipe_is_no_database(path: Path) -> None:
    os.mkfifo(path)
    for place in (path.parent, path):
        for attempt in (SqliteStore(place).acquire, SqliteStore(place).list_runtimes):
            with pytest.raises(StoreError, match="is not a file"):
                attempt()


def test_a_missing_folder_is_named(path: Path) -> None:
    store = SqliteStore(path.parent / "missing" / "a.db")
    with pytest.raises(StoreError, match=r"cannot create .*missing/a\.db: No such file"):
        store.acquire()
    path.touch()
    with pytest.raises(StoreError, match="Not a directory"):
        SqliteStore(path / "a.db").list_runtimes()


@pytest.mark.parametrize("name", ["a b?mode=memory&x#y%41.db", "ä.db", "\udcff.db", ":memory:"])
def test_any_name_is_just_a_name(tmp_path: Path, name: str) -> None:
    store = SqliteStore(tmp_path / name)
    store.commit(batch(R1))
    store.close()
    assert {file.name for file in tmp_path.iterdir()} == {name, name + "-owner"}
    assert read_again(tmp_path / name).load_runtime(R1) is not None


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("a.db")
    monkeypatch.chdir("/")
    store.commit(batch(R1))
    store.close()
    assert (tmp_path / "a.db").exists()


def test_a_crash_while_the_file_was_made_is_rolled_back(path: Path) -> None:
    """What is left is a hot journal, which no read-only look can get past."""
    scratch = path.with_name("scratch.db")
    writer = sqlite3.connect(scratch, isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN")
    writer.execute("CREATE TABLE half (made)")
    for _ in range(100):
        writer.execute("INSERT INTO half VALUES (?)", ("x" * 1000,))
    path.write_bytes(scratch.read_bytes())
    journal = path.with_name("sessions.db-journal")
    journal.write_bytes(scratch.with_name("scratch.db-journal").read_bytes())
    writer.execute("ROLLBACK")
    writer.close()
    store = SqliteStore(path)
    store.commit(batch(R1))
    assert store.load_runtime(R1) is not None
    assert sql(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'") == [(0,)]
    store.close()


# --- as somebody who may not write --------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can get to."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody(folder: Path, *attempts: str) -> list[str]:
    """What a user without rights is told, one line for each attempt."""

    def work(it: Child) -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        else:
            folder.chmod(0o500)
        store = SqliteStore(folder / "a.db")
        for attempt in attempts:
            try:
                getattr(store, attempt)(*([batch(R2)] if attempt == "commit" else []))
                it.say("done")
            except StoreError as error:
                it.say(str(error))

    with child(work) as it:
        return list(it.lines())


def test_a_folder_one_may_not_write_to_is_refused(open_folder: Path) -> None:
    (said,) = as_nobody(open_folder, "acquire")
    assert said == f"Store error: cannot create {open_folder}/a.db: Permission denied"
    assert list(open_folder.iterdir()) == []


def test_a_file_one_may_not_read_is_a_store_error(open_folder: Path) -> None:
    store = SqliteStore(open_folder / "a.db")
    store.commit(batch(R1))
    store.close()
    if os.geteuid() != 0:
        (open_folder / "a.db").chmod(0)
        (open_folder / "a.db-owner").chmod(0)
    owning, reading = as_nobody(open_folder, "acquire", "list_runtimes")
    advice = "see who owns the file and its folder, and their modes"
    assert owning == f"Store error: {open_folder}/a.db-owner: Permission denied"
    assert reading == f"Store error: {open_folder}/a.db: unable to open database file; {advice}"


def test_a_file_one_may_only_read_says_where_to_look(open_folder: Path) -> None:
    store = SqliteStore(open_folder / "a.db")
    store.commit(batch(R1))
    store.close()
    (open_folder / "a.db").chmod(0o444)
    (open_folder / "a.db-owner").unlink()
    open_folder.chmod(0o777)
    (writing,) = as_nobody(open_folder, "commit")
    if os.geteuid() == 0:  # any other may not write to the folder, and is told so
        assert "attempt to write a readonly database; even who reads" in writing


def test_a_folder_one_may_not_write_to_is_said_to_whoever_only_reads(open_folder: Path) -> None:
    store = SqliteStore(open_folder / "a.db")
    store.commit(batch(R1))
    store.close()
    (open_folder / "a.db").chmod(0o644)
    open_folder.chmod(0o755)
    (reading,) = as_nobody(open_folder, "list_runtimes")
    assert "even who reads has to be able to write to its folder" in reading


def test_a_folder_one_may_not_enter_is_a_store_error(open_folder: Path) -> None:
    hidden = open_folder / "hidden"
    hidden.mkdir(mode=0o700)
    if os.geteuid() == 0:
        for said in as_nobody(hidden, "acquire", "list_runtimes"):
            assert said == f"Store error: cannot open {hidden}/a.db: Permission denied"


def test_a_file_whose_making_was_cut_short_is_made_again(path: Path) -> None:
    with RecordingDisk(path.parent) as disk:
        store = SqliteStore(path, connect=disk.connect)
        store.acquire()
        store.close()
        states = list(disk.states(seed=3, count=3000))
    cut = [each for each in states if 0 < len(each.files.get(path.name, b"")) < 512]
    assert cut
    for state in cut:
        assert state.files[f"{path.name}-journal"]
        state.write_to(path.parent)
        store = SqliteStore(path)
        store.commit(batch(R1))
        assert sql(path, "PRAGMA integrity_check") == [("ok",)]
        store.close()


def test_a_byte_or_two_beside_what_is_no_journal_are_refused(path: Path) -> None:
    path.write_bytes(b"x")
    path.with_name(f"{path.name}-journal").write_bytes(b"dear diary")
    with pytest.raises(StoreError, match="not a database"):
        SqliteStore(path).acquire()
    assert path.read_bytes() == b"x"


def spoil_schema(path: Path) -> None:
    """Words of the schema that are no text, which SQLite quotes in what it then says."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (text,) = connection.execute(
            "SELECT CAST(sql AS BLOB) FROM sqlite_schema WHERE name = 'receipts'"
        ).fetchone()
        spoiled = text.replace(b"boundary TEXT", b"boundary \xd4EXT")
        connection.execute(
            "UPDATE sqlite_schema SET sql = CAST(? AS TEXT) WHERE name = 'receipts'", (spoiled,)
        )
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(f"PRAGMA schema_version = {version + 1}")


def test_an_error_that_quotes_what_is_no_text_is_a_store_error(path: Path) -> None:
    store = SqliteStore(path)
    store.commit(batch(R1))
    assert store.load_runtime(R1) is not None
    spoil_schema(path)
    for call in (
        lambda: store.load_runtime(R1),  # on a connection that was open
        lambda: store.commit(batch(R2)),
        lambda: read_again(path).load_runtime(R1),
        lambda: store.prune(Retention(max_count=1), START),
    ):
        with pytest.raises(StoreError, match="malformed database schema"):
            call()
    store.close()
    with pytest.raises(StoreError):
        store.acquire()
