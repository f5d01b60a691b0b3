"""A copy of a store: the same by digests and by every read, however it came about."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from copy_builders import KINDS, Made, copied, everything, filled, same, store_of
from hypothesis import HealthCheck, given, settings

from meerkat import IdempotencyKey, InputPhase
from meerkat.conversation import RewriteMessages
from meerkat.errors import StoreError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.limits import Retention
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore
from meerkat.store.copy_digest import CopyPart
from meerkat.store.copy_runtime import ROWS_A_BATCH, STRETCH_BYTES, UNDER_WAY, WHOLE
from meerkat.store.copying import verify_copy
from meerkat.testing.store_agreement import Prune, Script, store_scripts, taken
from meerkat.testing.store_rows import (
    R1,
    START,
    batch,
    prompt,
    row_of,
)
from meerkat.testing.store_wrapper import StoreWrapper


@pytest.mark.parametrize(("of", "to"), list(product(KINDS, KINDS)))
def test_a_copy_equals_what_it_was_copied_of(made: Made, of: str, to: str) -> None:
    source, target = made(of), made(to)
    filled(source)
    source.prune(Retention(max_count=5), START, limit=1)
    source.close()
    report = copied(source, target)
    assert report.is_finished
    assert (report.copied, report.verified, report.unreadable) == (2, 2, {})
    assert report.counts == {
        CopyPart.RUNTIME: 2,
        CopyPart.INPUTS: 8,
        CopyPart.RECEIPTS: 2,
        CopyPart.OPERATIONS: 5,
        CopyPart.MESSAGES: 3,
    }
    same(source, target)
    again = verify_copy(source, target)
    assert (again.is_finished, again.digest) == (True, report.digest)
    once_more = copied(source, target)
    assert (once_more.copied, once_more.digest) == (0, report.digest)


class Asked(MemoryStore):
    """A store that counts what it is asked of single runtimes: each is a way there and back."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name in PER_RUNTIME:
            self.asked[name] += 1
        return super().__getattribute__(name)


PER_RUNTIME = frozenset({
    "load_ops_snapshot", "load_runtime", "load_session_snapshot", "page_inputs",
    "page_operations", "page_receipts",
})  # fmt: skip


def test_a_target_is_asked_of_a_runtime_when_it_is_verified_and_not_before() -> None:
    source, target = MemoryStore(), Asked()
    names = [LogicalRuntimeId(f"r{number}") for number in range(20)]
    for name in names:
        source.commit(batch(name, row_of(prompt(1), InputPhase.CONSUMED)))
    assert copied(source, target).verified == len(names)
    per_runtime = {name: count // len(names) for name, count in target.asked.items()}
    assert per_runtime == dict.fromkeys(PER_RUNTIME, 1) | {"load_runtime": 2}


@pytest.mark.parametrize(
    ("of", "to", "scripts"),
    [
        ("memory", "memory", 150),
        ("memory", "sqlite", 40),
        ("sqlite", "memory", 40),
        ("memory", "postgres", 12),
        ("postgres", "sqlite", 12),
        ("sqlite", "postgres", 12),
    ],
)
def test_a_copy_of_any_store_agrees_with_it_and_grows_with_it(
    tmp_path: Path, of: str, to: str, scripts: int
) -> None:
    @settings(
        max_examples=scripts,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(store_scripts(), store_scripts(4))
    def one(first: Script, then: Script) -> None:
        with closing(store_of(of, tmp_path)) as source, closing(store_of(to, tmp_path)) as target:
            for step in first:
                taken(source, step)
            source.close()
            assert copied(source, target).is_finished
            same(source, target)
            for step in then:
                taken(source, step)
            source.close()
            if {type(step) for step in then} & {Prune}:
                return
            assert copied(source, target).is_finished
            assert verify_copy(source, target).is_finished

    one()


# --- large, and cut off -----------------------------------------------------------------


class Counts(StoreWrapper):
    """It notes how large the commits are, and fails at the n-th."""

    def __init__(self, inner: RuntimeStore, fail_at: int | None = None) -> None:
        super().__init__(inner)
        self.rows: list[int] = []
        self._fail_at = fail_at

    def commit(self, batch: Any) -> None:
        (refused,) = self.commit_many([batch])
        assert refused is None

    def commit_many(self, batches: Any) -> Any:
        if len(self.rows) == self._fail_at:
            raise StoreError("the disk is full")
        self.rows.append(sum(len(each.inputs) + len(each.session) for each in batches))
        return self.inner.commit_many(batches)


def large(store: RuntimeStore, inputs: int) -> None:
    rows = [row_of(prompt(n, f"k{n}"), InputPhase.CONSUMED, n) for n in range(inputs)]
    message = b'"' + b"m" * 999 + b'"'
    messages = b"[" + b",".join([message] * inputs) + b"]"
    store.commit(batch(R1, *rows, session=(RewriteMessages(inputs, messages),)))
    few = [LogicalRuntimeId(f"few-{number:04d}") for number in range(500)]
    store.commit_many([batch(each, row_of(prompt(number))) for number, each in enumerate(few)])


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_large_runtime_is_copied_in_transactions_of_bounded_size(made: Made, kind: str) -> None:
    source, target = made("memory"), made(kind)
    large(source, 10_000)
    counted = Counts(target)
    assert copied(source, counted).is_finished
    assert max(counted.rows) <= ROWS_A_BATCH
    assert len(counted.rows) < 70  # and many of the small ones share one
    assert target.load_session_snapshot(R1) == source.load_session_snapshot(R1)
    assert target.load_input_by_key(R1, IdempotencyKey("k9999")) is not None
    if isinstance(target, SqliteStore):
        with closing(sqlite3.connect(target.path)) as connection:
            (longest,) = connection.execute("SELECT max(length(body)) FROM messages").fetchone()
        assert longest < STRETCH_BYTES + 2_000


@pytest.mark.parametrize("fail_at", range(0, 12, 2))
def test_a_copy_that_was_cut_off_goes_on_where_it_was(made: Made, fail_at: int) -> None:
    source, target = made("memory"), made("memory")
    large(source, 2_000)
    cut_off = Counts(target, fail_at)
    with pytest.raises(StoreError, match="the disk is full"):
        copied(source, cut_off)
    held = [row for row in target.list_runtimes().items if row.set_aside in (UNDER_WAY, WHOLE)]
    assert held == list(target.list_runtimes().items)
    counted = Counts(target)
    assert copied(source, counted).is_finished
    at_once = Counts(made("memory"))
    assert copied(source, at_once).is_finished
    assert sum(cut_off.rows) + sum(counted.rows) == sum(at_once.rows)  # nothing came twice
    assert everything(source) == everything(target)


def test_it_is_told_how_far_it_is(made: Made) -> None:
    source, target, told = made("memory"), made("memory"), []
    filled(source)
    copied(source, target, told=lambda number, done: told.append((number, done)))
    assert told == [(1, 1), (1, 2), (0, 1), (0, 2)]
