"""What lies in the files of the corpus: batches of a past that a runtime may have had.

Written with the library alone, and with nothing of it that only one schema's code has, so that
the code of an earlier schema writes its files with this same file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from attrs import evolve, fields_dict

from meerkat import (
    ContinuationInput,
    External,
    ExternalEventInput,
    FlowStepInput,
    IdempotencyKey,
    InputId,
    InputState,
    LogicalRuntimeId,
    OperationId,
    OperationInput,
    Operator,
    Peer,
    PeerInput,
    PeerMessage,
    PeerRequest,
    PeerResponseProgress,
    PeerResponseTerminal,
    PromptInput,
    RunBoundaryReceipt,
    RunId,
    RuntimeEpochId,
    RuntimeState,
    SessionId,
    to_json,
)
from meerkat import input_lifecycle as steps
from meerkat.conversation import AppendMessages, ReplaceSnapshot
from meerkat.epoch import EpochCursorSnapshot
from meerkat.json_values import canonical
from meerkat.operations import (
    OperationCompleted,
    OperationKind,
    OperationRecord,
    OperationStatus,
)
from meerkat.ops_snapshot import OperationRow
from meerkat.policy import DEFAULT_POLICY, RunBoundary
from meerkat.store import Batch, InputRow, RuntimeRow

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
LATER: Final = START + timedelta(days=1)
SESSION: Final = SessionId(UUID(int=0x5E5510))
EPOCHS: Final = (RuntimeEpochId(UUID(int=0xE1)), RuntimeEpochId(UUID(int=0xE2)))
PEER: Final = Peer(peer_id="peer-ä", display_identity="The other one")


# --- values -----------------------------------------------------------------------------


def input_id(number: int) -> InputId:
    return InputId(UUID(int=number))


def run_id(number: int) -> RunId:
    return RunId(UUID(int=0xA0000 + number))


def prompt(number: int, key: str | None = None, **header: Any) -> PromptInput:
    text = f"prompt {number}: ä, \U0001f9a6, \u0000 and '\";--"
    return PromptInput(text, id=input_id(number), timestamp=START, idempotency_key=key, **header)


def of_every_kind(first: int) -> list[Any]:
    """An input of each kind, and of each convention of peers."""
    conventions = (
        PeerMessage(),
        PeerRequest(request_id="req-1", intent="mob.peer_added"),
        PeerResponseProgress(request_id="req-1", phase="in_progress"),
        PeerResponseTerminal(request_id="req-1", status="completed"),
    )
    made: list[Any] = [
        PromptInput([{"type": "text", "text": "blocks"}], source=Operator()),
        *(PeerInput("from a peer", convention=each, source=PEER) for each in conventions),
        FlowStepInput("a step", step_id="step-1", source=External(source_name="flow")),
        ExternalEventInput("mail.arrived", {"n": [1, None]}, source=External(source_name="mail")),
        ContinuationInput("go on"),
    ]
    return [
        evolve(each, id=input_id(number), timestamp=START)
        for number, each in enumerate(made, start=first)
    ]


def queued(offered: Any, sequence: int) -> InputState:
    policy = DEFAULT_POLICY.resolve(offered, running=False)
    accepted = InputState.of(offered, START)
    return steps.queue_accepted(accepted, START, policy=policy, sequence=sequence)


def consumed(offered: Any, sequence: int, run: int, result: Any = None) -> InputState:
    state = steps.stage_for_run(queued(offered, sequence), START, run_id=run_id(run))
    state = steps.mark_applied(state, START, run_id=run_id(run))
    state = steps.mark_applied_pending_consumption(state, START, sequence=0)
    return steps.consume(state, LATER, result=result)


def in_every_phase(first: int) -> list[tuple[Any, InputState]]:
    """Inputs as a crash may have left them, and as they may have ended."""
    offered = [prompt(number, f"key-{number}") for number in range(first, first + 10)]
    states = [queued(each, sequence) for sequence, each in enumerate(offered)]
    staged = [steps.stage_for_run(state, START, run_id=run_id(1)) for state in states]
    applied = [steps.mark_applied(state, START, run_id=run_id(1)) for state in staged]
    pending = [steps.mark_applied_pending_consumption(s, START, sequence=0) for s in applied]
    cancelled = steps.AbandonReason(steps.AbandonCause.CANCELLED)
    operation = OperationInput(
        OperationId(UUID(int=77)), {"status": "completed"}, id=input_id(first + 9), timestamp=START
    )
    noticed = steps.consume_on_accept(
        InputState.of(operation, START),
        START,
        policy=DEFAULT_POLICY.resolve(operation, running=False),
    )
    found = [
        InputState.of(offered[0], START),
        states[1],
        staged[2],
        applied[3],
        pending[4],  # its receipt is stored: recovery takes it as consumed
        steps.consume(pending[5], LATER, result={"big": 2**64 - 1, "ä": None}),
        steps.abandon(states[6], LATER, reason=cancelled, error="it said 'no'"),
        steps.supersede(states[7], LATER, by=input_id(first + 1)),
        steps.coalesce(states[8], LATER, into=input_id(first + 1)),
    ]
    return [*zip(offered, found, strict=False), (operation, noticed)]


def receipt(run: int, sequence: int, *numbers: int, **of_session: Any) -> RunBoundaryReceipt:
    return RunBoundaryReceipt(
        run_id=run_id(run),
        boundary=RunBoundary.RUN_START if sequence == 0 else RunBoundary.RUN_CHECKPOINT,
        contributing_input_ids=tuple(map(input_id, numbers)),
        sequence=sequence,
        **of_session,
    )


def operation(number: int) -> OperationRecord:
    return OperationRecord(
        operation_id=OperationId(UUID(int=0x0F0 + number)),
        kind=OperationKind.BACKGROUND_TOOL_OP,
        display_name=f"search {number}",
        status=OperationStatus.RUNNING,
        created_at=START,
    )


def end_of(number: int, seq: int, epoch_id: RuntimeEpochId) -> OperationRow:
    outcome = OperationCompleted(result={"seq": seq})
    record = evolve(
        operation(number), status=OperationStatus.COMPLETED, completed_at=LATER, outcome=outcome
    )
    return OperationRow(epoch_id=epoch_id, seq=seq, record=record)


def batch(name: str, after: int = 0, **changes: Any) -> Batch:
    """A commit of a runtime; what this schema's rows cannot hold is left out."""
    own = {key: changes.pop(key) for key in list(changes) if key not in fields_dict(Batch)}
    known = {key: value for key, value in own.items() if key in fields_dict(RuntimeRow)}
    row = RuntimeRow(runtime_id=LogicalRuntimeId(name), fence=after + 1, **known)
    fitting = {key: value for key, value in changes.items() if key in fields_dict(Batch)}
    return Batch(runtime=row, expected_fence=after, **fitting)


