"""On the event loop that carries coroutine runs nothing waits that needs the loop: it awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from plane_builders import OpenPlane, error_of, prompt, result_of

from actors import ControlPlane
from meerkat import RunOutput
from meerkat.errors import WouldDeadlock
from meerkat.outcomes import CompletionKind

Deed = Callable[[ControlPlane], Any]

REFUSED: dict[str, Deed] = {
    "result": lambda plane: plane.submit("b", prompt()).completion.result(),
    "unregister": lambda plane: plane.unregister("b"),
    "stop_runtime": lambda plane: plane.stop_runtime("b"),
    "stop": lambda plane: plane.stop(),
    "next_event": lambda plane: next(plane.subscribe("b")),
    "next_notice": lambda plane: next(plane.watch("b")),
}
"""Calls that may wait for the loop."""

ANSWERED: dict[str, Deed] = {
    "ingest": lambda plane: plane.ingest("b", prompt()).is_accepted,
    "answer": lambda plane: plane.submit("b", prompt()).accepted.result().is_accepted,
    "register": lambda plane: plane.register("new") is not None,
    "runtime_state": lambda plane: plane.runtime_state("b") is not None,
}
"""Calls that drivers answer by themselves."""


def done_on_the_loop(open_plane: OpenPlane, deed: Deed) -> Future[Any]:
    """What a deed gives, or raises, in a coroutine run."""
    told: Future[Any] = Future()

    async def agent(context: Any, primitive: Any) -> RunOutput:
        if primitive.text == "go":
            try:
                told.set_result(deed(plane))
            except BaseException as error:  # noqa: BLE001 - the test's to look at
                told.set_exception(error)
        return RunOutput(append=[], result=primitive.text)

    plane: ControlPlane = open_plane(agent)
    plane.register_many(["a", "b"])
    plane.ingest("a", prompt("go"))
    return told


@pytest.mark.parametrize("call", REFUSED)
def test_what_may_need_the_loop_is_refused_there(open_plane: OpenPlane, call: str) -> None:
    error = error_of(done_on_the_loop(open_plane, REFUSED[call]))
    assert isinstance(error, WouldDeadlock), error
    assert error.call == call
    assert "await it instead" in str(error)


@pytest.mark.parametrize("call", ANSWERED)
def test_what_drivers_answer_is_answered_there(open_plane: OpenPlane, call: str) -> None:
    assert result_of(done_on_the_loop(open_plane, ANSWERED[call])) is True


def test_a_handle_may_be_awaited(open_plane: OpenPlane) -> None:
    async def agent(context: Any, primitive: Any) -> RunOutput:
        kind = "none"
        if primitive.text == "go":
            handle = plane.submit("b", prompt()).completion
            kind = (await asyncio.wrap_future(handle)).kind.value
        return RunOutput(append=[], result=kind)

    plane: ControlPlane = open_plane(agent)
    plane.register_many(["a", "b"])
    ended = result_of(plane.submit("a", prompt("go")).completion)
    assert ended.result == CompletionKind.COMPLETED.value
