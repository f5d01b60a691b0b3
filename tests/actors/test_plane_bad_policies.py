"""Bad policies: a host's policy that raises, or decides what cannot be carried out.

The caller is told so with a typed error, nothing is kept of the input, and whatever else
goes on; an input that is stored already waits until the policy can be followed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from plane_builders import (
    Agent,
    OpenPlane,
    Puppet,
    error_of,
    phase_of,
    prompt,
    result_of,
    steered,
)

from actors.clock import SystemClock
from meerkat import Input, InputPhase, InputState, LogicalRuntimeId, PolicyDecision, RuntimeState
from meerkat.admission import encode_input
from meerkat.errors import InternalError, MeerkatError, PolicyRefused, RuntimeControlPlaneError
from meerkat.policy import DEFAULT_POLICY, ApplyMode, ConsumePoint, QueueMode
from meerkat.store import SqliteStore
from meerkat.store.protocol import InputRow

A = LogicalRuntimeId("a")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def raising(error: BaseException) -> Callable[[Input], Any]:
    def decide(_input: Input) -> None:
        raise error

    return decide


def instead(**fields: Any) -> Callable[[Input], Any]:
    return lambda offered: evolve(DEFAULT_POLICY.resolve(offered, running=False), **fields)


class Moody:
    """The default policy, until a test says otherwise."""

    mood: Callable[[Input], Any] | None = None

    def resolve(self, input: Input, *, running: bool) -> PolicyDecision:  # noqa: A002
        if self.mood is None:
            return DEFAULT_POLICY.resolve(input, running=running)
        decision: PolicyDecision = self.mood(input)
        return decision


MOODS: dict[str, tuple[Callable[[Input], Any], type[MeerkatError], str]] = {
    "raises": (raising(ValueError("no idea")), PolicyRefused, "ValueError: no idea"),
    "raises an error of ours": (raising(InternalError("mine")), PolicyRefused, "mine"),
    "raises an error without a text": (raising(Unprintable()), PolicyRefused, "Unprintable"),
    "exits": (raising(SystemExit(3)), InternalError, "SystemExit"),
    "nothing": (lambda _: None, PolicyRefused, "not NoneType"),
    "a word": (lambda _: "queue", PolicyRefused, "not str"),
    "the class": (lambda _: PolicyDecision, PolicyRefused, "not type"),
    "inject now": (instead(apply_mode=ApplyMode.INJECT_NOW), PolicyRefused, "inject_now"),
    "ignore at the end": (instead(apply_mode=ApplyMode.IGNORE), PolicyRefused, "on_accept"),
    "no queue": (instead(queue_mode=QueueMode.NONE), PolicyRefused, "queue mode none"),
    "by hand": (instead(consume_point=ConsumePoint.EXPLICIT_ACK), PolicyRefused, "explicit_ack"),
    "a word for a mode": (instead(apply_mode="now"), PolicyRefused, "now"),
}


@pytest.fixture
def policy() -> Moody:
    return Moody()


@pytest.mark.parametrize("mood", MOODS)
def test_an_input_the_policy_fails_on_is_refused_and_leaves_nothing(
    open_plane: OpenPlane, policy: Moody, mood: str
) -> None:
    agent = Agent()
    plane = open_plane(agent, policy=policy)
    plane.register_many(["a", "b"])
    offered = prompt("later", idempotency_key="k")
    policy.mood, kind, text = MOODS[mood]
    with plane.subscribe("a") as events:
        submission = plane.submit("a", offered)
        for future in (submission.accepted, submission.completion):
            error = error_of(future)
            assert type(error) is kind
            assert isinstance(error, RuntimeControlPlaneError)
            assert text in str(error)
        with pytest.raises(kind):
            plane.ingest("a", offered)
        assert plane.active_input_ids("a") == []
        assert plane.input_state("a", offered.id) is None
        assert events.next_within(0) is None
    policy.mood = None
    again = plane.submit("a", offered)
    outcome = result_of(again.accepted)
    assert outcome.is_accepted
    assert outcome.state.admission_sequence == 0
    assert result_of(again.completion).result == "re: later"
    assert result_of(plane.submit("b", prompt("other")).completion).result == "re: other"


@pytest.mark.parametrize("mood", [name for name in MOODS if name != "exits"])
def test_a_run_goes_on_beside_inputs_the_policy_fails_on(
    open_plane: OpenPlane, policy: Moody, mood: str
) -> None:
    puppet = Puppet()
    plane = open_plane(puppet, policy=policy)
    plane.register("a")
    first = plane.submit("a", prompt("first"))
    run = puppet.next_run()
    taken = plane.submit("a", steered("one"))
    result_of(taken.accepted)
    policy.mood = MOODS[mood][0]
    assert isinstance(error_of(plane.submit("a", steered("two")).accepted), PolicyRefused)
    assert run.does(lambda context: context.boundary().texts) == ["one"]
    run.does(lambda context: context.boundary().commit())
    assert not run.context.cancelled.is_set()
    assert plane.runtime_state("a") is RuntimeState.RUNNING
    run.returns()
    assert result_of(first.completion).result == "re: first"
    assert puppet.texts == ["first"]


def test_a_policy_that_breaks_out_costs_nothing_that_was_accepted(
    open_plane: OpenPlane, policy: Moody
) -> None:
    """Its driver starts afresh from the store: the run that was in hand is made again."""
    puppet = Puppet()
    plane = open_plane(puppet, policy=policy)
    plane.register("a")
    first = plane.submit("a", prompt("first"))
    run = puppet.next_run()
    policy.mood = raising(KeyboardInterrupt())
    assert isinstance(error_of(plane.submit("a", prompt("second")).accepted), InternalError)
    policy.mood = None
    run.returns()
    again = puppet.next_run()
    assert (again.called.text, again.called.attempt) == ("first", 2)
    again.returns()
    assert result_of(first.completion).result == "re: first"


# --- while recovering -------------------------------------------------------------------


def offered_meanwhile(open_plane: OpenPlane, path: Path, *offered: Input) -> None:
    """Inputs that another process has put in while no plane had the store."""
    first = open_plane()
    first.register_many(["a", "b"])
    first.ingest("b", prompt("other"))
    first.stop()
    store = SqliteStore(path)
    now = SystemClock().now()
    rows = [InputRow(InputState.of(each, now), encode_input(each, 2**20)) for each in offered]
    store.offer(A, rows)
    store.close()


@pytest.mark.parametrize("mood", [name for name in MOODS if name != "exits"])
def test_a_runtime_the_policy_fails_on_while_it_is_loaded_waits_unchanged(
    open_plane: OpenPlane, policy: Moody, path: Path, mood: str
) -> None:
    offered = prompt("from elsewhere")
    offered_meanwhile(open_plane, path, offered)
    policy.mood, _, text = MOODS[mood]
    agent = Agent()
    plane = open_plane(agent, policy=policy)
    for call in (plane.runtime_state, plane.recover, plane.register, plane.retire):
        with pytest.raises(PolicyRefused, match=text):
            call("a")
    assert agent.next_call().text == "other"  # the other runtime goes on
    kept = SqliteStore(path).load_input(A, offered.id)
    assert kept is not None
    assert (kept.phase, kept.recovery_count) == (InputPhase.ACCEPTED, 0)
    policy.mood = None
    assert result_of(plane.completion("a", offered.id)).result == "re: from elsewhere"
    assert phase_of(plane, "a", offered.id) is InputPhase.CONSUMED
    assert agent.texts == ["other", "from elsewhere"]


def test_a_runtime_the_policy_failed_on_is_taken_up_without_being_asked_for(
    open_plane: OpenPlane, policy: Moody, path: Path
) -> None:
    """As one whose store could not be read is: after a back-off."""
    offered_meanwhile(open_plane, path, prompt("1"), prompt("2"))
    refusals = iter([ValueError("not yet")] * 3)

    def decide(offered: Input) -> PolicyDecision:
        for error in refusals:
            raise error
        return DEFAULT_POLICY.resolve(offered, running=False)

    policy.mood = decide
    agent = Agent()
    open_plane(agent, policy=policy)
    assert sorted(agent.next_call().text for _ in range(3)) == ["1", "2", "other"]