def rows(*written: tuple[Any, InputState]) -> tuple[InputRow, ...]:
    return tuple(InputRow(state, to_json(offered)) for offered, state in written)


# --- stories ----------------------------------------------------------------------------

Story = Iterator[Batch]


def idle() -> Story:
    """A runtime that was registered, and nothing else."""
    yield batch("idle/1", session_id=SESSION, epoch_id=EPOCHS[0])


def work() -> Story:
    """Work of every kind, and in every phase; a long session with its receipts."""
    waiting = of_every_kind(1)
    yield batch(
        "work:every-kind",
        epoch_id=EPOCHS[0],
        next_admission_sequence=len(waiting),
        silent_intents=frozenset({"mob.peer_removed"}),
        inputs=rows(*((each, queued(each, place)) for place, each in enumerate(waiting))),
    )
    phases = in_every_phase(20)
    yield batch(
        "work:every-phase",
        epoch_id=EPOCHS[0],
        next_admission_sequence=10,
        inputs=rows(*phases),
        receipts=(receipt(1, 0, 24, 25),),
        session=(ReplaceSnapshot(bytes(range(256))),),
    )
    yield from long_session("work:long-session", 24)


def long_session(name: str, runs: int) -> Story:
    messages: list[dict[str, Any]] = []
    for run in range(runs):
        offered = prompt(100 + run, f"turn-{run}")
        new = [{"role": "user", "content": f"turn {run}"}, {"role": "assistant", "content": "ä"}]
        change = AppendMessages(len(messages), 2, canonical(new))
        messages += new
        digest = hashlib.sha256(canonical(messages)).hexdigest()
        proof = receipt(run, 0, 100 + run, conversation_digest=digest, message_count=len(messages))
        yield batch(
            name,
            after=run,
            epoch_id=EPOCHS[0],
            next_admission_sequence=run + 1,
            inputs=rows((offered, consumed(offered, run, run, result=run))),
            receipts=(evolve(proof, run_id=run_id(100 + run)),),
            session=(change,),
        )


