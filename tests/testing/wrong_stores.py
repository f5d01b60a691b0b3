"""Wrong stores: each is one of ours with one thing wrong, and the case that has to find it.

A wrong store is a small subclass; the table at the end says what it gets wrong, which case of
the conformance finds it, and what it says it can do besides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from threading import Barrier, BrokenBarrierError, current_thread, main_thread
from typing import Any, Final

from attrs import evolve, frozen

from meerkat import IdempotencyKey, InputId, InputState, LogicalRuntimeId, RunId
from meerkat.conversation import AppendMessages, SessionSnapshot
from meerkat.errors import Fenced, RecoveryCorruption, StoreError
from meerkat.limits import Retention
from meerkat.ops_snapshot import OperationRow, OpsSnapshot
from meerkat.receipts import RunBoundaryReceipt
from meerkat.store import (
    Batch,
    InputRow,
    MemoryStore,
    Page,
    Pruned,
    RuntimeRow,
    RuntimeStore,
    SqliteStore,
)
from meerkat.store.shelf import Shelf
from meerkat.testing import StoreCapability, StoreConformance

FILE: Final = "sessions.db"
HALF: Final = 2**63 - 1
Answers = list[StoreError | None]


def accepted(store: MemoryStore, batch: Batch) -> Batch:
    """The batch over whatever fence is stored."""
    row = store.load_runtime(batch.runtime.runtime_id)
    return evolve(batch, expected_fence=0 if row is None else row.fence)


# --- writing ----------------------------------------------------------------------------


class IgnoresTheFence(MemoryStore):
    def _commit(self, batch: Batch) -> StoreError | None:
        return super()._commit(accepted(self, batch))


class FencesBackwards(MemoryStore):
    """It takes a fence that is higher than the stored one for one that it has seen."""

    def _commit(self, batch: Batch) -> StoreError | None:
        row = self.load_runtime(batch.runtime.runtime_id)
        later = row is not None and batch.expected_fence > row.fence
        return super()._commit(accepted(self, batch) if later else batch)


class KeepsHalfABatch(MemoryStore):
    def _commit(self, batch: Batch) -> StoreError | None:
        refused = super()._commit(batch)
        if refused is not None and not isinstance(refused, Fenced):
            super()._commit(Batch(runtime=batch.runtime, expected_fence=batch.expected_fence))
        return refused


class FailsTheWholeGroup(MemoryStore):
    def commit_many(self, batches: Sequence[Batch]) -> Answers:
        trial = MemoryStore()
        trial._shelves = {each: _copy(shelf) for each, shelf in self._shelves.items()}
        refused = [answer for answer in trial.commit_many(batches) if answer is not None]
        return [refused[0]] * len(batches) if refused else super().commit_many(batches)


class RaisesInsteadOfAnswering(MemoryStore):
    def commit_many(self, batches: Sequence[Batch]) -> Answers:
        for answer in (answers := super().commit_many(batches)):
            if answer is not None:
                raise answer
        return answers


class SwallowsRefusals(MemoryStore):
    def commit(self, batch: Batch) -> None:
        self.commit_many([batch])


class ErrsUntyped(MemoryStore):
    def commit(self, batch: Batch) -> None:
        (refused,) = self.commit_many([batch])
        if refused is not None:
            raise ValueError(str(refused))


class RewritesAReceipt(MemoryStore):
    def _commit(self, batch: Batch) -> StoreError | None:
        shelf = self._shelves.get(batch.runtime.runtime_id, Shelf())
        for each in batch.receipts:
            shelf.receipts.pop((each.run_id, each.sequence), None)
        return super()._commit(batch)


class RevivesWhatHasEnded(MemoryStore):
    def _commit(self, batch: Batch) -> StoreError | None:
        shelf = self._shelves.get(batch.runtime.runtime_id, Shelf())
        for row in batch.inputs:
            shelf.inputs.pop(row.state.input_id, None)
        return super()._commit(batch)


class LosesTheWrap(MemoryStore):
    """Numbers as a signed column has them, cut off at its edge."""

    def _commit(self, batch: Batch) -> StoreError | None:
        row = evolve(batch.runtime, feed_watermark=min(batch.runtime.feed_watermark, HALF))
        receipts = tuple(evolve(each, sequence=min(each.sequence, HALF)) for each in batch.receipts)
        return super()._commit(evolve(batch, runtime=row, receipts=receipts))


class StaysPaused(MemoryStore):
    def _commit(self, batch: Batch) -> StoreError | None:
        stored = self.load_runtime(batch.runtime.runtime_id)
        paused = batch.runtime.paused or (stored is not None and stored.paused)
        return super()._commit(evolve(batch, runtime=evolve(batch.runtime, paused=paused)))


class StaysSetAside(MemoryStore):
    def _commit(self, batch: Batch) -> StoreError | None:
        stored = self.load_runtime(batch.runtime.runtime_id)
        why = None if stored is None else stored.set_aside
        row = evolve(batch.runtime, set_aside=batch.runtime.set_aside or why)
        return super()._commit(evolve(batch, runtime=row))


class AppendsAnywhere(MemoryStore):
    def _commit(self, batch: Batch) -> StoreError | None:
        log = self._shelves.get(batch.runtime.runtime_id, Shelf()).log
        count, changes = 0 if log is None else log.message_count, []
        for each in batch.session:
            anywhere = isinstance(each, AppendMessages)
            changes.append(evolve(each, position=count) if anywhere else each)
            count += getattr(each, "count", 0)
        return super()._commit(evolve(batch, session=tuple(changes)))


class ForgetsWhatHasBegun(MemoryStore):
    def _commit(self, batch: Batch) -> StoreError | None:
        return super()._commit(evolve(batch, begun=()))


class OffersOverwrite(MemoryStore):
    def offer(self, runtime_id: LogicalRuntimeId, rows: Sequence[InputRow]) -> None:
        super().offer(runtime_id, rows)
        for row in rows:
            self._put(runtime_id, self._shelves[runtime_id], row)


class OffersToAnybody(MemoryStore):
    def offer(self, runtime_id: LogicalRuntimeId, rows: Sequence[InputRow]) -> None:
        self._shelves.setdefault(runtime_id, Shelf(row=RuntimeRow(runtime_id=runtime_id)))
        super().offer(runtime_id, rows)


class RacesOnTheFence(MemoryStore):
    """It compares, lets others in, and then sets."""

    def __init__(self) -> None:
        super().__init__()
        self._compared = Barrier(8)

    def commit_many(self, batches: Sequence[Batch]) -> Answers:
        if current_thread() is main_thread():
            return super().commit_many(batches)
        stored = [accepted(self, batch).expected_fence for batch in batches]
        if stored != [batch.expected_fence for batch in batches]:
            return super().commit_many(batches)
        try:
            self._compared.wait(30)
        except BrokenBarrierError:
            return super().commit_many(batches)
        with self._lock:
            return super().commit_many([accepted(self, batch) for batch in batches])


# --- reading ----------------------------------------------------------------------------


class ForgetsAKey(MemoryStore):
    """That of an input which has ended."""

    def load_input_by_key(
        self, runtime_id: LogicalRuntimeId, key: IdempotencyKey
    ) -> InputState | None:
        found = super().load_input_by_key(runtime_id, key)
        return None if found is None or found.is_terminal else found


class MixesUpLetters(MemoryStore):
    """Keys as a column has them that ignores case."""

    def load_known_inputs(
        self,
        runtime_id: LogicalRuntimeId,
        input_ids: Sequence[InputId],
        keys: Sequence[IdempotencyKey],
    ) -> list[InputState]:
        shelf = self._shelves.get(runtime_id, Shelf())
        asked = {key.value.lower() for key in keys}
        alike = [key for key in shelf.keys if key.value.lower() in asked]
        return super().load_known_inputs(runtime_id, input_ids, alike)


class MixesUpRuntimes(MemoryStore):
    def load_input(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> InputState | None:
        found = (shelf.inputs.get(input_id) for shelf in self._shelves.values())
        return next((each for each in found if each is not None), None)


class OrdersByIdOfInput(MemoryStore):
    def load_active_inputs(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        return sorted(super().load_active_inputs(runtime_id), key=lambda s: str(s.input_id))


class SkipsAtThePagesEnd(MemoryStore):
    def page_receipts(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[RunBoundaryReceipt]:
        page = super().page_receipts(runtime_id, after=after, limit=limit + 1)
        return Page(page.items[:limit], page.next)


class RepeatsAtThePagesStart(MemoryStore):
    def page_terminal_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        page = super().page_terminal_inputs(runtime_id, after=after, limit=limit)
        if after is None:
            return page
        again = super().load_input(runtime_id, InputId.parse(after))
        assert again is not None
        return Page((again, *page.items)[:limit], page.next)


class ListsTheGivenUpById(MemoryStore):
    def page_abandoned_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        found = super().page_abandoned_inputs(runtime_id, limit=10_000).items
        ids = sorted((each for each in found), key=lambda each: str(each.input_id))
        behind = [each for each in ids if after is None or str(each.input_id) > after]
        more = len(behind) > limit
        return Page(tuple(behind[:limit]), str(behind[limit - 1].input_id) if more else None)


class ForgetsWhatTheFinishedSaid(MemoryStore):
    def load_payloads(
        self, runtime_id: LogicalRuntimeId, input_ids: Sequence[InputId]
    ) -> dict[InputId, bytes]:
        active = {state.input_id for state in self.load_active_inputs(runtime_id)}
        return super().load_payloads(runtime_id, [each for each in input_ids if each in active])


class TakesTheNearestReceipt(MemoryStore):
    def load_boundary_receipt(
        self, runtime_id: LogicalRuntimeId, run_id: RunId, sequence: int
    ) -> RunBoundaryReceipt | None:
        found = [each for each in super().page_receipts(runtime_id).items if each.run_id == run_id]
        return max((r for r in found if r.sequence <= sequence), default=None, key=_sequence)


class DropsTheBytes(MemoryStore):
    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        found = super().load_session_snapshot(runtime_id)
        return found and evolve(found, opaque=found.opaque or None)


class ShowsEveryEpoch(MemoryStore):
    def load_ops_snapshot(self, runtime_id: LogicalRuntimeId) -> OpsSnapshot | None:
        found = super().load_ops_snapshot(runtime_id)
        begun = self._shelves.get(runtime_id, Shelf()).begun.values()
        return found and evolve(found, live=tuple(begun))


class WakesTheUnregistered(MemoryStore):
    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        active = (each for each, shelf in self._shelves.items() if shelf.active)
        return sorted({*super().runtimes_with_work(), *active}, key=str)


# --- pruning ----------------------------------------------------------------------------


class PrunesTheSpared(MemoryStore):
    def prune(
        self,
        keep: Retention,
        now: datetime,
        *,
        after: str | None = None,
        limit: int = 256,
        spared: frozenset[RunId] = frozenset(),
    ) -> Pruned:
        return super().prune(keep, now, after=after, limit=limit)


class PrunesKeys(MemoryStore):
    def prune(self, *args: Any, **options: Any) -> Pruned:
        done = super().prune(*args, **options)
        for shelf in self._shelves.values():
            slim = [each for each, state in shelf.inputs.items() if not state.history]
            for input_id in slim:
                shelf.keys = {k: v for k, v in shelf.keys.items() if v != input_id}
        return done


class PrunesTooMuchAtOnce(MemoryStore):
    def prune(self, *args: Any, **options: Any) -> Pruned:
        return super().prune(*args, **{**options, "limit": 10_000})


# --- owning, closing, outlasting --------------------------------------------------------


class HasManyOwners(MemoryStore):
    def acquire(self) -> None:
        self._owned = True


class StaysClosed(MemoryStore):
    closed = False

    def close(self) -> None:
        super().close()
        self.closed = True

    def load_runtime(self, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
        if self.closed:
            raise StoreError("the store is closed")
        return super().load_runtime(runtime_id)


class OwnedByAll(SqliteStore):
    def acquire(self) -> None:
        self._owner = _NoLock()
        super().acquire()


class RemembersWhatItRead(SqliteStore):
    def load_runtime(self, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
        read = self.__dict__.setdefault("read_once", {})
        if runtime_id not in read:
            read[runtime_id] = super().load_runtime(runtime_id)
        return read[runtime_id]


class SkipsWhatItCannotRead(SqliteStore):
    def load_input(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> InputState | None:
        try:
            return super().load_input(runtime_id, input_id)
        except RecoveryCorruption:
            return None


class WritesWhenItIsClosed(SqliteStore):
    """What it was given is on its way, and nowhere yet: a kill loses it."""

    def commit_many(self, batches: Sequence[Batch]) -> Answers:
        self.__dict__.setdefault("held", []).extend(batches)
        return [None] * len(batches)

    def close(self) -> None:
        for batch in self.__dict__.pop("held", []):
            super().commit_many([batch])
        super().close()


class ListsInputsByKey(MemoryStore):
    """It lists all inputs in the order of another listing."""

    def page_inputs(self, runtime_id: LogicalRuntimeId, **options: Any) -> Page[InputRow]:
        page = super().page_inputs(runtime_id, **options)
        return evolve(page, items=tuple(sorted(page.items, key=lambda row: _key_of(row.state))))


class KeepsAPayloadInPlace(MemoryStore):
    """It has an input say something again that was cut down."""

    def page_inputs(self, runtime_id: LogicalRuntimeId, **options: Any) -> Page[InputRow]:
        page = super().page_inputs(runtime_id, **options)
        return evolve(
            page, items=tuple(InputRow(row.state, row.payload or b"") for row in page.items)
        )


class ListsTheEpochsOwn(MemoryStore):
    """It knows the operations of the present epoch only."""

    def page_operations(self, runtime_id: LogicalRuntimeId, **options: Any) -> Page[OperationRow]:
        row, page = self.load_runtime(runtime_id), super().page_operations(runtime_id, **options)
        items = [each for each in page.items if row and each.epoch_id == row.epoch_id]
        return evolve(page, items=tuple(items))


class ErasesTheRowAlone(MemoryStore):
    def erase(self, runtime_id: LogicalRuntimeId, *, limit: int = 1000) -> bool:
        shelf = self._shelves.get(runtime_id, Shelf())
        shelf.row = None
        self._note_work(runtime_id, shelf)
        return True


def _key_of(state: InputState) -> str:
    return "" if state.idempotency_key is None else state.idempotency_key.value


class _NoLock:
    held = True

    def acquire(self) -> None: ...

    def release(self) -> None: ...


def _sequence(receipt: RunBoundaryReceipt) -> int:
    return receipt.sequence


def _copy(shelf: Shelf) -> Shelf:
    kept = {name: getattr(shelf, name).copy() for name in ("inputs", "keys", "receipts")}
    return evolve(shelf, **kept, log=None)


# --- the table --------------------------------------------------------------------------


@frozen
class Wrong:
    """A wrong store, how it is opened, and the case that finds what is wrong."""

    store: type[MemoryStore | SqliteStore]
    found_by: str
    capabilities: tuple[StoreCapability, ...] = ()

    def open(self, place: Path) -> RuntimeStore:
        if issubclass(self.store, SqliteStore):
            return self.store(place / FILE)
        return self.store()


def cases_of(wrong: Wrong) -> type[StoreConformance]:
    """The class that a host with this store would write."""

    class Cases(StoreConformance):
        capabilities = wrong.capabilities

        def open_store(self, place: Path) -> RuntimeStore:
            return wrong.open(place)

        def spoil_input(self, place: Path, runtime_id: LogicalRuntimeId, input_id: InputId) -> None:
            spoil = "UPDATE inputs SET state = '{' WHERE runtime_id = ? AND input_id = ?"
            with closing(sqlite3.connect(place / FILE)) as connection, connection:
                connection.execute(spoil, (str(runtime_id), str(input_id)))

    return Cases


_C = StoreCapability
WRONG: Final = (
    Wrong(IgnoresTheFence, "a_fence_is_compared_and_set"),
    Wrong(FencesBackwards, "a_refusal_by_the_fence_names_its_runtime"),
    Wrong(KeepsHalfABatch, "nothing_of_a_refused_batch_is_kept"),
    Wrong(FailsTheWholeGroup, "a_bad_batch_fails_alone"),
    Wrong(RaisesInsteadOfAnswering, "every_batch_of_a_bad_group_is_answered_for"),
    Wrong(SwallowsRefusals, "commit_raises_what_the_group_answers"),
    Wrong(ErrsUntyped, "commit_raises_what_the_group_answers"),
    Wrong(RewritesAReceipt, "a_receipt_is_written_once"),
    Wrong(RevivesWhatHasEnded, "what_has_ended_stays_and_its_batch_is_refused_whole"),
    Wrong(LosesTheWrap, "receipt_sequences_up_to_64_bits_are_distinct"),
    Wrong(StaysPaused, "a_runtime_is_paused_until_a_commit_says_otherwise"),
    Wrong(StaysSetAside, "a_runtime_is_set_aside_until_its_next_commit"),
    Wrong(AppendsAnywhere, "messages_must_follow_on_the_committed_ones"),
    Wrong(ForgetsWhatHasBegun, "what_has_begun_is_live_by_its_birth_and_then_its_id"),
    Wrong(OffersOverwrite, "an_offer_inserts_and_never_overwrites"),
    Wrong(OffersToAnybody, "an_offer_is_refused_whole"),
    Wrong(RacesOnTheFence, "of_many_writers_on_one_fence_one_lands"),
    Wrong(ForgetsAKey, "an_input_comes_back_equal_in_every_phase"),
    Wrong(MixesUpLetters, "text_is_compared_as_it_is"),
    Wrong(MixesUpRuntimes, "runtimes_do_not_mix"),
    Wrong(OrdersByIdOfInput, "admission_order_holds_over_the_sign_bit"),
    Wrong(SkipsAtThePagesEnd, "receipts_are_listed_once_those_of_a_run_in_sequence"),
    Wrong(RepeatsAtThePagesStart, "finished_inputs_are_listed_once_in_one_order"),
    Wrong(ListsTheGivenUpById, "abandoned_inputs_are_listed_once_as_they_came"),
    Wrong(ForgetsWhatTheFinishedSaid, "what_an_input_says_is_there_whatever_became_of_it"),
    Wrong(TakesTheNearestReceipt, "receipts_are_found_by_their_exact_key"),
    Wrong(DropsTheBytes, "snapshots_are_byte_equal"),
    Wrong(ShowsEveryEpoch, "an_epoch_sees_its_own_live_operations_only"),
    Wrong(WakesTheUnregistered, "runtimes_with_work_are_registered_and_have_active_inputs"),
    Wrong(PrunesTheSpared, "a_run_that_is_spared_is_left_alone"),
    Wrong(PrunesKeys, "a_pruned_input_keeps_all_but_policy_and_history"),
    Wrong(PrunesTooMuchAtOnce, "a_step_prunes_no_more_than_it_is_allowed"),
    Wrong(ListsInputsByKey, "all_inputs_are_listed_as_they_came_with_what_they_say", (_C.COPIES,)),
    Wrong(
        KeepsAPayloadInPlace,
        "an_input_that_was_cut_down_is_listed_without_what_it_said",
        (_C.COPIES,),
    ),
    Wrong(ListsTheEpochsOwn, "operations_of_every_epoch_are_listed_by_their_place", (_C.COPIES,)),
    Wrong(ErasesTheRowAlone, "an_erased_runtime_was_never_there_and_the_others_are", (_C.COPIES,)),
    Wrong(HasManyOwners, "a_store_has_one_owner_until_it_is_closed"),
    Wrong(StaysClosed, "a_closed_store_opens_again_with_the_next_call"),
    Wrong(MemoryStore, "the_next_instance_reads_all_of_it", (_C.DURABLE,)),
    Wrong(OwnedByAll, "a_second_owner_is_refused_until_the_first_has_closed", (_C.OWNS,)),
    Wrong(
        RemembersWhatItRead,
        "a_reader_sees_what_was_committed_and_needs_no_ownership",
        (_C.READERS,),
    ),
    Wrong(
        SkipsWhatItCannotRead,
        "a_row_that_cannot_be_read_is_named_and_stops_no_other_runtime",
        (_C.NOTICES_DAMAGE,),
    ),
    Wrong(
        WritesWhenItIsClosed,
        "what_was_committed_survives_a_kill_and_nothing_is_half_there",
        (_C.SURVIVES_KILL,),
    ),
)
