"""The observer of a driver: what only it can know, and the invariants it checks with that.

It keeps which input a key names, how inputs ended, which receipts a run has written, and in
which order inputs were first staged. The numbers are those of semantics.md, section 14.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from builders import Clock
from hypothesis.stateful import RuleBasedStateMachine, invariant

from meerkat import (
    EphemeralRuntimeDriver,
    InputId,
    InputPhase,
    InputState,
    RunBoundaryReceipt,
    RunId,
    RuntimeState,
)
from meerkat.errors import MeerkatError
from meerkat.kernel.memory import Rules
from meerkat.limits import Limits
from meerkat.policy import Lane
from meerkat.runs import ExecutionKind, execution_kind
from meerkat.testing.invariants import check_driver, check_inputs

S = RuntimeState
LIMITS = Limits(max_attempts=2, pending_inputs_max=8)


def digest_of(messages: list[Any]) -> str:
    text = json.dumps(messages, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class DriverObserver(RuleBasedStateMachine):
    """A driver, and what is true of it after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = EphemeralRuntimeDriver("agent-1", rules=Rules(limits=LIMITS), now=Clock())
        self.known: dict[InputId, InputState] = {}
        self.keys: dict[str, InputId] = {}
        self.receipts: dict[RunId, list[RunBoundaryReceipt]] = {}
        self.messages: list[dict[str, Any]] = []
        self.first_staged: dict[tuple[Lane, ExecutionKind], list[int]] = defaultdict(list)
        self.over: list[RunId] = []
        self.next_event = 1
        self.retiring = False

    # --- looking --------------------------------------------------------------------

    def state(self, input_id: InputId) -> InputState:
        state = self.driver.input_state(input_id)
        assert state is not None
        return state

    def active(self) -> set[InputId]:
        return {each for each in self.known if not self.state(each).is_terminal}

    def looks(self) -> tuple[Any, ...]:
        """Everything a refused step must leave as it was."""
        return (
            self.driver.runtime_state(),
            self.driver.current_run_id,
            {each: self.driver.input_state(each) for each in self.known},
            self.driver.active_input_ids(),
            [self.driver.waiting_input_ids(lane) for lane in Lane],
        )

    def attempt(self, call: Callable[[], Any]) -> Any:
        """Invariant 1. Gives None for a refused step."""
        self.events_are_dense()
        before = self.looks()
        try:
            return call()
        except MeerkatError:
            assert self.looks() == before
            assert self.driver.drain_events() == []
            return None

    def contributors(self) -> tuple[InputId, ...]:
        run_id = self.driver.current_run_id
        staged = [
            self.state(each) for each in self.known if self.state(each).phase is InputPhase.STAGED
        ]
        assert all(state.last_run_id == run_id for state in staged)
        staged.sort(key=lambda state: state.admission_sequence or 0)
        return tuple(state.input_id for state in staged)

    # --- what a step must have done --------------------------------------------------

    def note_first_staging(self, state: InputState) -> None:
        """Invariant 12; a boundary takes content turns, past the continuations between them."""
        assert state.policy is not None
        assert state.policy.lane is not None
        offered = self.known[state.input_id].input
        assert offered is not None
        order = self.first_staged[state.policy.lane, execution_kind(offered.kind)]
        assert state.admission_sequence is not None
        assert not order or order[-1] < state.admission_sequence
        order.append(state.admission_sequence)

    def check_receipt(
        self, receipt: RunBoundaryReceipt, ids: tuple[InputId, ...], append: list[Any]
    ) -> None:
        """Invariant 9."""
        self.messages += append
        written = self.receipts.setdefault(receipt.run_id, [])
        assert receipt.sequence == len(written)
        written.append(receipt)
        assert receipt.contributing_input_ids == ids
        assert receipt.conversation_digest == digest_of(self.messages)
        assert receipt.message_count == len(self.messages)
        for input_id in ids:
            state = self.state(input_id)
            assert (state.phase, state.last_run_id) == (InputPhase.CONSUMED, receipt.run_id)
            assert state.last_boundary_sequence == receipt.sequence

    def run_is_over(self, run_id: RunId) -> None:
        """A run returns to where it came from, or where it was sent meanwhile."""
        self.over.append(run_id)
        state = self.driver.runtime_state()
        assert state in (S.IDLE, S.ATTACHED, S.RETIRED)
        assert not self.retiring or state is S.RETIRED
        self.retiring = False

    # --- what is true after every step ----------------------------------------------

    @invariant()
    def histories_only_grow_and_ends_are_final(self) -> None:
        """Invariant 2 between two moments, and what a terminal input may hold."""
        for input_id, before in self.known.items():
            state = self.state(input_id)
            assert state == before if before.is_terminal else True
            assert state.history[: len(before.history)] == before.history
            assert (state.input is None) == state.is_terminal
            self.known[input_id] = state

    @invariant()
    def a_key_names_one_input(self) -> None:
        """Invariant 3."""
        claimed = [s.idempotency_key.value for s in self.known.values() if s.idempotency_key]
        assert sorted(claimed) == sorted(self.keys)

    @invariant()
    def the_driver_is_one_whole(self) -> None:
        """Invariants 4, 5, 11 and 12, as anyone can check them."""
        check_driver(self.driver, limits=LIMITS)
        assert set(self.driver.active_input_ids()) == self.active()
        assert len(self.active()) <= LIMITS.pending_inputs_max
        check_inputs(self.driver.runtime_id, self.known.values(), LIMITS)

    @invariant()
    def events_are_dense(self) -> None:
        """Invariant 13."""
        for envelope in self.driver.drain_events():
            assert envelope.sequence == self.next_event
            self.next_event += 1
