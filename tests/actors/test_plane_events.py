"""Events: dense and in order, within a bounded window, to whoever subscribes."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    code_of,
    decided,
    error_of,
    event,
    events_until,
    next_event,
    prompt,
    result_of,
)
from plane_stores import BrokenOnce, FrozenDisk

from actors import ControlPlane
from actors.subscriptions import Subscription
from meerkat import EventGap, RunContext, RuntimeEventEnvelope
from meerkat.errors import (
    ApplyFailed,
    ControlPlaneStopped,
    InputValidationFailed,
    InternalError,
    RuntimeNotFound,
    StoreError,
)
from meerkat.events import ProjectionEvent
from meerkat.identifiers import CausationId, CorrelationId
from meerkat.limits import Limits
from meerkat.store import SqliteStore

ONE_RUN = [
    "topology.runtime_created",
    "input.accepted",
    "input.queued",
    "runtime.state_changed",
    "input.staged",
    "run.started",
    "input.applied",
    "input.consumed",
    "run.completed",
    "runtime.state_changed",
]


def host_event(text: str = "seen", runtime_id: str = "a", **header: Any) -> RuntimeEventEnvelope:
    return RuntimeEventEnvelope(runtime_id=runtime_id, event=ProjectionEvent(text), **header)


def all_from(plane: ControlPlane, after: int) -> list[Any]:
    """What is there above ``after``; the end of it is a host event of ours."""
    last = host_event("last")
    plane.publish_event(last)
    with plane.subscribe("a", after=after) as events:
        told: list[Any] = []
        while not told or getattr(told[-1], "id", None) != last.id:
            each = events.next_within(WAIT_S)
            assert each is not None
            told.append(each)
    return told[:-1]


def test_sequences_are_dense_from_one(plane: ControlPlane) -> None:
    result_of(plane.submit("a", prompt()).completion)
    told = all_from(plane, after=0)
    assert [each.sequence for each in told] == list(range(1, len(told) + 1))
    assert [code_of(each) for each in told] == ONE_RUN
    assert {str(each.runtime_id) for each in told} == {"a"}
    assert [each.sequence for each in all_from(plane, after=4)] == [5, 6, 7, 8, 9, 10, 11]
    assert len({each.id for each in told}) == len(told)


def test_reading_twice_gives_the_same_envelopes(plane: ControlPlane) -> None:
    plane.ingest("a", prompt())
    first = all_from(plane, after=0)
    assert all_from(plane, after=0)[: len(first)] == first


def test_sequences_go_on_higher_after_a_restart(
    open_plane: OpenPlane, quiet_plane: ControlPlane
) -> None:
    for _ in range(3):
        quiet_plane.ingest("a", prompt())
    highest = all_from(quiet_plane, after=0)[-1].sequence
    for _ in range(2):
        quiet_plane.stop()
        quiet_plane = open_plane()
        with quiet_plane.subscribe("a") as events:
            quiet_plane.ingest("a", prompt())
            told = [next_event(events) for _ in range(2)]
        assert told[0].sequence > highest
        assert told[1].sequence == told[0].sequence + 1
        highest = told[1].sequence


def test_a_number_that_was_told_is_not_given_again_though_nothing_else_was_written(
    open_plane: OpenPlane,
) -> None:
    """A host's event is not stored; that its runtime was claimed for its number is."""
    plane, numbers = open_plane(grace_s=WAIT_S), []
    plane.register("a")
    for _ in range(3):
        plane.stop()
        plane = open_plane(grace_s=WAIT_S)
        with plane.subscribe("a") as events:
            plane.publish_event(host_event())
            numbers.append(next_event(events).sequence)
    assert numbers == sorted(set(numbers))


def test_sequences_stay_dense_across_a_rebuild(open_plane: OpenPlane, path: Any) -> None:
    """A failed commit throws the memory away; the next event is the next number."""

    store = BrokenOnce(SqliteStore(path))
    plane = open_plane(store=store)
    plane.register("a")
    plane.ingest("a", prompt())
    store.break_next()
    with pytest.raises(StoreError):
        plane.ingest("a", prompt())
    plane.ingest("a", prompt())
    told = all_from(plane, after=0)
    assert [each.sequence for each in told] == [1, 2, 3, 4, 5]


