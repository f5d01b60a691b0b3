"""A line whose thread meets with what nobody has foreseen: who waits is told, and it goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from far_builders import FarShard, far_plane
from plane_builders import WAIT_S, Agent, prompt

from actors.ray.errand import Errand
from actors.ray.wire import Answer, Call, unpack
from meerkat import Accepted, RuntimeEventEnvelope, RuntimeState
from meerkat.errors import CommitUnknown, InternalError
from meerkat.store import MemoryStore


class Fails:
    """A call of a remote's that fails once in a way that it never said: at the first that is it.

    Whether one is, its arguments say on the way there, or its answer on the way back.
    """

    def __init__(
        self,
        shard: FarShard,
        method: str,
        *,
        there: Callable[..., bool] = lambda *_: False,
        back: Callable[[Any], bool] = lambda _: False,
    ) -> None:
        self.raised = 0
        self._call: Callable[..., Any] = getattr(shard, method)
        self._there, self._back = there, back
        setattr(shard, method, self)

    def __call__(self, *arguments: Any) -> Any:
        if not self.raised and self._there(*arguments):
            self._fail()
        answer = self._call(*arguments)
        if not self.raised and self._back(answer):
            self._fail()
        return answer

    def _fail(self) -> None:
        self.raised += 1
        raise LookupError("nobody has foreseen this")


def sends_it(_token: str, calls: Sequence[Call]) -> bool:
    return any(call.name == "runtime_state" for call in calls)


def answers_it(told: Any) -> bool:
    said = [unpack(packed) for _, _, packed in told or ()]
    return any(isinstance(each, Answer) and each.value in set(RuntimeState) for each in said)


@pytest.mark.parametrize(
    ("method", "way"), [("take", {"there": sends_it}), ("poll", {"back": answers_it})]
)
def test_a_line_that_fails_fails_what_it_had_in_hand_and_goes_on(
    method: str, way: dict[str, Callable[..., bool]]
) -> None:
    store, agent = MemoryStore(), Agent(held=True)
    with far_plane(lambda: store, agent) as (plane, shards):
        fails = Fails(shards[0], method, **way)
        plane.register("a", timeout=WAIT_S)  # with it ends what was asked before
        feed = plane.subscribe("a", timeout=WAIT_S)
        before = plane.submit("a", prompt("before"))
        assert isinstance(before.accepted.result(WAIT_S), Accepted)
        agent.next_call()
        with pytest.raises(CommitUnknown, match="the way to the shard failed") as caught:
            plane.runtime_state("a", timeout=WAIT_S)
        assert isinstance(caught.value.__cause__, LookupError)
        assert fails.raised == 1
        agent.release()
        assert plane.ingest("a", prompt("after"), timeout=WAIT_S)
        assert before.completion.result(WAIT_S).result == "re: before"
        assert isinstance(feed.next_within(WAIT_S), RuntimeEventEnvelope)
        assert plane.wire_figures().unknown == 1


def test_a_greeting_that_fails_is_made_again() -> None:
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, shards):
        plane.register("a", timeout=WAIT_S)
        fails = Fails(shards[0], "hello", back=lambda welcome: welcome.opened)
        shards[0].crash_and_come_back()
        assert plane.runtime_state("a", timeout=WAIT_S) is RuntimeState.ATTACHED
        assert fails.raised == 1


def test_whom_a_feed_cannot_tell_ends_the_feed_and_nothing_else() -> None:
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, _):
        plane.register("a", timeout=WAIT_S)
        feed = plane.subscribe("a", timeout=WAIT_S)

        def has_gone() -> None:
            raise RuntimeError("the loop that it was for has gone")

        feed.listen(has_gone)
        sent = plane.submit("a", prompt("one"))
        assert sent.completion.result(WAIT_S).result == "re: one"
        assert feed.closed


def test_a_call_whose_answer_cannot_be_told_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = Errand.answered

    def fails_at_states(self: Errand, value: Any) -> None:
        if self.name == "runtime_state":
            raise LookupError("nobody has foreseen this")
        answered(self, value)

    monkeypatch.setattr(Errand, "answered", fails_at_states)
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, _):
        plane.register("a", timeout=WAIT_S)
        with pytest.raises(InternalError, match="what came of runtime_state could not be told"):
            plane.runtime_state("a", timeout=WAIT_S)
        assert isinstance(plane.ingest("a", prompt(), timeout=WAIT_S), Accepted)
        assert plane.wire_figures().restarts == 0
