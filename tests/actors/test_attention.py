"""Attention: what a run is told, and how it waits to be told, without a wake-up lost."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from plane_builders import WAIT_S, result_of

from actors.attention import Attention
from meerkat import WakeReason
from meerkat.errors import RunCancelled, RunRefused

ROUNDS = 3000


def tell_all(attention: Attention, *names: str) -> None:
    for name in names:
        TELLS[name](attention)


TELLS: dict[str, Callable[[Attention], None]] = {
    "cancel": Attention.cancel,
    "end at boundary": Attention.end_at_boundary,
    "steer": lambda attention: attention.steer(waiting=True),
    "call": Attention.call,
    "end": Attention.end,
}
FOUND: dict[str, Any] = {
    "cancel": WakeReason.CANCELLED,
    "end at boundary": RunCancelled,
    "steer": WakeReason.STEERED,
    "call": WakeReason.WORK_WAITING,
    "end": RunRefused,
}


def waits(attention: Attention, seconds: float = WAIT_S) -> Any:
    """What a wait finds: a reason, or the type of what it raises."""
    try:
        return attention.wait(seconds)
    except (RunCancelled, RunRefused) as error:
        return type(error)


class Waiting(Attention):
    """Attention that says when its wait has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def reason(self) -> WakeReason | None:
        found = super().reason()
        self.begun.set()  # under the lock of whoever wants to tell it something
        return found


@pytest.mark.parametrize("name", TELLS)
def test_what_was_told_before_a_wait_is_found_by_it(name: str) -> None:
    attention = Attention()
    TELLS[name](attention)
    assert waits(attention) is FOUND[name]


@pytest.mark.parametrize("name", TELLS)
def test_what_is_told_during_a_wait_ends_it(name: str) -> None:
    attention = Waiting()
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(waits, attention, 3 * WAIT_S)
        assert attention.begun.wait(WAIT_S)
        TELLS[name](attention)
        assert result_of(found) is FOUND[name]


@pytest.mark.parametrize("seconds", [0, 0.0, 0.001, -1, -math.inf, math.nan])
def test_without_a_reason_it_waits_no_longer_than_it_was_to(seconds: float) -> None:
    with ThreadPoolExecutor(1) as threads:
        attention = Attention()
        found = threads.submit(attention.wait, seconds)
        try:
            assert result_of(found) is WakeReason.TIMEOUT
        finally:
            attention.cancel()


@pytest.mark.parametrize("seconds", [math.inf, 1e300])
def test_it_may_wait_for_ever(seconds: float) -> None:
    attention = Waiting()
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(attention.wait, seconds)
        assert attention.begun.wait(WAIT_S)
        attention.call()
        assert result_of(found) is WakeReason.WORK_WAITING


def test_what_is_steered_holds_until_it_is_taken_back() -> None:
    attention = Attention()
    attention.steer(waiting=True)
    assert [attention.wait(0) for _ in range(3)] == [WakeReason.STEERED] * 3
    attention.steer(waiting=False)
    assert attention.wait(0) is WakeReason.TIMEOUT


def test_a_call_is_heard_once() -> None:
    attention = Attention()
    attention.call()
    attention.call()
    assert attention.wait(0) is WakeReason.WORK_WAITING
    assert attention.wait(0) is WakeReason.TIMEOUT
    attention.call()
    assert attention.wait(0) is WakeReason.WORK_WAITING


def test_a_call_is_heard_after_what_is_steered_has_been_taken() -> None:
    attention = Attention()
    tell_all(attention, "call", "steer")
    assert attention.wait(0) is WakeReason.STEERED
    attention.steer(waiting=False)
    assert attention.wait(0) is WakeReason.WORK_WAITING


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (("steer", "call", "cancel"), WakeReason.CANCELLED),
        (("steer", "cancel", "end at boundary"), RunCancelled),
        (("cancel", "end at boundary", "end"), RunRefused),
    ],
)
def test_what_ends_a_run_comes_first(told: tuple[str, ...], found: Any) -> None:
    attention = Attention()
    tell_all(attention, *told)
    assert [waits(attention), waits(attention)] == [found, found]


