"""FaultyStore: the call that was named fails, as it was told to, and no other does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from meerkat import LogicalRuntimeId
from meerkat.errors import CommitUnknown, StoreError
from meerkat.store import Batch, MemoryStore, RuntimeRow, RuntimeStore, SqliteStore
from meerkat.testing import FaultyStore, StoreCall, StoreFault, When, disk_full, io_error
from meerkat.testing.faulty_store import EVERY_CALL
from meerkat.testing.store_wrapper import COMMITS

A = LogicalRuntimeId("a")
FIRST = Batch(runtime=RuntimeRow(runtime_id=A, fence=1), expected_fence=0)

ARGUMENTS = {
    "acquire": 0,
    "close": 0,
    "list_runtimes": 0,
    "load_boundary_receipt": 3,
    "load_input": 2,
    "load_input_by_key": 2,
    "load_known_inputs": 3,
    "load_payloads": 2,
    "offer": 2,
    "page_summaries": 0,
    "prune": 2,
    "runtimes_with_work": 0,
}
"""method → its positional arguments, one where it is not named."""


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except StoreError as error:
        return type(error)


TOLD: dict[str, tuple[dict[str, Any], Collection[int]]] = {
    "nothing": ({}, set[int]()),
    "a number": ({"fail_at": 2}, {2}),
    "numbers": ({"fail_at": {1, 4}}, {1, 4}),
    "a range": ({"fail_at": range(2, 4)}, {2, 3}),
    "from a number on": ({"fail_from": 3}, {3, 4, 5}),
    "a plan": ({"plan": lambda call: StoreFault() if call.number % 2 else None}, {1, 3, 5}),
}


@pytest.mark.parametrize(("told", "fails"), TOLD.values(), ids=TOLD)
def test_the_calls_that_were_named_fail(told: dict[str, Any], fails: Collection[int]) -> None:
    store = FaultyStore(MemoryStore(), **told)
    got = [outcome(lambda: store.load_runtime(A)) for _ in range(5)]
    assert got == [StoreError if number in fails else None for number in range(1, 6)]
    assert store.called == 5
    assert store.failed == tuple(StoreCall("load_runtime", number) for number in sorted(fails))


def test_only_the_methods_that_were_named_count() -> None:
    store = FaultyStore(MemoryStore(), fail_at=1, calls=COMMITS)
    assert store.load_runtime(A) is None
    with pytest.raises(StoreError, match="disk I/O error"):
        store.commit(FIRST)
    assert store.commit_many([FIRST]) == [None]
    assert store.called == 2


@pytest.mark.parametrize(
    ("when", "kind", "done"),
    [(When.BEFORE, StoreError, False), (When.AFTER, CommitUnknown, True)],
    ids=str,
)
def test_a_write_that_fails_after_it_was_done_is_one_that_nobody_knows_of(
    when: When, kind: type[StoreError], *, done: bool
) -> None:
    store = FaultyStore(MemoryStore(), fail_at=1, when=when)
    with pytest.raises(StoreError) as caught:
        store.commit_many([FIRST])
    assert type(caught.value) is kind
    assert (store.load_runtime(A) is not None) is done


def test_a_read_that_fails_after_it_was_done_is_a_plain_error() -> None:
    store = FaultyStore(MemoryStore(), fail_at=1, when=When.AFTER)
    with pytest.raises(StoreError) as caught:
        store.load_runtime(A)
    assert type(caught.value) is StoreError


@pytest.mark.parametrize("error", [disk_full, disk_full(), MemoryError, KeyboardInterrupt()])
def test_it_fails_with_the_error_that_was_given(error: Any) -> None:
    store = FaultyStore(MemoryStore(), fail_at=1, error=error)
    kind = type(error() if callable(error) else error)
    with pytest.raises(kind):
        store.load_runtime(A)


def test_the_next_call_fails_when_that_is_said() -> None:
    store = FaultyStore(MemoryStore())
    assert store.load_runtime(A) is None
    store.fail_next()
    assert outcome(lambda: store.load_runtime(A)) is StoreError
    assert store.load_runtime(A) is None
    store.fail_from_now()
    assert [outcome(lambda: store.load_runtime(A)) for _ in range(3)] == [StoreError] * 3
    store.heal()
    assert store.load_runtime(A) is None


def test_calls_of_many_threads_are_each_counted_once() -> None:
    store = FaultyStore(MemoryStore(), fail_at=range(1, 201, 2), error=io_error)
    got: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: got.extend(outcome(lambda: store.load_runtime(A)) for _ in range(50))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.called == 200
    assert got.count(StoreError) == 100
    assert sorted(call.number for call in store.failed) == list(range(1, 201, 2))


def test_every_method_of_a_store_goes_through_it(tmp_path: Path) -> None:
    inner = SqliteStore(tmp_path / "sessions.db")
    store = FaultyStore(inner, fail_from=1)
    assert isinstance(store, RuntimeStore)
    assert store.path == inner.path
    for number, name in enumerate(sorted(EVERY_CALL), start=1):
        with pytest.raises(StoreError):
            getattr(store, name)(*[A] * ARGUMENTS.get(name, 1))
        assert store.failed[-1] == StoreCall(name, number)


def test_bad_use_is_refused() -> None:
    with pytest.raises(ValueError, match="a store has no comit"):
        FaultyStore(MemoryStore(), calls=["comit"])
    with pytest.raises(TypeError):
        FaultyStore(MemoryStore(), fail_at=1, plan=lambda _call: None)
