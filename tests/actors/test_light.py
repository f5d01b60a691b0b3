"""Light futures and events are the standard ones to whoever waits, with less to carry."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, InvalidStateError
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any

import pytest
from plane_builders import WAIT_S

from actors.light import LightCondition, LightEvent, LightFuture
from actors.replies import Handle, Reply

KINDS: list[Callable[[], Future[Any]]] = [LightFuture, Reply, Handle]


@pytest.fixture(params=KINDS)
def future(request: pytest.FixtureRequest) -> Future[Any]:
    made: Future[Any] = request.param()
    return made


def on_a_thread(call: Callable[[], Any]) -> Future[Any]:
    """What a call gives, on a thread of its own."""
    given: Future[Any] = Future()

    def work() -> None:
        try:
            given.set_result(call())
        except BaseException as error:  # noqa: BLE001 - the test's to look at
            given.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return given


def waited_on(condition: LightCondition, waiters: int) -> None:
    """Wait until so many threads wait on a condition: nothing else tells of it."""
    deadline = monotonic() + WAIT_S
    while True:
        with condition:
            if len(condition._waiters or ()) == waiters:
                return
        assert monotonic() < deadline
        sleep(0)


# --- the standard library's own ---------------------------------------------------------


def test_a_future_has_the_attributes_of_a_standard_one() -> None:
    """They are set here, not by ``Future.__init__``: a new Python may have others."""
    ours, standard = vars(LightFuture()), vars(Future())
    assert ours.keys() == standard.keys()
    own = {"_condition"}
    assert {k: v for k, v in ours.items() if k not in own} == {
        k: v for k, v in standard.items() if k not in own
    }


def test_an_event_has_the_attributes_of_a_standard_one() -> None:
    ours, standard = vars(LightEvent()), vars(threading.Event())
    assert ours.keys() == standard.keys()
    assert ours["_flag"] is standard["_flag"] is False


def test_nothing_of_the_behaviour_is_replaced() -> None:
    assert set(vars(LightFuture)) & set(vars(Future)) <= {
        *("__module__", "__doc__", "__init__", "__parameters__", "__orig_bases__"),
        *("__dict__", "__weakref__", "__static_attributes__", "__firstlineno__"),
    }
    assert {name for name in vars(LightEvent) if not name.startswith("__")} == {"wait"}


def test_two_futures_share_nothing() -> None:
    one, other = LightFuture[int](), LightFuture[int]()
    one.add_done_callback(lambda _: None)
    one.set_result(1)
    assert not other.done()
    assert other._done_callbacks == []
    assert one._condition is not other._condition
    assert one._waiters is not other._waiters


# --- results and errors -----------------------------------------------------------------


def test_a_result_is_had_at_once_and_called_back(future: Future[Any]) -> None:
    told: list[Any] = []
    future.add_done_callback(told.append)
    future.set_result(7)
    future.add_done_callback(told.append)
    assert told == [future, future]
    assert (future.result(0), future.exception(0), future.done()) == (7, None, True)


def test_an_error_is_raised_anew_for_each_who_asks(future: Future[Any]) -> None:
    error = ValueError("no")
    future.set_exception(error)
    for _ in range(2):
        with pytest.raises(ValueError, match="no") as raised:
            future.result(0)
        assert raised.value is error
    assert future.exception(0) is error


def test_who_waits_too_long_is_told_and_may_wait_again(future: Future[Any]) -> None:
    for _ in range(2):
        with pytest.raises(futures.TimeoutError):
            future.result(0.001)
        with pytest.raises(futures.TimeoutError):
            future.exception(0)
    future.set_result("late")
    assert future.result(0) == "late"


def test_a_second_result_is_refused_and_locks_nobody_out(future: Future[Any]) -> None:
    future.set_result(1)
    for again in (lambda: future.set_result(2), lambda: future.set_exception(ValueError())):
        with pytest.raises(InvalidStateError):
            again()
    assert on_a_thread(lambda: future.result(WAIT_S)).result(WAIT_S) == 1


def test_a_callback_may_ask_its_future(future: Future[Any]) -> None:
    asked: list[Any] = []
    future.add_done_callback(lambda done: asked.append((done.result(0), done.done())))
    future.set_result(3)
    assert asked == [(3, True)]


def test_a_future_says_how_it_stands(future: Future[Any]) -> None:
    name = type(future).__name__
    assert repr(future).startswith(f"<{name} at ")
    assert "state=pending" in repr(future)
    future.set_result(1)
    assert "state=finished returned int" in repr(future)
    failed = LightFuture[int]()
    failed.set_exception(KeyError("k"))
    assert "state=finished raised KeyError" in repr(failed)


def test_a_light_future_can_be_cancelled_and_a_reply_cannot() -> None:
    light, reply = LightFuture[int](), Reply[int]()
    assert light.cancel()
    with pytest.raises(futures.CancelledError):
        light.result(0)
    assert not reply.cancel()
    assert not reply.done()


# --- many who wait ----------------------------------------------------------------------


@pytest.mark.parametrize("failing", [True, False])
def test_all_who_wait_are_woken(future: Future[Any], failing: bool) -> None:
    asking = [on_a_thread(lambda: future.exception(WAIT_S)) for _ in range(4)]
    asking += [on_a_thread(lambda: future.result(WAIT_S)) for _ in range(4)]
    waited_on(future._condition, 8)  # type: ignore[arg-type]
    error = ValueError("no")
    if failing:
        future.set_exception(error)
        assert [each.result(WAIT_S) for each in asking[:4]] == [error] * 4
        assert [each.exception(WAIT_S) for each in asking[4:]] == [error] * 4
    else:
        future.set_result("yes")
        assert [each.result(WAIT_S) for each in asking] == [None] * 4 + ["yes"] * 4


def test_results_race_with_those_who_wait_for_them() -> None:
    """Nobody who comes while a future is settled misses it."""
    settled: SimpleQueue[Future[int] | None] = SimpleQueue()

    def settle() -> None:
        while (each := settled.get()) is not None:
            each.set_result(1)

    on_a_thread(settle)
    for _ in range(2_000):
        future = LightFuture[int]()
        settled.put(future)
        assert future.result(WAIT_S) == 1
    settled.put(None)


# --- the helpers of the standard library ------------------------------------------------


def test_wait_takes_light_and_standard_ones_together() -> None:
    light, reply, standard = LightFuture[int](), Reply[int](), Future[int]()
    done, pending = futures.wait([light, reply, standard], timeout=0)
    assert (done, pending) == (set(), {light, reply, standard})
    asking = on_a_thread(
        lambda: futures.wait([light, reply, standard], WAIT_S, futures.FIRST_COMPLETED)
    )
    reply.set_result(1)
    assert asking.result(WAIT_S).done == {reply}
    asking = on_a_thread(lambda: futures.wait([light, standard], WAIT_S, futures.FIRST_EXCEPTION))
    light.set_exception(ValueError())
    assert asking.result(WAIT_S).done == {light}
    asking = on_a_thread(lambda: futures.wait([light, reply, standard], WAIT_S))
    standard.set_result(1)
    assert asking.result(WAIT_S) == ({light, reply, standard}, set())


def test_as_completed_gives_them_as_they_end() -> None:
    ours = [LightFuture[int]() for _ in range(3)]
    ours[1].set_result(1)
    ended = futures.as_completed(ours, WAIT_S)
    assert next(ended) is ours[1]
    for number in (2, 0):
        on_a_thread(lambda each=number: ours[each].set_result(each))
        assert next(ended) is ours[number]
    assert list(ended) == []
    with pytest.raises(futures.TimeoutError):
        list(futures.as_completed([LightFuture[int]()], 0))


def test_asyncio_awaits_one(future: Future[Any]) -> None:
    async def awaits() -> Any:
        wrapped = asyncio.wrap_future(future)
        on_a_thread(lambda: future.set_result("told"))
        return await asyncio.wait_for(wrapped, WAIT_S)

    assert asyncio.run(awaits()) == "told"


def test_asyncio_raises_its_error(future: Future[Any]) -> None:
    async def awaits() -> Any:
        wrapped = asyncio.wrap_future(future)
        on_a_thread(lambda: future.set_exception(ValueError("no")))
        return await asyncio.wait_for(wrapped, WAIT_S)

    with pytest.raises(ValueError, match="no"):
        asyncio.run(awaits())


def test_an_executor_can_settle_one_that_is_running() -> None:
    future = LightFuture[int]()
    assert future.set_running_or_notify_cancel()
    assert future.running()
    assert not future.cancel()
    future.set_result(1)
    assert future.result(0) == 1


# --- events and conditions --------------------------------------------------------------


def test_an_event_is_set_waited_for_and_cleared() -> None:
    event = LightEvent()
    assert not event.is_set()
    assert not event.wait(0.001)
    waiting = [on_a_thread(lambda: event.wait(WAIT_S)) for _ in range(3)]
    waited_on(event._cond, 3)  # type: ignore[arg-type]
    event.set()
    assert [each.result(WAIT_S) for each in waiting] == [True] * 3
    assert event.is_set()
    assert event.wait(0)
    event.clear()
    assert not event.wait(0)
    assert "unset" in repr(event)


def test_who_waits_for_a_condition_waits_until_it_holds() -> None:
    condition, state = LightCondition(), {"count": 0}

    def wait() -> bool:
        with condition:
            return condition.wait_for(lambda: state["count"] == 2, WAIT_S)

    waiting = [on_a_thread(wait) for _ in range(2)]
    for _ in range(2):
        waited_on(condition, 2)
        with condition:
            state["count"] += 1
            condition.notify_all()
    assert [each.result(WAIT_S) for each in waiting] == [True, True]
    with condition:
        assert not condition.wait_for(lambda: False, 0.001)
        assert condition.wait_for(lambda: True, 0)


@pytest.mark.parametrize("timeout", [None, WAIT_S])
def test_the_main_thread_looks_up_by_itself(timeout: float | None) -> None:
    """A signal that comes just before it waits wakes nobody, and is handled when it looks up."""
    condition, looks = LightCondition(), iter([False, False, True])
    with condition:
        assert condition.wait_for(lambda: next(looks), timeout)


def test_the_main_thread_looks_up_while_it_waits_for_an_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a signal just before a long wait, a second SIGTERM at a stop say, waits as long."""
    monkeypatch.setattr("actors.light.LOOK_UP_S", 0.001)
    looks: list[float | None] = []
    waited_for = LightCondition._waited_for

    def watched(self: LightCondition, holds: Callable[[], bool], timeout: float | None) -> bool:
        looks.append(timeout)
        return waited_for(self, holds, timeout)

    monkeypatch.setattr(LightCondition, "_waited_for", watched)
    assert not LightEvent().wait(0.01)
    assert len(looks) > 1
    assert all(each is not None and each <= 0.001 for each in looks)


