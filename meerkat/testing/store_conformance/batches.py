"""Batches: fenced, all or nothing, each on its own in a group."""

from __future__ import annotations

from typing import Final

import pytest
from attrs import evolve

from meerkat.conversation import AppendMessages, ReplaceSnapshot, RewriteMessages
from meerkat.errors import Fenced, StoreError
from meerkat.identifiers import LogicalRuntimeId, RuntimeEpochId
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Batch, RuntimeStore
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    batch,
    ended,
    everything,
    input_id,
    live,
    prompt,
    receipt,
    row_of,
)

EPOCH: Final = RuntimeEpochId.new()
TAKEN: Final = batch(R1, row_of(prompt(8, "k")), row_of(prompt(9)), after=1)
BAD: Final = {
    "fenced": (batch(R1, row_of(prompt(9)), after=2), Fenced),
    "claimed already": (batch(R1, row_of(prompt(9))), Fenced),
    "never claimed": (batch(R3, row_of(prompt(9)), after=1), Fenced),
    "key taken": (TAKEN, StoreError),
    "key twice": (batch(R3, row_of(prompt(8, "x")), row_of(prompt(9, "x"))), StoreError),
    "receipt stored": (batch(R1, row_of(prompt(9)), after=1, receipts=(receipt(0),)), StoreError),
    "receipt twice": (batch(R3, receipts=(receipt(5), receipt(5))), StoreError),
    "gap in messages": (batch(R3, session=(AppendMessages(1, 1, b"[1]"),)), StoreError),
}
"""Batches that are refused, and how."""


