"""A call frees its place before its caller knows, once, whoever settles it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from plane_builders import WAIT_S, Agent, OpenPlane, error_of, prompt, result_of

from actors.replies import Handle, OpenCalls, Reply
from meerkat import LogicalRuntimeId
from meerkat.errors import (
    ControlPlaneStopped,
    InternalError,
    MeerkatError,
    Overloaded,
    RunCancelled,
    StoreError,
)
from meerkat.limits import Limits
from meerkat.outcomes import CompletionKind

A, B = (LogicalRuntimeId(name) for name in "ab")

Settle = Callable[[Reply[Any]], None]

WAYS: dict[str, Settle] = {
    "given": lambda reply: reply.give(1),
    "failed": lambda reply: reply.fail(StoreError("no")),
}


@pytest.fixture(params=WAYS)
def settle(request: pytest.FixtureRequest) -> Settle:
    return WAYS[request.param]


def work(calls: OpenCalls, runtime_id: LogicalRuntimeId = A) -> Reply[Any]:
    reply: Reply[Any] = Reply()
    calls.opened_within_limit(reply, runtime_id)
    return reply


def control(calls: OpenCalls) -> Reply[Any]:
    reply: Reply[Any] = Reply()
    calls.opened(reply)
    return reply


def of_run(calls: OpenCalls) -> Reply[Any]:
    reply: Reply[Any] = Reply()
    calls.opened_by_run(reply)
    return reply


# --- the place --------------------------------------------------------------------------


@pytest.mark.parametrize("opened", [work, control, of_run])
def test_its_place_is_free_before_its_caller_knows(settle: Settle, opened: Any) -> None:
    calls = OpenCalls(10)
    reply, seen = opened(calls), []
    reply.add_done_callback(
        lambda _: seen.append((len(calls), len(calls._of_runs), dict(calls._of_runtime)))
    )
    settle(reply)
    assert seen == [(0, 0, {})]


def test_who_is_answered_may_call_again_at_once(settle: Settle) -> None:
    calls = OpenCalls(5)
    mine = [work(calls) for _ in range(4)]
    with pytest.raises(Overloaded):
        work(calls)
    again: list[Reply[Any]] = []
    for reply in mine:
        reply.add_done_callback(lambda _: again.append(work(calls)))
        settle(reply)
    assert len(again) == 4
    assert len(calls) == 4


def test_a_share_is_given_back_once_however_often_it_is_settled() -> None:
    calls = OpenCalls(100)
    one, other = work(calls), work(calls)
    assert calls._of_runtime == {A: 2}
    for again in (*WAYS.values(), *WAYS.values(), calls.closed, calls._give_share_back):
        again(one)
        assert calls._of_runtime == {A: 1}
        assert len(calls) == 1
    assert one.result(0) == 1
    other.fail(StoreError("no"))
    assert not calls._of_runtime


def test_settling_races_and_one_of_them_wins() -> None:
    calls = OpenCalls(1_000)
    for _ in range(100):
        kept, reply, line = work(calls), work(calls), threading.Barrier(4)
        told: list[Future[Any]] = []
        reply.add_done_callback(told.append)

        def race(act: Settle, mine: Reply[Any] = reply, line: Any = line) -> None:
            line.wait(WAIT_S)
            act(mine)

        racing = [*WAYS.values(), calls.closed, partial(Reply.fail, error=RunCancelled())]
        threads = [threading.Thread(target=race, args=(act,)) for act in racing]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert told == [reply]
        assert calls._of_runtime == {A: 1}
        kept.give(None)
        assert len(calls) == 0


def test_a_reply_that_is_noted_nowhere_is_settled_too(settle: Settle) -> None:
    reply: Reply[Any] = Reply()
    settle(reply)
    assert reply.done()


def test_one_that_is_passed_on_settles_the_other_with_its_own_place(settle: Settle) -> None:
    calls = OpenCalls(10)
    one, other = control(calls), control(calls)
    one.pass_on(other)
    settle(one)
    assert other.done()
    assert len(calls) == 0
    assert other.exception(0) is one.exception(0)


# --- the completion ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [StoreError("no"), ControlPlaneStopped(), Overloaded("l", 1), ValueError("odd")]
)
def test_a_failed_submission_fails_its_completion_with_the_same_error(error: Exception) -> None:
    calls = OpenCalls(10)
    reply = work(calls)
    reply.completion = handle = Handle()
    told: list[Any] = []
    handle.add_done_callback(lambda done: told.append((reply.done(), done.exception(0))))
    reply.fail(error)
    assert told == [(True, reply.exception(0))]
    said = reply.exception(0)
    assert said is error if isinstance(error, MeerkatError) else isinstance(said, InternalError)
    reply.fail(RunCancelled())
    assert handle.exception(0) is said


def test_a_submission_that_is_answered_leaves_its_completion_open() -> None:
    reply: Reply[Any] = Reply()
    reply.completion = handle = Handle()
    reply.give("accepted")
    reply.fail(StoreError("too late"))
    assert not handle.done()


def test_a_submission_that_is_answered_as_a_stop_fails_it_leaves_its_completion_open() -> None:
    class Answered(Reply[Any]):
        """Somebody gives its value after the stop has looked."""

        def done(self) -> bool:
            return False

    reply = Answered()
    reply.completion = handle = Handle()
    reply.give("accepted")
    reply.fail(ControlPlaneStopped())
    assert reply.result(0) == "accepted"
    assert not handle.done()


def test_a_completion_that_was_settled_before_stays() -> None:
    reply: Reply[Any] = Reply()
    reply.completion = handle = Handle()
    handle.set_exception(RunCancelled())
    reply.fail(StoreError("no"))
    assert isinstance(handle.exception(0), RunCancelled)
    assert isinstance(reply.exception(0), StoreError)


@pytest.mark.parametrize("error", [ValueError("host"), SystemExit(), KeyboardInterrupt()])
def test_what_a_hosts_callback_raises_keeps_nothing_open(error: BaseException) -> None:
    def raises(_done: Any) -> None:
        raise error

    calls = OpenCalls(10)
    one, other = work(calls), work(calls, B)
    for each in (one, other):
        each.completion = Handle()
        each.completion.add_done_callback(raises)
        each.add_done_callback(raises)
    calls.fail_all(ControlPlaneStopped())
    for each in (one, other):
        assert isinstance(each.exception(0), ControlPlaneStopped)
        assert each.completion is not None
        assert each.completion.exception(0) is each.exception(0)
    assert len(calls) == 0
    assert not calls._of_runtime


# --- the end ----------------------------------------------------------------------------


def test_the_end_settles_all_and_takes_none(settle: Settle) -> None:
    calls = OpenCalls(10)
    left = [work(calls), work(calls, B), control(calls), of_run(calls)]
    done = work(calls)
    settle(done)
    calls.refuse()
    late = of_run(calls)  # it brings what is under way to an end
    for opened in (work, control):
        with pytest.raises(ControlPlaneStopped):
            opened(calls)
    assert len(calls) == 3
    calls.fail_all(ControlPlaneStopped())
    for reply in (*left, late):
        assert isinstance(reply.exception(0), ControlPlaneStopped)
    assert not isinstance(done.exception(0), ControlPlaneStopped)
    with pytest.raises(ControlPlaneStopped):
        of_run(calls)
    assert (len(calls), calls._of_runtime, calls._of_runs) == (0, {}, {})


def test_calls_race_with_the_end_and_none_is_left() -> None:
    for _ in range(30):
        calls, line = OpenCalls(10_000), threading.Barrier(4)
        replies: list[Reply[Any]] = []

        def bring(calls: OpenCalls = calls, line: Any = line, to: Any = replies) -> None:
            line.wait(WAIT_S)
            for _ in range(50):
                reply: Reply[Any] = Reply()
                try:
                    calls.opened_within_limit(reply, A)
                except ControlPlaneStopped:
                    return
                to.append(reply)

        threads = [threading.Thread(target=bring) for _ in range(3)]
        for thread in threads:
            thread.start()
        line.wait(WAIT_S)
        calls.refuse()
        for thread in threads:
            thread.join(WAIT_S)
        calls.fail_all(ControlPlaneStopped())
        assert all(reply.done() for reply in replies)
        assert (len(calls), calls._of_runtime) == (0, {})


# --- in a plane -------------------------------------------------------------------------


def test_who_was_answered_finds_its_place_free(open_plane: OpenPlane) -> None:
    """One call in flight is all that fits: each answer has to make room for the next."""
    plane = open_plane(limits=Limits(in_flight_max=1))
    plane.register("a")
    for _ in range(200):
        assert plane.ingest("a", prompt()).is_accepted


def test_a_completion_of_a_refused_submission_is_refused_alike(open_plane: OpenPlane) -> None:
    plane = open_plane(Agent())
    submitted = plane.submit("nobody", prompt())
    refused = error_of(submitted.accepted)
    assert refused is not None
    assert error_of(submitted.completion) is refused


@pytest.mark.parametrize("attempt", range(5))
def test_submissions_race_with_a_stop_and_each_is_answered(
    open_plane: OpenPlane, attempt: int
) -> None:
    plane = open_plane(Agent(), grace_s=WAIT_S)
    plane.register_many(["a", "b"])
    submitted: list[Any] = []
    begun = threading.Event()

    def flood(runtime_id: str) -> None:
        while True:
            try:
                submitted.append(plane.submit(runtime_id, prompt()))
            except ControlPlaneStopped:
                return
            except Overloaded:
                continue
            if len(submitted) > 20 * attempt:
                begun.set()

    threads = [threading.Thread(target=flood, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    assert begun.wait(WAIT_S)
    plane.stop()
    for thread in threads:
        thread.join(WAIT_S)
    for each in submitted:
        error = error_of(each.accepted)
        if error is None:
            ended = result_of(each.completion)
            assert ended.kind in {CompletionKind.COMPLETED, CompletionKind.RUNTIME_TERMINATED}
        else:
            assert error_of(each.completion) is error
