"""Both stores give the same answers, and the same reads, to one random script of batches."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from store_builders import QUICK

from meerkat import (
    IdempotencyKey,
    InputPhase,
    LogicalRuntimeId,
    RuntimeEpochId,
    RuntimeState,
)
from meerkat.conversation import (
    AppendMessages,
    ReplaceSnapshot,
    RewriteMessages,
    SessionChange,
)
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import StoreError
from meerkat.limits import Retention
from meerkat.store import Batch, InputRow, MemoryStore, Pruned, RuntimeStore, SqliteStore
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    RUN,
    START,
    batch,
    ended,
    everything,
    input_id,
    live,
    prompt,
    receipt,
    row_of,
)

RUNTIMES = (R1, R2, R3)
LATER = START + timedelta(days=1)
PHASES = tuple(phase for phase in InputPhase if phase.value not in ("superseded", "coalesced"))
NUMBERS = st.integers(0, 5)
SEQUENCES = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
KEYS = (None, "a", "b")
EPOCHS = tuple(RuntimeEpochId(UUID(int=number)) for number in (1, 2))
OPERATIONS = st.lists(st.integers(0, 3), max_size=2)


@st.composite
def input_rows(draw: st.DrawFn) -> InputRow:
    """A version of one of six inputs, two for each key: an input never changes its key."""
    number = draw(NUMBERS)
    return row_of(prompt(number, KEYS[number % 3]), draw(st.sampled_from(PHASES)), draw(SEQUENCES))


@st.composite
def session_changes(draw: st.DrawFn) -> SessionChange:
    count = draw(st.integers(0, 2))
    body = b"[" + b",".join([b'"m"'] * count) + b"]"
    choice = draw(st.integers(0, 3))
    if choice == 0:
        return ReplaceSnapshot(draw(st.binary(max_size=3)))
    if choice == 1:
        return RewriteMessages(count, body)
    return AppendMessages(draw(st.integers(0, 3)), 1, b'["n"]')


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    after = draw(st.integers(0, 2))
    rows = draw(st.lists(input_rows(), max_size=3, unique_by=lambda row: row.state.input_id))
    return batch(
        draw(st.sampled_from(RUNTIMES)),
        *rows,
        after=after,
        fence=draw(st.integers(max(after, 1), 3)),
        receipts=tuple(map(receipt, draw(st.lists(SEQUENCES, max_size=2)))),
        begun=tuple(live(each, -each % 2) for each in draw(OPERATIONS)),
        operations=tuple(
            ended(each + 1, draw(st.sampled_from(EPOCHS)), live(each)) for each in draw(OPERATIONS)
        ),
        session=tuple(draw(st.lists(session_changes(), max_size=2))),
        state=draw(st.sampled_from([RuntimeState.IDLE, RuntimeState.RETIRED])),
        registered=draw(st.booleans()),
        next_admission_sequence=draw(SEQUENCES),
        cursors=EpochCursorSnapshot(runtime_observed_seq=draw(SEQUENCES)),
        feed_watermark=draw(SEQUENCES),
        live_operations=draw(SEQUENCES),
        set_aside=draw(st.sampled_from([None, "", "why"])),
        epoch_id=draw(st.sampled_from([None, *EPOCHS])),
        silent_intents=frozenset(draw(st.lists(st.sampled_from("xy"), max_size=2))),
    )


@st.composite
def offers(draw: st.DrawFn) -> tuple[LogicalRuntimeId, list[InputRow]]:
    rows = draw(st.lists(input_rows(), max_size=2))
    accepted = [row_of(prompt(9, KEYS[n % 3]), InputPhase.ACCEPTED) for n in range(2)]
    return draw(st.sampled_from(RUNTIMES)), [*accepted, *rows[: draw(st.integers(0, 2))]]


@st.composite
def prunings(draw: st.DrawFn) -> Retention:
    age = draw(st.sampled_from([None, 0.0, 1e9]))
    return Retention(max_age_s=age, max_count=draw(st.sampled_from([None, 0, 1, 2**63])))


STEPS = st.one_of(
    st.lists(batches(), min_size=1, max_size=4), offers(), prunings(), st.just("reopen")
)


def taken(store: RuntimeStore, step: Any) -> Any:
    """What a store answers to a step: errors by their type, which is what callers act on."""
    if step == "reopen":
        store.close()
        return None
    if isinstance(step, Retention):
        return pruned(store, step)
    if isinstance(step, list):
        return [type(answer) for answer in store.commit_many(step)]
    try:
        return store.offer(*step)
    except StoreError as error:
        return type(error)


def pruned(store: RuntimeStore, keep: Retention) -> list[tuple[int, int, int, bool]]:
    """What each step of a whole pass did: the places where they start are the store's own."""
    steps: list[Pruned] = [Pruned(next="")]
    while steps[-1].next is not None:
        steps.append(store.prune(keep, LATER, after=steps[-1].next or None, limit=2))
    return [(each.inputs, each.receipts, each.operations, each.next is None) for each in steps]


def reads(store: RuntimeStore) -> list[Any]:
    found = everything(store)
    for runtime_id in RUNTIMES:
        found += [store.load_input(runtime_id, input_id(number)) for number in (0, 3, 9)]
        found += [store.load_input_by_key(runtime_id, IdempotencyKey(key)) for key in "ab"]
        found.append(store.load_boundary_receipt(runtime_id, RUN, 2**63))
    return found


@settings(settings.get_profile("store"), max_examples=150)
@given(st.lists(STEPS, max_size=8))
def test_one_script_has_the_same_answers_on_both_stores(script: list[Any]) -> None:
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        memory, sqlite = MemoryStore(), SqliteStore(Path(folder, "a.db"))
        try:
            for step in script:
                assert taken(sqlite, step) == taken(memory, step)
                assert reads(sqlite) == reads(memory)
        finally:
            sqlite.close()


def test_the_script_would_see_a_difference() -> None:
    """The control: a store that forgets one key answers differently."""
    memory = MemoryStore()
    memory.commit(batch(R1, row_of(prompt(1, "a"))))
    forgetful = MemoryStore()
    forgetful.commit(batch(R1, evolve(row_of(prompt(1)))))
    assert reads(memory) != reads(forgetful)
