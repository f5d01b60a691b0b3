"""Linked: an actor's end, whatever brought it, is its own, and is told once."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pykka
import pytest
from plane_builders import WAIT_S
from pykka._envelope import Envelope

from actors import Ended, RuntimeSupervisor, watch_actor
from actors.contained import Contained, ContainedActor, contained
from actors.linked import link_of
from meerkat.store import MemoryStore, SqliteStore

FAILURES = [ValueError, MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit]
DEADLY = [SystemExit, KeyboardInterrupt, GeneratorExit]


class Watcher(pykka.ThreadingActor):
    """An actor of the host's that keeps what it is told; plain Pykka, so a stop of all ends it."""

    use_daemon_thread = True

    def __init__(self, told: SimpleQueue[Any]) -> None:
        super().__init__()
        self.told = told

    def on_receive(self, message: Any) -> Any:
        self.told.put(message)
        return message


class Host(pykka.ThreadingActor):
    """An actor of the host's that raises where it is told to."""

    use_daemon_thread = True

    def __init__(self, where: str = "", error: BaseException | None = None) -> None:
        super().__init__()
        self.where, self.error = where, error
        self.failed_with: Any = None

    def _raise_in(self, where: str) -> None:
        if self.error is not None and self.where == where:
            raise self.error

    def on_start(self) -> None:
        self._raise_in("on_start")

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        return message() if callable(message) else message

    def on_stop(self) -> None:
        self._raise_in("on_stop")

    def on_failure(self, *error: Any) -> None:
        self.failed_with = error[1]
        self._raise_in("on_failure")


@pytest.fixture
def told() -> SimpleQueue[Any]:
    return SimpleQueue()


@pytest.fixture
def watcher(told: SimpleQueue[Any]) -> Iterator[pykka.ActorRef[Watcher]]:
    ref = Watcher.start(told)
    yield ref
    assert ref.ask("well?", timeout=WAIT_S) == "well?"  # nothing has stopped the host's own
    ref.stop(timeout=WAIT_S)


class Hold:
    """A message that blocks its actor until it is let go."""

    def __init__(self) -> None:
        self.held, self.let_go = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        self.held.set()
        return self.let_go.wait(WAIT_S)


def over(ref: pykka.ActorRef[Any]) -> Ended:
    assert link_of(ref).wait_until_ended(WAIT_S)
    ended = link_of(ref).ended
    assert ended is not None
    return ended


def told_once(told: SimpleQueue[Any], watcher: pykka.ActorRef[Watcher]) -> Ended:
    """What the watcher was told, once it has taken up all that came before now."""
    ended = told.get(timeout=WAIT_S)
    watcher.ask("all?", timeout=WAIT_S)
    assert told.get_nowait() == "all?"
    assert isinstance(ended, Ended)
    return ended


# --- what ends an actor -----------------------------------------------------------------


@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.parametrize("where", ["on_start", "on_stop"])
def test_a_hook_that_raises_ends_its_actor_alone(
    where: str,
    error: type[BaseException],
    told: SimpleQueue[Any],
    watcher: pykka.ActorRef[Watcher],
) -> None:
    raised = error("from " + where)
    ref = contained(Host).start(where, raised)
    watch_actor(ref, watcher)
    ref.stop(timeout=WAIT_S)
    assert told_once(told, watcher) == Ended(ref, raised)
    assert not ref.is_alive()
    assert ref not in pykka.ActorRegistry.get_all()


@pytest.mark.parametrize("error", FAILURES)
def test_a_message_that_fails_ends_its_actor_alone(
    error: type[BaseException], told: SimpleQueue[Any], watcher: pykka.ActorRef[Watcher]
) -> None:
    ref, raised = contained(Host).start(), error("told")
    watch_actor(ref, watcher)
    ref.tell(raised)
    assert told_once(told, watcher) == Ended(ref, raised)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("late")


@pytest.mark.parametrize("error", DEADLY)
def test_what_would_end_the_asker_too_reaches_it_as_a_death(
    error: type[BaseException], told: SimpleQueue[Any], watcher: pykka.ActorRef[Watcher]
) -> None:
    ref, raised = contained(Host).start(), error("asked")
    watch_actor(ref, watcher)
    with pytest.raises(pykka.ActorDeadError, match=error.__name__) as caught:
        ref.ask(raised, timeout=WAIT_S)
    assert caught.value.__cause__ is raised
    assert told_once(told, watcher) == Ended(ref, raised)


@pytest.mark.parametrize("error", [ValueError, MemoryError])
def test_an_ordinary_exception_goes_to_the_asker_and_the_actor_lives_on(
    error: type[Exception],
) -> None:
    ref = contained(Host).start()
    with pytest.raises(error):
        ref.ask(error("asked"), timeout=WAIT_S)
    assert ref.ask("there?", timeout=WAIT_S) == "there?"
    ref.stop(timeout=WAIT_S)
    assert over(ref).error is None


