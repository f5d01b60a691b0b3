"""What every store promises: commit, and read back the same."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from meerkat import IdempotencyKey, InputPhase, RunId, RuntimeEpochId, RuntimeState, SessionId
from meerkat.conversation import (
    AppendMessages,
    ReplaceSnapshot,
    RewriteMessages,
    SessionSnapshot,
)
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import StoreError
from meerkat.store import MemoryStore, RuntimeStore, open_store
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    RUN,
    batch,
    everything,
    input_id,
    prompt,
    receipt,
    row_of,
)

FIRST = AppendMessages(0, 2, b'[{"n":1},{"n":2}]')


def test_sto_01_one_commit_comes_back_equal(store: RuntimeStore) -> None:
    row = row_of(prompt(1))
    store.commit(batch(R1, row, receipts=(receipt(0, 1),)))
    assert store.load_input(R1, input_id(1)) == row.state
    assert store.load_active_inputs(R1) == [row.state]
    assert store.load_boundary_receipt(R1, RUN, 0) == receipt(0, 1)


def test_sto_02_an_unknown_runtime_has_nothing(store: RuntimeStore) -> None:
    store.commit(batch(R2))
    assert store.load_runtime(R1) is None
    assert store.load_active_inputs(R1) == []
    assert store.load_input(R1, input_id(1)) is None
    assert store.load_input_by_key(R1, IdempotencyKey("k")) is None
    assert store.load_boundary_receipt(R1, RUN, 0) is None
    assert store.load_session_snapshot(R1) is None
    assert store.page_terminal_inputs(R1).items == ()
    assert store.page_receipts(R1).items == ()


def test_sto_02_a_store_nobody_wrote_to_reads_as_empty(store: RuntimeStore) -> None:
    assert store.list_runtimes().items == ()
    assert store.runtimes_with_work() == []
    assert store.load_session_snapshot(R1) is None


def test_sto_04_a_newer_version_replaces_the_older(store: RuntimeStore) -> None:
    store.commit(batch(R1, row_of(prompt(1, "k"))))
    newer = row_of(prompt(1, "k"), InputPhase.STAGED)
    store.commit(batch(R1, evolve(newer, payload=None), after=1))
    assert store.load_active_inputs(R1) == [newer.state]
    assert store.load_input_by_key(R1, IdempotencyKey("k")) == newer.state


def test_sto_05_runtimes_do_not_mix(store: RuntimeStore) -> None:
    store.commit(batch(R1, row_of(prompt(1, "k"))))
    store.commit(batch(R2, row_of(prompt(2)), row_of(prompt(3, "k"), sequence=1)))
    assert [state.input_id for state in store.load_active_inputs(R1)] == [input_id(1)]
    assert [state.input_id for state in store.load_active_inputs(R2)] == [input_id(2), input_id(3)]
    assert store.load_input(R1, input_id(2)) is None
    by_key = store.load_input_by_key(R2, IdempotencyKey("k"))
    assert by_key is not None
    assert by_key.input_id == input_id(3)


def test_sto_07_a_runtime_and_its_inputs_land_together(store: RuntimeStore) -> None:
    abandoned = row_of(prompt(1), InputPhase.ABANDONED)
    store.commit(batch(R1, abandoned, state=RuntimeState.STOPPED, receipts=(receipt(0),)))
    row = store.load_runtime(R1)
    assert row is not None
    assert row.state is RuntimeState.STOPPED
    assert store.page_terminal_inputs(R1).items == (abandoned.state,)
    before = everything(store)
    with pytest.raises(StoreError):  # the receipt is there already
        store.commit(batch(R1, row_of(prompt(2)), after=1, receipts=(receipt(0),)))
    assert everything(store) == before


def test_sto_07_all_of_a_runtimes_row_comes_back(store: RuntimeStore) -> None:
    full = batch(
        R1,
        session_id=SessionId.new(),
        epoch_id=RuntimeEpochId.new(),
        registered=False,
        next_admission_sequence=9,
        silent_intents=frozenset({"b", "ä"}),
        cursors=EpochCursorSnapshot(
            agent_applied_cursor=1, runtime_observed_seq=3, runtime_last_injected_seq=2
        ),
        feed_watermark=4,
    )
    store.commit(full)
    assert store.load_runtime(R1) == full.runtime
    store.commit(batch(R1, after=1))
    assert store.load_runtime(R1) == batch(R1).runtime


def test_sto_08_snapshots_are_byte_equal(store: RuntimeStore) -> None:
    for data in (b"", b"\x00\xff" * 3, "ä".encode(), b"x" * 100_000):
        known = store.load_runtime(R1) is not None
        store.commit(batch(R1, after=int(known), session=(ReplaceSnapshot(data),)))
        assert store.load_session_snapshot(R1) == SessionSnapshot(opaque=data)


def test_sto_08_messages_are_appended_and_rewritten(store: RuntimeStore) -> None:
    store.commit(batch(R1, session=(FIRST, AppendMessages(2, 1, b'["3"]'))))
    three = SessionSnapshot(messages=b'[{"n":1},{"n":2},"3"]', message_count=3)
    assert store.load_session_snapshot(R1) == three
    store.commit(batch(R1, after=1, session=(RewriteMessages(1, b"[0]"),)))
    one = SessionSnapshot(messages=b"[0]", message_count=1)
    assert store.load_session_snapshot(R1) == one
    store.commit(batch(R1, after=1, session=(AppendMessages(1, 1, b'["\xc3\xa4"]'),)))
    two = SessionSnapshot(messages='[0,"ä"]'.encode(), message_count=2)
    assert store.load_session_snapshot(R1) == two
    store.commit(batch(R1, after=1, session=(RewriteMessages(0, b"[]"),)))
    assert store.load_session_snapshot(R1) is None


@pytest.mark.parametrize("position", [0, 1, 3])
def test_messages_must_follow_on_the_committed_ones(store: RuntimeStore, position: int) -> None:
    store.commit(batch(R1, session=(FIRST,)))
    before = everything(store)
    with pytest.raises(StoreError):
        store.commit(batch(R1, after=1, session=(AppendMessages(position, 1, b"[0]"),)))
    assert everything(store) == before


def test_rcp_04_receipts_are_found_by_their_exact_key(store: RuntimeStore) -> None:
    first = receipt(0, 1, 2, conversation_digest="a" * 64, message_count=2)
    store.commit(batch(R1, receipts=(first,)))
    store.commit(batch(R1, after=1, receipts=(receipt(1, 3),)))
    assert store.load_boundary_receipt(R1, RUN, 0) == first
    assert store.load_boundary_receipt(R1, RUN, 1) == receipt(1, 3)
    assert store.load_boundary_receipt(R1, RUN, 2) is None
    assert store.load_boundary_receipt(R1, RunId.new(), 0) is None
    assert store.load_boundary_receipt(R2, RUN, 0) is None


def test_active_inputs_come_in_order_of_admission_unnumbered_last(store: RuntimeStore) -> None:
    accepted = row_of(prompt(9), InputPhase.ACCEPTED)
    rows = [accepted, *(row_of(prompt(number), sequence=number) for number in (5, 3, 4))]
    store.commit(batch(R1, *rows))
    found = [state.input_id for state in store.load_active_inputs(R1)]
    assert found == [input_id(number) for number in (3, 4, 5, 9)]


def test_pages_are_stable_and_whole(store: RuntimeStore) -> None:
    rows = [row_of(prompt(number), InputPhase.CONSUMED) for number in range(1, 8)]
    receipts = tuple(receipt(number) for number in (3, 0, 2**64 - 1, 1, 2**63))
    store.commit(batch(R1, *rows, row_of(prompt(99)), receipts=receipts))
    for runtime_id in (R2, *map(type(R1), ("a", "b", "c"))):
        store.commit(batch(runtime_id))
    inputs, numbers, runtimes = [], [], []
    after: str | None = None
    while True:
        inputs_page = store.page_terminal_inputs(R1, after=after, limit=3)
        inputs += inputs_page.items
        if (after := inputs_page.next) is None:
            break
    while True:
        page = store.page_receipts(R1, after=after, limit=2)
        numbers += [each.sequence for each in page.items]
        if (after := page.next) is None:
            break
    while True:
        runtimes_page = store.list_runtimes(after=after, limit=1)
        runtimes += [row.runtime_id.value for row in runtimes_page.items]
        if (after := runtimes_page.next) is None:
            break
    assert inputs == [row.state for row in rows]
    assert numbers == [0, 1, 3, 2**63, 2**64 - 1]
    assert runtimes == ["a", R1.value, R2.value, "b", "c"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_finished_inputs_are_listed_without_a_key_first_then_by_key(
    store: RuntimeStore, limit: int
) -> None:
    keys = {5: "b", 3: None, 4: "a", 1: None, 2: "ä", 7: None, 6: "Z"}
    rows = [row_of(prompt(number, key), InputPhase.CONSUMED) for number, key in keys.items()]
    store.commit(batch(R1, *rows, row_of(prompt(99, "aa")), row_of(prompt(98))))
    store.commit(batch(R2, row_of(prompt(50, "a"), InputPhase.CONSUMED)))
    listed: list[int] = []
    after: str | None = None
    while len(listed) < len(rows):
        page = store.page_terminal_inputs(R1, after=after, limit=limit)
        listed += [state.input_id.value.int for state in page.items]
        after = page.next
        assert (after is None) == (len(listed) == len(rows))
    assert listed == [3, 1, 7, 6, 4, 5, 2]


def test_behind_an_input_that_nobody_knows_there_is_no_page(store: RuntimeStore) -> None:
    store.commit(batch(R1, row_of(prompt(1), InputPhase.CONSUMED)))
    assert store.page_terminal_inputs(R1, after=str(input_id(2))).items == ()


def test_runtimes_with_work_are_registered_and_have_active_inputs(store: RuntimeStore) -> None:
    store.commit(batch(R2, row_of(prompt(1))))
    store.commit(batch(R1, row_of(prompt(1))))
    store.commit(batch(type(R1)("gone"), row_of(prompt(1)), registered=False))
    store.commit(batch(type(R1)("done"), row_of(prompt(1), InputPhase.CONSUMED)))
    assert store.runtimes_with_work() == [R1, R2]


def observed(seq: int) -> EpochCursorSnapshot:
    return EpochCursorSnapshot(agent_applied_cursor=9, runtime_observed_seq=seq)


def test_runtimes_with_work_have_active_inputs_or_an_unread_feed(store: RuntimeStore) -> None:
    unread: dict[str, Any] = {"feed_watermark": 3, "cursors": observed(2)}
    store.commit(batch(R3, **unread))
    store.commit(batch(R2, row_of(prompt(1)), **unread))
    store.commit(batch(R1, row_of(prompt(1))))
    store.commit(batch(type(R1)("gone"), row_of(prompt(1)), registered=False, **unread))
    store.commit(batch(type(R1)("read"), feed_watermark=3, cursors=observed(3)))
    assert store.runtimes_with_work() == [R1, R2, R3]


def test_a_runtime_has_work_until_its_feed_is_read(store: RuntimeStore) -> None:
    store.commit(batch(R1, feed_watermark=1))
    assert store.runtimes_with_work() == [R1]
    store.commit(batch(R1, after=1, feed_watermark=1, cursors=observed(1)))
    assert store.runtimes_with_work() == []
    store.offer(R1, [row_of(prompt(1), InputPhase.ACCEPTED)])
    assert store.runtimes_with_work() == [R1]
    store.commit(batch(R1, row_of(prompt(1), InputPhase.CONSUMED), after=1))
    assert store.runtimes_with_work() == []


@pytest.mark.parametrize(("watermark", "read"), [(2**63, 2**63 - 1), (2**64 - 1, 2**64 - 2)])
def test_a_feed_is_unread_over_the_sign_bit_too(
    store: RuntimeStore, watermark: int, read: int
) -> None:
    store.commit(batch(R1, feed_watermark=watermark, cursors=observed(read)))
    store.commit(batch(R2, feed_watermark=read, cursors=observed(watermark)))
    assert store.runtimes_with_work() == [R1]


def test_an_offer_inserts_and_never_overwrites(store: RuntimeStore) -> None:
    store.commit(batch(R1, row_of(prompt(1, "k"))))
    fresh = row_of(prompt(2), InputPhase.ACCEPTED)
    taken = row_of(prompt(1, text="other"), InputPhase.ACCEPTED)
    same_key = row_of(prompt(3, "k"), InputPhase.ACCEPTED)
    store.offer(R1, [taken, fresh, same_key])
    found = store.load_active_inputs(R1)
    assert found == [row_of(prompt(1, "k")).state, fresh.state]


def test_an_offer_is_refused_whole(store: RuntimeStore) -> None:
    with pytest.raises(StoreError, match="is not stored"):
        store.offer(R1, [row_of(prompt(1), InputPhase.ACCEPTED)])
    store.commit(batch(R1))
    with pytest.raises(StoreError, match="only accepted"):
        store.offer(R1, [row_of(prompt(1), InputPhase.ACCEPTED), row_of(prompt(2))])
    assert store.load_active_inputs(R1) == []


def test_a_store_has_one_owner_until_it_is_closed(store: RuntimeStore) -> None:
    store.commit(batch(R1))  # a driver on its own needs no ownership, and is in nobody's way
    store.acquire()
    with pytest.raises(StoreError):
        store.acquire()
    store.close()
    store.close()
    store.acquire()
    assert store.load_runtime(R1) is not None


def test_store_urls() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    assert str(open_store("sqlite:///a.db")).endswith("a.db')")
    for url in ("sqlite://", "sqlite:///", "postgres://x", "a.db", ""):
        with pytest.raises(StoreError, match="unknown store URL"):
            open_store(url)
