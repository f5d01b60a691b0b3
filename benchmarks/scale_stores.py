"""Stores for the measurements of size, filled through ``commit_many`` as a plane fills them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from meerkat import InputState, PromptInput, RunId, RuntimeEpochId, SessionId
from meerkat.admission import encode_input
from meerkat.conversation import AppendMessages
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import queue_accepted, stage_for_run
from meerkat.policy import DEFAULT_POLICY
from meerkat.store import Batch, InputRow, RuntimeRow, SqliteStore

BATCHES_A_COMMIT: Final = 2_000
PAYLOAD_BYTES_MAX: Final = 1024 * 1024
IN_HAND: Final = 64
"""Runtimes that had a run in hand when the process was killed: as many as there are slots."""


def names(count: int) -> list[LogicalRuntimeId]:
    """The ids of so many runtimes, in the order of a listing."""
    return [LogicalRuntimeId(f"session-{number:07d}") for number in range(count)]


def known_runtimes(path: Path, count: int) -> None:
    """A store that knows so many runtimes, registered and idle."""
    _fill(path, (Batch(runtime=row_of(name, 0), expected_fence=0) for name in names(count)))


def pending_inputs(path: Path, runtimes: int, inputs: int) -> None:
    """A store as a killed process leaves it: so many inputs wait in each runtime.

    The first input of some had been staged for a run.
    """
    _fill(
        path,
        (
            Batch(
                runtime=row_of(name, inputs),
                expected_fence=0,
                inputs=tuple(
                    waiting(name, place, in_hand=number < IN_HAND and place == 0)
                    for place in range(inputs)
                ),
            )
            for number, name in enumerate(names(runtimes))
        ),
    )


def session_of(path: Path, name: LogicalRuntimeId, messages: int) -> None:
    """Add a session of so many committed messages, two to a run."""
    two = b'[{"content":"message","role":"user"},{"content":"noted","role":"assistant"}]'
    appends = tuple(AppendMessages(place, 2, two) for place in range(0, messages, 2))
    _fill(path, [Batch(runtime=row_of(name, 0), expected_fence=0, session=appends)])


def row_of(name: LogicalRuntimeId, next_admission_sequence: int) -> RuntimeRow:
    """A runtime that is idle, as it is stored first."""
    return RuntimeRow(
        runtime_id=name,
        session_id=SessionId.new(),
        epoch_id=RuntimeEpochId.new(),
        fence=1,
        next_admission_sequence=next_admission_sequence,
    )


def waiting(name: LogicalRuntimeId, place: int, *, in_hand: bool) -> InputRow:
    """An input that waits in it, or is staged."""
    now = datetime.now(UTC)
    offered = PromptInput(f"message {place} for {name}", idempotency_key=f"{name}/{place}")
    decision = DEFAULT_POLICY.resolve(offered, running=False)
    state = queue_accepted(InputState.of(offered, now), now, policy=decision, sequence=place)
    if in_hand:
        state = stage_for_run(state, now, run_id=RunId.new())
    return InputRow(state, encode_input(offered, PAYLOAD_BYTES_MAX))


def _fill(path: Path, batches: Iterable[Batch]) -> None:
    store, rest = SqliteStore(path), iter(batches)
    while group := list(islice(rest, BATCHES_A_COMMIT)):
        for refused in store.commit_many(group):
            if refused is not None:
                raise refused
    store.close()
