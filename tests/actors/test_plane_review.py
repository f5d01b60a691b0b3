"""The front door under odd callers, readers that fall behind, and odd host code in a run."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    events_until,
    prompt,
    result_of,
    system_of,
)

from actors import ControlPlane, RuntimeSupervisor
from actors.door import Asked
from actors.event_hub import EventHub
from actors.replies import Reply
from actors.subscriptions import Subscription
from meerkat import EventGap, RunContext
from meerkat.bindings import SessionRuntimeBindings
from meerkat.errors import ApplyFailed, CallTimedOut, ControlPlaneStopped, RuntimeNotFound
from meerkat.event_log import EventLog
from meerkat.events import ProjectionEvent
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel import Emit
from meerkat.limits import TEXT_BYTES_MAX, Limits
from meerkat.store import SqliteStore

A, B = LogicalRuntimeId("a"), LogicalRuntimeId("b")

# --- readers of all runtimes ------------------------------------------------------------


def hub_of(**limits: int) -> EventHub:
    hub = EventHub(Limits(**limits))
    for runtime_id in (A, B):
        hub.begin(runtime_id, 0)
    return hub


def tell(hub: EventHub, runtime_id: LogicalRuntimeId, count: int = 1) -> None:
    emits = [Emit(ProjectionEvent("x")) for _ in range(count)]
    hub.append(runtime_id, emits, datetime.now(UTC))


def read(events: Subscription) -> list[Any]:
    """What waits: the runtime and number of an event, the bounds of a gap."""
    told: list[Any] = []
    while (each := events.next_within(0)) is not None:
        if isinstance(each, EventGap):
            told.append((each.requested, each.dropped_through))
        else:
            told.append(f"{each.runtime_id}{each.sequence}")
    return told


def test_a_lost_stretch_is_told_once() -> None:
    hub = hub_of(events_per_runtime_max=2)
    events = hub.subscribe(None, None)
    for _ in range(10):
        tell(hub, A)
    assert read(events) == [(0, 8), "a9", "a10"]
    tell(hub, A, 5)
    assert read(events) == [(10, 13), "a14", "a15"]
    tell(hub, A)
    assert read(events) == ["a16"]


def test_the_order_of_all_runtimes_is_kept_around_a_gap() -> None:
    hub = hub_of(events_per_runtime_max=2)
    events = hub.subscribe(None, None)
    for _ in range(2):
        tell(hub, A, 2)
        tell(hub, B)
    assert read(events) == [(0, 2), "b1", "a3", "a4", "b2"]


def test_a_reader_that_overflows_is_told_what_it_lost() -> None:
    hub = hub_of(events_per_process_max=4)
    events = hub.subscribe(None, None)
    for _ in range(6):
        tell(hub, A)
        tell(hub, B)
    told = read(events)
    assert sorted(told[:2]) == [(0, 4), (0, 4)]
    assert told[2:] == ["a5", "b5", "a6", "b6"]


def test_runtimes_that_nothing_was_told_of_cost_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = hub_of(events_per_process_max=4)
    for number in range(1_000):
        hub.begin(LogicalRuntimeId(f"idle-{number}"), 0)
    looks = []
    monkeypatch.setattr(EventLog, "__len__", lambda log: looks.append(1) or log._kept)
    for _ in range(20):
        tell(hub, A)
        tell(hub, B)
    assert len(looks) < 1_000
    assert hub._total == 4


def test_no_event_is_lost_silently() -> None:
    hub = hub_of(events_per_process_max=6, events_per_runtime_max=3)
    events = hub.subscribe(None, None)
    seen = 0
    for number in range(1, 40):
        tell(hub, A, 1 + number % 5)
        tell(hub, B)
        if number % 7 == 0:
            for each in read(events):
                if isinstance(each, tuple):
                    seen += each[1] - each[0]
                else:
                    seen += 1
    waiting = 0
    for each in read(events):
        waiting += each[1] - each[0] if isinstance(each, tuple) else 1
    appended = sum(1 + number % 5 for number in range(1, 40)) + 39
    assert seen + waiting == appended


# --- runtimes that are not there --------------------------------------------------------


def test_a_runtime_that_is_forgotten_leaves_nothing() -> None:
    hub = hub_of()
    hub.forget(A)
    hub.forget(A)
    assert A not in hub._logs
    assert A not in hub._fences
    assert not hub._forgotten


def test_what_is_still_to_be_read_is_kept_until_the_window_drops_it() -> None:
    hub = hub_of(events_per_process_max=3)
    tell(hub, A)
    events = hub.subscribe(None, None)
    tell(hub, A)
    hub.forget(A)
    assert read(events) == ["a2"]
    tell(hub, A)
    tell(hub, B, 3)
    assert A not in hub._logs
    assert read(events) == [(2, 3), "b1", "b2", "b3"]


def test_a_runtime_that_comes_back_numbers_on_above() -> None:
    hub = hub_of()
    hub.claimed(A, 1)
    tell(hub, A, 3)
    hub.forget(A)
    hub.begin(A, 1)
    tell(hub, A)
    with hub.changed:
        assert [each.sequence for each in hub.read(A, 0)[1]] == [1, 2, 3, 4]
    hub.begin(B, 5)
    hub.forget(B)
    hub.begin(B, 7)
    hub.claimed(B, 8)
    tell(hub, B)
    with hub.changed:
        assert hub.read(B, 0)[1][0].sequence == 7 * 2**32 + 1


def test_a_driver_that_was_about_to_leave_and_stays_can_tell() -> None:
    hub = hub_of()
    hub.forget(A)
    hub.claimed(A, 1)
    tell(hub, A)
    with hub.changed:
        assert [each.sequence for each in hub.read(A, 0)[1]] == [1]


# --- host code in a run -----------------------------------------------------------------


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class MuteReason:
    def __str__(self) -> str:
        raise SystemExit(1)


def apply_failed_without_a_text(_called: Called, _context: RunContext) -> None:
    error = ApplyFailed("a text", recoverable=False)
    error.reason = MuteReason()  # type: ignore[assignment]
    raise error


class Unreadable(ApplyFailed):
    def __getattribute__(self, name: str) -> Any:
        if name in ("reason", "recoverable"):
            raise KeyboardInterrupt
        return super().__getattribute__(name)


def fail_with(error: BaseException) -> Any:
    def behave(_called: Called, _context: RunContext) -> None:
        raise error

    return behave


@pytest.mark.parametrize(
    "behaviour",
    [apply_failed_without_a_text, fail_with(Mute()), fail_with(Unreadable("x"))],
)
def test_an_error_without_a_text_ends_its_run_and_frees_its_slot(
    open_plane: OpenPlane, behaviour: Any
) -> None:
    agent = Agent(lambda called, context: behaviour(called, context) if called.attempt else None)
    plane = open_plane(agent, max_concurrent_runs=1)
    plane.register_many(["a", "b"])
    assert str(result_of(plane.submit("a", prompt()).completion).kind) == "abandoned"
    agent.behaviour = None
    assert str(result_of(plane.submit("b", prompt()).completion).kind) == "completed"


def test_the_text_of_an_error_is_cut_and_says_so(open_plane: OpenPlane) -> None:
    plane = open_plane(Agent(fail_with(ApplyFailed("ä" * 50_000, recoverable=False))))
    plane.register("a")
    error = result_of(plane.submit("a", prompt()).completion).error
    assert error is not None
    assert len(error.encode()) <= TEXT_BYTES_MAX
    assert error.startswith("ääää")
    assert error.endswith(" … [cut: 100000 bytes]")


def test_progress_that_is_no_text_is_refused_in_the_run(open_plane: OpenPlane) -> None:
    refused: list[str] = []

    def behave(called: Called, context: RunContext) -> None:
        try:
            context.progress(123)  # type: ignore[arg-type]
        except TypeError as error:
            refused.append(str(error))
        context.progress("x" * 100_000)

    plane = open_plane(Agent(behave))
    plane.register("a")
    with plane.subscribe("a") as events:
        outcome = result_of(plane.submit("a", prompt()).completion)
        told = events_until(events, "run.progress")
    assert str(outcome.kind) == "completed"
    assert refused == ["progress is a text, not int"]
    assert len(told[-1].event.detail) <= TEXT_BYTES_MAX


# --- starting and stopping --------------------------------------------------------------


def test_threads_that_start_at_once_start_one_plane(path: Path) -> None:
    plane = ControlPlane(SqliteStore(path))
    together = threading.Barrier(4)

    def start() -> object:
        together.wait(WAIT_S)
        plane.start()
        return system_of(plane)

    with ThreadPoolExecutor(4) as threads:
        systems = [result_of(each) for each in [threads.submit(start) for _ in range(4)]]
    assert len(set(map(id, systems))) == 1
    plane.register("a")
    plane.stop()
    plane.stop()


def test_a_start_during_a_stop_gives_a_plane_that_works(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    plane.submit("a", prompt())
    agent.next_call()
    with ThreadPoolExecutor(2) as threads:
        stopped = threads.submit(plane.stop)
        assert system_of(plane).stopping.begun.wait(WAIT_S)
        started = threads.submit(plane.start)
        assert not started.done()
        agent.release()
        result_of(stopped)
        result_of(started)
    plane.register("b")
    assert [str(each.runtime_id) for each in system_of(plane).store.list_runtimes().items] == [
        "a",
        "b",
    ]


def test_a_wrapped_supervisor_that_was_stopped_is_not_started_again(
    path: Path,
) -> None:
    supervisor = RuntimeSupervisor.start(store=SqliteStore(path))
    wrapped = ControlPlane.wrap(supervisor)
    wrapped.stop()
    with pytest.raises(ControlPlaneStopped):
        wrapped.start()


# --- calls ------------------------------------------------------------------------------


def test_the_timeout_of_many_is_for_all_of_them(
    quiet_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies that come one after the other, each in time, are too late together."""
    replies: list[Reply[SessionRuntimeBindings]] = []
    timers = system_of(quiet_plane).timers

    def register(*_: Any) -> Asked[SessionRuntimeBindings]:
        reply: Reply[Any] = Reply()
        replies.append(reply)
        timers.after(0.2 * len(replies), lambda: reply.give(None))
        return Asked("register", A, reply)

    monkeypatch.setattr(quiet_plane._door, "register", register)
    with pytest.raises(CallTimedOut, match=r"within 0\.3 s"):
        quiet_plane.register_many(list("abcdef"), timeout=0.3)
    assert len(quiet_plane.register_many(["a"], timeout=WAIT_S)) == 1


@pytest.mark.parametrize("intents", ["abc", [1, "a"], ["a", object()], {b"a"}])
def test_intents_that_are_no_texts_are_refused_at_the_door(
    quiet_plane: ControlPlane, intents: Any
) -> None:
    with pytest.raises(TypeError):
        quiet_plane.set_silent_intents("a", intents)
    quiet_plane.set_silent_intents("a", ["a", "b"])


def test_submissions_are_freed_without_the_collector(plane: ControlPlane) -> None:
    gc.collect()
    gc.disable()
    try:
        submission = plane.submit("a", prompt())
        result_of(submission.completion)
        parts = [weakref.ref(submission.accepted), weakref.ref(submission.completion)]
        del submission
        plane.runtime_state("a")
        freed = threading.Event()
        for _ in range(500):
            if not any(part() for part in parts):
                break
            freed.wait(0.01)
        assert [part() for part in parts] == [None, None]
    finally:
        gc.enable()


def test_ghosts_are_not_found(quiet_plane: ControlPlane) -> None:
    with pytest.raises(RuntimeNotFound):
        quiet_plane.runtime_state("ghost")
