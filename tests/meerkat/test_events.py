"""Events: numbered, caused, told in the order decided, and kept in a bounded window."""

from __future__ import annotations

from datetime import timedelta

import pytest
from builders import START, Clock, Runtime, codes_of, effects_of, operation, prompt, uuid_of

from meerkat import (
    EphemeralRuntimeDriver,
    EventGap,
    LogicalRuntimeId,
    RunId,
    RuntimeEventEnvelope,
    RuntimeEventId,
    kernel,
)
from meerkat.errors import RuntimeDestroyed, RuntimeNotReady
from meerkat.event_log import EventLog, first_sequence
from meerkat.events import (
    EventCode,
    InputLifecycleEvent,
    ProjectionEvent,
    RunLifecycleEvent,
    RuntimeStateChange,
    TopologyEvent,
)
from meerkat.identifiers import CausationId, CorrelationId
from meerkat.kernel import Emit
from meerkat.kernel.memory import RuntimeMemory
from meerkat.limits import HOST_EVENT_IDS_MAX

EXCHANGE = CorrelationId(uuid_of(77))


def host_event(number: int, **fields: object) -> RuntimeEventEnvelope:
    return RuntimeEventEnvelope(
        id=RuntimeEventId(uuid_of(number)),
        runtime_id="agent-1",
        event=ProjectionEvent({"n": number}),
        **fields,  # type: ignore[arg-type]
    )


# --- the driver's own -------------------------------------------------------------------


def test_a_whole_life_is_told_in_order_and_numbered_from_one(
    driver: EphemeralRuntimeDriver,
) -> None:
    run = RunId(uuid_of(1))
    driver.attach_executor()
    driver.accept_input(prompt())
    driver.start_run(run)
    driver.complete_run(run)
    driver.accept_input(operation())
    driver.retire()
    driver.destroy()
    told = driver.drain_events()
    assert [envelope.event.code.value for envelope in told] == [
        "runtime.state_changed",
        "input.accepted",
        "input.queued",
        "runtime.state_changed",
        "input.staged",
        "run.started",
        "input.applied",
        "input.consumed",
        "run.completed",
        "runtime.state_changed",
        "input.accepted",
        "input.consumed",
        "runtime.state_changed",
        "topology.runtime_retired",
        "runtime.state_changed",
        "topology.runtime_destroyed",
    ]
    assert [envelope.sequence for envelope in told] == list(range(1, 17))
    assert {str(envelope.runtime_id) for envelope in told} == {"agent-1"}
    changes = [e.event for e in told if isinstance(e.event, RuntimeStateChange)]
    assert [(c.from_state.value, c.to_state.value) for c in changes] == [
        ("idle", "attached"),
        ("attached", "running"),
        ("running", "attached"),
        ("attached", "retired"),
        ("retired", "destroyed"),
    ]
    assert driver.drain_events() == []


def test_events_name_their_cause_and_their_exchange(driver: EphemeralRuntimeDriver) -> None:
    offered = prompt(correlation_id=EXCHANGE)
    run = RunId(uuid_of(1))
    driver.accept_input(offered)
    driver.start_run(run)
    driver.fail_run(run, "boom")
    for envelope in driver.drain_events():
        if not isinstance(envelope.event, RuntimeStateChange):
            assert envelope.causation_id == CausationId(offered.id.value)
            assert envelope.correlation_id == EXCHANGE


def test_an_input_s_events_name_what_its_header_says_it_came_of(
    driver: EphemeralRuntimeDriver,
) -> None:
    cause = CausationId(uuid_of(9))
    offered = prompt(causation_id=cause)
    run = RunId(uuid_of(1))
    driver.accept_input(offered)
    driver.accept_input(offered)
    driver.start_run(run)
    driver.fail_run(run, "boom")
    driver.reset()
    told = driver.drain_events()
    about = [each for each in told if isinstance(each.event, InputLifecycleEvent)]
    assert [each.event.code.value for each in about] == [
        "input.accepted",
        "input.queued",
        "input.deduplicated",
        "input.staged",
        "input.queued",
        "input.abandoned",
    ]
    assert {each.causation_id for each in about} == {cause}
    runs = [each for each in told if isinstance(each.event, RunLifecycleEvent)]
    assert {each.causation_id for each in runs} == {CausationId(offered.id.value)}


def test_a_superseded_input_is_told_with_its_cause(driver: EphemeralRuntimeDriver) -> None:
    older, newer = prompt(supersession_key="K"), prompt(supersession_key="K")
    driver.accept_input(older)
    driver.drain_events()
    driver.accept_input(newer)
    told = driver.drain_events()
    assert [e.event.code.value for e in told] == [
        "input.accepted",
        "input.superseded",
        "input.queued",
    ]
    assert {e.causation_id for e in told} == {CausationId(newer.id.value)}


def test_a_refusal_tells_nothing(driver: EphemeralRuntimeDriver) -> None:
    driver.retire()
    driver.drain_events()
    with pytest.raises(RuntimeNotReady):
        driver.accept_input(prompt())
    assert driver.drain_events() == []


# --- a host's events --------------------------------------------------------------------


