"""The strategies reach everything they name, and hostile documents are refused, all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from actors import ControlPlane
from meerkat import (
    EphemeralRuntimeDriver,
    Input,
    PolicyTable,
    PromptInput,
    RunOutput,
    from_json,
    to_json,
)
from meerkat.errors import DecodeError, MeerkatError
from meerkat.inputs import Durability
from meerkat.kernel.memory import Rules
from meerkat.operations import OperationKind, OperationRecord, OperationStatus
from meerkat.origins import InputKind
from meerkat.policy import ask, refuse_impossible
from meerkat.store import MemoryStore
from meerkat.testing.invariants import check_driver
from meerkat.testing.strategies import (
    BARE_CALLS,
    SABOTAGES,
    Command,
    commands,
    decisions,
    envelopes,
    headers,
    hostile_json,
    inputs,
    operations,
    policies,
    wire_values,
)

HELLO = st.builds(PromptInput, st.just("hello"))


def drawn(strategy: st.SearchStrategy[Any], told: Callable[[Any], Any], times: int) -> set[Any]:
    """What is told of so many values of a strategy."""
    seen: set[Any] = set()

    @settings(max_examples=times, phases=[Phase.generate], derandomize=True, database=None)
    @given(strategy)
    def draw(value: Any) -> None:
        seen.add(told(value))

    draw()
    return seen


def test_every_kind_of_input_is_drawn() -> None:
    assert drawn(inputs(), lambda each: each.kind, 600) == set(InputKind)


def test_every_operation_is_drawn() -> None:
    assert drawn(operations(), lambda each: each.status, 150) == set(OperationStatus)
    assert drawn(operations(), lambda each: each.kind, 50) == set(OperationKind)


@given(operations(live=True), operations(live=False))
def test_operations_are_live_or_ended_as_asked_for(
    live: OperationRecord, ended: OperationRecord
) -> None:
    assert (live.outcome, ended.status) == (None, ended.outcome and ended.outcome.status)


@given(headers(durability=st.just(Durability.DERIVED)))
def test_what_is_fixed_of_a_header_stays(header: dict[str, Any]) -> None:
    assert header["durability"] is Durability.DERIVED


@given(wire_values())
def test_wire_values_have_a_wire_form(value: Any) -> None:
    assert from_json(type(value), to_json(value)) == value


@given(decisions(followable=True))
def test_followable_decisions_can_be_followed(decision: Any) -> None:
    assert refuse_impossible(decision) is decision


@given(policies(), inputs(), st.booleans())
def test_a_drawn_policy_decides_about_everything(
    policy: PolicyTable, offered: Input, running: bool
) -> None:
    assert ask(policy, offered, running=running) == policy.resolve(offered, running=running)


@given(policies(), st.lists(inputs(), max_size=5))
def test_a_driver_follows_any_drawn_policy(policy: PolicyTable, offered: list[Input]) -> None:
    driver = EphemeralRuntimeDriver("agent-1", rules=Rules(policy=policy))
    driver.attach_executor()
    for each in offered:
        driver.accept_input(each)
        check_driver(driver)
    while driver.active_input_ids():
        staged = driver.start_run()
        check_driver(driver)
        assert driver.current_run_id is not None
        driver.complete_run(driver.current_run_id, RunOutput(append=[{"text": staged.text}]))
        check_driver(driver)


# --- commands ---------------------------------------------------------------------------


@settings(max_examples=15)
@given(asked=commands("agent-7", offered=HELLO))
def test_commands_are_answered_or_refused(asked: list[Command]) -> None:
    refused: list[str] = []
    with ControlPlane(store=MemoryStore(), executor=lambda context, staged: RunOutput()) as plane:
        plane.register("agent-7")
        for each in asked:
            try:
                each.on(plane)
            except MeerkatError as error:
                refused.append(error.code)
    assert "internal_error" not in refused


def test_every_command_is_drawn() -> None:
    seen = drawn(commands(offered=HELLO), lambda asked: frozenset(e.call for e in asked), 400)
    wanted = {*BARE_CALLS, "ingest", "publish_event", "set_silent_intents"}
    assert frozenset().union(*seen) == wanted


def test_every_call_that_asks_one_thing_by_name_alone_is_a_command() -> None:
    by_name = {
        name
        for name, call in vars(ControlPlane).items()
        if not name.startswith("_")
        and inspect.isfunction(call)
        and inspect.signature(call).parameters.keys() == {"self", "runtime_id", "timeout"}
    }
    assert by_name - {"watch"} == set(BARE_CALLS)  # what a watch gives has to be closed


@given(envelopes(st.just("agent-7")))
def test_envelopes_name_the_runtime_asked_for(envelope: Any) -> None:
    assert str(envelope.runtime_id) == "agent-7"


# --- hostile documents ------------------------------------------------------------------


@pytest.mark.parametrize("wrong", SABOTAGES)
@settings(max_examples=25)
@given(data=st.data())
def test_hostile_documents_are_refused(wrong: str, data: st.DataObject) -> None:
    document = data.draw(hostile_json(wrong=wrong))
    with pytest.raises(DecodeError):
        from_json(document.type, document.data)


@pytest.mark.parametrize("wrong", SABOTAGES)
def test_every_sabotage_happens(wrong: str) -> None:
    assert wrong in drawn(hostile_json(wrong=wrong), lambda document: document.wrong, 50)
