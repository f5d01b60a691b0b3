"""Callers: what their timeouts bound, and what their callbacks can harm."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from plane_builders import WAIT_S, Agent, OpenPlane, decided, prompt, result_of
from plane_stores import FrozenDisk

from actors import ControlPlane
from meerkat import InputId, RunId
from meerkat.errors import CallTimedOut
from meerkat.store import SqliteStore


@pytest.mark.parametrize(
    "call", ["ingest", "register", "retire", "reset", "destroy", "stop_runtime", "unregister"]
)
def test_a_timeout_bounds_the_caller_and_says_so(
    open_plane: OpenPlane, path: Path, call: str
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    plane.register("a")
    disk.freeze()
    arguments: tuple[Any, ...] = ("b",) if call == "register" else ("a",)
    if call == "ingest":
        arguments = ("a", offered := prompt())
    with pytest.raises(TimeoutError) as bounded:
        getattr(plane, call)(*arguments, timeout=0.01)
    assert isinstance(bounded.value, CallTimedOut)
    assert bounded.value.still_queued
    assert bounded.value.call == call
    assert "still queued" in str(bounded.value)
    disk.thaw()
    if call == "ingest":  # the work went on
        assert plane.ingest("a", offered).is_deduplicated
    elif call == "register":
        assert plane.active_input_ids("b") == []


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(1), KeyboardInterrupt()])
def test_a_callback_that_raises_harms_nobody_else(
    open_plane: OpenPlane, error: BaseException
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register_many(["a", "b"])

    def callback(_future: Any) -> None:
        raise error

    submitted = [plane.submit("a", prompt(text, idempotency_key="k")) for text in ("1", "2")]
    submitted.append(plane.submit("a", prompt("3")))
    handles = [plane.completion("a", result_of(submitted[0].accepted)) for _ in range(2)]
    for future in (submitted[0].accepted, submitted[0].completion, *handles[:1]):
        future.add_done_callback(callback) if not future.done() else None
    agent.release()
    for each in (*submitted, plane.submit("b", prompt("4"))):
        assert result_of(each.accepted) is not None
        assert result_of(each.completion).kind.value == "completed"
    for handle in handles:
        assert result_of(handle).result == "re: 1"
    decided(plane, "a").result(WAIT_S)
    assert sorted(agent.texts) == ["1", "3", "4"]


@pytest.mark.parametrize(
    "mistake",
    [
        lambda plane: plane.input_state("a", []),
        lambda plane: plane.input_state("a", str(InputId.new())),
        lambda plane: plane.load_boundary_receipt("a", RunId.new(), "0"),
        lambda plane: plane.load_boundary_receipt("a", [], 0),
        lambda plane: plane.subscribe("a", after="1"),
        lambda plane: plane.publish_event(None),
        lambda plane: plane.set_silent_intents("a", ["\ud800"]),
    ],
)
def test_a_caller_s_mistake_harms_no_runtime(
    open_plane: OpenPlane, mistake: Callable[[ControlPlane], Any]
) -> None:
    """What is in memory alone stays there: the driver does not begin anew."""
    plane = open_plane()
    plane.register("a")
    kept = plane.ingest("a", prompt(durability="ephemeral")).input_id
    with pytest.raises((TypeError, ValueError)):
        mistake(plane)
    assert plane.active_input_ids("a") == [kept]


@pytest.mark.parametrize("patience", [math.inf, 1e300, 10**400])
def test_a_caller_may_wait_for_ever_on_any_thread(open_plane: OpenPlane, patience: float) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    handle = plane.submit("a", prompt()).completion
    agent.next_call()
    with ThreadPoolExecutor(2) as threads:
        waiting = [
            threads.submit(plane.register, "b", timeout=patience),
            threads.submit(handle.result, patience),
        ]
        result_of(waiting[0])
        agent.release()
        assert result_of(waiting[1]).result == "re: hello"


def test_no_number_is_no_patience(open_plane: OpenPlane, path: Path) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    disk.freeze()
    with pytest.raises(CallTimedOut):
        plane.register("a", timeout=math.nan)
    disk.thaw()
