"""A work queue: all work is done, in order, and one thread at a time is called for it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any

import pytest
from plane_builders import WAIT_S

from actors import work_queue
from actors.run_places import RunThreads
from actors.work_queue import WorkQueue


class Starter:
    """What a queue calls for one more thread: counts, and refuses when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.refusal: BaseException | None = None

    def __call__(self) -> None:
        self.calls += 1
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def starter() -> Starter:
    return Starter()


@pytest.fixture
def queue(starter: Starter) -> WorkQueue[str]:
    """A queue without a thread: the test is the one that arrives."""
    return WorkQueue(starter)


def workers(queue: WorkQueue[Any], do: Callable[[Any], object], count: int) -> list[Any]:
    """Threads that do what is put into a queue."""

    def work() -> None:
        while (each := queue.get()) is not None:
            do(each)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def fail(error: BaseException, _bell: object) -> None:
    raise error


def all_asleep(queue: WorkQueue[Any], count: int) -> None:
    """Wait until so many threads sleep: nothing else tells of it."""
    deadline = monotonic() + WAIT_S
    while len(queue._asleep) != count:
        assert monotonic() < deadline
        sleep(0)


def ended(threads: list[Any]) -> bool:
    for thread in threads:
        thread.join(WAIT_S)
    return not any(thread.is_alive() for thread in threads)


# --- order and calls --------------------------------------------------------------------


def test_work_is_had_in_the_order_it_came(queue: WorkQueue[str]) -> None:
    for each in "abc":
        queue.put(each)
    assert queue.has_work
    queue.arrived()
    assert [queue.get() for _ in range(3)] == ["a", "b", "c"]
    assert not queue.has_work


def test_one_thread_is_called_for_a_burst(queue: WorkQueue[str], starter: Starter) -> None:
    for each in "abc":
        queue.put(each)
    assert starter.calls == 1


def test_who_takes_work_and_leaves_some_behind_calls_the_next(
    queue: WorkQueue[str], starter: Starter
) -> None:
    for each in "abc":
        queue.put(each)
    calls = []
    for _ in range(3):
        queue.arrived()
        queue.get()
        calls.append(starter.calls)
    assert calls == [2, 3, 3]  # the last one leaves nothing


def test_work_that_comes_while_one_is_on_its_way_calls_nobody_until_it_is_here(
    queue: WorkQueue[str], starter: Starter
) -> None:
    queue.put("a")
    queue.put("b")
    assert starter.calls == 1
    queue.arrived()
    queue.put("c")
    assert starter.calls == 2


def test_a_thread_that_sleeps_is_woken_before_one_is_started(
    queue: WorkQueue[str], starter: Starter
) -> None:
    done: SimpleQueue[str] = SimpleQueue()
    threads = workers(queue, done.put, 1)
    for each in "ab":
        all_asleep(queue, 1)
        queue.put(each)
        assert done.get(timeout=WAIT_S) == each
    assert starter.calls == 0
    queue.close()
    assert ended(threads)


def test_without_more_threads_work_waits_for_those_there_are() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.put("a")
    queue.put("b")
    assert (queue.get(), queue.get()) == ("a", "b")


# --- work that blocks -------------------------------------------------------------------


def test_work_that_blocks_its_thread_holds_up_nobody() -> None:
    """Each piece waits for all the others: only so many threads get through."""
    threads, line = RunThreads(), threading.Barrier(9)
    for _ in range(8):
        threads.start(lambda: line.wait(WAIT_S))
    line.wait(WAIT_S)
    threads.stop()


def test_a_thread_that_blocks_leaves_the_rest_to_one_that_slept() -> None:
    queue: WorkQueue[Callable[[], object]] = WorkQueue()
    threads = workers(queue, lambda task: task(), 2)
    all_asleep(queue, 2)
    released, done = threading.Event(), threading.Event()
    queue.put(lambda: released.wait(WAIT_S))
    queue.put(done.set)
    assert done.wait(WAIT_S)
    released.set()
    queue.close()
    assert ended(threads)


def test_a_thread_is_kept_for_the_next_task() -> None:
    threads, names = RunThreads(), SimpleQueue[str]()
    for _ in range(20):
        threads.start(lambda: names.put(threading.current_thread().name))
        first = names.get(timeout=WAIT_S)
        all_asleep(threads._tasks, 1)
        assert first == "meerkat-run-1"
    threads.stop()


# --- mine -------------------------------------------------------------------------------


def test_one_piece_for_the_thread_that_brings_it_calls_nobody(
    queue: WorkQueue[str], starter: Starter
) -> None:
    queue.put("a", mine=True)
    assert starter.calls == 0
    assert queue.get() == "a"
    assert starter.calls == 0


@pytest.mark.parametrize("mine", [True, False])
def test_a_second_piece_calls_somebody(queue: WorkQueue[str], starter: Starter, mine: bool) -> None:
    queue.put("a", mine=True)
    queue.put("b", mine=mine)
    assert starter.calls == 1


# --- no thread to be had ----------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("no thread"), MemoryError(), KeyboardInterrupt()])
def test_work_that_nobody_can_be_had_for_is_not_taken(
    queue: WorkQueue[str], starter: Starter, error: BaseException
) -> None:
    starter.refusal = error
    with pytest.raises(type(error)):
        queue.put("a")
    assert not queue.has_work
    starter.refusal = None
    queue.put("b")  # and nobody is believed to be on the way
    assert starter.calls == 2
    queue.arrived()
    assert queue.get() == "b"


