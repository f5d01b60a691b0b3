"""Invariants of rows: what is true of the values of one runtime, whoever holds them.

The numbers are those of semantics.md, section 14, and each rule is written once. They are
stated over plain values, from that page alone: nothing of the kernel, of its tables or of
recovery is asked, so that a mistake there is not made here again.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NoReturn

from meerkat.conversation import SessionSnapshot
from meerkat.identifiers import IdempotencyKey, InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import (
    AbandonCause,
    AbandonedOutcome,
    CoalescedOutcome,
    ConsumedOutcome,
    InputPhase,
    InputState,
    SupersededOutcome,
    TerminalOutcome,
)
from meerkat.inputs import ContinuationInput
from meerkat.limits import DEFAULT_LIMITS, Limits
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.policy import Lane
from meerkat.receipts import RunBoundaryReceipt
from meerkat.store.protocol import RuntimeRow


class InvariantBroken(AssertionError):
    """Something is not as it always has to be.

    ``number`` is the invariant's in semantics.md, section 14; ``runtime_id`` and
    ``input_id`` say where, as texts, and None where there is nothing to name.
    """

    def __init__(
        self, number: int, found: str, *, runtime_id: object = None, input_id: object = None
    ) -> None:
        self.number = number
        self.found = found
        self.runtime_id = None if runtime_id is None else str(runtime_id)
        self.input_id = None if input_id is None else str(input_id)
        where = "" if runtime_id is None else f" in runtime {runtime_id}"
        whom = "" if input_id is None else f", input {input_id}"
        super().__init__(f"invariant {number} is broken{where}{whom}: {found}")


_PHASE_OF_END: Final[Mapping[type[TerminalOutcome], InputPhase]] = {
    ConsumedOutcome: InputPhase.CONSUMED,
    SupersededOutcome: InputPhase.SUPERSEDED,
    CoalescedOutcome: InputPhase.COALESCED,
    AbandonedOutcome: InputPhase.ABANDONED,
}
_ENDS: Final = frozenset(_PHASE_OF_END.values())
_IN_HAND: Final = frozenset(
    {InputPhase.STAGED, InputPhase.APPLIED, InputPhase.APPLIED_PENDING_CONSUMPTION}
)


def ended(state: InputState) -> bool:
    """Has this input come to its end?"""
    return state.phase in _ENDS


def is_cut_down(state: InputState) -> bool:
    """Has retention taken its history? Only of an input that has ended."""
    return not state.history and ended(state)


class _Broken:
    """Says where an invariant is broken, so that the rules below say only what."""

    __slots__ = ("_input_id", "_runtime_id")

    def __init__(self, runtime_id: LogicalRuntimeId, input_id: InputId | None = None) -> None:
        self._runtime_id, self._input_id = runtime_id, input_id

    def __call__(self, number: int, found: str) -> NoReturn:
        raise InvariantBroken(number, found, runtime_id=self._runtime_id, input_id=self._input_id)


# --- one input --------------------------------------------------------------------------


def check_input(
    runtime_id: LogicalRuntimeId, state: InputState, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Invariants 2, 5 and 11 of one input: its end, its history, its run and its attempts."""
    broken, outcome = _Broken(runtime_id, state.input_id), state.terminal_outcome
    if ended(state) != (outcome is not None):
        broken(2, f"{state.phase} with the outcome {outcome}")
    if outcome is not None and _PHASE_OF_END[type(outcome)] is not state.phase:
        broken(2, f"{state.phase} with the outcome {outcome}")
    if not is_cut_down(state):
        _check_history(broken, state)
    if state.phase in _IN_HAND and state.last_run_id is None:
        broken(5, f"{state.phase} without a run")
    _check_attempts(broken, state, limits)


def _check_history(broken: _Broken, state: InputState) -> None:
    phase, stagings = InputPhase.ACCEPTED, 0
    for entry in state.history:
        if entry.from_phase is not phase:
            broken(2, f"its history goes on from {entry.from_phase}, and had come to {phase}")
        phase = entry.to_phase
        stagings += phase is InputPhase.STAGED
    if phase is not state.phase:
        broken(2, f"{state.phase}, and its history ends with {phase}")
    if state.attempt_count > stagings:
        broken(11, f"{state.attempt_count} attempts, and it was staged {stagings} times")


