"""Threaded drivers: one thread for each runtime, with the promises of the pool.

What planes do in both modes is shown by the tests that conftest runs in both.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pykka
import pytest
from passivation_builders import driver_of
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    prompt,
    result_of,
    system_of,
    tell,
)

from actors import ControlPlane, DriverThreads
from actors import messages as m
from actors.directory import Directory
from actors.driver import DriverActor
from actors.replies import Reply
from actors.threaded import ActorThreads, ThreadedActor
from meerkat import LogicalRuntimeId, RuntimeState
from meerkat.errors import InternalError, WouldDeadlock
from meerkat.store import MemoryStore


class Noting(ThreadedActor):
    """Notes what it is told, on which thread, and what came too late."""

    def __init__(self, threads: ActorThreads) -> None:
        super().__init__(threads)
        self.told: list[Any] = []
        self.late: list[Any] = []
        self.failed: list[BaseException] = []
        self.thread: threading.Thread | None = None
        self.go_on = threading.Event()
        self.held = threading.Event()

    def on_receive(self, message: Any) -> Any:
        self.thread = threading.current_thread()
        if isinstance(message, BaseException):
            raise message
        if message == "hold":
            self.held.set()
            self.go_on.wait(WAIT_S)
        self.told.append(message)
        return message

    def on_message_failed(self, message: Any, error: BaseException) -> None:
        self.failed.append(error)

    def on_dead_letter(self, message: Any) -> None:
        self.late.append(message)


def started(threads: ActorThreads) -> tuple[Noting, pykka.ActorRef[Noting]]:
    actor = Noting(threads)
    actor._start_actor_loop()
    return actor, actor.actor_ref


def test_a_threaded_actor_is_an_ordinary_one_to_its_callers() -> None:
    threads = ActorThreads()
    threads.start()
    actor, ref = started(threads)
    assert isinstance(actor, pykka.ThreadingActor)
    for number in range(200):  # more than one turn
        ref.tell(number)
    assert ref.ask("last", timeout=WAIT_S) == "last"
    assert actor.told == [*range(200), "last"]
    assert actor.thread is not None
    assert actor.thread.daemon
    for error in (ValueError("x"), SystemExit(1), KeyboardInterrupt()):
        ref.tell(error)
        with pytest.raises(type(error)):
            ref.ask(error, timeout=WAIT_S)
        assert actor.failed.pop() is error
    assert ref.is_alive()
    assert ref.stop(timeout=WAIT_S)
    assert actor.over.wait(WAIT_S)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("late")
    actor.actor_inbox.put(pykka._envelope.Envelope("raced the end"))
    assert actor.late == ["raced the end"]
    assert threads.stop(WAIT_S)


def test_each_has_a_thread_and_one_that_is_stopped_stops_no_other() -> None:
    threads = ActorThreads()
    first, second = started(threads), started(threads)
    for actor, ref in (first, second):
        ref.ask(1, timeout=WAIT_S)
        assert actor.thread is not None
    assert first[0].thread is not second[0].thread
    first[1].tell(SystemExit(1))
    first[1].stop(timeout=WAIT_S)
    assert second[1].ask(2, timeout=WAIT_S) == 2
    assert threads.stop(WAIT_S)
    assert second[0].over.is_set()


def test_what_was_not_handled_before_the_end_is_passed_on() -> None:
    threads = ActorThreads()
    actor, ref = started(threads)
    ref.tell("hold")
    assert actor.held.wait(WAIT_S)
    ref.stop(block=False)
    ref.tell(1)
    answer = ref.ask(2, block=False)
    actor.go_on.set()
    assert actor.over.wait(WAIT_S)
    assert (actor.told, actor.late) == (["hold"], [1])
    with pytest.raises(pykka.ActorDeadError):
        answer.get(timeout=WAIT_S)


def test_one_at_rest_can_be_ended_by_any_thread_and_a_busy_one_cannot() -> None:
    threads = ActorThreads()
    actor, ref = started(threads)
    ref.tell("hold")
    assert actor.held.wait(WAIT_S)
    assert not actor.end_at_rest()
    ref.tell("more")
    actor.go_on.set()
    ref.ask("last", timeout=WAIT_S)
    while not actor.end_at_rest():
        pass  # its turn is about to end
    assert actor.over.wait(WAIT_S)
    assert not ref.is_alive()
    assert actor.told == ["hold", "more", "last"]
    assert threads.stop(WAIT_S)


def test_a_stop_says_that_an_actor_hangs() -> None:
    threads = ActorThreads()
    actor, ref = started(threads)
    ref.tell("hold")
    assert actor.held.wait(WAIT_S)
    assert not threads.stop(0.01)
    actor.go_on.set()
    assert actor.over.wait(WAIT_S)


@pytest.fixture
def threaded(open_plane: OpenPlane, agent: Agent) -> ControlPlane:
    plane = open_plane(agent, drivers=DriverThreads.THREADED)
    plane.register_many(["a", "b"])
    return plane


def test_drivers_are_threading_actors_outside_of_pykkas_registry(threaded: ControlPlane) -> None:
    before = pykka.ActorRegistry.get_all()
    drivers = [driver_of(threaded, name) for name in ("a", "b")]
    assert all(isinstance(each, pykka.ThreadingActor) for each in drivers)
    assert all(isinstance(each, DriverActor) for each in drivers)
    assert not any(each.actor_ref in before for each in drivers)
    result_of(threaded.submit("a", prompt()).completion)
    threaded.stop()
    assert all(each.over.is_set() for each in drivers)


def test_pooled_ones_are_the_default_and_are_not(plane: ControlPlane) -> None:
    assert not isinstance(driver_of(plane, "a"), pykka.ThreadingActor)


def test_a_blocking_call_on_a_drivers_thread_is_refused(threaded: ControlPlane) -> None:
    refused: Future[BaseException] = Future()

    def call(_accepted: Any) -> None:
        try:
            threaded.runtime_state("b")
        except WouldDeadlock as error:
            refused.set_result(error)

    reply = tell(threaded, "a", m.Query(lambda memory, _: memory.head, Reply()))
    reply.add_done_callback(call)
    if not refused.done():  # it was settled before the callback was there: ask in a turn
        tell(threaded, "a", m.Query(lambda *_: call(None), Reply()))
    assert isinstance(result_of(refused), WouldDeadlock)


def test_what_escapes_a_driver_stops_no_other(threaded: ControlPlane) -> None:
    def escape(_memory: Any, _store: Any) -> None:
        raise SystemExit(1)

    failed = tell(threaded, "a", m.Query(escape, Reply()))
    assert isinstance(failed.exception(WAIT_S), InternalError)
    assert threaded.runtime_state("b") is RuntimeState.ATTACHED
    assert threaded.ingest("a", prompt()).is_accepted


def test_a_passivated_driver_gives_its_thread_back(open_plane: OpenPlane, agent: Agent) -> None:
    clock = FakeClock()
    plane = open_plane(agent, drivers=DriverThreads.THREADED, clock=clock, store=MemoryStore())
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    plane.runtime_state("a")
    driver = driver_of(plane, "a")
    while LogicalRuntimeId("a") in system_of(plane).directory:
        clock.advance(plane, 301.0)
    assert driver.over.wait(WAIT_S)
    assert result_of(plane.submit("a", prompt()).completion).result == "re: hello"
    assert driver_of(plane, "a") is not driver


def test_a_setting_that_is_none_is_refused() -> None:
    unknown: Any = "fast"
    plane = ControlPlane(MemoryStore(), drivers=unknown)
    with pytest.raises(ValueError, match="DriverThreads"):
        plane.start()
    with ControlPlane(MemoryStore(), drivers=DriverThreads("threaded")) as plane:
        plane.register_many(["a", "b", "c"])


def test_what_finds_no_thread_for_its_driver_takes_no_place(
    open_plane: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_to_be_had(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    plane = open_plane(Agent(), drivers=DriverThreads.THREADED)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_to_be_had)
        for call in (plane.submit, plane.ingest):
            with pytest.raises(InternalError):
                call("a", prompt())
        with pytest.raises(InternalError):
            plane.register("a")
    calls = system_of(plane).calls
    assert len(calls) == 0
    assert not calls._of_runtime
    plane.register("a")
    assert result_of(plane.submit("a", prompt()).completion)


def test_runtimes_with_work_left_are_taken_up_once_there_is_a_thread_for_them() -> None:
    clock, started, threads_left = FakeClock(), list[str](), [0]

    class Driver:
        def tell(self, _message: Any) -> None:
            """Nothing comes of it."""

    def start(runtime_id: LogicalRuntimeId) -> Any:
        if not threads_left[0]:
            raise RuntimeError("can't start new thread")
        threads_left[0] -= 1
        started.append(str(runtime_id))
        return Driver()

    directory = Directory(start, clock, 10, lambda *_late: None)
    directory.resume([LogicalRuntimeId(each) for each in "abc"])
    for threads_left[0] in (1, 1):
        directory.passivate(0.0)
    assert started == ["a", "b"]
    assert len(directory.close([LogicalRuntimeId("d")])) == 2
