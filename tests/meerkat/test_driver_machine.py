"""The driver in memory under any steps: every invariant holds after every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builders import (
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
from driver_observer import LIMITS, DriverObserver, S
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from meerkat import (
    Accepted,
    Boundary,
    ContinuationInput,
    Deduplicated,
    Input,
    InputId,
    InputPhase,
    Rejected,
    RunBoundaryReceipt,
    RunId,
    RunOutput,
)
from meerkat.errors import RunRefused
from meerkat.policy import Lane
from meerkat.reports import RecoveryReport

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
STEERED = [progress, progress, BUILDERS[9], continuation]
keyed = st.just((progress, "x"))
steered = keyed | st.tuples(st.sampled_from(STEERED), st.sampled_from([None, "x"]))
offers = st.tuples(
    st.sampled_from(BUILDERS),
    st.fixed_dictionaries(
        {
            "idempotency_key": st.sampled_from([None] * 6 + list("abcdef")),
            "supersession_key": st.sampled_from([None, None, "x", "y"]),
            "durability": st.sampled_from(["durable"] * 4 + ["ephemeral", "derived"]),
        }
    ),
)
CONTROLS = ["attach_executor", "detach_executor", "recycle", "recover"]
ENDINGS = ["retire", "stop", "reset", "destroy"]
FAILURES = ["fail_run", "fail_run", "fail_run", "fail_run_for_good", "cancel_run"]


class DriverMachine(DriverObserver):
    """Any steps at all; a step that is refused must have changed nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_over: tuple[RunId, Boundary] | None = None

    @rule(offers=st.lists(offers, min_size=1, max_size=4))
    def accept(self, offers: list[tuple[Callable[..., Input], dict[str, Any]]]) -> None:
        for build, header in offers:
            self.accept_one(build(**header), header["idempotency_key"])

    def accept_one(self, offered: Input, key: str | None) -> None:
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

    @rule(steered=st.lists(steered, min_size=1, max_size=3))
    @precondition(lambda self: self.driver.runtime_state() is S.RUNNING)
    def steer(self, steered: list[tuple[Callable[..., Input], str | None]]) -> None:
        for build, key in steered:
            self.accept_one(build(supersession_key=key), None)

    @rule(again=st.integers(0, 10**6))
    @precondition(lambda self: bool(self.known))
    def accept_a_known_id(self, again: int) -> None:
        input_id = list(self.known)[again % len(self.known)]
        outcome = self.attempt(lambda: self.driver.accept_input(prompt("other", id=input_id)))
        assert outcome is None or outcome.existing_id == input_id

    @rule()
    @precondition(lambda self: self.driver.active_input_ids())
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

    @rule(taken=st.integers(1, 8), texts=st.lists(st.text(max_size=3), max_size=2))
    @precondition(
        lambda self: self.driver.current_run_id and self.driver.waiting_input_ids(Lane.STEER)
    )
    def commit_a_boundary(self, taken: int, texts: list[str]) -> None:
        run_id = self.driver.current_run_id
        assert run_id is not None
        ids = tuple(self.driver.waiting_input_ids(Lane.STEER)[:taken])
        append = [{"text": text} for text in texts if text.isprintable()]
        receipt = self.attempt(
            lambda: self.driver.commit_boundary(run_id, ids, RunOutput(append=append))
        )
        resumes = any(isinstance(self.known[each].input, ContinuationInput) for each in ids)
        assert (receipt is None) == resumes
        if receipt is not None:
            self.taken_in(receipt, ids, append)

    def taken_in(
        self, receipt: RunBoundaryReceipt, ids: tuple[InputId, ...], append: list[Any]
    ) -> None:
        for input_id in ids:
            if self.state(input_id).attempt_count == 1:
                self.note_first_staging(self.state(input_id))
        self.check_receipt(receipt, ids, append)

    @rule(
        before=st.lists(steered, min_size=1, max_size=3),
        meanwhile=st.lists(steered, min_size=1, max_size=2),
        commits=st.booleans(),
    )
    @precondition(lambda self: self.driver.current_run_id is not None)
    def look_at_a_boundary(self, before: list[Any], meanwhile: list[Any], commits: bool) -> None:
        """What an executor is looking at is not replaced by what is steered meanwhile."""
        run_id = self.driver.current_run_id
        assert run_id is not None
        self.steer(before)
        boundary = self.driver.boundary(run_id)
        waiting = [self.state(each).input for each in self.driver.waiting_input_ids(Lane.STEER)]
        assert list(boundary.inputs) == [
            each for each in waiting if not isinstance(each, ContinuationInput)
        ]
        self.handed_over = run_id, boundary
        self.steer(meanwhile)
        assert {self.state(each.id).phase for each in boundary.inputs} <= {InputPhase.QUEUED}
        if commits:
            self.commit_what_was_handed_over(["at once"])

    @rule(texts=st.lists(st.text(max_size=3), max_size=2))
    @precondition(lambda self: self.handed_over is not None)
    def commit_what_was_handed_over(self, texts: list[str]) -> None:
        """Taken or refused whole: its run may be over, or some of it committed already."""
        assert self.handed_over is not None
        run_id, boundary = self.handed_over
        ids = tuple(each.id for each in boundary.inputs)
        waits = all(self.state(each).phase is InputPhase.QUEUED for each in ids)
        append = [{"text": text} for text in texts if text.isprintable()]
        receipt = self.attempt(lambda: boundary.commit(append=append))
        in_hand = self.driver.current_run_id == run_id
        assert (receipt is not None) == (bool(ids) and waits and in_hand)
        if receipt is not None:
            self.taken_in(receipt, ids, append)
        elif not in_hand:
            self.handed_over = None

    @rule(texts=st.lists(st.text(max_size=3), max_size=2), whole=st.booleans())
    @precondition(lambda self: self.driver.current_run_id is not None)
    def complete(self, texts: list[str], whole: bool) -> None:
        run_id = self.driver.current_run_id
        assert run_id is not None
        ids = self.contributors()
        append = [{"text": text} for text in texts if text.isprintable()]
        extended = [*self.messages, *append]
        output = RunOutput(messages=extended) if whole else RunOutput(append=append)
        receipt = self.driver.complete_run(run_id, output)
        self.check_receipt(receipt, ids, append)
        self.run_is_over(run_id)

    @rule(end=st.sampled_from(FAILURES))
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
        self.run_is_over(run_id)

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

    @rule(ending=st.sampled_from(ENDINGS), hesitation=st.integers(1, 8))
    def end(self, ending: str, hesitation: int) -> None:
        """Rarely: what comes after it is mostly refusals."""
        if hesitation == 1:
            self.take_control(ending)

    @rule()
    @precondition(lambda self: self.driver.runtime_state() in (S.RETIRED, S.STOPPED))
    def revive(self) -> None:
        self.take_control("reset")
        assert self.driver.runtime_state() is S.IDLE

    def take_control(self, control: str) -> None:
        """Invariants 6 and 10."""
        active, run_id = self.active(), self.driver.current_run_id
        running = self.driver.runtime_state() is S.RUNNING
        report = self.attempt(getattr(self.driver, control))
        gone = {each for each in active if self.state(each).phase is InputPhase.ABANDONED}
        assert len(gone) == getattr(report, "inputs_abandoned", 0)
        self.retiring = running and (control == "retire" or self.retiring)
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


def test_any_steps_keep_the_invariants() -> None:
    run_state_machine_as_test(
        DriverMachine, settings=settings(max_examples=200, stateful_step_count=50)
    )