def test_no_signal_comes_between_taking_the_lock_and_being_about_to_give_it_back() -> None:
    """The interpreter takes it and gives it back; a method in Python would be interrupted."""
    for name in ("__enter__", "__exit__"):
        assert inspect.ismethoddescriptor(getattr(LightCondition, name))


def test_a_condition_that_nobody_waits_on_is_a_lock() -> None:
    condition = LightCondition()
    condition.acquire()
    with condition:  # its holder may take it again, as asyncio's callbacks do
        condition.notify_all()
    assert condition._waiters is None
    taken = on_a_thread(condition.__enter__)
    with pytest.raises(futures.TimeoutError):
        taken.result(0.001)
    condition.release()
    assert taken.result(WAIT_S) is True


def test_whoever_waits_holds_the_lock_before_and_after() -> None:
    condition = LightCondition()
    with pytest.raises(RuntimeError):
        condition.wait(0)
    with condition:
        assert condition.wait(0.001) is False
    on_a_thread(condition.acquire).result(WAIT_S)  # it was given back


def test_a_signal_just_after_the_lock_was_given_up_comes_out_and_leaves_it_free() -> None:
    """What hid it was a RuntimeError: the lock was given back once more than it was taken."""

    class Torn(LightCondition):
        def _release_save(self) -> object:
            super()._release_save()  # type: ignore[misc]
            raise SystemExit(143)

    condition = Torn()
    with pytest.raises(SystemExit), condition:
        condition.wait(WAIT_S)
    on_a_thread(condition.acquire).result(WAIT_S)
