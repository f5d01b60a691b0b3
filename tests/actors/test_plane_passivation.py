"""Passivation: a runtime at rest leaves memory, and nobody who uses it can tell."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from passivation_builders import (
    REST_S,
    Watched,
    driver_of,
    is_live,
    passivate,
    passivations,
    settle,
    stays,
)
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    FakeClock,
    Hooked,
    OpenPlane,
    code_of,
    error_of,
    event,
    events_until,
    operation,
    phase_of,
    progress,
    prompt,
    request,
    result_of,
    system_of,
    tell,
)
from plane_stores import BrokenOnce, FrozenDisk
from pykka._envelope import Envelope

from actors import ControlPlane
from actors import messages as m
from actors.clock import Timers
from actors.passivation import Sweep
from actors.replies import Reply
from meerkat import (
    InputPhase,
    LogicalRuntimeId,
    RunContext,
    RunId,
    RuntimeEventEnvelope,
    RuntimeState,
)
from meerkat.errors import ApplyFailed, InvalidState, RuntimeNotFound, StoreError
from meerkat.events import ProjectionEvent
from meerkat.limits import Backoff, Limits
from meerkat.outcomes import CompletionKind
from meerkat.store import MemoryStore, SqliteStore


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Agent, clock: FakeClock) -> ControlPlane:
    plane = open_plane(agent, clock=clock)
    plane.register("a")
    return plane


@pytest.fixture
def quiet_plane(open_plane: OpenPlane, clock: FakeClock) -> ControlPlane:
    plane = open_plane(clock=clock)
    plane.register("a")
    return plane


# --- coming and going -------------------------------------------------------------------


def test_what_is_put_in_a_mailbox_just_after_its_end_is_answered_by_the_next_driver(
    plane: ControlPlane, clock: FakeClock
) -> None:
    settle(plane, "a")
    gone = driver_of(plane, "a")
    passivate(plane, clock, "a")
    reply: Reply[bool] = Reply()
    gone.actor_inbox.put(Envelope(m.ExecutorReady(reply)))
    assert reply.result(WAIT_S)
    assert driver_of(plane, "a") is not gone


def test_it_leaves_after_its_rest_and_comes_back_when_asked(
    plane: ControlPlane, clock: FakeClock
) -> None:
    plane.register("b")
    settle(plane, "a", "b")
    clock.advance(plane, REST_S - 1)
    assert is_live(plane, "a")
    settle(plane, "b")
    while is_live(plane, "a"):
        clock.advance(plane, 1.0)
    assert is_live(plane, "b")  # it was asked something meanwhile
    assert plane.runtime_state("a") is RuntimeState.ATTACHED
    assert is_live(plane, "a")
    assert passivations(plane) == 1
    result = result_of(plane.submit("a", prompt()).completion)
    assert result.result == "re: hello"


def test_it_may_be_kept_for_ever(open_plane: OpenPlane, clock: FakeClock) -> None:
    plane = open_plane(clock=clock, passivate_after=None)
    plane.register("a")
    assert stays(plane, clock, "a")


def test_its_rest_is_a_setting(open_plane: OpenPlane, clock: FakeClock) -> None:
    plane = open_plane(clock=clock, passivate_after=2.0)
    plane.register("a")
    while is_live(plane, "a"):
        clock.advance(plane, 2.0)
    assert clock.monotonic() < REST_S
    for none in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="passivate_after"):
            ControlPlane(MemoryStore(), passivate_after=none).start()
    with pytest.raises(TypeError, match="passivate_after takes seconds or None, not str"):
        ControlPlane(MemoryStore(), passivate_after="300").start()  # type: ignore[arg-type]


def test_it_comes_back_with_its_own_row_and_its_active_ones_alone(
    open_plane: OpenPlane, agent: Agent, clock: FakeClock, path: Path
) -> None:
    store = Watched(SqliteStore(path))
    plane = open_plane(agent, clock=clock, store=store)
    plane.register("a")
    for number in range(5):
        result_of(plane.submit("a", prompt(str(number))).completion)
    passivate(plane, clock, "a")
    store.reads.clear()
    assert plane.runtime_state("a") is RuntimeState.ATTACHED
    assert sorted(store.reads) == ["load_active_inputs", "load_runtime"]


def test_what_was_accepted_waits_in_its_order(
    quiet_plane: ControlPlane, clock: FakeClock, agent: Agent
) -> None:
    submitted = []
    for number in range(6):
        submitted.append(quiet_plane.submit("a", prompt(str(number), idempotency_key=str(number))))
        result_of(submitted[-1].accepted)
        passivate(quiet_plane, clock, "a")
    again = quiet_plane.ingest("a", prompt("0", idempotency_key="0"))
    assert again.is_deduplicated
    assert len(quiet_plane.active_input_ids("a")) == 6
    passivate(quiet_plane, clock, "a")
    quiet_plane.attach_executor("a", agent)
    for each in submitted:  # handles are the plane's: they have waited on
        assert result_of(each.completion).kind is CompletionKind.COMPLETED
    assert agent.texts == [str(number) for number in range(6)]
    assert [called.attempt for called in agent.calls] == [1] * 6
    again = quiet_plane.ingest("a", prompt("0", idempotency_key="0"))
    assert again.is_deduplicated


def test_a_session_goes_on_where_it_was(open_plane: OpenPlane, clock: FakeClock) -> None:
    lengths: list[int] = []
    plane = open_plane(Agent(lambda _, context: lengths.append(len(context.messages))), clock=clock)
    plane.register("a")
    for _ in range(4):
        result_of(plane.submit("a", prompt()).completion)
        passivate(plane, clock, "a")
    assert lengths == [0, 2, 4, 6]


def test_an_unknown_runtime_leaves_nothing_behind(plane: ControlPlane) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeNotFound):
            plane.runtime_state("nobody")
    while is_live(plane, "nobody"):
        pass
    assert passivations(plane) == 0


@pytest.mark.parametrize("end", ["retire", "stop_runtime", "destroy"])
def test_a_state_that_lasts_does_so(plane: ControlPlane, clock: FakeClock, end: str) -> None:
    getattr(plane, end)("a")
    state = plane.runtime_state("a")
    passivate(plane, clock, "a")
    assert plane.runtime_state("a") is state
    with pytest.raises(InvalidState):
        plane.ingest("a", prompt())


# --- what stays live --------------------------------------------------------------------


def test_a_run_in_hand_keeps_it(open_plane: OpenPlane, clock: FakeClock) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, clock=clock, stuck_after_s=None)
    plane.register("a")
    running = plane.submit("a", prompt())
    agent.next_call()
    assert stays(plane, clock, "a")
    agent.release()
    result_of(running.completion)
    passivate(plane, clock, "a")


def test_who_waits_for_a_slot_keeps_it(open_plane: OpenPlane, clock: FakeClock) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, clock=clock, max_concurrent_runs=1, stuck_after_s=None)
    plane.register_many(["a", "b"])
    submitted = [plane.submit("a", prompt())]
    agent.next_call()
    submitted.append(plane.submit("b", prompt()))
    assert stays(plane, clock, "b")
    agent.release()
    for each in submitted:
        result_of(each.completion)


def test_a_retry_that_is_due_later_comes(open_plane: OpenPlane, clock: FakeClock) -> None:
    def fail_once(called: Called, _context: RunContext) -> None:
        if called.attempt == 1:
            raise ApplyFailed("not yet")

    agent = Agent(fail_once)
    backoff = Backoff(base_s=10 * REST_S, cap_s=10 * REST_S)
    plane = open_plane(agent, clock=clock, backoff=backoff)
    plane.register("a")
    submission = plane.submit("a", prompt())
    agent.next_call()
    while phase_of(plane, "a", result_of(submission.accepted).input_id) is not InputPhase.QUEUED:
        pass
    clock.advance(plane, REST_S)
    clock.advance(plane, REST_S)
    assert is_live(plane, "a")
    clock.advance(plane, 10 * REST_S)
    assert result_of(submission.completion).kind is CompletionKind.COMPLETED
    passivate(plane, clock, "a")


def test_a_commit_on_its_way_keeps_it(open_plane: OpenPlane, clock: FakeClock, path: Path) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(clock=clock, store=disk)
    plane.register("a")
    disk.freeze()
    submission = plane.submit("a", prompt())
    assert disk.stuck.wait(WAIT_S)
    for _ in range(4):
        clock.advance(plane, REST_S)
    assert is_live(plane, "a")
    disk.thaw()
    assert result_of(submission.accepted).is_accepted
    passivate(plane, clock, "a")


@pytest.mark.parametrize("ended", [False, True])
def test_an_ephemeral_input_keeps_it_active_or_remembered(
    open_plane: OpenPlane, clock: FakeClock, agent: Agent, *, ended: bool
) -> None:
    plane = open_plane(agent if ended else None, clock=clock)
    plane.register("a")
    first = plane.submit("a", prompt(durability="ephemeral", idempotency_key="k"))
    input_id = result_of(first.accepted).input_id
    if ended:
        result_of(first.completion)
    assert stays(plane, clock, "a")
    assert plane.ingest("a", prompt(idempotency_key="k")).existing_id == input_id
    plane.recycle("a")
    assert phase_of(plane, "a", input_id) is not None


def test_a_stop_hook_keeps_it(open_plane: OpenPlane, clock: FakeClock) -> None:
    hooked = Hooked()
    plane = open_plane(hooked, clock=clock, grace_s=10 * REST_S)
    plane.register("a")
    hooked.leave_hook.clear()
    stopped = tell(plane, "a", m.StopRuntime(Reply()))
    assert hooked.in_hook.wait(WAIT_S)
    assert stays(plane, clock, "a")
    hooked.leave_hook.set()
    result_of(stopped)
    passivate(plane, clock, "a")
    assert hooked.stops == ["a"]


# --- what the plane notes ---------------------------------------------------------------


def test_an_executor_of_its_own_is_kept(plane: ControlPlane, clock: FakeClock) -> None:
    mine = Agent()
    plane.attach_executor("a", mine)
    for times in (1, 2):
        passivate(plane, clock, "a")
        result_of(plane.submit("a", prompt()).completion)
        assert len(mine.calls) == times
    plane.detach_executor("a")
    passivate(plane, clock, "a")
    assert plane.runtime_state("a") is RuntimeState.IDLE
    assert not plane.executor_ready("a")
    waiting = plane.submit("a", prompt("waits"))
    result_of(waiting.accepted)
    passivate(plane, clock, "a")
    plane.attach_executor("a", mine)
    result_of(waiting.completion)
    assert mine.texts[-1] == "waits"


def test_a_runtime_that_was_reset_is_idle_and_keeps_its_executor(
    plane: ControlPlane, clock: FakeClock, agent: Agent
) -> None:
    plane.reset("a")
    for _ in range(2):
        assert plane.runtime_state("a") is RuntimeState.IDLE
        passivate(plane, clock, "a")
    result_of(plane.submit("a", prompt()).completion)
    assert plane.runtime_state("a") is RuntimeState.IDLE
    assert len(agent.calls) == 1


def test_what_woke_nobody_wakes_nobody_later(
    plane: ControlPlane, clock: FakeClock, agent: Agent
) -> None:
    waiting = plane.submit("a", progress())
    result_of(waiting.accepted)
    passivate(plane, clock, "a")
    settle(plane, "a")
    passivate(plane, clock, "a")
    settle(plane, "a")
    assert not agent.calls
    plane.wake("a")
    result_of(waiting.completion)


def test_what_woke_nobody_is_drained_at_the_end(
    plane: ControlPlane, clock: FakeClock, agent: Agent
) -> None:
    waiting = plane.submit("a", progress())
    result_of(waiting.accepted)
    passivate(plane, clock, "a")
    plane.stop(drain=True)
    assert result_of(waiting.completion).kind is CompletionKind.COMPLETED


def host_event(**header: Any) -> RuntimeEventEnvelope:
    return RuntimeEventEnvelope(runtime_id="a", event=ProjectionEvent("seen"), **header)


def test_a_host_event_is_told_once(plane: ControlPlane, clock: FakeClock) -> None:
    seen, other = host_event(), host_event()
    with plane.subscribe("a") as events:
        plane.publish_event(seen)
        for _ in range(2):
            passivate(plane, clock, "a")
            plane.publish_event(seen)
        plane.publish_event(other)
        told = events_until(events, "runtime.projection_emitted", times=2)
    assert [each.id for each in told] == [seen.id, other.id]


def test_ids_for_which_there_is_no_room_keep_it(open_plane: OpenPlane, clock: FakeClock) -> None:
    plane = open_plane(clock=clock, limits=Limits(events_per_process_max=3))
    plane.register_many(["a", "b"])
    for runtime_id in ("a", "b"):
        for _ in range(2):
            plane.publish_event(
                RuntimeEventEnvelope(runtime_id=runtime_id, event=ProjectionEvent("seen"))
            )
    passivate(plane, clock, "a")
    assert stays(plane, clock, "b")
    settle(plane, "a")  # back, and its note is gone
    settle(plane, "b")
    passivate(plane, clock, "b")


def test_silent_intents_are_stored(plane: ControlPlane, clock: FakeClock, agent: Agent) -> None:
    plane.set_silent_intents("a", ["mob.peer_added"])
    passivate(plane, clock, "a")
    quiet = plane.submit("a", request())
    result_of(quiet.accepted)
    settle(plane, "a")
    assert not agent.calls


# --- what is the plane's ----------------------------------------------------------------


def test_a_subscription_goes_on_without_a_gap(plane: ControlPlane, clock: FakeClock) -> None:
    with plane.subscribe("a") as one, plane.subscribe() as everybody:
        for _ in range(3):
            plane.ingest("a", operation())
            passivate(plane, clock, "a")
        for events in (one, everybody):
            told = events_until(events, "input.consumed", times=3)
            numbers = [each.sequence for each in told]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("kept", [1, 4, 1_000])
def test_a_late_reader_is_told_of_no_gap_that_is_none(
    open_plane: OpenPlane, clock: FakeClock, kept: int
) -> None:
    """Also where others' events have pushed the runtime's own out of the window."""
    plane = open_plane(clock=clock, limits=Limits(events_per_process_max=kept))
    plane.register_many(["a", "b"])
    with plane.subscribe("a") as events:
        plane.ingest("a", operation())
        last = events_until(events, "input.consumed")[-1].sequence
    passivate(plane, clock, "a")
    for _ in range(4):
        plane.ingest("b", operation())
    with plane.subscribe("a", after=last) as events:
        plane.publish_event(host_event())
        told = events.next_within(WAIT_S)
        assert (code_of(told), told.sequence) == ("runtime.projection_emitted", last + 1)
    passivate(plane, clock, "a")
    with plane.subscribe("a") as events:
        plane.publish_event(host_event())
        told = events.next_within(WAIT_S)
        assert (code_of(told), told.sequence) == ("runtime.projection_emitted", last + 2)


def test_a_window_that_is_empty_takes_no_memory(open_plane: OpenPlane, clock: FakeClock) -> None:
    plane = open_plane(clock=clock, limits=Limits(events_per_process_max=2))
    plane.register_many(["a", "b"])
    hub, name = system_of(plane).events, LogicalRuntimeId("a")
    subscription = plane.subscribe("a")
    passivate(plane, clock, "a")
    for _ in range(3):
        plane.ingest("b", operation())
    assert name in hub._logs  # somebody may read on
    subscription.close()
    assert name not in hub._logs
    settle(plane, "a")
    assert name in hub._logs


def test_a_late_result_is_told_of_all_the_same(open_plane: OpenPlane, clock: FakeClock) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, clock=clock, grace_s=1.0, stuck_after_s=None)
    plane.register("a")
    running = plane.submit("a", prompt())
    agent.next_call()
    with plane.subscribe("a") as events:
        assert plane.interrupt("a", "now")
        clock.advance(plane, 1.0)
        assert result_of(running.completion).kind is CompletionKind.CANCELLED
        passivate(plane, clock, "a")
        agent.release()
        details = [each.event.detail for each in events_until(events, "run.progress", times=2)[-1:]]
    assert details == ["late result refused: it had succeeded"]


def test_a_receipt_and_a_finished_input_are_read_from_the_store(
    plane: ControlPlane, clock: FakeClock, agent: Agent
) -> None:
    done = plane.submit("a", prompt())
    result_of(done.completion)
    passivate(plane, clock, "a")
    run_id = agent.calls[0].run_id
    receipt = plane.load_boundary_receipt("a", run_id, 0)
    assert receipt is not None
    assert plane.load_boundary_receipt("a", RunId.new(), 0) is None
    passivate(plane, clock, "a")
    handle = plane.completion("a", result_of(done.accepted))
    assert handle.done()
    assert result_of(handle) == result_of(done.completion)


def test_an_unavailable_runtime_stays_so_until_somebody_has_mended_it(
    open_plane: OpenPlane, clock: FakeClock, path: Path
) -> None:
    plane = open_plane(clock=clock)
    plane.register("a")
    accepted = plane.ingest("a", event())
    passivate(plane, clock, "a")

    def rewrite(payload: str) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute(f"UPDATE inputs SET payload = {payload}")
        connection.close()

    rewrite("'x' || payload")
    for _ in range(2):
        with pytest.raises(StoreError, match=str(accepted.input_id)):
            plane.runtime_state("a")
        passivate(plane, clock, "a")
    rewrite("substr(payload, 2)")
    assert plane.recover("a").inputs_recovered == 1


def test_a_failed_acceptance_is_not_there_after_it(
    open_plane: OpenPlane, clock: FakeClock, path: Path
) -> None:
    disk = BrokenOnce(SqliteStore(path))
    plane = open_plane(clock=clock, store=disk)
    plane.register("a")
    disk.break_next()
    assert isinstance(error_of(plane.submit("a", prompt(idempotency_key="k")).accepted), StoreError)
    passivate(plane, clock, "a")
    assert plane.ingest("a", prompt(idempotency_key="k")).is_accepted


def test_a_look_at_who_has_rested_that_fails_is_not_the_last() -> None:
    clock, looks = FakeClock(), list[float]()
    timers = Timers(clock)

    def leave(until: float) -> bool:
        looks.append(until)
        raise RuntimeError("can't start new thread")

    due: list[Callable[[], None]] = []
    timers.after = lambda _delay_s, call: due.append(call)  # type: ignore[method-assign,assignment,return-value]
    Sweep(clock, timers, REST_S, leave=leave, first=lambda: None).start()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            due.pop()()
    assert len(looks) == 2


def test_a_driver_at_rest_keeps_nothing_of_what_it_asked_the_store(plane: ControlPlane) -> None:
    plane.register("a")
    offered = [prompt(str(number)) for number in range(100)]
    for each in offered:
        result_of(plane.submit("a", each).completion)
    held, go_on = threading.Event(), threading.Event()

    def hold(*_: Any) -> bool:
        held.set()
        return go_on.wait(WAIT_S)

    tell(plane, "a", m.Query(hold, Reply()))
    assert held.wait(WAIT_S)
    again = [plane.submit("a", each) for each in offered]  # more than a turn of them
    go_on.set()
    for each in again:
        result_of(each.accepted)
    settle(plane, "a")
    assert driver_of(plane, "a")._known is None


def test_a_runtime_that_was_unavailable_comes_back_with_its_own_executor(
    open_plane: OpenPlane, clock: FakeClock, agent: Agent, path: Path
) -> None:
    store = BrokenOnce(SqliteStore(path))
    plane = open_plane(agent, clock=clock, store=store)
    plane.register("a")
    plane.detach_executor("a")
    with sqlite3.connect(path) as database:
        (cursors,) = database.execute("SELECT cursors FROM runtimes").fetchone()
        database.execute("UPDATE runtimes SET cursors = 'not JSON'")
    store.break_next()
    with pytest.raises(StoreError):
        plane.ingest("a", prompt())
    with pytest.raises(StoreError, match="corruption"):
        plane.runtime_state("a")
    passivate(plane, clock, "a")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE runtimes SET cursors = ?", (cursors,))
    plane.recover("a")
    assert not plane.executor_ready("a")
