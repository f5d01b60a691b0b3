"""Files that earlier code wrote: read, migrated under kills, worked on; or refused unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus_files import (
    CORPUS,
    CorpusFile,
    Dump,
    differences,
    dump,
    every_file,
    what_is_read,
)
from migration_kills import PROGRAM, Binding

from actors import ControlPlane
from meerkat import IdempotencyKey, InputId, LogicalRuntimeId, RunContext, RunOutput, StagedInput
from meerkat.errors import StoreError
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore
from meerkat.store.copying import copy_store
from meerkat.store.schema import MIGRATIONS, SCHEMA_VERSION
from meerkat.testing.processes import Children
from meerkat.testing.store_rows import R1, batch

Figure = Callable[[str], None]
WAIT_S = 30.0
FILES = every_file()
OLDER = [each for each in FILES if each.schema < SCHEMA_VERSION]
each_file = pytest.mark.parametrize("file", FILES, ids=str)
each_older_file = pytest.mark.parametrize("file", OLDER, ids=str)


def assert_read(store: RuntimeStore, file: CorpusFile) -> None:
    found = list(differences(file.expected(), what_is_read(store)))
    assert not found, found[:5]


# --- the rule ---------------------------------------------------------------------------


@pytest.mark.parametrize("schema", MIGRATIONS)
def test_each_schema_has_its_files_in_the_corpus(schema: int) -> None:
    names = {each.name for each in FILES if each.schema == schema}
    wanted = {"idle", "work", "operations", "gone", "edges", "killed"}
    wanted |= {"pruned"} if schema >= 3 else set()
    wanted |= {"set-aside"} if schema >= 4 else set()
    assert wanted <= names, (
        f"schema {schema} has no {', '.join(sorted(wanted - names))} in {CORPUS}: run "
        "PYTHONPATH=. python tests/corpus/make.py with its code, and commit what it writes "
        "(tests/corpus/README.md)"
    )


def test_the_corpus_has_no_file_of_a_schema_that_nobody_knows() -> None:
    assert {each.schema for each in FILES} == set(MIGRATIONS)


# --- read and migrated ------------------------------------------------------------------


@each_file
def test_a_file_is_read_as_when_it_was_written(file: CorpusFile, tmp_path: Path) -> None:
    """As it is, through the eyes of its schema; once it is migrated; and by the next process."""
    path = file.unpack(tmp_path)
    before = path.read_bytes()
    store = SqliteStore(path)
    assert_read(store, file)
    assert path.read_bytes() == before
    store.acquire()
    assert dump(path).version == SCHEMA_VERSION
    assert_read(store, file)
    store.close()
    following = SqliteStore(path)
    assert_read(following, file)
    following.close()


@each_file
def test_a_file_is_copied_as_when_it_was_written(file: CorpusFile, tmp_path: Path) -> None:
    """Out of whatever schema, which stays as it is."""
    path = file.unpack(tmp_path)
    before = path.read_bytes()
    source, target = SqliteStore(path), MemoryStore()
    report = copy_store(source, target)
    source.close()
    assert report.is_finished
    assert_read(target, file)
    assert path.read_bytes() == before


def test_a_difference_would_be_seen(tmp_path: Path) -> None:
    """The control: a row that is gone, and one that is another."""
    file = CorpusFile(1, "work")
    path = file.unpack(tmp_path)
    store = SqliteStore(path)
    store.acquire()
    for wrong in (
        "DELETE FROM receipts WHERE run_id = (SELECT max(run_id) FROM receipts)",
        "UPDATE runtimes SET next_admission_sequence = 7 WHERE runtime_id = 'work:every-kind'",
    ):
        store._transact(lambda writer, wrong=wrong: writer.execute(wrong))
    found = list(differences(file.expected(), what_is_read(store)))
    store.close()
    assert sorted(each.partition(": ")[0] for each in found) == [
        "/work:every-kind/row/next_admission_sequence",
        "/work:long-session/receipts",
    ]


# --- killed -----------------------------------------------------------------------------


class Migration:
    """One file's migration: what is there before and after it, and each moment between."""

    def __init__(self, file: CorpusFile, folder: Path) -> None:
        self._file, self._folder = file, folder
        self.kills = self.lost = 0
        path = self.fresh()
        self.before = dump(self.fresh())
        binding = Binding()
        store = SqliteStore(path, connect=binding)
        store.acquire()
        store.close()
        self.after = dump(path)
        begin = binding.said.index("BEGIN IMMEDIATE")
        self.moments = range(begin, len(binding.said))
        assert len(self.moments) > len(MIGRATIONS[SCHEMA_VERSION])
        assert self.before.version < self.after.version

    def fresh(self) -> Path:
        """The file as it was."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        return self._file.unpack(self._folder)

    def check(self, path: Path) -> Dump:
        """Before or after, never between; and the next owner brings it to its end."""
        found = dump(path)
        self.kills += 1
        self.lost += max(0, self.before.count - found.count)
        assert found in (self.before, self.after)
        store = SqliteStore(path)
        store.acquire()
        store.close()
        assert dump(path) == self.after
        return found


@each_older_file
def test_a_migration_that_fails_at_any_statement_is_whole_or_not_at_all(
    file: CorpusFile, tmp_path: Path, figure: Figure
) -> None:
    migration = Migration(file, tmp_path / "place")
    for at in migration.moments:
        for after in (False, True):
            path = migration.fresh()
            store = SqliteStore(path, connect=Binding(at, after=after))
            with pytest.raises(StoreError):
                store.acquire()
            store.close()
            migration.check(path)
    figure(f"11 migrations that fail: moments {migration.kills}; rows lost {migration.lost}")


@each_older_file
def test_a_migration_that_is_killed_at_any_statement_is_whole_or_not_at_all(
    file: CorpusFile, tmp_path: Path, figure: Figure
) -> None:
    migration = Migration(file, tmp_path / "place")
    landed = []
    with Children() as children:
        for at in migration.moments:
            for after in (False, True):
                path = migration.fresh()
                child = children.start(PROGRAM, str(path), at, after)
                assert child.end()
                landed.append(migration.check(path) == migration.after)
    assert landed == [False] * (len(landed) - 1) + [True]  # COMMIT alone makes it so
    assert migration.kills == 2 * len(migration.moments)
    figure(f"11 old files: files 1; kills {migration.kills}; rows lost {migration.lost}")


# --- worked on --------------------------------------------------------------------------

ENDED = ("stopped", "destroyed")


def answer(_context: RunContext, primitive: StagedInput) -> RunOutput:
    return RunOutput(append=[{"role": "assistant", "content": primitive.text}])


@each_file
def test_a_plane_finishes_the_work_of_a_file(file: CorpusFile, tmp_path: Path) -> None:
    path, expected = file.unpack(tmp_path), file.expected()
    with ControlPlane(SqliteStore(path), answer) as plane:
        for name, runtime in expected.items():
            row = runtime["row"]
            if row["state"] in ENDED:
                continue
            if not row["registered"]:
                plane.register(name)
            if row.get("paused"):
                assert plane.active_input_ids(name)
                plane.resume(name)
            for state in runtime["active"]:
                plane.completion(name, InputId.parse(state["input_id"])).result(WAIT_S)
    store = SqliteStore(path)
    for name, runtime in expected.items():
        assert_kept(store, LogicalRuntimeId(name), runtime)
    store.close()


def assert_kept(store: RuntimeStore, runtime_id: LogicalRuntimeId, was: dict[str, Any]) -> None:
    """Nothing waits, nothing is lost, and what had ended is as it was."""
    assert was["row"]["state"] in ENDED or store.load_active_inputs(runtime_id) == []
    for state in (*was["active"], *was["ended"]):
        found = store.load_input(runtime_id, InputId.parse(state["input_id"]))
        assert found is not None
        assert found.is_terminal
        if "idempotency_key" in state:
            key = IdempotencyKey(state["idempotency_key"])
            assert store.load_input_by_key(runtime_id, key) == found
    now = what_is_read(store)[runtime_id.value]
    kept = [each for each in now["ended"] if each in was["ended"]]
    assert kept == was["ended"]
    assert all(each in now["receipts"] for each in was["receipts"])
    assert (now["messages"] or [])[: len(was["messages"] or [])] == (was["messages"] or [])
    assert now["opaque"] == was["opaque"]


# --- refused ----------------------------------------------------------------------------

USER_VERSION, APPLICATION_ID, FIRST_PAGE = 60, 68, 100
"""Where these are in the header of a SQLite file, and where its first page begins."""

REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "of a newer schema": (
        lambda data: put(data, USER_VERSION, (SCHEMA_VERSION + 1).to_bytes(4, "big")),
        "newer meerkat",
    ),
    "of no schema": (lambda data: put(data, USER_VERSION, b"\xff\xff\xff\xff"), "no meerkat"),
    "of another application": (
        lambda data: put(data, APPLICATION_ID, b"MAIL"),
        "another application",
    ),
    "no database": (lambda data: put(data, 0, b"SQLite format 4"), "not a database"),
    "encrypted": (lambda data: bytes(each ^ 0xA5 for each in data), "not a database"),
    "cut to its first bytes": (lambda data: data[:100], "not a database"),
    "damaged where it says what is in it": (
        lambda data: put(data, FIRST_PAGE, bytes(64)),
        "malformed",
    ),
}


def put(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


@pytest.mark.parametrize("spoilt", REFUSED)
@pytest.mark.parametrize("file", [each for each in FILES if each.name == "work"], ids=str)
def test_a_file_that_is_refused_is_not_changed_by_a_byte(
    file: CorpusFile, spoilt: str, tmp_path: Path, figure: Figure
) -> None:
    spoil, why = REFUSED[spoilt]
    path = file.unpack(tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    before = path.read_bytes()
    store = SqliteStore(path)
    for attempt in (store.acquire, lambda: store.commit(batch(R1)), store.list_runtimes):
        with pytest.raises(StoreError, match=why):
            attempt()
    store.close()
    after = path.read_bytes()
    changed = abs(len(before) - len(after)) + sum(
        a != b for a, b in zip(before, after, strict=False)
    )
    assert changed == 0
    figure(f"11 refused files: files 1; bytes changed {changed}")
