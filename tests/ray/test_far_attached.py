"""An executor that a front door has given to a runtime is given again to a shard started anew."""

from __future__ import annotations

import pytest
from far_builders import far_plane
from plane_builders import WAIT_S, Agent, prompt

from actors.ray import RayControlPlane
from actors.ray.errand import Errand
from actors.ray.owed import PUT_OFF_S, Owed
from actors.ray.remote import LineCounts
from actors.ray.wire import Refusal
from actors.replies import Reply
from meerkat import LogicalRuntimeId, RunContext, RunOutput, StagedInput
from meerkat.errors import StoreError
from meerkat.store import MemoryStore, RuntimeRow


def loud(_context: RunContext, primitive: StagedInput) -> RunOutput:
    return RunOutput(result=primitive.text.upper())


def twice(_context: RunContext, primitive: StagedInput) -> RunOutput:
    return RunOutput(result=2 * primitive.text)


def said_by(plane: RayControlPlane, runtime_id: str = "a") -> object:
    """What the executor of a runtime makes of "hi"."""
    return plane.submit(runtime_id, prompt("hi")).completion.result(WAIT_S).result


def test_a_shard_started_anew_is_given_the_last_executor_again() -> None:
    store = MemoryStore()
    with far_plane(lambda: store) as (plane, shards):
        plane.register_many(["a", "b"], timeout=WAIT_S)
        plane.attach_executor("a", loud, timeout=WAIT_S)
        plane.attach_executor("a", twice, timeout=WAIT_S)
        for _ in range(2):
            shards[0].crash_and_come_back()
            assert plane.executor_ready("a", timeout=WAIT_S)
            assert not plane.executor_ready("b", timeout=WAIT_S)
            assert said_by(plane) == "hihi"


def test_what_waits_behind_the_start_is_worked_once_the_executor_is_there() -> None:
    store = MemoryStore()
    with far_plane(lambda: store) as (plane, shards):
        plane.register("a", timeout=WAIT_S)
        plane.attach_executor("a", loud, timeout=WAIT_S)
        plane.pause("a", timeout=WAIT_S)
        sent = plane.submit("a", prompt("hi"))
        sent.accepted.result(WAIT_S)
        shards[0].crash_and_come_back()
        plane.resume("a", timeout=WAIT_S)
        assert sent.completion.result(WAIT_S).result == "HI"


def test_a_shard_started_anew_is_told_again_who_has_no_executor() -> None:
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, shards):
        plane.register("a", timeout=WAIT_S)
        plane.detach_executor("a", timeout=WAIT_S)
        shards[0].crash_and_come_back()
        assert not plane.executor_ready("a", timeout=WAIT_S)
        plane.attach_executor("a", loud, timeout=WAIT_S)
        assert said_by(plane) == "HI"


def test_other_shards_are_given_what_those_before_them_had() -> None:
    store = MemoryStore()
    with far_plane(lambda: store) as (plane, _):
        plane.register("a", timeout=WAIT_S)
        plane.attach_executor("a", loud, timeout=WAIT_S)
        plane.reshard(shards=1, timeout=WAIT_S)
        assert said_by(plane) == "HI"


@pytest.mark.parametrize("how", ["unregister", "destroy"])
def test_what_has_ended_is_given_nothing_again(caplog: pytest.LogCaptureFixture, how: str) -> None:
    store = MemoryStore()
    with far_plane(lambda: store) as (plane, shards):
        plane.register_many(["a", "b"], timeout=WAIT_S)
        plane.attach_executor("a", loud, timeout=WAIT_S)
        getattr(plane, how)("a", timeout=WAIT_S)
        if how == "unregister":
            plane.register("a", timeout=WAIT_S)
        shards[0].crash_and_come_back()
        assert not plane.executor_ready("b", timeout=WAIT_S)
        if how == "unregister":
            assert not plane.executor_ready("a", timeout=WAIT_S)
    assert "could not be given" not in caplog.text


def test_it_is_given_once_more_where_the_store_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    with far_plane(lambda: store) as (plane, shards):
        plane.register("a", timeout=WAIT_S)
        plane.attach_executor("a", loud, timeout=WAIT_S)
        load, refusals = store.load_runtime, [StoreError("away")]

        def refused(runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
            if refusals:
                raise refusals.pop()
            return load(runtime_id)

        monkeypatch.setattr(store, "load_runtime", refused)
        shards[0].crash_and_come_back()
        assert said_by(plane) == "HI"
        assert not refusals


def test_what_cannot_be_given_again_is_told_and_seen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    with far_plane(lambda: store) as (plane, shards):
        plane.register("a", timeout=WAIT_S)
        plane.attach_executor("a", loud, timeout=WAIT_S)

        def not_there(_packed: bytes) -> None:
            raise ModuleNotFoundError("there is none on this node")

        monkeypatch.setattr("far_builders.unpack", not_there)
        shards[0].crash_and_come_back()
        assert not plane.executor_ready("a", timeout=WAIT_S)
    assert "runtime a: its executor could not be given to its shard again" in caplog.text


def test_what_was_put_off_is_not_told_over_what_was_told_since() -> None:
    holds = [True]
    owed, name = Owed(LineCounts()), LogicalRuntimeId("a")

    def put_off() -> None:
        renews = Errand("attach_executor", name, b"", Reply(), renews=lambda: holds[0], number=1)
        owed.sent(renews)
        assert owed.hear(Refusal(1, StoreError("away")), 0.0) is None

    put_off()
    assert len(owed.due(PUT_OFF_S)) == 1
    put_off()
    owed.sent(Errand("attach_executor", name, b"", Reply(), done=lambda: None, number=2))
    assert owed.due(PUT_OFF_S) == []
    owed.forget(2)
    put_off()
    holds[0] = False
    assert owed.due(PUT_OFF_S) == []
    holds[0] = True
    put_off()
    assert owed.take() == ([], [])
