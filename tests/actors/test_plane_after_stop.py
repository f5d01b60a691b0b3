"""Used after the stop: whatever a host has kept answers at once, with a typed error or an end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attrs import frozen
from plane_builders import WAIT_S, Agent, OpenPlane, prompt, result_of
from plane_forks import refusal
from test_plane_lifecycle import CALLS

from actors import ControlPlane
from meerkat import OperationId, RunOutput
from meerkat.bindings import SessionRuntimeBindings
from meerkat.operations import OperationKind
from meerkat.outcomes import CompletionKind

KIND = OperationKind.BACKGROUND_TOOL_OP
NONE = "none"


@frozen
class Kept:
    """What a host has kept of a plane that has stopped."""

    plane: ControlPlane
    submission: Any
    subscription: Any
    everybodys: Any
    watch: Any
    bindings: SessionRuntimeBindings
    live: OperationId
    context: Any
    boundary: Any


@pytest.fixture
def kept(open_plane: OpenPlane) -> Kept:
    seen: list[Any] = []

    def behaviour(called: Any, context: Any) -> None:
        seen.extend([context, context.boundary()])

    plane = open_plane(Agent(behaviour))
    plane.register_many(["a", "b"])
    result_of(plane.submit("a", prompt()).completion)
    bindings, live = plane.register("b"), OperationId.new()
    bindings.ops_lifecycle.register(live, kind=KIND, display_name="it")
    bindings.ops_lifecycle.provisioning_succeeded(live)
    plane.detach_executor("b")
    parts = {
        "submission": plane.submit("b", prompt()),
        "subscription": plane.subscribe("b"),
        "everybodys": plane.subscribe(),
        "watch": plane.watch("b"),
    }
    result_of(parts["submission"].accepted)
    plane.stop()
    context, boundary = seen
    return Kept(
        plane=plane, bindings=bindings, live=live, context=context, boundary=boundary, **parts
    )


def read_to_its_end(reader: Any) -> None:
    for _ in reader:
        pass


USES: dict[str, tuple[Callable[[Kept], Any], str]] = {
    **{
        f"plane.{name}": ((lambda kept, call=call: call(kept.plane)), "ControlPlaneStopped")
        for name, call in CALLS.items()
    },
    "plane.stop": (lambda kept: kept.plane.stop(), NONE),
    "submission.accepted": (lambda kept: kept.submission.accepted.result(), NONE),
    "submission.completion": (lambda kept: kept.submission.completion.result(), NONE),
    "handle.exception": (lambda kept: kept.submission.completion.exception(), NONE),
    "handle.add_done_callback": (
        lambda kept: kept.submission.completion.add_done_callback(lambda _: None),
        NONE,
    ),
    "subscription": (lambda kept: read_to_its_end(kept.subscription), NONE),
    "subscription to all": (lambda kept: read_to_its_end(kept.everybodys), NONE),
    "subscription.close": (lambda kept: kept.subscription.close(), NONE),
    "watch": (lambda kept: read_to_its_end(kept.watch), NONE),
    "watch.close": (lambda kept: kept.watch.close(), NONE),
    "registry.register": (
        lambda kept: kept.bindings.ops_lifecycle.register(
            OperationId.new(), kind=KIND, display_name="one more"
        ),
        "OwnerRetired",
    ),
    "registry.complete": (
        lambda kept: kept.bindings.ops_lifecycle.complete(kept.live),
        "OwnerRetired",
    ),
    "registry.progress": (
        lambda kept: kept.bindings.ops_lifecycle.progress(kept.live),
        "OwnerRetired",
    ),
    "registry.wait_all": (
        lambda kept: kept.bindings.ops_lifecycle.wait_all([kept.live]),
        "OwnerRetired",
    ),
    "registry.watch": (lambda kept: kept.bindings.ops_lifecycle.watch(kept.live).result(), NONE),
    "registry.snapshots": (lambda kept: kept.bindings.ops_lifecycle.snapshots(), NONE),
    "context.boundary": (lambda kept: kept.context.boundary(), "RunRefused"),
    "context.wait": (lambda kept: kept.context.wait(WAIT_S), "RunRefused"),
    "context.progress": (lambda kept: kept.context.progress("late"), "RunRefused"),
    "context.raise_if_cancelled": (lambda kept: kept.context.raise_if_cancelled(), "RunRefused"),
    "context.messages": (lambda kept: kept.context.messages, "RunRefused"),
    "context.snapshot": (lambda kept: kept.context.snapshot, "RunRefused"),
    "context.bindings": (lambda kept: kept.context.bindings, "ControlPlaneStopped"),
    "boundary.commit": (lambda kept: kept.boundary.commit(append=[]), "RunRefused"),
}
"""What a host does with what it has kept → the error it gets, or none."""


@pytest.mark.parametrize("use", USES)
def test_each_use_of_what_was_kept_is_answered_at_once(kept: Kept, use: str) -> None:
    call, expected = USES[use]
    with ThreadPoolExecutor(1) as threads:
        assert result_of(threads.submit(refusal, lambda: call(kept))) == expected


def test_an_open_handle_says_that_the_plane_has_stopped(kept: Kept) -> None:
    ended = kept.submission.completion.result(0)
    assert ended.kind is CompletionKind.RUNTIME_TERMINATED
    assert ended.reason == "control plane stopped"


CONTEXT_USES: dict[str, Callable[[Any], Any]] = {
    "boundary": lambda context: context.boundary(),
    "wait": lambda context: context.wait(WAIT_S),
    "progress": lambda context: context.progress("late"),
    "raise_if_cancelled": lambda context: context.raise_if_cancelled(),
    "messages": lambda context: context.messages,
    "snapshot": lambda context: context.snapshot,
}


@pytest.mark.parametrize("use", CONTEXT_USES)
def test_the_context_of_a_coroutine_is_refused_alike(open_plane: OpenPlane, use: str) -> None:
    seen: list[Any] = []

    async def agent(context: Any, primitive: Any) -> RunOutput:
        seen.append(context)
        return RunOutput(append=[])

    plane = open_plane(agent)
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    plane.stop()

    def used() -> Any:
        async def main() -> Any:
            given = CONTEXT_USES[use](seen[0])
            return await given if hasattr(given, "__await__") else given

        return asyncio.run(main())

    with ThreadPoolExecutor(1) as threads:
        assert result_of(threads.submit(refusal, used)) == "RunRefused"


def test_a_run_that_outlives_its_plane_is_refused_as_well(open_plane: OpenPlane) -> None:
    let_go, said = threading.Event(), threading.Event()
    refusals: list[str] = []

    def behaviour(called: Any, context: Any) -> None:
        let_go.wait(WAIT_S)
        refusals.extend(
            refusal(lambda use=use: use(context))
            for use in (
                lambda context: context.boundary(),
                lambda context: context.messages,
                lambda context: context.bindings,
                lambda context: plane.ingest("a", prompt()),
            )
        )
        said.set()

    agent = Agent(behaviour)
    plane = open_plane(agent, grace_s=0.01)
    plane.register("a")
    plane.submit("a", prompt())
    agent.next_call()
    plane.stop(timeout=0)
    let_go.set()
    assert said.wait(WAIT_S)
    assert refusals[0] in {"RunCancelled", "ControlPlaneStopped"}
    assert set(refusals[1:]) <= {"ControlPlaneStopped", "SessionUnreadable"}
