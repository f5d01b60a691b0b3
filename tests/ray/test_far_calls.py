"""Every call over the wire: the same names, the same answers and errors, and none is lost."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from far_builders import far_plane
from plane_builders import WAIT_S, Agent, prompt

from actors import ControlPlane, NoticeKind
from actors.aio import AsyncControlPlane
from actors.ray import RayControlPlane
from actors.ray.wire import Refusal, pack_said, unpack
from meerkat import (
    Accepted,
    Deduplicated,
    EventGap,
    IdempotencyKey,
    InputId,
    LogicalRuntimeId,
    RunContext,
    RunId,
    RunOutput,
    RuntimeEventEnvelope,
    RuntimeState,
    SessionId,
    StagedInput,
)
from meerkat.errors import (
    CallTimedOut,
    ControlPlaneStopped,
    InputNotFound,
    InputValidationFailed,
    InternalError,
    InvalidState,
    MeerkatError,
    NotInThisProcess,
    Overloaded,
    RuntimeNotFound,
    RuntimeNotReady,
    StoreError,
    WouldDeadlock,
)
from meerkat.events import ProjectionEvent
from meerkat.limits import Limits
from meerkat.store import MemoryStore

OWN = {"reshard", "shards", "wire_figures"}
"""What it can besides."""


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(public(ControlPlane)))
def test_a_call_has_the_name_and_signature_of_the_control_planes(name: str) -> None:
    ours, theirs = getattr(RayControlPlane, name), getattr(ControlPlane, name)
    if name == "wrap":
        return  # what is wrapped is another thing
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert public(RayControlPlane).keys() - public(ControlPlane).keys() == OWN


def test_the_settings_are_those_of_the_control_plane_by_the_same_names() -> None:
    for name, value in {"grace_s": -1, "max_concurrent_runs": 0}.items():
        with pytest.raises(ValueError, match=name):
            RayControlPlane("postgresql:///none", **{name: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no_such"):
        RayControlPlane("postgresql:///none", no_such=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="shards"):
        RayControlPlane("postgresql:///none", shards=0)


def test_what_cannot_be_sent_is_refused_where_it_is_given() -> None:
    import threading  # noqa: PLC0415

    lock = threading.Lock()

    def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
        with lock:
            return RunOutput(result=None)

    with pytest.raises(TypeError, match="cannot be sent to a shard"):
        RayControlPlane("postgresql:///none", agent)
    with far_plane(MemoryStore, Agent()) as (plane, _):
        plane.register("a")
        with pytest.raises(TypeError, match="cannot be sent to a shard"):
            plane.attach_executor("a", agent, timeout=WAIT_S)
        assert plane.executor_ready("a", timeout=WAIT_S)


def test_an_input_goes_there_and_its_end_comes_back() -> None:
    with far_plane(MemoryStore, Agent(), shards=3) as (plane, shards):
        names = [f"agent-{number}" for number in range(12)]
        plane.register_many(names, timeout=WAIT_S)
        sent = [plane.submit(name, prompt(name)) for name in names]
        assert [each.completion.result(WAIT_S).result for each in sent] == [
            f"re: {name}" for name in names
        ]
        assert {type(each.accepted.result(WAIT_S)) for each in sent} == {Accepted}
        assert all(shard.taken.qsize() for shard in shards)
        assert plane.figures().consumed == len(names)
        assert [look.figures.consumed for look in plane.shards() if look.figures] != [12, 0, 0]


def test_every_question_is_answered_as_the_control_plane_does() -> None:
    with far_plane(MemoryStore, Agent()) as (plane, _):
        first, again = plane.register("a"), plane.register("a")
        assert (first.session_id, first.epoch_id) == (again.session_id, again.epoch_id)
        session = SessionId.new()
        assert plane.prepare_bindings(session).session_id == session
        offered = prompt("x", idempotency_key="k")
        outcome = plane.ingest("a", offered, timeout=WAIT_S)
        assert isinstance(outcome, Accepted)
        assert plane.completion("a", outcome).result(WAIT_S).result == "re: x"
        assert plane.completion("a", outcome.input_id).result(WAIT_S).result == "re: x"
        twice = plane.ingest("a", prompt("y", idempotency_key="k"), timeout=WAIT_S)
        assert isinstance(twice, Deduplicated)
        assert twice.existing_id == outcome.input_id
        known = plane.ingest("a", offered, timeout=WAIT_S)
        assert isinstance(known, Deduplicated)
        assert known.existing_id == known.input_id == outcome.input_id
        state = plane.input_state("a", outcome.input_id)
        assert state is not None
        assert state.idempotency_key == IdempotencyKey("k")
        assert state.last_run_id is not None
        receipt = plane.load_boundary_receipt("a", state.last_run_id, 0)
        assert receipt is not None
        assert receipt.contributing_input_ids == (outcome.input_id,)
        assert plane.load_boundary_receipt("a", RunId.new(), 0) is None
        assert plane.input_state("a", InputId.new()) is None
        assert plane.runtime_state("a") is RuntimeState.ATTACHED
        assert plane.active_input_ids("a") == []
        assert plane.runs_in_hand() == ()
        assert plane.dead_letters().count == 0
        assert plane.supervision().children[0].name
        assert plane.interrupt("a", "now") is False
        plane.pause("a")
        plane.resume("a")
        plane.wake("a")
        plane.set_silent_intents("a", ["quiet"])
        assert plane.redrive("a").redriven == ()
        assert plane.recover("a").inputs_recovered == 0
        assert plane.recycle("a").inputs_transferred == 0
        assert plane.reset("a").inputs_abandoned == 0
        plane.detach_executor("a")
        assert not plane.executor_ready("a")
        assert plane.retire("a").inputs_abandoned == 0
        assert plane.stop_runtime("a").inputs_abandoned == 0
        assert plane.destroy("a").inputs_abandoned == 0


def test_errors_are_the_control_planes_with_their_data_and_cause() -> None:
    with far_plane(MemoryStore, Agent()) as (plane, _):
        with pytest.raises(RuntimeNotFound) as unknown:
            plane.ingest("a", prompt(), timeout=WAIT_S)
        assert unknown.value.runtime_id == LogicalRuntimeId("a")
        plane.register("a")
        with pytest.raises(InputNotFound):
            plane.completion("a", InputId.new(), timeout=WAIT_S)
        with pytest.raises(InputValidationFailed):
            plane.ingest("a", prompt("\ud800"), timeout=WAIT_S)
        with pytest.raises(ValueError, match="hard"):
            plane.interrupt("a", "hard")
        with pytest.raises(TypeError):
            plane.set_silent_intents("a", "one text")
        plane.stop_runtime("a")
        with pytest.raises(InvalidState) as stopped:
            plane.ingest("a", prompt(), timeout=WAIT_S)
        assert stopped.value.state is RuntimeState.STOPPED
        assert isinstance(stopped.value.__cause__, RuntimeNotReady)


def test_what_no_pickle_can_carry_harms_nobody_elses_call() -> None:
    with far_plane(MemoryStore, Agent()) as (plane, _):
        plane.register("a")
        event = ProjectionEvent(lambda: None)  # type: ignore[arg-type]
        envelope = RuntimeEventEnvelope(runtime_id=LogicalRuntimeId("a"), event=event)
        with pytest.raises(TypeError, match="cannot be sent"):
            plane.publish_event(envelope, timeout=WAIT_S)
        assert plane.runtime_state("a", timeout=WAIT_S) is RuntimeState.ATTACHED


def test_bindings_are_to_look_at_and_say_where_the_rest_is() -> None:
    with far_plane(MemoryStore, Agent()) as (plane, _):
        bindings = plane.register("a")
        assert bindings.cursor_state.agent_applied_cursor == 0
        for use in (
            lambda: bindings.ops_lifecycle.live_ids,
            lambda: bindings.ops_lifecycle.list_since(0),
            lambda: bindings.cursor_state.advance_agent_applied_cursor(1),
        ):
            with pytest.raises(NotInThisProcess, match=r"context\.bindings"):
                use()


def test_too_much_at_once_is_refused_at_the_door() -> None:
    agent = Agent(held=True)
    with far_plane(MemoryStore, agent, limits=Limits(in_flight_max=4)) as (plane, shards):
        plane.register("a")
        shards[0].crash()
        sent = [plane.submit("a", prompt(str(number))) for number in range(4)]
        with pytest.raises(Overloaded):
            plane.submit("a", prompt())
        agent.release()
        shards[0].comes_back()
        for each in sent:
            each.accepted.result(WAIT_S)


def test_a_callback_that_would_wait_on_its_own_thread_is_refused() -> None:
    with far_plane(MemoryStore, Agent()) as (plane, _):
        plane.register("a")
        refused: list[BaseException] = []

        def callback(_future: Any) -> None:
            try:
                plane.runtime_state("a")
            except WouldDeadlock as error:
                refused.append(error)

        sent = plane.submit("a", prompt())
        sent.completion.add_done_callback(callback)
        sent.completion.result(WAIT_S)
        plane.runtime_state("a", timeout=WAIT_S)
        assert len(refused) <= 1  # none where it had ended before the callback was added
        sent.accepted.add_done_callback(callback)


def test_a_timeout_bounds_the_caller_and_not_the_call() -> None:
    with far_plane(MemoryStore, Agent()) as (plane, shards):
        plane.register("a")
        shards[0].crash()
        with pytest.raises(CallTimedOut, match="ingest"):
            plane.ingest("a", prompt("late", idempotency_key="late"), timeout=0.05)
        shards[0].comes_back()
        known = plane.ingest("a", prompt("again", idempotency_key="late"), timeout=WAIT_S)
        assert isinstance(known, Deduplicated)


def test_after_a_stop_everything_says_so() -> None:
    agent = Agent(held=True)
    with far_plane(MemoryStore, agent, grace_s=0.05) as (plane, _):
        plane.register("a")
        sent = plane.submit("a", prompt())
        agent.next_call()
        feed = plane.subscribe("a")
        report = plane.stop(timeout=0)
        assert sent.completion.result(WAIT_S).reason == "control plane stopped"
        agent.release()
        assert list(feed)[-1:] == list(feed)  # what was on its way, and then the end
        for call in (
            lambda: plane.ingest("a", prompt()),
            lambda: plane.submit("a", prompt()),
            plane.figures,
            plane.shards,
            plane.subscribe,
            lambda: plane.reshard(shards=2),
        ):
            with pytest.raises(ControlPlaneStopped):
                call()
        assert plane.stop() == report
        assert report.handles_ended == 1


def test_it_starts_again_after_a_stop() -> None:
    with far_plane(MemoryStore, Agent()) as (plane, _):
        plane.stop()
        plane.start()
        plane.register("a")
        assert plane.runtime_state("a", timeout=WAIT_S) is RuntimeState.ATTACHED


def test_a_start_that_fails_says_why_and_leaves_nothing() -> None:
    with (
        pytest.raises(StoreError, match="password"),
        far_plane(MemoryStore, troubles=[StoreError("the password is wrong")] * 50),
    ):
        pass


def test_a_watch_tells_of_the_end_of_a_runtime() -> None:
    with far_plane(MemoryStore, Agent(), shards=2) as (plane, _):
        plane.register_many(["a", "b"])
        with plane.watch("a", timeout=WAIT_S) as one, plane.watch(timeout=WAIT_S) as every:
            plane.destroy("a")
            plane.unregister("b")
            notice = one.next_within(WAIT_S)
            assert notice is not None
            assert notice.kind is NoticeKind.ENDED
            assert {str(every.next_within(WAIT_S).runtime_id) for _ in "ab"} == {"a", "b"}  # type: ignore[union-attr]


def test_events_of_one_come_in_order_and_of_all_from_every_shard() -> None:
    with far_plane(MemoryStore, Agent(), shards=2) as (plane, _):
        names = [f"agent-{number}" for number in range(6)]
        plane.register_many(names)
        one, every = plane.subscribe(names[0], timeout=WAIT_S), plane.subscribe(timeout=WAIT_S)
        for name in names * 20:
            plane.submit(name, prompt())
        sequences = [one.next_within(WAIT_S).sequence for _ in range(120)]  # type: ignore[union-attr]
        assert sequences == list(range(sequences[0], sequences[0] + 120))
        seen = {str(every.next_within(WAIT_S).runtime_id) for _ in range(600)}  # type: ignore[union-attr]
        assert seen == set(names)
        every.close()
        one.close()
        assert one.next_within(0) is None or one.closed


def test_a_reader_that_does_not_read_is_told_of_the_gap_and_holds_up_nobody() -> None:
    limits = Limits(events_per_runtime_max=300)
    with far_plane(MemoryStore, Agent(), limits=limits) as (plane, _):
        plane.register("a")
        feed = plane.subscribe("a", timeout=WAIT_S)
        sent = [plane.submit("a", prompt()) for _ in range(200)]
        for each in sent:
            each.completion.result(WAIT_S)
        plane.runtime_state("a", timeout=WAIT_S)
        told = []
        while (item := feed.next_within(0.5)) is not None:
            told.append(item)
        assert any(isinstance(item, EventGap) for item in told)
        at = told[0].requested if isinstance(told[0], EventGap) else told[0].sequence - 1
        for item in told:  # each of them is there, or in a gap
            if isinstance(item, EventGap):
                assert item.requested == at
                at = item.dropped_through
            else:
                at += 1
                assert item.sequence == at


def test_many_callers_share_remote_calls() -> None:
    with far_plane(MemoryStore, Agent(), shards=2) as (plane, _):
        names = [f"agent-{number}" for number in range(16)]
        plane.register_many(names)
        before = plane.wire_figures()
        with ThreadPoolExecutor(16) as callers:
            for _ in range(10):
                list(callers.map(lambda name: plane.ingest(name, prompt(), timeout=WAIT_S), names))
        after = plane.wire_figures()
        assert after.calls - before.calls == 160
        assert after.batches - before.batches < 160


def test_a_front_door_for_coroutines_is_one_to_shards_too() -> None:
    with far_plane(MemoryStore, Agent(), shards=2) as (plane, _):

        async def host() -> None:
            front = await AsyncControlPlane.wrap(plane)
            await front.register("a", timeout=WAIT_S)
            async with front.subscribe("a", timeout=WAIT_S) as events:
                outcome = await front.ingest("a", prompt("x"), timeout=WAIT_S)
                handle = await front.completion("a", outcome, timeout=WAIT_S)
                async with asyncio.timeout(WAIT_S):
                    assert (await handle).result == "re: x"
                    first = await anext(events)
            assert isinstance(first, RuntimeEventEnvelope)
            async with asyncio.timeout(WAIT_S), front.subscribe() as every:
                await front.submit("a", prompt("y")).completion
                assert isinstance(await anext(every), RuntimeEventEnvelope)

        asyncio.run(host())


def kinds_of_errors(kind: type[BaseException] = MeerkatError) -> list[type[BaseException]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in kinds_of_errors(sub))]


@pytest.mark.parametrize("kind", kinds_of_errors(), ids=lambda kind: kind.__name__)
def test_an_error_survives_the_wire_with_all_it_carries(kind: type[BaseException]) -> None:
    error = kind.__new__(kind)
    error.args = ("said",)
    error.__dict__.update(runtime_id=LogicalRuntimeId("a"), value=[1])
    error.__cause__ = ValueError("why")
    back = unpack(pack_said(Refusal(1, error, error.__cause__)))
    assert type(back.error) is kind
    assert (back.error.args, back.error.__dict__) == (error.args, error.__dict__)
    assert str(back.cause) == "why"


class Odd(Exception):
    """One that pickle carries, and cannot make again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("said")


def test_an_error_that_cannot_be_made_again_is_told_by_its_text() -> None:
    back = unpack(pack_said(Refusal(1, Odd(1, 2))))
    assert isinstance(back.error, InternalError)
    assert "Odd: said" in str(back.error)
