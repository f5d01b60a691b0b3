"""Runtimes: their rows, which of them have work, and what others may offer them."""

from __future__ import annotations

from typing import Any

import pytest

from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import StoreError
from meerkat.identifiers import RuntimeEpochId, SessionId
from meerkat.input_lifecycle import InputPhase
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import RuntimeStore
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_rows import R1, R2, R3, batch, everything, prompt, receipt, row_of


def observed(seq: int) -> EpochCursorSnapshot:
    """Cursors of a runtime that has read its feed up to here."""
    return EpochCursorSnapshot(agent_applied_cursor=9, runtime_observed_seq=seq)


class RuntimeCases(StoreCases):
    """Runtimes: their rows, which of them have work, and what others may offer them."""

    def test_a_runtime_and_its_inputs_land_together(self, store: RuntimeStore) -> None:
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

    def test_all_of_a_runtimes_row_comes_back(self, store: RuntimeStore) -> None:
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

    def test_runtimes_with_work_are_registered_and_have_active_inputs(
        self, store: RuntimeStore
    ) -> None:
        store.commit(batch(R2, row_of(prompt(1))))
        store.commit(batch(R1, row_of(prompt(1))))
        store.commit(batch(type(R1)("gone"), row_of(prompt(1)), registered=False))
        store.commit(batch(type(R1)("done"), row_of(prompt(1), InputPhase.CONSUMED)))
        assert store.runtimes_with_work() == [R1, R2]

    def test_runtimes_with_work_have_active_inputs_or_an_unread_feed(
        self, store: RuntimeStore
    ) -> None:
        unread: dict[str, Any] = {"feed_watermark": 3, "cursors": observed(2)}
        store.commit(batch(R3, **unread))
        store.commit(batch(R2, row_of(prompt(1)), **unread))
        store.commit(batch(R1, row_of(prompt(1))))
        store.commit(batch(type(R1)("gone"), row_of(prompt(1)), registered=False, **unread))
        store.commit(batch(type(R1)("read"), feed_watermark=3, cursors=observed(3)))
        assert store.runtimes_with_work() == [R1, R2, R3]

    def test_a_runtime_has_work_until_its_feed_is_read(self, store: RuntimeStore) -> None:
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
        self, store: RuntimeStore, watermark: int, read: int
    ) -> None:
        store.commit(batch(R1, feed_watermark=watermark, cursors=observed(read)))
        store.commit(batch(R2, feed_watermark=read, cursors=observed(watermark)))
        assert store.runtimes_with_work() == [R1]

    def test_an_offer_inserts_and_never_overwrites(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, row_of(prompt(1, "k"))))
        fresh = row_of(prompt(2), InputPhase.ACCEPTED)
        taken = row_of(prompt(1, text="other"), InputPhase.ACCEPTED)
        same_key = row_of(prompt(3, "k"), InputPhase.ACCEPTED)
        store.offer(R1, [taken, fresh, same_key])
        found = store.load_active_inputs(R1)
        assert found == [row_of(prompt(1, "k")).state, fresh.state]

    def test_an_offer_is_refused_whole(self, store: RuntimeStore) -> None:
        with pytest.raises(StoreError, match="is not stored"):
            store.offer(R1, [row_of(prompt(1), InputPhase.ACCEPTED)])
        store.commit(batch(R1))
        with pytest.raises(StoreError, match="only accepted"):
            store.offer(R1, [row_of(prompt(1), InputPhase.ACCEPTED), row_of(prompt(2))])
        assert store.load_active_inputs(R1) == []

    def test_runtimes_with_live_operations_have_work(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, live_operations=1))
        store.commit(batch(R2, live_operations=1, state=RuntimeState.STOPPED))
        store.commit(batch(R3, live_operations=1, registered=False))
        assert store.runtimes_with_work() == [R1]
        store.commit(batch(R1, after=1))
        assert store.runtimes_with_work() == []
        store.commit(batch(R1, after=1, live_operations=2**64 - 1))
        assert store.runtimes_with_work() == [R1]
        row = store.load_runtime(R1)
        assert row is not None
        assert row.live_operations == 2**64 - 1

    @pytest.mark.parametrize("state", RuntimeState, ids=str)
    def test_every_state_comes_back(self, store: RuntimeStore, state: RuntimeState) -> None:
        store.commit(batch(R1, state=state))
        row = store.load_runtime(R1)
        assert row is not None
        assert row.state is state

    def test_a_runtime_is_paused_until_a_commit_says_otherwise(self, store: RuntimeStore) -> None:
        for fence, paused in enumerate((True, True, False)):
            store.commit(batch(R1, after=fence, fence=fence + 1, paused=paused))
            row = store.load_runtime(R1)
            assert row is not None
            assert row.paused is paused

    def test_a_runtime_is_set_aside_until_its_next_commit(self, store: RuntimeStore) -> None:
        for why in ("", "it failed nine times: ä"):
            known = store.load_runtime(R1) is not None
            store.commit(batch(R1, after=int(known), set_aside=why))
            row = store.load_runtime(R1)
            assert row is not None
            assert row.set_aside == why
        store.commit(batch(R1, after=1))
        row = store.load_runtime(R1)
        assert row is not None
        assert row.set_aside is None

    def test_an_offer_to_a_runtime_is_seen_in_no_other(self, store: RuntimeStore) -> None:
        assert store.commit_many([batch(R1), batch(R2)]) == [None, None]
        offered = row_of(prompt(1, "k"), InputPhase.ACCEPTED)
        store.offer(R1, [offered])
        assert store.load_active_inputs(R1) == [offered.state]
        assert store.load_active_inputs(R2) == []
        assert store.runtimes_with_work() == [R1]

    def test_an_offer_leaves_the_fence_to_the_owner(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, fence=5))
        store.offer(R1, [row_of(prompt(1), InputPhase.ACCEPTED)])
        store.offer(R1, [])
        store.commit(batch(R1, row_of(prompt(1)), after=5, fence=6))
        assert store.load_active_inputs(R1) == [row_of(prompt(1)).state]

    def test_an_offer_is_not_taken_of_what_has_ended(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, row_of(prompt(1, "k"), InputPhase.CONSUMED)))
        before = everything(store)
        store.offer(R1, [row_of(prompt(number, "k"), InputPhase.ACCEPTED) for number in (1, 2)])
        assert everything(store) == before
