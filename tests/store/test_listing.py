"""Listings: the same pages on both stores, in every order, whatever a row looks like."""

from __future__ import annotations

import sqlite3

import pytest

from meerkat import InputPhase, LogicalRuntimeId, RuntimeState
from meerkat.store import Order, RuntimeStore, SqliteStore
from meerkat.store.protocol import EVERY_STATE
from meerkat.testing.store_rows import R1, R2, R3, START, batch, prompt, row_of

QUEUED, CONSUMED = InputPhase.QUEUED, InputPhase.CONSUMED


def fill(store: RuntimeStore) -> None:
    """R3's input comes first, R2 has most, R1 has none that waits."""
    store.commit(batch(R1, row_of(prompt(1), CONSUMED)))
    store.commit(batch(R3, row_of(prompt(2), QUEUED), state=RuntimeState.RETIRED))
    store.commit(batch(R2, row_of(prompt(3), QUEUED, 0), row_of(prompt(4), QUEUED, 1)))


@pytest.mark.parametrize(
    ("order", "names"),
    [(Order.ID, [R1, R2, R3]), (Order.PENDING, [R2, R3, R1]), (Order.OLDEST, [R3, R2, R1])],
)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_runtimes_in_order_page_by_page(
    store: RuntimeStore, order: Order, names: list[LogicalRuntimeId], limit: int
) -> None:
    fill(store)
    found, after = [], None
    while True:
        page = store.page_summaries(order, after=after, limit=limit)
        assert len(page.items) <= limit
        found += page.items
        if (after := page.next) is None:
            break
    assert [each.name for each in found] == [each.value for each in names]
    pending = {R1.value: 0, R2.value: 2, R3.value: 1}
    assert {each.name: each.pending for each in found} == pending
    assert {each.name for each in found if each.oldest_at == START} == {R2.value, R3.value}
    assert all(each.row == store.load_runtime(LogicalRuntimeId(each.name)) for each in found)


def test_one_that_has_ended_is_the_oldest_no_more(store: RuntimeStore) -> None:
    fill(store)
    store.commit(batch(R3, row_of(prompt(2), CONSUMED), row_of(prompt(5)), after=1, fence=2))
    names = [each.name for each in store.page_summaries(Order.OLDEST).items]
    assert names == [R2.value, R3.value, R1.value]


def test_the_states_that_are_wanted(store: RuntimeStore) -> None:
    fill(store)
    for order in Order:
        retired = store.page_summaries(order, states={RuntimeState.RETIRED})
        assert [each.name for each in retired.items] == [R3.value]
        assert not store.page_summaries(order, states=frozenset()).items
        assert len(store.page_summaries(order, states=EVERY_STATE).items) == 3


def test_active_inputs_page_by_page_in_the_order_of_the_whole(store: RuntimeStore) -> None:
    sequences = [2**63, 5, 0, 2**64 - 1, 2**63 - 1]
    rows = [row_of(prompt(n), QUEUED, sequence) for n, sequence in enumerate(sequences)]
    unnumbered = [row_of(prompt(n), InputPhase.ACCEPTED) for n in (7, 6)]
    store.commit(batch(R1, *rows, *unnumbered, row_of(prompt(9), CONSUMED)))
    whole = store.load_active_inputs(R1)
    assert len(whole) == 7
    for limit in (1, 2, 7):
        found, after = [], None
        while True:
            page = store.page_active_inputs(R1, after=after, limit=limit)
            found += page.items
            if (after := page.next) is None:
                break
        assert found == whole
    assert not store.page_active_inputs(R1, after="nobody").items
    assert not store.page_active_inputs(R2).items


def test_a_row_that_cannot_be_read_is_listed_with_what_is_wrong(
    sqlite_store: SqliteStore,
) -> None:
    fill(sqlite_store)
    with sqlite3.connect(sqlite_store.path) as database:
        database.execute("UPDATE runtimes SET state = 'lost' WHERE runtime_id = ?", (R2.value,))
        database.execute("UPDATE inputs SET state = '{' WHERE runtime_id = ?", (R3.value,))
    for order in Order:
        found = {each.name: each for each in sqlite_store.page_summaries(order).items}
        broken, unread = found[R2.value], found[R3.value]
        assert (broken.row, broken.pending, broken.oldest_at) == (None, 2, START)
        assert broken.unreadable is not None
        assert "'lost'" in broken.unreadable
        assert (unread.pending, unread.oldest_at, unread.unreadable) == (1, None, None)


def test_a_store_with_nothing_in_it_lists_nothing(store: RuntimeStore) -> None:
    assert store.page_summaries() == store.page_summaries(Order.OLDEST)
    assert store.page_summaries().items == ()
    assert store.page_active_inputs(R1).next is None