def test_work_that_somebody_took_meanwhile_is_taken() -> None:
    taken: list[str | None] = []

    def refuse() -> None:
        taken.append(queue.get())
        raise RuntimeError("no thread")

    queue: WorkQueue[str] = WorkQueue(refuse)
    queue.put("a")
    assert taken == ["a"]


def test_who_cannot_call_the_next_one_keeps_its_work(
    queue: WorkQueue[str], starter: Starter
) -> None:
    for each in "abc":
        queue.put(each)
    queue.arrived()
    for error in (RuntimeError("no thread"), MemoryError()):
        starter.refusal = error
        assert queue.get() is not None
    starter.refusal = None
    queue.put("d")
    assert starter.calls == 4  # the first, two refused, and one more
    assert [queue.get(), queue.get()] == ["c", "d"]


def test_what_came_while_nobody_could_be_had_has_somebody_called_for_it() -> None:
    """It relied on the thread that was on its way, and did not come."""
    calls = []

    def refuse_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            queue.put("b")
            raise RuntimeError("no thread")

    queue: WorkQueue[str] = WorkQueue(refuse_once)
    with pytest.raises(RuntimeError):
        queue.put("a")
    assert len(calls) == 2
    queue.arrived()
    assert queue.get() == "b"


@pytest.mark.parametrize("error", [RuntimeError(), MemoryError(), KeyboardInterrupt()])
def test_a_sleeper_that_was_not_woken_is_woken_for_what_comes_next(
    queue: WorkQueue[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    done: SimpleQueue[str] = SimpleQueue()
    threads = workers(queue, done.put, 1)
    all_asleep(queue, 1)
    with monkeypatch.context() as patched:
        patched.setattr(work_queue, "_ring", partial(fail, error))
        with pytest.raises(type(error)):
            queue.put("a")
    queue.put("b")
    assert done.get(timeout=WAIT_S) == "b"
    queue.close()
    assert ended(threads)


def test_a_sleeper_that_was_not_woken_goes_at_the_end(
    queue: WorkQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = workers(queue, lambda _: None, 1)
    all_asleep(queue, 1)
    with monkeypatch.context() as patched:
        patched.setattr(work_queue, "_ring", partial(fail, MemoryError()))
        with pytest.raises(MemoryError):
            queue.put("a")
    queue.close()
    assert ended(threads)


# --- the end ----------------------------------------------------------------------------


def test_what_waits_is_had_after_the_end_and_then_no_more(queue: WorkQueue[str]) -> None:
    for each in "ab":
        queue.put(each)
    queue.close()
    assert [queue.get() for _ in range(4)] == ["a", "b", None, None]


def test_the_end_lets_every_sleeping_thread_go(queue: WorkQueue[str]) -> None:
    threads = workers(queue, lambda _: None, 5)
    all_asleep(queue, 5)
    queue.close()
    queue.close()
    assert ended(threads)


def test_a_busy_thread_goes_once_nothing_is_left() -> None:
    queue: WorkQueue[Callable[[], object]] = WorkQueue()
    release, busy, seen = threading.Event(), threading.Event(), SimpleQueue[str]()

    def block() -> None:
        busy.set()
        release.wait(WAIT_S)

    threads = workers(queue, lambda task: task(), 1)
    queue.put(block)
    assert busy.wait(WAIT_S)
    queue.put(lambda: seen.put("after the end"))
    queue.close()
    release.set()
    assert seen.get(timeout=WAIT_S) == "after the end"
    assert ended(threads)


# --- under load -------------------------------------------------------------------------


@pytest.mark.parametrize(("putters", "takers"), [(1, 4), (4, 1), (4, 4)])
def test_no_wake_up_is_lost(putters: int, takers: int) -> None:
    """Lone pieces and small bursts, each awaited: one lost wake-up and nothing goes on."""
    queue: WorkQueue[Callable[[], object]] = WorkQueue()
    threads = workers(queue, lambda task: task(), takers)
    counted: Counter[int] = Counter()
    lock = threading.Lock()

    def bring(putter: int) -> None:
        for number in range(300):
            line = threading.Semaphore(0)

            def task(line: threading.Semaphore = line) -> None:
                with lock:
                    counted[putter] += 1
                line.release()

            burst = 1 + number % 3
            for _ in range(burst):
                queue.put(task)
            for _ in range(burst):
                assert line.acquire(timeout=WAIT_S)

    bringing = [threading.Thread(target=bring, args=(each,)) for each in range(putters)]
    for thread in bringing:
        thread.start()
    assert ended(bringing)
    assert counted == dict.fromkeys(range(putters), 600)
    queue.close()
    assert ended(threads)


def test_tasks_of_many_threads_are_all_done_and_threads_are_used_again() -> None:
    threads, done, started = RunThreads(), threading.Semaphore(0), SimpleQueue[str]()

    def task() -> None:
        started.put(threading.current_thread().name)
        done.release()

    def bring() -> None:
        for _ in range(200):
            threads.start(task)

    bringing = [threading.Thread(target=bring) for _ in range(4)]
    for thread in bringing:
        thread.start()
    for _ in range(800):
        assert done.acquire(timeout=WAIT_S)
    assert ended(bringing)
    assert len({started.get() for _ in range(800)}) < 800
    threads.stop()