def test_what_a_boundary_refuses() -> None:
    attention = Attention()
    tell_all(attention, "steer", "call", "cancel")
    attention.refuse_ended()
    attention.end_at_boundary()
    assert not Attention().cancelled.is_set()
    attention.refuse_over()
    with pytest.raises(RunCancelled):
        attention.refuse_ended()
    attention.end()
    with pytest.raises(RunRefused):
        attention.refuse_ended()
    with pytest.raises(RunRefused):
        attention.refuse_over()


def test_only_a_cancel_sets_cancelled() -> None:
    attention = Attention()
    tell_all(attention, "end at boundary", "steer", "call", "end")
    assert not attention.cancelled.is_set()
    attention.cancel()
    assert attention.cancelled.is_set()


@pytest.mark.parametrize("name", TELLS)
def test_a_listener_is_called_for_each_thing_there_is_to_look_at(name: str) -> None:
    attention, looks, others = Attention(), list[Any](), list[None]()

    def look() -> None:
        looks.append(_found(attention))

    attention.listen(look)
    attention.listen(lambda: others.append(None))
    TELLS[name](attention)
    assert looks == [FOUND[name]]
    attention.steer(waiting=False)  # which is nothing to look at
    assert len(looks) == 1
    attention.unlisten(look)
    TELLS[name](attention)
    assert (len(looks), len(others)) == (1, 2)


def _found(attention: Attention) -> Any:
    try:
        return attention.reason()
    except (RunCancelled, RunRefused) as error:
        return type(error)


# --- wake-ups ---------------------------------------------------------------------------


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads that take turns all the time, in the middle of whatever they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_no_call_is_lost() -> None:
    """One thread calls when the other has heard the last call, and may be about to wait."""
    attention, heard = Attention(), threading.Semaphore(1)

    def hear() -> int:
        for number in range(ROUNDS):
            if attention.wait(WAIT_S) is not WakeReason.WORK_WAITING:
                return number
            heard.release()
        return ROUNDS

    with ThreadPoolExecutor(1) as threads:
        hearing = threads.submit(hear)
        for _ in range(ROUNDS):
            if not heard.acquire(timeout=WAIT_S):
                break
            attention.call()
        assert hearing.result(6 * WAIT_S) == ROUNDS


@pytest.mark.usefixtures("restless")
def test_no_steering_is_lost() -> None:
    attention, taken = Attention(), threading.Semaphore(1)

    def take() -> int:
        for number in range(ROUNDS):
            if attention.wait(WAIT_S) is not WakeReason.STEERED:
                return number
            attention.steer(waiting=False)
            taken.release()
        return ROUNDS

    with ThreadPoolExecutor(1) as threads:
        taking = threads.submit(take)
        for _ in range(ROUNDS):
            if not taken.acquire(timeout=WAIT_S):
                break
            attention.steer(waiting=True)
        assert taking.result(6 * WAIT_S) == ROUNDS


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("name", TELLS)
def test_what_is_told_at_the_moment_a_wait_begins_is_not_lost(name: str) -> None:
    """Two threads meet at a line, round after round: one begins to wait, one tells."""
    rounds = [Attention() for _ in range(ROUNDS)]
    line = threading.Barrier(2)

    def wait_each() -> list[Any]:
        found = []
        for attention in rounds:
            line.wait(WAIT_S)
            found.append(waits(attention))
        return found

    with ThreadPoolExecutor(1) as threads:
        waiting: Future[list[Any]] = threads.submit(wait_each)
        for attention in rounds:
            line.wait(WAIT_S)
            TELLS[name](attention)
        assert set(waiting.result(6 * WAIT_S)) == {FOUND[name]}


@pytest.mark.usefixtures("restless")
def test_whatever_many_threads_tell_a_cancelled_run_wakes() -> None:
    attention, over, looked = Attention(), threading.Event(), threading.Semaphore(0)

    def disturb(number: int) -> None:
        while not over.is_set():
            if number:
                attention.call()
            else:
                attention.steer(waiting=True)
                attention.steer(waiting=False)

    def wait_until_cancelled() -> None:
        while attention.wait(WAIT_S) is not WakeReason.CANCELLED:
            looked.release()

    with ThreadPoolExecutor(4) as threads:
        waiting = threads.submit(wait_until_cancelled)
        disturbing = [threads.submit(disturb, number) for number in range(3)]
        try:
            assert all(looked.acquire(timeout=WAIT_S) for _ in range(100))
            attention.cancel()
            result_of(waiting)
        finally:
            over.set()
        for each in disturbing:
            result_of(each)
