"""The state machine with executors and policies of hosts': the right pass, the wrong are told."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from meerkat import LogicalRuntimeId, RunContext, RunOutput, StagedInput, WakeReason
from meerkat.errors import PolicyRefused
from meerkat.inputs import Input
from meerkat.policy import DEFAULT_POLICY, ConsumePoint, PolicyDecision, RoutingDisposition
from meerkat.store import MemoryStore, RuntimeRow
from meerkat.testing import RuntimeStateMachine

pytestmark = pytest.mark.usefixtures("no_news")

SOME = settings(
    max_examples=40,
    stateful_step_count=30,
    phases=[Phase.generate],
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


MANY = settings(SOME, max_examples=500)
"""What is wrong is found by some of these for certain; the first one ends it."""


def run(some: settings = SOME, **plugged: Any) -> None:
    run_state_machine_as_test(type("HostsMachine", (RuntimeStateMachine,), plugged), settings=some)


def with_executor(executor: Any, some: settings = SOME, **plugged: Any) -> None:
    run(some, make_executor=lambda _: executor, **plugged)


# --- right ------------------------------------------------------------------------------


def waits_a_while(context: RunContext, _staged: StagedInput) -> RunOutput:
    context.wait(3)
    return RunOutput(append=[{"said": "a while later"}])


def waits_until_told(context: RunContext, _staged: StagedInput) -> RunOutput:
    while context.wait(1) is WakeReason.STEERED:
        boundary = context.boundary()
        if boundary:
            boundary.commit(append=[{"said": "steered"}])
        context.raise_if_cancelled()
    return RunOutput()


def comes_back_late(context: RunContext, _staged: StagedInput) -> RunOutput:
    """What it says after its run is over counts for nobody."""
    try:
        context.wait(3)
        context.raise_if_cancelled()
    except Exception:  # noqa: BLE001 - it does not want to know
        return RunOutput(append=[{"said": "too late"}])
    return RunOutput(append=[{"said": "in time"}])


@pytest.mark.parametrize("executor", [waits_a_while, waits_until_told, comes_back_late])
def test_an_executor_may_be_a_while(executor: Any) -> None:
    with_executor(executor)


def test_a_run_that_waits_goes_on_when_time_passes() -> None:
    done: list[WakeReason] = []

    def waits(context: RunContext, _staged: StagedInput) -> RunOutput:
        done.append(context.wait(3))
        return RunOutput()

    with_executor(waits)
    assert WakeReason.TIMEOUT in done


def test_an_executor_may_fail_in_ways_that_were_named() -> None:
    def fails(_context: RunContext, _staged: StagedInput) -> RunOutput:
        raise TimeoutError("the language model does not answer")

    with_executor(fails)
    with_executor(fails, may_raise=(TimeoutError,))


# --- wrong ------------------------------------------------------------------------------


def test_any_other_error_is_told_as_the_executors() -> None:
    def takes_too_few(_context: RunContext) -> RunOutput:
        return RunOutput()

    with pytest.raises(AssertionError, match=r"your executor, in run .* may not raise TypeError"):
        with_executor(takes_too_few, MANY, may_raise=(TimeoutError,))


def test_what_is_no_output_is_told_as_the_executors() -> None:
    with pytest.raises(AssertionError, match=r"your executor, .* gave dict, where RunOutput"):
        with_executor(lambda _context, _staged: {"reply": "hello"}, MANY)


def test_an_executor_that_ignores_what_wakes_it_is_found() -> None:
    def goes_on(context: RunContext, _staged: StagedInput) -> RunOutput:
        while True:
            context.wait(1)

    with pytest.raises(AssertionError, match=r"your executor, .* in a row, and it waits again"):
        with_executor(goes_on, MANY)


def test_a_coroutine_executor_is_refused() -> None:
    async def agent(_context: object, _staged: object) -> RunOutput:
        return RunOutput()

    with pytest.raises(TypeError, match="coroutine executors are not simulated"):
        with_executor(agent)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"consume_point": ConsumePoint.ON_APPLY}, "consume point on_apply"),
        ({"routing_disposition": RoutingDisposition.DROP}, "routing drop"),
    ],
)
def test_a_policy_that_no_runtime_can_follow_is_told_why(changed: Any, told: str) -> None:
    class Policy:
        def resolve(self, offered: Input, *, running: bool) -> PolicyDecision:
            decision = DEFAULT_POLICY.resolve(offered, running=running)
            return decision if decision.lane is None else evolve(decision, **changed)

    with pytest.raises(PolicyRefused, match=told):
        run(MANY, policy=Policy())


def test_a_pause_that_a_crash_ends_is_found() -> None:
    class Forgets(MemoryStore):
        def load_runtime(self, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
            row = super().load_runtime(runtime_id)
            return None if row is None else evolve(row, paused=False)

    with pytest.raises(AssertionError):  # by the model, or by an invariant
        run(MANY, make_store=lambda _: Forgets())