def test_a_host_event_is_stamped_in_order_and_otherwise_its_own(
    driver: EphemeralRuntimeDriver,
) -> None:
    driver.accept_input(prompt())
    published = host_event(
        5,
        sequence=999,
        timestamp=START + timedelta(days=1),
        causation_id=CausationId(uuid_of(6)),
        correlation_id=EXCHANGE,
    )
    driver.on_runtime_event(published)
    driver.accept_input(prompt())
    told = driver.drain_events()
    assert [envelope.sequence for envelope in told] == [1, 2, 3, 4, 5]
    stamped = told[2]
    assert stamped.id == published.id
    assert (stamped.event, stamped.timestamp) == (published.event, published.timestamp)
    assert (stamped.causation_id, stamped.correlation_id) == (
        published.causation_id,
        published.correlation_id,
    )


def test_a_host_event_seen_already_is_dropped(driver: EphemeralRuntimeDriver) -> None:
    for number in (1, 2, 1, 2, 3, 1):
        driver.on_runtime_event(host_event(number))
    told = driver.drain_events()
    assert [envelope.id.value for envelope in told] == [uuid_of(n) for n in (1, 2, 3)]
    assert [envelope.sequence for envelope in told] == [1, 2, 3]


def test_seen_ids_are_remembered_within_a_window(runtime: Runtime) -> None:
    for number in range(HOST_EVENT_IDS_MAX):
        assert runtime.do(kernel.PublishEvent(host_event(number + 1))).told
    assert not runtime.do(kernel.PublishEvent(host_event(1))).told
    assert len(runtime.memory.host_events) == HOST_EVENT_IDS_MAX
    assert runtime.do(kernel.PublishEvent(host_event(HOST_EVENT_IDS_MAX + 1))).told
    assert len(runtime.memory.host_events) == HOST_EVENT_IDS_MAX


def test_who_takes_host_events(runtime: Runtime) -> None:
    fresh = RuntimeMemory(LogicalRuntimeId("new"), durable=False)
    with pytest.raises(RuntimeNotReady):
        kernel.decide(fresh, kernel.PublishEvent(host_event(1)), Clock()())
    for number, command in enumerate((kernel.Retire(), kernel.Stop()), start=1):
        runtime.do(command)
        assert codes_of(runtime.do(kernel.PublishEvent(host_event(number)))) == [
            "runtime.projection_emitted"
        ]
    runtime.do(kernel.Destroy())
    with pytest.raises(RuntimeDestroyed):
        runtime.do(kernel.PublishEvent(host_event(9)))
    assert effects_of(runtime.do(kernel.Wake()), Emit) == []


# --- the window -------------------------------------------------------------------------

NOTE = Emit(TopologyEvent(EventCode.RUNTIME_CREATED))


def log_of(events: int, *, window: int = 3, first: int = 1) -> EventLog:
    log = EventLog(LogicalRuntimeId("agent-1"), first, window)
    for second in range(events):
        log.append(NOTE, START + timedelta(seconds=second))
    return log


@pytest.mark.parametrize(
    ("after", "gap", "sequences"),
    [
        (0, EventGap(requested=0, dropped_through=2, watermark=5), [3, 4, 5]),
        (1, EventGap(requested=1, dropped_through=2, watermark=5), [3, 4, 5]),
        (2, None, [3, 4, 5]),
        (3, None, [4, 5]),
        (5, None, []),
        (9, None, []),
    ],
)
def test_late_readers_get_the_window_and_the_gap(
    after: int, gap: EventGap | None, sequences: list[int]
) -> None:
    log = log_of(5)
    found, envelopes = log.after(after)
    assert found == gap
    assert [envelope.sequence for envelope in envelopes] == sequences
    assert log.watermark == 5


def test_an_envelope_is_built_once() -> None:
    log = log_of(1)
    ((first,), (second,)) = log.after(0)[1], log.after(0)[1]
    assert first is second
    assert (first.timestamp, first.event) == (START, NOTE.event)


def test_a_reader_may_take_a_few_at_a_time() -> None:
    log = log_of(3)
    assert [e.sequence for e in log.after(0, 2)[1]] == [1, 2]
    assert [e.sequence for e in log.after(2, 2)[1]] == [3]


def test_dropping_the_oldest_makes_a_gap() -> None:
    log = log_of(3)
    log.drop_oldest()
    gap, envelopes = log.after(0)
    assert gap == EventGap(requested=0, dropped_through=1, watermark=3)
    assert [envelope.sequence for envelope in envelopes] == [2, 3]
    assert len(log) == 2


def test_each_load_goes_on_above_every_earlier_number() -> None:
    assert first_sequence(0) == 1
    assert first_sequence(1) > first_sequence(0) + 2**31
    log = log_of(3)
    log.rebase(first_sequence(1))
    gap, envelopes = log.after(3)
    assert envelopes == []
    assert gap is not None
    assert gap.dropped_through == first_sequence(1) - 1
    log.append(NOTE, START)
    assert [e.sequence for e in log.after(first_sequence(1) - 1)[1]] == [first_sequence(1)]
    log.rebase(5)
    assert log.watermark == first_sequence(1)