@pytest.mark.parametrize("error", FAILURES)
def test_the_first_failure_is_the_reason(error: type[BaseException]) -> None:
    first, second = ValueError("first"), error("of the hook that was to clean up")
    ref = contained(Host).start("on_failure", second)
    ref.tell(first)
    assert over(ref).error is first


def test_a_failing_hook_does_not_call_the_hook_for_failures() -> None:
    for where in ("on_start", "on_stop"):
        actor: Any = contained(Host)(where, ValueError())
        actor._start_actor_loop()
        actor.actor_ref.stop(timeout=WAIT_S)
        assert over(actor.actor_ref).error is actor.error
        assert actor.failed_with is None


def test_an_actor_that_gets_no_thread_has_failed(
    monkeypatch: pytest.MonkeyPatch, told: SimpleQueue[Any], watcher: pykka.ActorRef[Watcher]
) -> None:
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    born: list[Host] = []

    class Noted(Host):
        def __init__(self) -> None:
            super().__init__()
            born.append(self)
            watch_actor(self.actor_ref, watcher)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="new thread") as caught:
            contained(Noted).start()
    ref = born[0].actor_ref
    assert told_once(told, watcher) == Ended(ref, caught.value)
    assert born[0].failed_with is caught.value
    assert ref not in pykka.ActorRegistry.get_all()
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("there?", timeout=WAIT_S)


# --- who is told ------------------------------------------------------------------------


def test_the_end_is_told_after_the_last_hook(
    told: SimpleQueue[Any], watcher: pykka.ActorRef[Watcher]
) -> None:
    hold = Hold()

    class Slow(Host):
        def on_stop(self) -> None:
            hold()

    ref = contained(Slow).start()
    watch_actor(ref, watcher)
    stopped = ref.stop(block=False)
    assert hold.held.wait(WAIT_S)
    watcher.ask("all?", timeout=WAIT_S)
    assert told.get_nowait() == "all?"
    hold.let_go.set()
    assert told_once(told, watcher) == Ended(ref, None)
    assert stopped.get(timeout=WAIT_S)


def test_who_watches_late_is_told_at_once_also_of_an_actor_that_is_gone(
    told: SimpleQueue[Any], watcher: pykka.ActorRef[Watcher]
) -> None:
    ref, error = contained(Host).start(), ValueError()
    ref.tell(error)
    over(ref)
    gc.collect()
    watch_actor(ref, watcher)
    assert told_once(told, watcher) == Ended(ref, error)


def test_each_watcher_is_told_once_however_the_watch_races_the_end() -> None:
    for round_ in range(200):
        told: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(2)]
        watchers = [Watcher.start(queue) for queue in told]
        ref = contained(Host).start()
        gate = threading.Barrier(3)

        def watch(watcher: Any, ref: Any = ref, gate: threading.Barrier = gate) -> None:
            gate.wait(WAIT_S)
            watch_actor(ref, watcher)

        threads = [threading.Thread(target=watch, args=(each,)) for each in watchers]
        for thread in threads:
            thread.start()
        gate.wait(WAIT_S)
        ref.tell(ValueError()) if round_ % 2 else ref.stop(block=False)
        for thread in threads:
            thread.join(WAIT_S)
        for watcher, queue in zip(watchers, told, strict=True):
            ended = told_once(queue, watcher)
            assert ended.actor_ref is ref
            assert (ended.error is not None) == bool(round_ % 2)
            watcher.stop(timeout=WAIT_S)
            with pytest.raises(Empty):
                queue.get_nowait()


def test_a_watcher_that_has_ended_is_nobodys_trouble(
    told: SimpleQueue[Any], watcher: pykka.ActorRef[Watcher]
) -> None:
    ref = contained(Host).start()
    for _ in range(100):
        gone = Watcher.start(told)
        watch_actor(ref, gone)
        gone.stop(timeout=WAIT_S)
    watch_actor(ref, watcher)
    assert len(link_of(ref)._watchers) <= 2  # the last that is gone is swept by the next
    ref.stop(timeout=WAIT_S)
    assert told_once(told, watcher) == Ended(ref, None)


def test_an_actor_that_is_not_ours_cannot_be_watched(watcher: pykka.ActorRef[Watcher]) -> None:
    with pytest.raises(TypeError, match="Watcher is not told"):
        watch_actor(watcher, watcher)


# --- asking -----------------------------------------------------------------------------


