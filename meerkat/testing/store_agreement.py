"""Store agreement: scripts of what stores are asked, by Hypothesis, and two held side by side.

A script is as often wrong as right: fences that others hold, keys that are taken, receipts that
are written again. A store answers it right when it answers as ``MemoryStore`` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final, TypeAlias
from uuid import UUID

from attrs import field, frozen
from hypothesis import strategies as st

from meerkat.conversation import AppendMessages, ReplaceSnapshot, RewriteMessages, SessionChange
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import StoreError
from meerkat.identifiers import IdempotencyKey, LogicalRuntimeId, RuntimeEpochId
from meerkat.input_lifecycle import InputPhase
from meerkat.limits import Retention
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Batch, InputRow, Order, RuntimeStore
from meerkat.store.copyable import copyable
from meerkat.testing.invariants_moments import pages
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    RUN,
    START,
    batch,
    ended,
    input_id,
    live,
    prompt,
    receipt,
    row_of,
)


@frozen
class Commit:
    """Commit these batches together."""

    batches: tuple[Batch, ...]


@frozen
class Offer:
    """Offer these inputs to a runtime."""

    runtime_id: LogicalRuntimeId
    rows: tuple[InputRow, ...]


@frozen
class Prune:
    """Prune all that is past this, ``limit`` rows a step."""

    keep: Retention
    limit: int


@frozen
class Reopen:
    """Close the store; the next step opens it again."""


Step: TypeAlias = Commit | Offer | Prune | Reopen
Script: TypeAlias = list[Step]

_RUNTIMES: Final = (R1, R2, R3)
_LATER: Final = START + timedelta(days=1)
_PHASES: Final = tuple(each for each in InputPhase if each.value not in ("superseded", "coalesced"))
_SEQUENCES: Final = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
_KEYS: Final = (None, "a", "b")
_EPOCHS: Final = tuple(RuntimeEpochId(UUID(int=number)) for number in (1, 2))
_OPERATIONS: Final = st.lists(st.integers(0, 3), max_size=2)
_STATES: Final = (RuntimeState.IDLE, RuntimeState.RETIRED, RuntimeState.STOPPED)


@st.composite
def _input_rows(draw: st.DrawFn) -> InputRow:
    """A version of one of six inputs, two for each key: an input never changes its key."""
    number = draw(st.integers(0, 5))
    return row_of(
        prompt(number, _KEYS[number % 3]), draw(st.sampled_from(_PHASES)), draw(_SEQUENCES)
    )


@st.composite
def _session_changes(draw: st.DrawFn) -> SessionChange:
    count = draw(st.integers(0, 2))
    body = b"[" + b",".join([b'"m"'] * count) + b"]"
    choice = draw(st.integers(0, 3))
    if choice == 0:
        return ReplaceSnapshot(draw(st.binary(max_size=3)))
    if choice == 1:
        return RewriteMessages(count, body)
    return AppendMessages(draw(st.integers(0, 3)), 1, b'["n"]')


_ROWS: Final = st.lists(_input_rows(), max_size=3, unique_by=lambda row: row.state.input_id)
_OF: Final = st.sampled_from(_RUNTIMES)
_NUMBERS: Final = st.lists(_SEQUENCES, max_size=2)
_SESSIONS: Final = st.lists(_session_changes(), max_size=2)
_EPOCH: Final = st.sampled_from(_EPOCHS)
_INTENTS: Final = st.frozensets(st.sampled_from("xy"))


@st.composite
def store_batches(draw: st.DrawFn) -> Batch:
    """Batches of one of three runtimes, with something of everything, right or wrong."""
    after = draw(st.integers(0, 2))
    rows = draw(_ROWS)
    return batch(
        draw(_OF),
        *rows,
        after=after,
        fence=draw(st.integers(max(after, 1), 3)),
        receipts=tuple(map(receipt, draw(_NUMBERS))),
        begun=tuple(live(each, -each % 2) for each in draw(_OPERATIONS)),
        operations=tuple(ended(each + 1, draw(_EPOCH), live(each)) for each in draw(_OPERATIONS)),
        session=tuple(draw(_SESSIONS)),
        state=draw(st.sampled_from(_STATES)),
        registered=draw(st.booleans()),
        next_admission_sequence=draw(_SEQUENCES),
        cursors=EpochCursorSnapshot(runtime_observed_seq=draw(_SEQUENCES)),
        feed_watermark=draw(_SEQUENCES),
        live_operations=draw(_SEQUENCES),
        paused=draw(st.booleans()),
        set_aside=draw(st.sampled_from([None, "", "why"])),
        epoch_id=draw(st.sampled_from([None, *_EPOCHS])),
        silent_intents=draw(_INTENTS),
    )


@st.composite
def _offers(draw: st.DrawFn) -> Offer:
    """Inputs that have been accepted; and now and then one that has gone further."""
    rows = draw(_ROWS)
    accepted = [row_of(prompt(9, _KEYS[n % 3]), InputPhase.ACCEPTED) for n in range(2)]
    wrong = rows[: draw(st.integers(0, 2))]
    return Offer(draw(_OF), (*accepted, *wrong))


def _prunings() -> st.SearchStrategy[Prune]:
    ages, counts = st.sampled_from([None, 0.0, 1e9]), st.sampled_from([None, 0, 1, 2**63])
    kept = st.builds(Retention, max_age_s=ages, max_count=counts)
    return st.builds(Prune, kept, st.sampled_from([1, 2, 256]))


def store_scripts(steps_max: int = 8) -> st.SearchStrategy[Script]:
    """Scripts of commits, offers, prunings and reopenings; each keeps to three runtimes."""
    commits = st.lists(store_batches(), min_size=1, max_size=4)
    steps = st.one_of(
        commits.map(lambda batches: Commit(tuple(batches))),
        _offers(),
        _prunings(),
        st.just(Reopen()),
    )
    return st.lists(steps, max_size=steps_max)


# --- what comes of it -------------------------------------------------------------------


def taken(store: RuntimeStore, step: Step) -> object:
    """What a store answers to a step: errors by their type, which is what callers act on."""
    match step:
        case Commit(batches):
            return [type(answer) for answer in store.commit_many(batches)]
        case Offer(runtime_id, rows):
            try:
                store.offer(runtime_id, rows)
            except StoreError as error:
                return type(error)
        case Prune(keep, limit):
            return _pruned(store, keep, limit)
        case Reopen():
            store.close()
    return None


def _pruned(store: RuntimeStore, keep: Retention, limit: int) -> tuple[int, int, int]:
    """What a whole pass did: how it comes to that, step by step, is the store's own."""
    inputs = receipts = operations = 0
    after: str | None = None
    while True:
        step = store.prune(keep, _LATER, after=after, limit=limit)
        inputs, receipts = inputs + step.inputs, receipts + step.receipts
        operations += step.operations
        after = step.next
        if after is None:
            return inputs, receipts, operations


