"""Turns of a pool: what an actor hears before one, and what its thread does after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any

import pytest
from plane_builders import WAIT_S

from actors.pool import MESSAGES_PER_TURN, ActorPool, PooledActor, on_worker


def nothing(_error: BaseException) -> None:
    """Nobody is told."""


class Doer(PooledActor):
    """Calls what it is told, and notes what it was shown before a turn."""

    def __init__(self, pool: ActorPool) -> None:
        super().__init__(pool)
        self.shown: SimpleQueue[list[Any]] = SimpleQueue()

    def before_turn(self, mail: Sequence[Any]) -> None:
        self.shown.put(list(mail))

    def on_receive(self, message: Callable[[], Any]) -> Any:
        return message()


class Hold:
    """A message that blocks its worker until it is let go."""

    def __init__(self) -> None:
        self.held, self._go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.held.set()
        self._go_on.wait(WAIT_S)

    def let_go(self) -> None:
        self._go_on.set()


@pytest.fixture
def pool() -> Iterator[ActorPool]:
    """One worker."""
    pool = ActorPool(1)
    pool.start()
    yield pool
    assert pool.stop(WAIT_S)


def doer(pool: ActorPool) -> Doer:
    actor = Doer(pool)
    actor._start_actor_loop()
    return actor


def done_by(actor: Doer, call: Callable[[], Any]) -> Any:
    """What a call gives in an actor's turn."""
    return actor.actor_ref.ask(call, timeout=WAIT_S)


def other_worker_asleep(pool: ActorPool) -> None:
    """Wait until one worker sleeps: nothing else tells of it."""
    deadline = monotonic() + WAIT_S
    while len(pool._ready._asleep) != 1:
        assert monotonic() < deadline
        sleep(0)


# --- before -----------------------------------------------------------------------------


def test_several_messages_are_shown_before_their_turn(pool: ActorPool) -> None:
    blocker, actor, hold = doer(pool), doer(pool), Hold()
    blocker.actor_ref.tell(hold)
    assert hold.held.wait(WAIT_S)
    handled: SimpleQueue[int] = SimpleQueue()
    messages = [lambda number=number: handled.put(number) for number in range(3)]
    for message in messages:
        actor.actor_ref.tell(message)
    hold.let_go()
    assert actor.shown.get(timeout=WAIT_S) == messages
    assert [handled.get(timeout=WAIT_S) for _ in range(3)] == [0, 1, 2]
    assert actor.shown.empty()


def test_a_lone_message_is_not_shown(pool: ActorPool) -> None:
    actor = doer(pool)
    for number in range(3):
        assert done_by(actor, lambda number=number: number) == number
    assert actor.shown.empty()


def test_no_more_is_shown_than_a_turn_handles(pool: ActorPool) -> None:
    blocker, actor, hold = doer(pool), doer(pool), Hold()
    blocker.actor_ref.tell(hold)
    assert hold.held.wait(WAIT_S)
    count = 2 * MESSAGES_PER_TURN + 2
    handled: SimpleQueue[int] = SimpleQueue()
    messages = [lambda number=number: handled.put(number) for number in range(count)]
    for message in messages:
        actor.actor_ref.tell(message)
    hold.let_go()
    assert [handled.get(timeout=WAIT_S) for _ in range(count)] == list(range(count))
    turns = [actor.shown.get(timeout=WAIT_S) for _ in range(3)]
    assert [len(turn) for turn in turns] == [MESSAGES_PER_TURN, MESSAGES_PER_TURN, 2]
    assert [each for turn in turns for each in turn] == messages


# --- after ------------------------------------------------------------------------------


class AfterTurn:
    """Asks for a call after the turn, and tells what came of it."""

    def __init__(self, pool: ActorPool) -> None:
        self._pool = pool
        self.granted: list[bool] = []
        self.threads: SimpleQueue[str] = SimpleQueue()

    def ask(self) -> bool:
        self.granted.append(self._pool.after_turn(self.called, nothing))
        return self.granted[-1]

    def called(self) -> None:
        self.threads.put(threading.current_thread().name)


def test_a_worker_makes_a_call_after_its_turn(pool: ActorPool) -> None:
    actor, asked = doer(pool), AfterTurn(pool)
    steps: SimpleQueue[str] = SimpleQueue()

    def in_turn() -> None:
        assert pool.after_turn(lambda: steps.put("after"), nothing)
        steps.put("in turn")

    actor.actor_ref.tell(in_turn)
    assert [steps.get(timeout=WAIT_S) for _ in range(2)] == ["in turn", "after"]
    for _ in range(2):  # each turn may have one
        assert done_by(actor, asked.ask)
        assert asked.threads.get(timeout=WAIT_S) == "meerkat-driver-0"