def _check_attempts(broken: _Broken, state: InputState, limits: Limits) -> None:
    most = max(limits.crash_attempts_max, limits.max_attempts)
    if state.attempt_count > most:
        broken(11, f"{state.attempt_count} attempts of at most {most}")
    if state.phase in _IN_HAND and not state.attempt_count:
        broken(11, f"{state.phase} without an attempt")
    if not isinstance(state.terminal_outcome, AbandonedOutcome):
        return
    reason = state.terminal_outcome.reason
    if reason.cause is not AbandonCause.MAX_ATTEMPTS_EXHAUSTED:
        return
    if reason.attempts != state.attempt_count:
        broken(11, f"exhausted after {reason.attempts} attempts, {state.attempt_count} counted")
    if not state.recovery_count and state.attempt_count > limits.max_attempts:
        broken(11, f"only ever failed, and was tried {state.attempt_count} times")


# --- all inputs of a runtime ------------------------------------------------------------


def check_inputs(
    runtime_id: LogicalRuntimeId, states: Iterable[InputState], limits: Limits = DEFAULT_LIMITS
) -> None:
    """Invariants 2-5, 11 and 12 of the inputs of one runtime, ended ones among them."""
    broken, known = _Broken(runtime_id), tuple(states)
    keys: dict[IdempotencyKey, InputId] = {}
    numbers: dict[int, InputId] = {}
    ids: set[InputId] = set()
    for state in known:
        check_input(runtime_id, state, limits)
        if state.input_id in ids:
            broken(4, f"input {state.input_id} is there twice")
        ids.add(state.input_id)
        key, number = state.idempotency_key, state.admission_sequence
        if key is not None and keys.setdefault(key, state.input_id) != state.input_id:
            broken(3, f"{key!r} names {keys[key]} and {state.input_id}")
        if number is not None and numbers.setdefault(number, state.input_id) != state.input_id:
            broken(12, f"{numbers[number]} and {state.input_id} were both admitted as {number}")
    runs = {state.last_run_id for state in known if state.phase is InputPhase.STAGED}
    if len(runs) > 1:
        broken(5, f"inputs are staged for {len(runs)} runs: {', '.join(sorted(map(str, runs)))}")
    check_first_stagings(runtime_id, known)


def check_first_stagings(runtime_id: LogicalRuntimeId, states: Iterable[InputState]) -> None:
    """Invariant 12: nobody waits untried in a lane behind whose back a later one was tried.

    A boundary takes in content turns, past the continuations of the steer lane: those two are
    compared apart, and there only as long as they have not ended.
    """
    tried: dict[object, InputState] = {}
    waiting: dict[object, InputState] = {}
    for state in states:
        number, line = state.admission_sequence, _line_of(state)
        if number is None or line is None:
            continue
        if state.attempt_count and number > _number(tried.get(line), -1):
            tried[line] = state
        elif state.phase is InputPhase.QUEUED and not state.attempt_count:
            first = waiting.get(line)
            if first is None or number < _number(first, 0):
                waiting[line] = state
    for line, state in waiting.items():
        later = tried.get(line)
        if _number(later, -1) > _number(state, 0) and later is not None:
            _Broken(runtime_id, state.input_id)(
                12,
                f"number {state.admission_sequence} of its lane was never tried, and "
                f"{later.admission_sequence}, {later.input_id}, was",
            )


def _number(state: InputState | None, otherwise: int) -> int:
    number = None if state is None else state.admission_sequence
    return otherwise if number is None else number


def _line_of(state: InputState) -> object:
    """Where an input stands in line, None where nobody can tell any more."""
    if state.policy is None or state.policy.lane is None:
        return None
    if state.policy.lane is Lane.QUEUE:
        return Lane.QUEUE
    if state.input is None:
        return None
    return isinstance(state.input, ContinuationInput)


# --- receipts, cursors and operations ---------------------------------------------------


