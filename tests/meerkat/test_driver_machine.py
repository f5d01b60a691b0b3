"""The driver in memory against the invariants of semantics.md, section 14, under any steps.

The machine keeps what only an observer can know: which input a key names, how inputs
ended, which receipts a run has written, and in which order inputs were first staged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from builders import (
    Clock,
    continuation,
    event,
    message,
    operation,
    progress,
    prompt,
    request,
    step,
    terminal,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meerkat import (
    Accepted,
    Deduplicated,
    EphemeralRuntimeDriver,
    Input,
    InputId,
    InputPhase,
    InputState,
    Rejected,
    RunBoundaryReceipt,
    RunId,
    RunOutput,
    RuntimeState,
)
from meerkat.errors import MeerkatError, RunRefused
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome
from meerkat.kernel.memory import Rules
from meerkat.limits import Limits
from meerkat.policy import Lane
from meerkat.reports import RecoveryReport

LIMITS = Limits(max_attempts=2, pending_inputs_max=8)
BUILDERS: list[Callable[..., Input]] = [
    prompt,
    message,
    request,
    progress,
    terminal,
    step,
    event,
    continuation,
    operation,
    lambda **header: message(handling_mode="steer", **header),
    lambda **header: progress(handling_mode="steer", **header),
    lambda **header: terminal("", **header),
]
CONTROLS = ["attach_executor", "detach_executor", "retire", "recycle", "reset", "stop", "recover"]


def digest_of(messages: list[Any]) -> str:
    text = json.dumps(messages, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class DriverMachine(RuleBasedStateMachine):
    """Any steps at all; a step that is refused must have changed nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = EphemeralRuntimeDriver("agent-1", rules=Rules(limits=LIMITS), now=Clock())
        self.known: dict[InputId, InputState] = {}
        self.keys: dict[str, InputId] = {}
        self.receipts: dict[RunId, list[RunBoundaryReceipt]] = {}
        self.messages: list[dict[str, Any]] = []
        self.first_staged: dict[Lane, list[int]] = {lane: [] for lane in Lane}
        self.over: list[RunId] = []
        self.next_event = 1

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
        before = self.looks()
        try:
            return call()
        except MeerkatError:
            assert self.looks() == before
            assert self.driver.drain_events() == []
            return None

    # --- steps ----------------------------------------------------------------------

    @rule(
        build=st.sampled_from(BUILDERS),
        key=st.sampled_from([None, "a", "b", "c"]),
        scope=st.sampled_from([None, None, "x", "y"]),
        durability=st.sampled_from(["durable", "durable", "ephemeral", "derived"]),
    )
    def accept(
        self,
        build: Callable[..., Input],
        key: str | None,
        scope: str | None,
        durability: str,
    ) -> None:
        offered = build(idempotency_key=key, supersession_key=scope, durability=durability)
        outcome = self.attempt(lambda: self.driver.accept_input(offered))
        if isinstance(outcome, Accepted):
            assert key not in self.keys
            self.known[offered.id] = outcome.state
            if key is not None:
                self.keys[key] = offered.id
        elif isinstance(outcome, Deduplicated):
            assert key is not None
            assert outcome.existing_id == self.keys[key]
            assert outcome.existing_state == self.state(self.keys[key])
        if not isinstance(outcome, Accepted):
            assert self.driver.input_state(offered.id) is None
        assert outcome is None or isinstance(outcome, Accepted | Deduplicated | Rejected)

    @rule(again=st.integers(0, 10**6))
    @precondition(lambda self: bool(self.known))
    def accept_a_known_id(self, again: int) -> None:
        input_id = list(self.known)[again % len(self.known)]
        outcome = self.attempt(lambda: self.driver.accept_input(prompt("other", id=input_id)))
        assert outcome is None or outcome.existing_id == input_id

    @rule()
    def start(self) -> None:
        run_id = RunId.new()
        staged = self.attempt(lambda: self.driver.start_run(run_id))
        if staged is None:
            return
        assert 1 <= len(staged.contributing_input_ids) <= LIMITS.pending_inputs_max
        for input_id in staged.contributing_input_ids:
            state = self.state(input_id)
            assert (state.phase, state.last_run_id) == (InputPhase.STAGED, run_id)
            if state.attempt_count == 1:
                self.note_first_staging(state)

    def note_first_staging(self, state: InputState) -> None:
        """Invariant 12."""
        assert state.policy is not None
        assert state.policy.lane is not None
        order = self.first_staged[state.policy.lane]
        assert state.admission_sequence is not None
        assert not order or order[-1] < state.admission_sequence
        order.append(state.admission_sequence)

    @rule(taken=st.integers(1, 8), texts=st.lists(st.text(max_size=3), max_size=2))
    @precondition(lambda self: self.driver.current_run_id is not None)
    def commit_a_boundary(self, taken: int, texts: list[str]) -> None:
        run_id = self.driver.current_run_id
        assert run_id is not None
        ids = tuple(self.driver.waiting_input_ids(Lane.STEER)[:taken])
        append = [{"text": text} for text in texts if text.isprintable()]
        receipt = self.attempt(
            lambda: self.driver.commit_boundary(run_id, ids, RunOutput(append=append))
        )
        if receipt is None:
            return
        for input_id in ids:
            if self.state(input_id).attempt_count == 1:
                self.note_first_staging(self.state(input_id))
        self.check_receipt(receipt, ids, append)

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

    @rule(texts=st.lists(st.text(max_size=3), max_size=2), whole=st.booleans())
    @precondition(lambda self: self.driver.current_run_id is not None)
    def complete(self, texts: list[str], whole: bool) -> None:  # noqa: FBT001
        run_id = self.driver.current_run_id
        assert run_id is not None
        ids = self.contributors()
        append = [{"text": text} for text in texts if text.isprintable()]
        extended = [*self.messages, *append]
        output = RunOutput(messages=extended) if whole else RunOutput(append=append)
        receipt = self.driver.complete_run(run_id, output)
        self.check_receipt(receipt, ids, append)
        self.over.append(run_id)

    @rule(end=st.sampled_from(["fail_run", "fail_run_for_good", "cancel_run"]))
    @precondition(lambda self: self.driver.current_run_id is not None)
    def end_badly(self, end: str) -> None:
        run_id = self.driver.current_run_id
        assert run_id is not None
        before = {each: self.state(each).attempt_count for each in self.contributors()}
        said = () if end == "cancel_run" else ("boom",)
        getattr(self.driver, end)(run_id, *said)
        for input_id, attempts in before.items():
            state = self.state(input_id)
            assert state.attempt_count == attempts
            back = end == "fail_run" and attempts < LIMITS.max_attempts
            assert state.phase is (InputPhase.QUEUED if back else InputPhase.ABANDONED)
        self.over.append(run_id)

    @rule()
    @precondition(lambda self: bool(self.over))
    def end_a_run_that_is_over(self) -> None:
        before = self.looks()
        for call in (self.driver.complete_run, self.driver.cancel_run):
            try:
                call(self.over[-1])
            except RunRefused:
                assert self.looks() == before
            else:
                raise AssertionError("a late result was taken")

    @rule(control=st.sampled_from(CONTROLS))
    def control(self, control: str) -> None:
        self.take_control(control)

    @rule(hesitation=st.integers(0, 4))
    def destroy(self, hesitation: int) -> None:
        if hesitation == 0:
            self.take_control("destroy")

    def take_control(self, control: str) -> None:
        """Invariants 6 and 10."""
        active, run_id = self.active(), self.driver.current_run_id
        running = self.driver.runtime_state() is RuntimeState.RUNNING
        report = self.attempt(getattr(self.driver, control))
        gone = {each for each in active if self.state(each).phase is InputPhase.ABANDONED}
        assert len(gone) == getattr(report, "inputs_abandoned", 0)
        if control in ("stop", "destroy") and report is not None:
            assert gone == active
            if run_id is not None:
                self.over.append(run_id)
        if control in ("reset", "recycle", "recover") and running:
            assert report is None
        if control == "recycle" and report is not None:
            assert report.inputs_transferred == len(active)
        if control == "recover" and report is not None:
            assert report.inputs_recovered == len(active)
            assert self.driver.recover() == RecoveryReport(inputs_recovered=len(active))

    def contributors(self) -> tuple[InputId, ...]:
        run_id = self.driver.current_run_id
        staged = [
            self.state(each)
            for each in self.known
            if self.state(each).phase is InputPhase.STAGED
        ]
        assert all(state.last_run_id == run_id for state in staged)
        staged.sort(key=lambda state: state.admission_sequence or 0)
        return tuple(state.input_id for state in staged)

    # --- what is true after every step ----------------------------------------------

    @invariant()
    def histories_only_grow_and_ends_are_final(self) -> None:
        """Invariant 2, and what a terminal input may hold."""
        for input_id, before in self.known.items():
            state = self.state(input_id)
            if before.is_terminal:
                assert state == before
            assert state.history[: len(before.history)] == before.history
            assert state.history[-1].to_phase is state.phase
            assert (state.terminal_outcome is not None) == state.is_terminal
            assert (state.input is None) == state.is_terminal
            self.known[input_id] = state

    @invariant()
    def a_key_names_one_input(self) -> None:
        """Invariant 3."""
        claimed = [s.idempotency_key.value for s in self.known.values() if s.idempotency_key]
        assert sorted(claimed) == sorted(self.keys)

    @invariant()
    def lanes_and_contributors_make_up_what_is_active(self) -> None:
        """Invariant 4."""
        active, lanes = self.active(), [self.driver.waiting_input_ids(lane) for lane in Lane]
        waiting = [*lanes[0], *lanes[1]]
        assert len(set(waiting)) == len(waiting)
        assert set(waiting) == {e for e in active if self.state(e).phase is InputPhase.QUEUED}
        assert active == {*waiting, *self.contributors()}
        assert set(self.driver.active_input_ids()) == active
        for ids in (self.driver.active_input_ids(), *lanes):
            sequences = [self.state(each).admission_sequence for each in ids]
            assert sequences == sorted(sequences)  # type: ignore[type-var]
        assert len(active) <= LIMITS.pending_inputs_max

    @invariant()
    def running_means_a_run_with_contributors(self) -> None:
        """Invariant 5."""
        running = self.driver.runtime_state() is RuntimeState.RUNNING
        assert running == (self.driver.current_run_id is not None)
        assert running == bool(self.contributors())

    @invariant()
    def attempts_are_bounded(self) -> None:
        """Invariant 11."""
        for state in self.known.values():
            assert state.attempt_count <= LIMITS.max_attempts
            outcome = state.terminal_outcome
            if isinstance(outcome, AbandonedOutcome):
                exhausted = outcome.reason.cause is AbandonCause.MAX_ATTEMPTS_EXHAUSTED
                assert not exhausted or outcome.reason.attempts == state.attempt_count

    @invariant()
    def events_are_dense(self) -> None:
        """Invariant 13."""
        for envelope in self.driver.drain_events():
            assert envelope.sequence == self.next_event
            self.next_event += 1


def test_any_steps_keep_the_invariants() -> None:
    run_state_machine_as_test(
        DriverMachine, settings=settings(max_examples=150, stateful_step_count=40)
    )
