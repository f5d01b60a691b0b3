"""Timers: calls that are due later, in their order, each made once or cancelled."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from queue import Empty, SimpleQueue

import pytest
from plane_builders import WAIT_S, logged

from actors.clock import CANCELLED_MAX, SystemClock, Timers


class Hand:
    """A clock that is moved by hand, and the timers that go by it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.timers = Timers(self)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self.seconds

    def jitter(self) -> float:
        return 0.0

    def move(self, seconds: float) -> None:
        """Let time pass; on return everything that was due has been called."""
        self.seconds += seconds
        called = threading.Event()
        self.timers.after(0.0, called.set)
        assert called.wait(WAIT_S)


@pytest.fixture
def hand() -> Iterator[Hand]:
    hand = Hand()
    yield hand
    hand.timers.stop()


def test_calls_are_made_when_they_are_due_and_in_that_order(hand: Hand) -> None:
    made: list[str] = []
    for name, delay_s in (("c", 3.0), ("a", 1.0), ("d", 3.0), ("b", 2.0), ("e", 3.0)):
        hand.timers.after(delay_s, lambda name=name: made.append(name))
    hand.move(0.5)
    assert made == []
    hand.move(0.5)
    assert made == ["a"]
    hand.move(2.0)  # what is due at one time is called in the order it was asked for
    assert made == ["a", "b", "c", "d", "e"]
    hand.move(100.0)
    assert len(made) == 5


def test_a_call_may_ask_for_the_next_one(hand: Hand) -> None:
    made: list[float] = []

    def again() -> None:
        made.append(hand.seconds)
        hand.timers.after(1.0, again)

    hand.timers.after(1.0, again)
    for _ in range(3):
        hand.move(1.0)
    assert made == [1.0, 2.0, 3.0]


def test_what_is_due_sooner_is_not_kept_waiting_by_what_is_due_later() -> None:
    """Real time: the thread waits for the far one when the near one comes."""
    timers, made = Timers(SystemClock()), SimpleQueue[str]()
    timers.after(3600.0, lambda: made.put("far"))
    timers.after(0.0, lambda: made.put("now"))
    assert made.get(timeout=WAIT_S) == "now"
    timers.after(0.001, lambda: made.put("soon"))
    assert made.get(timeout=WAIT_S) == "soon"
    timers.stop()
    with pytest.raises(Empty):
        made.get_nowait()


@pytest.mark.parametrize("delay_s", [1e11, 1e300, float("inf")])
def test_a_call_that_is_due_in_an_age_stops_no_other(delay_s: float) -> None:
    """It is further off than a thread can wait."""
    timers, made = Timers(SystemClock()), threading.Event()
    timers.after(delay_s, made.set)
    timers.after(0.001, made.set)
    assert made.wait(WAIT_S)
    assert timers._thread is not None
    assert timers._thread.is_alive()
    timers.stop()


def test_a_call_that_raises_stops_no_other(hand: Hand) -> None:
    made: list[str] = []

    def fail() -> None:
        raise SystemExit(3)

    with logged("a call that was due failed") as said:
        hand.timers.after(1.0, fail)
        hand.timers.after(1.0, lambda: made.append("next"))
        hand.move(1.0)
        assert said.is_set()
    assert made == ["next"]


# --- cancelling -------------------------------------------------------------------------


def test_a_call_that_is_cancelled_before_it_is_due_is_not_made(hand: Hand) -> None:
    made: list[str] = []
    timers = {
        name: hand.timers.after(1.0, lambda name=name: made.append(name)) for name in ("a", "b")
    }
    hand.timers.cancel(timers["a"])
    hand.timers.cancel(timers["a"])
    hand.move(1.0)
    assert made == ["b"]


def test_a_call_that_has_been_made_can_no_more_be_cancelled(hand: Hand) -> None:
    made: list[str] = []
    timer = hand.timers.after(1.0, lambda: made.append("a"))
    hand.move(1.0)
    for _ in range(2 * CANCELLED_MAX):
        hand.timers.cancel(timer)
    assert hand.timers._cancelled == 0
    hand.timers.after(1.0, lambda: made.append("b"))
    hand.move(1.0)
    assert made == ["a", "b"]