def test_from_now_on_means_nothing_that_was(quiet_plane: ControlPlane) -> None:
    quiet_plane.ingest("a", prompt())
    with quiet_plane.subscribe("a") as events:
        offered = prompt()
        quiet_plane.ingest("a", offered)
        told = [next_event(events) for _ in range(2)]
        assert events.next_within(0) is None
    assert [each.event.input_id for each in told] == [offered.id, offered.id]


def test_a_reader_that_comes_too_late_is_told_of_the_gap(open_plane: OpenPlane) -> None:
    plane = open_plane(limits=Limits(events_per_runtime_max=4))
    plane.register("a")
    with plane.subscribe("a", after=0) as events:
        for number in range(10):  # 11 events with the registration
            plane.publish_event(host_event(str(number)))
        gap = events.next_within(WAIT_S)
        assert gap == EventGap(requested=0, dropped_through=7, watermark=11)
        assert [next_event(events).sequence for _ in range(4)] == [8, 9, 10, 11]
        plane.publish_event(host_event("more"))
        assert next_event(events).sequence == 12
    with plane.subscribe("a", after=8) as in_time:
        assert next_event(in_time).sequence == 9


def test_a_busy_runtime_takes_nothing_from_the_window_of_the_process(
    open_plane: OpenPlane,
) -> None:
    plane = open_plane(limits=Limits(events_per_process_max=6))
    plane.register_many(["a", "b"])
    for number in range(10):
        plane.publish_event(host_event(str(number), "b"))
    with plane.subscribe("b", after=0) as events:
        assert isinstance(events.next_within(WAIT_S), EventGap)
        kept = [next_event(events).sequence for _ in range(6)]
    assert kept == [6, 7, 8, 9, 10, 11]


def test_a_subscription_to_the_process_sees_every_runtime(quiet_plane: ControlPlane) -> None:
    quiet_plane.register("b")
    with quiet_plane.subscribe() as events:
        quiet_plane.register("c")
        for runtime_id in ("a", "b", "c", "a"):
            quiet_plane.ingest(runtime_id, prompt())
        told = [next_event(events) for _ in range(9)]
        assert events.next_within(0) is None
    assert [str(each.runtime_id) for each in told] == list("caabbccaa")
    for runtime_id in "abc":
        numbers = [each.sequence for each in told if str(each.runtime_id) == runtime_id]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("runtime_id", ["a", None])
@pytest.mark.parametrize("end", ["close", "stop"])
def test_a_blocked_reader_returns(
    quiet_plane: ControlPlane, runtime_id: str | None, end: str
) -> None:
    events = quiet_plane.subscribe(runtime_id)
    reading = threading.Event()

    def read() -> list[Any]:
        reading.set()
        return list(events)

    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(read)
        assert reading.wait(WAIT_S)
        if end == "close":
            events.close()
            events.close()
        else:
            quiet_plane.stop()
        assert result_of(reader) == []
    if end == "stop":
        with pytest.raises(ControlPlaneStopped):
            quiet_plane.subscribe(runtime_id)


def test_who_subscribes_to_an_unknown_runtime_is_told(quiet_plane: ControlPlane) -> None:
    with pytest.raises(RuntimeNotFound):
        quiet_plane.subscribe("unknown")


def test_a_host_event_is_ordered_with_the_rest_and_told_once(plane: ControlPlane) -> None:
    twice = host_event("twice", causation_id=CausationId.new(), correlation_id=CorrelationId.new())
    with plane.subscribe("a") as events:
        plane.ingest("a", prompt(idempotency_key="k"))
        plane.publish_event(twice)
        plane.ingest("a", prompt(idempotency_key="k"))
        plane.publish_event(twice)
        plane.publish_event(host_event("end"))
        told = events_until(events, "runtime.projection_emitted", times=2)
    assert [each.sequence for each in told] == list(
        range(told[0].sequence, told[0].sequence + len(told))
    )
    ours = [each for each in told if code_of(each) == "runtime.projection_emitted"]
    assert [each.event.projection for each in ours] == ["twice", "end"]
    assert ours[0].id == twice.id
    assert ours[0].timestamp == twice.timestamp
    assert (ours[0].causation_id, ours[0].correlation_id) == (
        twice.causation_id,
        twice.correlation_id,
    )
    codes = [code_of(each) for each in told]
    assert codes.index("input.accepted") < codes.index("runtime.projection_emitted")
    assert codes.index("runtime.projection_emitted") < codes.index("input.deduplicated")