def test_no_other_thread_makes_a_call(pool: ActorPool) -> None:
    asked = AfterTurn(pool)
    assert not asked.ask()
    assert asked.threads.empty()


def test_one_call_is_made_after_a_turn(pool: ActorPool) -> None:
    asked = AfterTurn(pool)
    assert done_by(doer(pool), lambda: (asked.ask(), asked.ask())) == (True, False)
    assert asked.threads.get(timeout=WAIT_S)
    assert asked.threads.empty()


def test_a_worker_whose_actor_has_more_mail_has_other_things_to_do(pool: ActorPool) -> None:
    actor, hold, asked = doer(pool), Hold(), AfterTurn(pool)

    def in_turn() -> bool:
        hold()
        return asked.ask()

    first = actor.actor_ref.ask(in_turn, block=False)
    assert hold.held.wait(WAIT_S)
    second = actor.actor_ref.ask(asked.ask, block=False)
    hold.let_go()
    assert (first.get(timeout=WAIT_S), second.get(timeout=WAIT_S)) == (False, True)


def test_a_worker_for_whom_another_actor_waits_has_other_things_to_do(pool: ActorPool) -> None:
    actor, other, hold, asked = doer(pool), doer(pool), Hold(), AfterTurn(pool)

    def in_turn() -> bool:
        hold()
        return asked.ask()

    first = actor.actor_ref.ask(in_turn, block=False)
    assert hold.held.wait(WAIT_S)
    second = other.actor_ref.ask(asked.ask, block=False)
    hold.let_go()
    assert (first.get(timeout=WAIT_S), second.get(timeout=WAIT_S)) == (False, True)


def test_a_call_after_a_turn_is_in_no_turn(pool: ActorPool) -> None:
    actor, asked = doer(pool), AfterTurn(pool)
    seen: SimpleQueue[tuple[bool, bool]] = SimpleQueue()

    def after() -> None:
        seen.put((on_worker(), asked.ask()))

    done_by(actor, lambda: pool.after_turn(after, nothing))
    assert seen.get(timeout=WAIT_S) == (True, False)


def test_an_actor_that_ends_in_its_turn_keeps_its_call(pool: ActorPool) -> None:
    actor, asked = doer(pool), AfterTurn(pool)

    def in_turn() -> None:
        assert asked.ask()
        assert actor.end_if_idle()

    actor.actor_ref.tell(in_turn)
    assert asked.threads.get(timeout=WAIT_S)


def test_a_stop_waits_for_a_call() -> None:
    pool, hold = ActorPool(1), Hold()
    pool.start()
    done_by(doer(pool), lambda: pool.after_turn(hold, nothing))
    assert hold.held.wait(WAIT_S)
    assert not pool.stop(0.001)
    hold.let_go()
    assert pool.stop(WAIT_S)


# --- who is woken -----------------------------------------------------------------------


def test_what_a_call_brings_is_for_the_thread_that_made_it() -> None:
    pool = ActorPool(2)
    pool.start()
    actor, seen = doer(pool), SimpleQueue[str]()

    def note() -> None:
        seen.put(threading.current_thread().name)

    def after() -> None:
        other_worker_asleep(pool)
        note()
        actor.actor_ref.tell(note)
        assert len(pool._ready._asleep) == 1

    for _ in range(20):
        done_by(actor, lambda: pool.after_turn(after, nothing))
        mine, its = seen.get(timeout=WAIT_S), seen.get(timeout=WAIT_S)
        assert mine == its
    assert pool.stop(WAIT_S)


def test_what_is_brought_in_a_turn_is_for_another_thread() -> None:
    """This one may be long about its turn."""
    pool = ActorPool(2)
    pool.start()
    one, other, met = doer(pool), doer(pool), threading.Barrier(2)

    def in_turn() -> None:
        other_worker_asleep(pool)
        other.actor_ref.tell(lambda: met.wait(WAIT_S))
        met.wait(WAIT_S)

    done_by(one, in_turn)
    assert pool.stop(WAIT_S)


def test_two_pieces_that_a_call_brings_are_for_two_threads() -> None:
    pool = ActorPool(2)
    pool.start()
    actors, met = [doer(pool), doer(pool)], threading.Barrier(3)

    def after() -> None:
        other_worker_asleep(pool)
        for actor in actors:
            actor.actor_ref.tell(lambda: met.wait(WAIT_S))

    done_by(doer(pool), lambda: pool.after_turn(after, nothing))
    met.wait(WAIT_S)
    assert pool.stop(WAIT_S)