def test_a_call_may_cancel_another_that_is_due_with_it(hand: Hand) -> None:
    made: list[str] = []
    hand.timers.after(1.0, lambda: hand.timers.cancel(second))
    second = hand.timers.after(1.0, lambda: made.append("second"))
    hand.move(1.0)
    hand.move(1.0)
    assert made == []


@pytest.mark.parametrize("kept", [0, 1, 10, 1000])
def test_sweeping_out_the_cancelled_keeps_the_others(hand: Hand, kept: int) -> None:
    made: list[int] = []
    for number in range(kept):
        hand.timers.after(1.0 + number % 7, lambda number=number: made.append(number))
    most = 0
    for _ in range(20 * CANCELLED_MAX):
        hand.timers.cancel(hand.timers.after(3.5, lambda: made.append(-1)))
        most = max(most, len(hand.timers._due))
    assert most <= kept + max(CANCELLED_MAX, (kept + most) // 2) + 1
    assert len(hand.timers._due) >= kept
    hand.move(100.0)
    assert made == sorted(range(kept), key=lambda number: (number % 7, number))
    assert hand.timers._due == []
    assert hand.timers._cancelled == 0


def test_what_is_cancelled_or_made_is_not_held_in_memory(hand: Hand) -> None:
    class Held:
        def __init__(self) -> None:
            self.called = threading.Event()

        def call(self) -> None:
            self.called.set()

    held = [Held(), Held()]
    gone, called = [weakref.ref(each) for each in held], held[1].called
    hand.timers.cancel(hand.timers.after(1000.0, held[0].call))
    hand.timers.after(0.0, held[1].call)
    del held
    assert called.wait(WAIT_S)
    until = time.monotonic() + WAIT_S
    while any(each() is not None for each in gone):  # the thread may be on its way back
        assert time.monotonic() < until
        gc.collect()


def test_many_threads_ask_and_cancel(hand: Hand) -> None:
    made: list[int] = []

    def work(number: int) -> None:
        for turn in range(500):
            due = number * 500 + turn
            timer = hand.timers.after(1.0, lambda due=due: made.append(due))
            if turn % 3:
                hand.timers.cancel(timer)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    hand.move(1.0)
    assert sorted(made) == [due for due in range(2000) if due % 500 % 3 == 0]


# --- the end ----------------------------------------------------------------------------


def test_after_a_stop_nothing_is_called_any_more(hand: Hand) -> None:
    made: list[str] = []
    waits = hand.timers.after(1.0, lambda: made.append("waits"))
    thread = hand.timers._thread
    assert thread is not None
    hand.timers.stop()
    assert not thread.is_alive()
    hand.seconds = 10.0
    late = hand.timers.after(0.0, lambda: made.append("late"))
    for timer in (waits, late):
        hand.timers.cancel(timer)
    assert hand.timers._due == []  # nothing is kept that cannot be called
    hand.timers.stop()
    assert made == []
    assert hand.timers._thread is thread


def test_timers_that_were_never_asked_have_no_thread() -> None:
    timers = Timers(SystemClock())
    assert timers._thread is None
    timers.stop()
    assert timers._thread is None


def test_a_stop_waits_for_the_call_that_is_being_made(hand: Hand) -> None:
    entered, leave, made = threading.Event(), threading.Event(), list[str]()

    def slow() -> None:
        entered.set()
        assert leave.wait(WAIT_S)
        made.append("slow")

    hand.timers.after(0.0, slow)
    hand.timers.after(0.0, lambda: made.append("behind"))
    assert entered.wait(WAIT_S)
    stopping = threading.Thread(target=hand.timers.stop)
    stopping.start()
    while not hand.timers._stopped:
        pass
    leave.set()
    stopping.join(WAIT_S)
    assert not stopping.is_alive()
    assert made == ["slow"]