def operations() -> Story:
    """Operations that ended, in this epoch and the one before; some live, where it is noted."""
    yield batch("ops", epoch_id=EPOCHS[0], operations=(end_of(1, 1, EPOCHS[0]),), feed_watermark=1)
    yield batch(
        "ops",
        after=1,
        epoch_id=EPOCHS[1],
        begun=(operation(2), operation(3), operation(4)),
        live_operations=3,
        cursors=EpochCursorSnapshot(),
    )
    yield batch(
        "ops",
        after=2,
        epoch_id=EPOCHS[1],
        operations=(end_of(2, 1, EPOCHS[1]), end_of(5, 2, EPOCHS[1])),
        feed_watermark=2,
        live_operations=2,
        cursors=EpochCursorSnapshot(
            agent_applied_cursor=1, runtime_observed_seq=1, runtime_last_injected_seq=1
        ),
    )


def gone() -> Story:
    """Runtimes that are retired, stopped, destroyed or unregistered, each with its past."""
    ends = {
        "gone/retired": RuntimeState.RETIRED,
        "gone/stopped": RuntimeState.STOPPED,
        "gone/destroyed": RuntimeState.DESTROYED,
    }
    for number, (name, state) in enumerate(ends.items(), start=1):
        offered = prompt(number, "k")
        done = consumed(offered, 0, number)
        yield batch(
            name,
            state=state,
            epoch_id=EPOCHS[0],
            next_admission_sequence=1,
            inputs=rows((offered, done)),
            receipts=(evolve(receipt(number, 0, number), run_id=run_id(number)),),
        )
    left = prompt(9, "left")
    yield batch(
        "gone/unregistered",
        registered=False,
        session_id=SESSION,
        next_admission_sequence=1,
        inputs=rows((left, queued(left, 0))),
    )


def set_aside() -> Story:
    """A runtime that was given up, with what waits in it."""
    offered = prompt(1, "k")
    yield batch(
        "aside",
        epoch_id=EPOCHS[0],
        next_admission_sequence=1,
        set_aside="its driver failed nine times: ValueError('ä')",
        inputs=rows((offered, queued(offered, 0))),
    )


def paused() -> Story:
    """A runtime that starts no run, with what waits in it."""
    offered = prompt(1, "k")
    yield batch(
        "paused",
        epoch_id=EPOCHS[0],
        next_admission_sequence=1,
        paused=True,
        inputs=rows((offered, queued(offered, 0))),
    )


def past(runs: int = 12) -> Story:
    """A past that is about to be pruned, and one input that waits behind it."""
    yield from long_session("pruned", runs)
    waiting = prompt(500, "waits")
    yield batch(
        "pruned",
        after=runs,
        epoch_id=EPOCHS[0],
        next_admission_sequence=runs + 1,
        inputs=rows((waiting, queued(waiting, runs))),
    )


def edges() -> Story:
    """Numbers at the edge of what a column holds, and a key of the largest size."""
    offered = prompt(1, "k" * 512)
    state = evolve(queued(offered, 2**64 - 2), idempotency_key=IdempotencyKey("k" * 512))
    yield batch(
        "edges@" + "x" * 249,
        next_admission_sequence=2**64 - 1,
        inputs=rows((offered, state)),
        receipts=tuple(
            receipt(7, sequence, 1, message_count=sequence) for sequence in (0, 2**63, 2**64 - 1)
        ),
    )