def check_receipts(
    runtime_id: LogicalRuntimeId,
    receipts: Iterable[RunBoundaryReceipt],
    states: Iterable[InputState],
) -> None:
    """Invariant 9: receipts of a run are dense, and prove exactly what was consumed.

    Contributors that are not among ``states`` are ephemeral, and never stored; the receipts
    that retention took are those of inputs which it had cut down before.
    """
    broken, known = _Broken(runtime_id), {state.input_id: state for state in states}
    sequences: defaultdict[RunId, list[int]] = defaultdict(list)
    proven: dict[InputId, RunBoundaryReceipt] = {}
    for receipt in receipts:
        sequences[receipt.run_id].append(receipt.sequence)
        if not receipt.contributing_input_ids:
            broken(9, f"a receipt of run {receipt.run_id} proves nothing")
        for input_id in receipt.contributing_input_ids:
            if proven.setdefault(input_id, receipt) is not receipt:
                broken(9, f"input {input_id} has two receipts")
        _check_staging_order(broken, receipt, known)
    for run_id, found in sequences.items():
        if sorted(found) != list(range(len(found))):
            broken(9, f"the receipts of run {run_id} are numbered {sorted(found)}")
    for state in known.values():
        _check_proven(_Broken(runtime_id, state.input_id), state, proven.get(state.input_id))


def _check_proven(broken: _Broken, state: InputState, proof: RunBoundaryReceipt | None) -> None:
    by_run = state.phase is InputPhase.CONSUMED and state.last_boundary_sequence is not None
    if proof is None:
        if by_run and not is_cut_down(state):
            broken(9, f"consumed by run {state.last_run_id}, and no receipt says so")
        return
    if state.phase is not InputPhase.CONSUMED:
        broken(10, f"{state.phase}, and run {proof.run_id} has a receipt for it")
    place = state.last_run_id, state.last_boundary_sequence
    if place != (proof.run_id, proof.sequence):
        broken(9, f"consumed by run {place[0]} at {place[1]}, and proven by {proof}")


def _check_staging_order(
    broken: _Broken, receipt: RunBoundaryReceipt, known: Mapping[InputId, InputState]
) -> None:
    """What was tried before goes first; among the others the order is that of admission."""
    states = [known[each] for each in receipt.contributing_input_ids if each in known]
    numbers = [
        state.admission_sequence
        for state in states
        if state.attempt_count == 1 and state.admission_sequence is not None
    ]
    if numbers != sorted(numbers):
        broken(9, f"the receipt of run {receipt.run_id} names its inputs as {numbers}")


def check_conversation(
    runtime_id: LogicalRuntimeId,
    receipts: Sequence[RunBoundaryReceipt],
    session: SessionSnapshot | None,
) -> None:
    """Invariant 9: the committed messages are those that some receipt proves.

    Not for executors that say their own digests, nor once retention has taken receipts.
    """
    if session is None or not session.message_count:
        return
    digest = hashlib.sha256(session.messages).hexdigest()
    for receipt in receipts:
        if (receipt.conversation_digest, receipt.message_count) == (digest, session.message_count):
            return
    _Broken(runtime_id)(
        9,
        f"{session.message_count} messages are committed, and none of {len(receipts)} proves them",
    )


def check_row(runtime_id: LogicalRuntimeId, row: RuntimeRow, states: Iterable[InputState]) -> None:
    """Invariants 4, 12 and 13 of what is stored of a runtime itself."""
    broken, cursors = _Broken(runtime_id), row.cursors
    reads = (cursors.runtime_last_injected_seq, cursors.runtime_observed_seq, row.feed_watermark)
    if list(reads) != sorted(reads):
        broken(13, f"injected, observed and watermark are {reads}")
    for state in states:
        number = state.admission_sequence
        if number is None:
            continue
        if number >= row.next_admission_sequence:
            broken(12, f"number {number} is given, the next one is {row.next_admission_sequence}")
        if str(row.state) in ("stopped", "destroyed") and not ended(state):
            broken(4, f"{row.state}, and input {state.input_id} is {state.phase}")


def check_operations(
    runtime_id: LogicalRuntimeId, operations: OpsSnapshot, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Invariants 13 and 14 of the operations of an epoch: its feed, its ends, its live ones."""
    broken, feed = _Broken(runtime_id), [entry.seq for entry in operations.feed]
    if feed != sorted(set(feed)):
        broken(13, f"the feed is numbered {feed}")
    for record in operations.operations:
        if record.outcome is None:
            broken(14, f"operation {record.operation_id} is {record.status} among the ended ones")
    for record in operations.live:
        if record.outcome is not None:
            broken(14, f"operation {record.operation_id} is {record.status} among the live ones")
    most = limits.operations_live_max
    if most is not None and len(operations.live) > most:
        broken(14, f"{len(operations.live)} operations are live, of at most {most}")
