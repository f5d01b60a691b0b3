"""A host's slips of the pen: each is refused by its name, in words, and where it was made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from plane_builders import WAIT_S, OpenPlane, logged

from actors import ControlPlane
from actors.aio import AsyncControlPlane
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.errors import RuntimeNotFound
from meerkat.identifiers import InputId
from meerkat.limits import Limits
from meerkat.policy import DefaultPolicy
from meerkat.store import MemoryStore


class Agent:
    def apply(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        raise NotImplementedError


class Called:
    def __call__(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        raise NotImplementedError


MADE_WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a class for an executor": (
        lambda: ControlPlane(MemoryStore(), Agent),  # type: ignore[arg-type]
        "an executor is callable or has apply(), not the class Agent",
    ),
    "a class of callables for an executor": (
        lambda: ControlPlane(MemoryStore(), Called),  # type: ignore[arg-type]
        "an executor is callable or has apply(), not the class Called",
    ),
    "a class for a store": (
        lambda: ControlPlane(MemoryStore),  # type: ignore[arg-type]
        "a store is a RuntimeStore, not the class MemoryStore",
    ),
    "a number for a clock": (
        lambda: ControlPlane(MemoryStore(), clock=5),  # type: ignore[arg-type]
        "a clock has now, monotonic, jitter; not int",
    ),
}


@pytest.mark.parametrize("slip", MADE_WRONG)
def test_what_a_plane_is_made_of_is_refused_at_its_start(slip: str) -> None:
    made, said = MADE_WRONG[slip]
    with pytest.raises(TypeError) as refused:
        made().start()
    assert str(refused.value) == said


CALLED_WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a class to attach": (
        lambda plane: plane.attach_executor("a", Agent),
        "an executor is callable or has apply(), not the class Agent",
    ),
    "one name for many": (
        lambda plane: plane.register_many("abc"),
        "runtime ids come as a collection, not as one text",
    ),
    "a text for a patience": (
        lambda plane: plane.runtime_state("a", timeout="5"),
        "timeout takes seconds or None, not str",
    ),
    "one id to redrive": (
        lambda plane: plane.redrive("a", InputId.new()),
        "redrive takes InputIds, not one InputId",
    ),
    "words to redrive": (
        lambda plane: plane.redrive("a", causes=["reset"]),
        "redrive takes AbandonCauses, not str",
    ),
}


@pytest.mark.parametrize("slip", CALLED_WRONG)
def test_what_a_call_is_given_is_refused_in_words(quiet_plane: ControlPlane, slip: str) -> None:
    called, said = CALLED_WRONG[slip]
    with pytest.raises(TypeError) as refused:
        called(quiet_plane)
    assert str(refused.value) == said


def test_one_name_for_many_registers_none(quiet_plane: ControlPlane) -> None:
    with pytest.raises(TypeError):
        quiet_plane.register_many("abc")

    async def in_a_loop() -> None:
        plane = await AsyncControlPlane.wrap(quiet_plane)
        with pytest.raises(TypeError, match="not as one text"):
            await plane.register_many("abc")
        with pytest.raises(TypeError, match="timeout takes seconds or None, not str"):
            await plane.runtime_state("a", timeout="5")  # type: ignore[arg-type]

    asyncio.run(in_a_loop())
    with pytest.raises(RuntimeNotFound):
        quiet_plane.runtime_state("b")


INPUT_WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "idempotency_key": ({"idempotency_key": 5}, "is an IdempotencyKey or None, not int"),
    "id": ({"id": "1"}, "is an InputId, not str"),
    "causation_id": ({"causation_id": InputId.new()}, "is a CausationId or None, not InputId"),
}


@pytest.mark.parametrize("name", INPUT_WRONG)
def test_what_an_input_is_made_of_is_refused_in_one_line(name: str) -> None:
    given, said = INPUT_WRONG[name]
    with pytest.raises(TypeError) as refused:
        PromptInput("x", **given)
    assert str(refused.value) == f"{name} {said}"


def test_the_log_of_a_run_that_failed_names_the_kind_of_the_error(open_plane: OpenPlane) -> None:
    def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
        raise LookupError("a secret")

    plane = open_plane(agent, limits=Limits(max_attempts=1))
    plane.register("a")
    with logged("has failed by LookupError, and its inputs are given up") as said:
        plane.completion("a", plane.ingest("a", PromptInput("x"))).result(WAIT_S)
        assert said.wait(WAIT_S)


def test_the_help_of_a_plane_names_its_policy() -> None:
    assert repr(DefaultPolicy()) == "DefaultPolicy()"
