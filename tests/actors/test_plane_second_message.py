"""A user's second message while a run is under way, in each of the ways users ask for.

Queued behind the run, steered into it, in the place of one that waits, or interrupting the
run. By public names alone: what a host has to write is what stands here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from attrs import field, frozen
from plane_builders import WAIT_S, OpenPlane

from actors import ControlPlane
from meerkat import (
    CompletionHandle,
    CompletionOutcome,
    LogicalRuntimeId,
    PromptInput,
    RunContext,
    RunOutput,
    StagedInput,
    WakeReason,
)
from meerkat.store import SqliteStore


class Assistant:
    """An agent that works on "first" until somebody has it go on, and looks up meanwhile."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.began: SimpleQueue[str] = SimpleQueue()
        self.looked: SimpleQueue[WakeReason] = SimpleQueue()
        self.orders: SimpleQueue[str] = SimpleQueue()

    def __call__(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        self.seen.append(primitive.text)
        self.began.put(primitive.text)
        if primitive.text == "first":
            while self.orders.get(timeout=3 * WAIT_S) == "look":
                self.looked.put(self.look(context))
            context.raise_if_cancelled()
        return RunOutput(append=said(primitive.text), result=f"did {primitive.text}")

    def look(self, context: RunContext) -> WakeReason:
        reason = context.wait(0)
        if reason is WakeReason.STEERED:
            boundary = context.boundary()
            boundary.commit(append=said(*(f"taken in: {text}" for text in boundary.texts)))
        return reason


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


class Session:
    """A session in which "first" is being worked, and "waiting" waits behind it."""

    def __init__(self, plane: ControlPlane, agent: Assistant, path: Path) -> None:
        self.plane, self.agent, self.path = plane, agent, path
        self.handles: dict[str, CompletionHandle] = {}
        plane.register("a")
        self.say("first")
        assert agent.began.get(timeout=WAIT_S) == "first"
        self.say("waiting", supersession_key="draft")

    def say(self, text: str, **header: Any) -> None:
        outcome = self.plane.ingest("a", PromptInput(text, **header))
        self.handles[text] = self.plane.completion("a", outcome)

    def look(self) -> WakeReason:
        """Have the run look up."""
        self.agent.orders.put("look")
        return self.agent.looked.get(timeout=WAIT_S)

    def go_on(self) -> dict[str, CompletionOutcome]:
        """Have the run end; how everything ended."""
        self.agent.orders.put("end")
        return {text: handle.result(WAIT_S) for text, handle in self.handles.items()}

    def said(self) -> list[str]:
        """What is in the conversation for good."""
        snapshot = SqliteStore(self.path).load_session_snapshot(LogicalRuntimeId("a"))
        assert snapshot is not None
        return [message["content"] for message in json.loads(snapshot.messages)]


@pytest.fixture
def session(open_plane: OpenPlane, path: Path) -> Iterator[Session]:
    agent = Assistant()
    plane = open_plane(agent, grace_s=WAIT_S)
    yield Session(plane, agent, path)
    agent.orders.put("end")  # where the test has not come that far


def test_acc_02_queued_behind_the_run(session: Session) -> None:
    session.say("second")
    assert session.look() is WakeReason.TIMEOUT
    assert not session.handles["second"].done()
    ended = session.go_on()
    assert [outcome.result for outcome in ended.values()] == [
        "did first",
        "did waiting",
        "did second",
    ]
    assert session.said() == session.agent.seen == ["first", "waiting", "second"]


def test_steered_into_the_run(session: Session) -> None:
    session.say("second", turn_metadata={"handling_mode": "steer"})
    assert session.look() is WakeReason.STEERED
    taken_in = session.handles["second"].result(WAIT_S)
    assert taken_in.kind.value == "completed_without_result"
    assert not session.handles["first"].done()
    ended = session.go_on()
    assert ended["first"].result == "did first"
    assert session.agent.seen == ["first", "waiting"]
    assert session.said() == ["taken in: second", "first", "waiting"]


def test_que_04_steered_into_a_run_that_does_not_look_up(session: Session) -> None:
    """Then it comes next, before what waits."""
    session.say("second", turn_metadata={"handling_mode": "steer"})
    ended = session.go_on()
    assert ended["second"].result == "did second"
    assert session.said() == session.agent.seen == ["first", "second", "waiting"]


def test_in_the_place_of_one_that_waits(session: Session) -> None:
    session.say("second", supersession_key="draft")
    assert session.look() is WakeReason.TIMEOUT
    displaced = session.handles["waiting"].result(WAIT_S)
    assert displaced.kind.value == "displaced"
    assert not session.handles["first"].done()
    ended = session.go_on()
    assert ended["second"].result == "did second"
    assert session.said() == session.agent.seen == ["first", "second"]


@pytest.mark.parametrize("mode", ["now", "after_boundary"])
def test_interrupting_the_run(session: Session, mode: str) -> None:
    """Steered, so that it comes next; what waited follows it."""
    session.say("second", turn_metadata={"handling_mode": "steer"})
    assert session.plane.interrupt("a", mode)
    if mode == "after_boundary":
        session.agent.orders.put("look")  # which raises: the run ends where it looks up
    ended = session.go_on()
    assert ended["first"].kind.value == "cancelled"
    assert ended["second"].result == "did second"
    assert session.said() == ["second", "waiting"]
    assert session.agent.seen == ["first", "second", "waiting"]


# --- there is no fifth way --------------------------------------------------------------


@frozen(kw_only=True)
class Way:
    """What becomes of everybody: how each message ended, and what was worked in which order."""

    wakes: WakeReason
    first: str = "completed"
    waiting: str = "completed"
    second: str = "completed"
    runs: list[str] = field(factory=lambda: ["first", "waiting", "second"])
    said: list[str] = field(factory=lambda: ["first", "waiting", "second"])


QUEUED = Way(wakes=WakeReason.TIMEOUT)
STEERED = Way(
    wakes=WakeReason.STEERED,
    second="completed_without_result",
    runs=["first", "waiting"],
    said=["taken in: second", "first", "waiting"],
)
SUPERSEDING = Way(
    wakes=WakeReason.TIMEOUT,
    waiting="displaced",
    runs=["first", "second"],
    said=["first", "second"],
)

MODES: dict[str, dict[str, Any]] = {
    "no mode": {},
    "other metadata": {"turn_metadata": {"model": "m"}},
    "queue": {"turn_metadata": {"handling_mode": "queue"}},
    "steer": {"turn_metadata": {"handling_mode": "steer"}},
}
KEYS: dict[str, str | None] = {"no key": None, "its key": "draft", "another key": "other"}


def way_of(mode: str, key: str) -> Way:
    if mode == "steer":
        return STEERED  # whatever its key
    return SUPERSEDING if key == "its key" else QUEUED


def interrupted(way: Way) -> Way:
    """The same with an interrupt: the run ends with nothing said, and nothing taken in."""
    runs = ["first", "second", "waiting"] if way is STEERED else way.runs
    return Way(
        wakes=WakeReason.CANCELLED,
        first="cancelled",
        waiting=way.waiting,
        runs=runs,
        said=runs[1:],
    )


@pytest.mark.parametrize("interrupts", [False, True])
@pytest.mark.parametrize("durability", ["durable", "ephemeral"])
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("mode", MODES)
def test_a_fifth_thing_does_not_happen(
    session: Session, mode: str, key: str, durability: str, interrupts: bool
) -> None:
    """Every setting gives one of the four ways, or an interrupt together with one of them."""
    session.say("second", supersession_key=KEYS[key], durability=durability, **MODES[mode])
    way = way_of(mode, key)
    if interrupts:
        assert session.plane.interrupt("a", "now")
        way = interrupted(way)
    wakes = session.look()
    ended = session.go_on()
    found = Way(
        wakes=wakes,
        first=str(ended["first"].kind),
        waiting=str(ended["waiting"].kind),
        second=str(ended["second"].kind),
        runs=session.agent.seen,
        said=session.said(),
    )
    assert found == way