def reads(store: RuntimeStore) -> dict[str, object]:
    """All that a store answers about the runtimes of a script, by what was asked.

    In an order that the protocol promises, or sorted where it leaves that to the store.
    """
    found: dict[str, object] = {
        "list_runtimes": list(pages(store.list_runtimes)),
        "runtimes_with_work": store.runtimes_with_work(),
    }
    found |= {
        f"page_summaries {order}": list(pages(store.page_summaries, order)) for order in Order
    }
    for runtime_id in _RUNTIMES:
        ended_inputs = pages(store.page_terminal_inputs, runtime_id)
        asked = {
            "load_runtime": store.load_runtime(runtime_id),
            "load_active_inputs": store.load_active_inputs(runtime_id),
            "page_active_inputs": list(pages(store.page_active_inputs, runtime_id)),
            "page_terminal_inputs": sorted(ended_inputs, key=lambda state: str(state.input_id)),
            "page_abandoned_inputs": list(pages(store.page_abandoned_inputs, runtime_id)),
            "load_payloads": store.load_payloads(runtime_id, [input_id(n) for n in range(10)]),
            "page_receipts": list(pages(store.page_receipts, runtime_id)),
            "load_session_snapshot": store.load_session_snapshot(runtime_id),
            "load_ops_snapshot": store.load_ops_snapshot(runtime_id),
            "load_input": [store.load_input(runtime_id, input_id(n)) for n in (0, 3, 9)],
            "load_input_by_key": [
                store.load_input_by_key(runtime_id, IdempotencyKey(key)) for key in "ab"
            ],
            "load_boundary_receipt": store.load_boundary_receipt(runtime_id, RUN, 2**63),
        }
        if copyable(store):
            asked["page_inputs"] = list(pages(store.page_inputs, runtime_id))
            asked["page_operations"] = list(pages(store.page_operations, runtime_id))
        found |= {f"{name} {runtime_id}": read for name, read in asked.items()}
    return found


@frozen
class Disagreement:
    """Where two stores part: the step, by its number from 0, and what each of them says."""

    step: int
    asked: str
    one: object = field(repr=False)
    other: object = field(repr=False)

    def __str__(self) -> str:
        return f"step {self.step}: {self.asked}: {self.one!r} is not {self.other!r}"


def disagreement(
    script: Iterable[Step], one: RuntimeStore, other: RuntimeStore
) -> Disagreement | None:
    """Play a script on two empty stores; where they first answer or read differently, if they do.

    Errors that are no StoreError go through. For one thread.
    """
    for number, step in enumerate(script):
        answers = taken(one, step), taken(other, step)
        if answers[0] != answers[1]:
            return Disagreement(number, type(step).__name__.lower(), *answers)
        mine, theirs = reads(one), reads(other)
        for asked, read in mine.items():
            if read != theirs[asked]:
                return Disagreement(number, asked, read, theirs[asked])
    return None