@pytest.mark.parametrize("last", [None, SystemExit()])
def test_every_ask_that_races_an_end_is_answered(last: BaseException | None) -> None:
    for _ in range(100):
        ref = contained(Host).start()
        gate, answers = threading.Barrier(3), SimpleQueue[Any]()

        def ask(ref: Any = ref, gate: Any = gate, answers: Any = answers) -> None:
            gate.wait(WAIT_S)
            answers.put([ref.ask(number, block=False) for number in range(5)])

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        gate.wait(WAIT_S)
        ref.stop(block=False) if last is None else ref.tell(last)
        for thread in threads:
            thread.join(WAIT_S)
            for number, answer in enumerate(answers.get(timeout=WAIT_S)):
                with suppress(pykka.ActorDeadError):
                    assert answer.get(timeout=WAIT_S) == number


def test_an_ask_that_comes_after_the_end_is_answered() -> None:
    ref, answer = contained(Host).start(), pykka.ThreadingFuture[Any]()
    ref.stop(timeout=WAIT_S)
    over(ref)
    ref.actor_inbox.put(Envelope("late", reply_to=answer))  # it was found alive, before
    with pytest.raises(pykka.ActorDeadError):
        answer.get(timeout=WAIT_S)


def test_a_stop_behind_a_failure_is_answered() -> None:
    ref, hold = contained(Host).start(), Hold()
    ref.tell(hold)
    ref.tell(ValueError())
    stopped = ref.stop(block=False)
    hold.let_go.set()
    assert stopped.get(timeout=WAIT_S) is False


# --- the classes ------------------------------------------------------------------------


def test_a_contained_class_goes_by_the_name_of_its_own() -> None:
    made = contained(Host)
    assert issubclass(made, Host)
    assert (made.__name__, made.__module__) == (Host.__name__, Host.__module__)
    assert contained(made) is made
    assert contained(ContainedActor) is ContainedActor
    ref = made.start()
    assert pykka.ActorRegistry.get_by_class(Host) == [ref]
    assert pykka.ActorRegistry.get_by_class_name("Host") == [ref]
    assert ref.proxy().where.get(timeout=WAIT_S) == ""
    ref.stop(timeout=WAIT_S)


def test_an_actor_with_a_loop_of_its_own_is_refused() -> None:
    class Own(Host):
        def _actor_loop(self) -> None:
            """Does nothing."""

    with pytest.raises(TypeError, match="Own has a loop"):
        contained(Own)


def test_the_inbox_that_a_class_asks_for_is_kept() -> None:
    class Bounded(Host):
        @staticmethod
        def _create_actor_inbox() -> Any:
            return made

    made = pykka.ThreadingActor._create_actor_inbox()
    ref = contained(Bounded).start()
    hold = Hold()
    ref.tell(hold)
    assert hold.held.wait(WAIT_S)
    ref.tell("waits")
    assert not made.empty()
    hold.let_go.set()
    ref.stop(timeout=WAIT_S)


# --- ours -------------------------------------------------------------------------------


@pytest.mark.parametrize("error", FAILURES)
def test_a_runtime_supervisor_that_fails_ends_alone_and_lets_go_of_its_store(
    error: type[BaseException],
    path: Path,
    told: SimpleQueue[Any],
    watcher: pykka.ActorRef[Watcher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised = error("injected")

    def fail(_self: object, message: Any) -> Any:
        raise raised

    ref = RuntimeSupervisor.start(store=SqliteStore(path))
    watch_actor(ref, watcher)
    monkeypatch.setattr(RuntimeSupervisor, "on_receive", fail)
    ref.tell("anything")
    assert told_once(told, watcher) == Ended(ref, raised)
    again = SqliteStore(path)
    again.acquire()  # raises StoreError while another owns it
    again.close()


def test_a_runtime_supervisor_that_cannot_start_is_an_end_like_any_other(
    told: SimpleQueue[Any],
    watcher: pykka.ActorRef[Watcher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised = SystemExit("injected")

    def fail(_self: object) -> None:
        raise raised

    monkeypatch.setattr("actors.journal.Journal.start", fail)
    ref = RuntimeSupervisor.start(store=MemoryStore())
    watch_actor(ref, watcher)
    assert told_once(told, watcher) == Ended(ref, raised)


def test_contained_is_a_base_like_pykkas() -> None:
    class Ours(ContainedActor):
        def on_receive(self, message: Callable[[], Any]) -> Any:
            return message()

    assert issubclass(Ours, Contained)
    ref = Ours.start()
    assert ref.ask(lambda: 1, timeout=WAIT_S) == 1
    names = [thread.name for thread in threading.enumerate() if thread.daemon]
    assert any(name.startswith("Ours-") for name in names)
    assert ref.stop(timeout=WAIT_S)
    assert over(ref).error is None