class BatchCases(StoreCases):
    """Batches: fenced, all or nothing, each on its own in a group."""

    @pytest.mark.parametrize("bad", BAD)
    @pytest.mark.parametrize("where", [0, 1, 2])
    def test_a_bad_batch_fails_alone(self, seeded: RuntimeStore, bad: str, where: int) -> None:
        wrong, error = BAD[bad]
        group = [batch(LogicalRuntimeId(f"good-{n}"), row_of(prompt(n))) for n in (1, 2)]
        group.insert(where, wrong)
        before = everything(seeded, R1, R3)[2:]
        answers = seeded.commit_many(group)
        assert type(answers.pop(where)) is error
        assert answers == [None, None]
        assert everything(seeded, R1, R3)[2:] == before
        for number in (1, 2):
            runtime_id = LogicalRuntimeId(f"good-{number}")
            assert [s.input_id for s in seeded.load_active_inputs(runtime_id)] == [input_id(number)]

    def test_a_group_may_hold_a_runtime_twice(self, store: RuntimeStore) -> None:
        first = batch(R1, row_of(prompt(1)))
        second = batch(R1, row_of(prompt(2), sequence=1), after=1, fence=2)
        stale = batch(R1, row_of(prompt(3), sequence=2), after=1)
        answers = store.commit_many([first, second, stale, batch(R2)])
        assert [type(answer) for answer in answers] == [type(None), type(None), Fenced, type(None)]
        assert [s.input_id for s in store.load_active_inputs(R1)] == [input_id(1), input_id(2)]

    def test_an_empty_group_has_no_answers(self, store: RuntimeStore) -> None:
        assert store.commit_many([]) == []

    def test_a_fence_is_compared_and_set(self, store: RuntimeStore) -> None:
        store.commit(batch(R1))
        store.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))  # a new writer claims
        with pytest.raises(Fenced) as caught:
            store.commit(batch(R1, row_of(prompt(2)), after=1))  # the old one comes late
        assert caught.value.runtime_id == R1
        assert [s.input_id for s in store.load_active_inputs(R1)] == [input_id(1)]
        with pytest.raises(Fenced):  # and a third cannot claim over a fence it has not seen
            store.commit(batch(R1, after=1, fence=3))
        store.commit(batch(R1, after=2, fence=3))

    def test_rewrites_and_appends_of_many_runtimes_share_a_group(self, store: RuntimeStore) -> None:
        seed = [batch(r, session=(AppendMessages(0, 1, b'["old"]'),)) for r in (R1, R2, R3)]
        assert store.commit_many(seed) == [None] * 3
        new = (RewriteMessages(1, b"[1]"), AppendMessages(1, 2, b"[2,3]"), ReplaceSnapshot(b"s"))
        group: list[Batch] = [
            batch(R1, after=1, session=(AppendMessages(1, 1, b'["x"]'),)),
            batch(R2, after=1, session=new),
            batch(R3, after=1, session=(AppendMessages(1, 1, b'["y"]'), RewriteMessages(0, b"[]"))),
        ]
        assert store.commit_many(group) == [None] * 3
        found = [store.load_session_snapshot(r) for r in (R1, R2, R3)]
        assert [each and (each.messages, each.message_count, each.opaque) for each in found] == [
            (b'["old","x"]', 2, None),
            (b"[1,2,3]", 3, b"s"),
            None,
        ]

    @pytest.fixture
    def seeded(self, store: RuntimeStore) -> RuntimeStore:
        """The store with a runtime that has a key and a receipt."""
        store.commit(batch(R1, row_of(prompt(1, "k")), receipts=(receipt(0),)))
        return store

    @pytest.mark.parametrize("wrong", ["fence", "receipt", "input", "operation", "messages"])
    def test_nothing_of_a_refused_batch_is_kept(self, seeded: RuntimeStore, wrong: str) -> None:
        """Whichever part it is refused for, and wherever that stands among the others."""
        done = row_of(prompt(5), sequence=5)
        seeded.commit(
            batch(
                R1, done, after=1, fence=2, epoch_id=EPOCH, operations=(ended(1, EPOCH, live(1)),)
            )
        )
        sound = batch(
            R1,
            row_of(prompt(2, "new"), sequence=2),
            evolve(done, state=evolve(done.state, recovery_count=1)),
            after=2,
            fence=3,
            state=RuntimeState.RETIRED,
            epoch_id=EPOCH,
            receipts=(receipt(1, 2),),
            begun=(live(2),),
            operations=(ended(2, EPOCH, live(3)),),
            session=(AppendMessages(0, 1, b"[1]"), ReplaceSnapshot(b"s")),
        )
        spoilt = {
            "fence": evolve(sound, expected_fence=1),
            "receipt": evolve(sound, receipts=(*sound.receipts, receipt(0))),
            "input": evolve(sound, inputs=(*sound.inputs, row_of(prompt(9, "k")))),
            "operation": evolve(sound, operations=(*sound.operations, ended(9, EPOCH, live(1)))),
            "messages": evolve(sound, session=(*sound.session, AppendMessages(5, 1, b"[5]"))),
        }[wrong]
        before = everything(seeded)
        with pytest.raises(StoreError):
            seeded.commit(spoilt)
        assert everything(seeded) == before
        assert seeded.load_input(R1, input_id(2)) is None
        seeded.commit(sound)
        assert everything(seeded) != before

    def test_commit_raises_what_the_group_answers(self, seeded: RuntimeStore) -> None:
        for wrong, error in BAD.values():
            (answer,) = seeded.commit_many([wrong])
            assert type(answer) is error
            with pytest.raises(StoreError) as caught:
                seeded.commit(wrong)
            assert type(caught.value) is error

    def test_a_refusal_by_the_fence_names_its_runtime(self, seeded: RuntimeStore) -> None:
        refused = seeded.commit_many([batch(R1, after=9), batch(R3, after=1)])
        assert [getattr(each, "runtime_id", None) for each in refused] == [R1, R3]

    def test_a_large_group_lands_whole(self, store: RuntimeStore) -> None:
        ids = [LogicalRuntimeId(f"r{number}") for number in range(300)]
        rows = [row_of(prompt(number, f"k{number}"), sequence=number) for number in range(3)]
        group = [batch(each, *rows, receipts=(receipt(0), receipt(1))) for each in ids]
        assert store.commit_many(group) == [None] * 300
        for runtime_id in (ids[0], ids[64], ids[299]):
            assert store.load_active_inputs(runtime_id) == [row.state for row in rows]
            assert store.page_receipts(runtime_id).items == (receipt(0), receipt(1))
        assert len(store.runtimes_with_work()) == 300

    def test_a_large_batch_lands_whole(self, store: RuntimeStore) -> None:
        rows = [row_of(prompt(number, f"k{number}"), sequence=number) for number in range(1_000)]
        store.commit(batch(R1, *rows, receipts=tuple(map(receipt, range(1_000)))))
        assert store.load_active_inputs(R1) == [row.state for row in rows]
        assert store.page_receipts(R1).items == tuple(map(receipt, range(1_000)))

    def test_every_batch_of_a_bad_group_is_answered_for(self, seeded: RuntimeStore) -> None:
        group = [wrong for wrong, _ in BAD.values()]
        answers = seeded.commit_many([each for wrong in group for each in (wrong, batch(R2))])
        assert [type(answer) for answer in answers[::2]] == [error for _, error in BAD.values()]
        assert [type(answer) for answer in answers[1::2]] == [type(None)] + [Fenced] * 7

    def test_the_largest_fence_is_compared_like_any_other(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, fence=2**64 - 1))
        for after in (2**64 - 2, 2**63 - 1, 1, 0):
            with pytest.raises(Fenced):
                store.commit(batch(R1, after=after))
        store.commit(batch(R1, after=2**64 - 1, state=RuntimeState.RETIRED))
