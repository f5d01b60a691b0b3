"""Ownership: one owner at a time, in this process or another, however the last one ended."""

from __future__ import annotations

import errno
import gc
import os
import sqlite3
from pathlib import Path

import pytest
from store_builders import driver_over
from store_processes import Child, child

from meerkat.errors import StoreError
from meerkat.store import SqliteStore, ownership
from meerkat.testing.store_rows import R1, batch, prompt, row_of


def test_a_second_store_of_this_process_is_refused_and_told_who(path: Path) -> None:
    one, two = SqliteStore(path), SqliteStore(path)
    one.acquire()
    for attempt in (two.acquire, lambda: two.commit(batch(R1))):
        with pytest.raises(StoreError, match=f"is in use by process {os.getpid()} "):
            attempt()
    one.close()
    two.acquire()
    with pytest.raises(StoreError, match="in use"):
        one.acquire()
    two.close()


def test_readers_need_no_ownership(path: Path) -> None:
    owner = SqliteStore(path)
    owner.acquire()
    owner.commit(batch(R1, row_of(prompt(1))))
    assert len(SqliteStore(path).load_active_inputs(R1)) == 1
    owner.close()


def test_a_second_process_is_refused_and_told_the_owners_pid(path: Path) -> None:
    def own(it: Child) -> None:
        store = SqliteStore(path)
        store.acquire()
        it.say("owned")
        it.wait()

    with child(own) as owner:
        assert owner.heard() == "owned"
        with pytest.raises(StoreError, match=f"is in use by process {owner.pid} "):
            SqliteStore(path).acquire()
        assert SqliteStore(path).load_runtime(R1) is None
    store = SqliteStore(path)
    store.acquire()
    store.close()


def test_the_lock_of_a_killed_owner_is_free_again(path: Path) -> None:
    def own(it: Child) -> None:
        store = SqliteStore(path)
        store.commit(batch(R1, row_of(prompt(1))))
        it.say("owned")
        it.wait()

    with child(own) as owner:
        assert owner.heard() == "owned"
        owner.kill()
        store = SqliteStore(path)
        store.acquire()
        assert len(store.load_active_inputs(R1)) == 1
        text = path.with_name("sessions.db-owner").read_text()
        assert text.startswith(f"process {os.getpid()} ")
        store.close()


def test_a_forked_child_does_not_keep_its_parents_lock(path: Path) -> None:
    def live_on(it: Child) -> None:
        it.say("alive")
        it.wait()

    store = SqliteStore(path)
    store.acquire()
    with child(live_on) as alive:
        assert alive.heard() == "alive"
        store.close()
        again = SqliteStore(path)
        again.acquire()
        again.close()


def test_who_owns_it_is_read_without_getting_in_the_way(path: Path) -> None:
    def own(it: Child) -> None:
        store = SqliteStore(path)
        store.acquire()
        it.say("owned")
        it.wait()

    assert ownership.said_owner(path) is None
    store = SqliteStore(path)
    store.acquire()
    assert ownership.said_owner(path) == ownership.this_process()
    store.close()
    assert ownership.said_owner(path) is None
    with child(own) as owner:
        assert owner.heard() == "owned"
        assert f"process {owner.pid} (" in str(ownership.said_owner(path))
        owner.kill()
    assert ownership.said_owner(path) is None


@pytest.mark.parametrize(
    "text", ["", "nobody", "process 0 (x)", "process 99999999999999999999 (x)"]
)
def test_a_file_that_names_nobody_who_lives_names_nobody(path: Path, text: str) -> None:
    path.with_name("sessions.db-owner").write_text(text)
    assert ownership.said_owner(path) is None


def test_a_forked_child_leaves_its_parents_name_where_it_is(path: Path) -> None:
    store = SqliteStore(path)
    store.acquire()
    with child(lambda it: (store.close(), it.say("closed"))) as other:
        assert other.heard() == "closed"
    assert ownership.said_owner(path) == ownership.this_process()
    store.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_store_that_is_dropped_unclosed_is_no_owner(path: Path) -> None:
    SqliteStore(path).acquire()
    gc.collect()
    store = SqliteStore(path)
    store.acquire()
    store.close()


def test_a_lock_that_cannot_be_taken_or_named_is_a_store_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    def disk_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = SqliteStore(path)
    for module, name, fault in (
        (ownership.fcntl, "flock", no_locks),
        (ownership.os, "pwrite", disk_full),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, fault)
            with pytest.raises(StoreError, match=r"sessions\.db-owner: No "):
                store.acquire()
    store.acquire()
    store.close()


def test_a_writer_that_cannot_be_reopened_keeps_its_ownership(path: Path) -> None:
    broken = False

    def connect(*args: object, **options: object) -> object:
        if broken:
            raise sqlite3.OperationalError("too many open files")
        return sqlite3.connect(*args, **options)  # type: ignore[arg-type]

    store = SqliteStore(path, connect=connect)
    store.acquire()
    store._drop_writer()
    broken = True
    with pytest.raises(StoreError, match="too many open files"):
        store.commit(batch(R1))
    with pytest.raises(StoreError, match="in use"):
        SqliteStore(path).acquire()
    broken = False
    store.commit(batch(R1))
    store.close()


def test_a_forked_child_uses_none_of_its_parents_connections(path: Path) -> None:
    store = SqliteStore(path)
    driver = driver_over(store)
    driver.accept_input(prompt(1))
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        status = 2
        try:
            driver.accept_input(prompt(2))
        except StoreError as error:
            status = 0 if str(os.getppid()) in str(error) else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0  # refused, and told who owns the file
    driver.accept_input(prompt(3))
    assert len(store.load_active_inputs(R1)) == 2
    store.close()