def fail_once(called: Called, context: RunContext) -> None:
    context.progress("half")
    if called.attempt == 1:
        raise ApplyFailed("not yet")


def test_events_say_what_caused_them_and_what_they_belong_to(open_plane: OpenPlane) -> None:
    plane = open_plane(Agent(fail_once))
    plane.register("a")
    mine, other = CorrelationId.new(), CorrelationId.new()
    offered, later = prompt(correlation_id=mine), event(1, correlation_id=other)
    with plane.subscribe("a") as events:
        plane.submit("a", offered)
        result_of(plane.submit("a", later).completion)
        told = events_until(events, "run.completed", times=2)
    caused = {mine: CausationId(offered.id.value), other: CausationId(later.id.value)}
    seen = set()
    for each in told:
        if code_of(each) == "runtime.state_changed":
            continue
        assert each.causation_id == caused[each.correlation_id]
        seen.add(code_of(each))
    assert {"input.accepted", "input.consumed", "run.started", "run.progress", "run.failed"} <= seen


def test_slow_readers_hold_nobody_up(plane: ControlPlane) -> None:
    """A subscription that nobody reads costs a runtime nothing but its window."""
    unread: list[Subscription] = [plane.subscribe("a"), plane.subscribe()]
    for number in range(20):
        result_of(plane.submit("a", prompt(str(number))).completion)
    decided(plane, "a")
    for each in unread:
        assert next_event(each).sequence == 2
        each.close()


@pytest.mark.parametrize("said", [math.nan, "\ud800", {1}, 2**64, {1: "one"}])
def test_what_no_reader_could_be_told_is_not_published(plane: ControlPlane, said: Any) -> None:
    odd = RuntimeEventEnvelope(runtime_id="a", event=ProjectionEvent(said))
    with plane.subscribe("a") as events:
        with pytest.raises(InputValidationFailed):
            plane.publish_event(odd)
        plane.publish_event(host_event("behind it"))
        assert next_event(events).event.projection == "behind it"


def test_a_host_event_is_told_once_though_the_driver_begins_anew(
    open_plane: OpenPlane, path: Path
) -> None:
    """What was told stays told; what was lost with a failed commit may be published again."""
    disk = BrokenOnce(SqliteStore(path))
    plane = open_plane(store=disk)
    plane.register("a")
    told, lost = host_event("told"), host_event("lost")
    with plane.subscribe("a") as events:
        plane.publish_event(told)
        disk.break_next()
        disk.freeze()
        offered = plane.submit("a", prompt())
        assert disk.stuck.wait(WAIT_S)
        behind = plane._door.publish_event(lost).reply
        disk.thaw()
        assert isinstance(error_of(offered.accepted), StoreError)
        assert isinstance(error_of(behind), StoreError)
        for each in (told, lost, told, lost, host_event("last")):
            plane.publish_event(each)
        said = [next_event(events).event.projection for _ in range(3)]
    assert said == ["told", "lost", "last"]


def test_a_host_event_is_told_once_though_the_driver_failed_meanwhile(
    open_plane: OpenPlane, path: Path
) -> None:
    """It is on its way to the disk, and is told when it lands, when the memory has gone."""

    def fail(_memory: object, _store: object) -> None:
        raise ZeroDivisionError

    first = open_plane()
    first.register("a")
    first.stop()
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    told = host_event("told")
    with plane.subscribe("a") as events:
        disk.freeze()
        published = plane._door.publish_event(told).reply
        assert disk.stuck.wait(WAIT_S)
        assert isinstance(error_of(plane._door.read("a", "fail", fail).reply), InternalError)
        disk.thaw()
        result_of(published)
        plane.publish_event(told)
        plane.publish_event(host_event("last"))
        assert [next_event(events).event.projection for _ in range(2)] == ["told", "last"]
