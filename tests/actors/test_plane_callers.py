"""Callers: what their timeouts bound, and what their callbacks can harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plane_builders import WAIT_S, Agent, OpenPlane, decided, prompt, result_of
from plane_stores import FrozenDisk

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
