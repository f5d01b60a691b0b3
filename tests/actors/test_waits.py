"""Waits on themselves: refused at once, with the chain; every wait that can end is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    Puppet,
    PuppetRun,
    error_of,
    prompt,
    result_of,
    steered,
    system_of,
)
from plane_stores import FrozenDisk

from actors import ControlPlane
from meerkat import OperationId, RunContext
from meerkat.errors import CallTimedOut, WouldDeadlock
from meerkat.identifiers import LogicalRuntimeId, RunId
from meerkat.operations import OperationKind
from meerkat.outcomes import CompletionHandle, CompletionKind
from meerkat.store import MemoryStore


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: Puppet) -> ControlPlane:
    plane = open_plane(puppet, grace_s=WAIT_S)
    plane.register_many(["a", "b", "c"])
    return plane


def run_of(plane: ControlPlane, puppet: Puppet, runtime_id: str) -> PuppetRun:
    """A run in hand of a runtime."""
    result_of(plane.submit(runtime_id, prompt()).accepted)
    run = puppet.next_run()
    assert run.called.runtime_id == runtime_id
    return run


def queued(plane: ControlPlane, runtime_id: str, **header: Any) -> CompletionHandle:
    """A handle on an input that waits in its lane."""
    return plane.completion(runtime_id, plane.ingest(runtime_id, prompt(**header)))


def waits(run: PuppetRun, plane: ControlPlane, future: Any, timeout: float | None = None) -> Any:
    """Have a run wait for a future, and see it wait."""
    waiting = run.asks(lambda _: future.result(timeout))
    seen_to_wait(plane, run)
    return waiting


def seen_to_wait(plane: ControlPlane, run: PuppetRun) -> None:
    scene = system_of(plane).waits
    until(lambda: scene.wait_of(run.context) is not None)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that nothing else tells of."""
    deadline = monotonic() + WAIT_S
    while not holds():
        assert monotonic() < deadline
        sleep(0)


def refused(run: PuppetRun, deed: Callable[[RunContext], Any]) -> WouldDeadlock:
    error = error_of(run.asks(deed))
    assert isinstance(error, WouldDeadlock), error
    return error


def named(run: PuppetRun) -> str:
    return f"run {run.called.run_id} of {run.called.runtime_id}"


# --- one run ----------------------------------------------------------------------------


def test_a_run_that_waits_for_an_input_behind_it_is_refused(
    plane: ControlPlane, puppet: Puppet
) -> None:
    run, handle = run_of(plane, puppet, "a"), queued(plane, "a")
    error = refused(run, lambda _: handle.result())
    waited_for = f"{named(run)} waits for input {handle.input_id} of a"  # type: ignore[attr-defined]
    assert error.chain == (f"{waited_for}, behind {named(run)}",)
    assert str(error) == f"Would deadlock: {error.chain[0]}"
    run.returns()
    puppet.next_run().returns()
    assert result_of(handle).kind is CompletionKind.COMPLETED


WAYS: dict[str, Callable[[ControlPlane, CompletionHandle, RunContext], Any]] = {
    "result": lambda _plane, handle, _context: handle.result(),
    "result, with a timeout": lambda _plane, handle, _context: handle.result(WAIT_S),
    "exception": lambda _plane, handle, _context: handle.exception(),
    "a handle of its own": lambda plane, handle, _context: plane.completion(
        "a", handle.input_id
    ).result(),  # type: ignore[attr-defined]
    "a submission": lambda plane, _handle, _context: plane.submit(
        "a", prompt()
    ).completion.result(),
    "unregister": lambda plane, _handle, _context: plane.unregister("a"),
    "stop": lambda plane, _handle, _context: plane.stop(),
    "stop, with no time": lambda plane, _handle, _context: plane.stop(timeout=0),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_a_run_to_wait_on_itself_is_refused(
    plane: ControlPlane, puppet: Puppet, way: str
) -> None:
    run, handle = run_of(plane, puppet, "a"), queued(plane, "a")
    error = refused(run, lambda context: WAYS[way](plane, handle, context))
    assert named(run) in str(error)
    assert len(error.chain) == 1
    puppet.release()
    assert result_of(handle).kind is CompletionKind.COMPLETED  # nothing that was refused happened


def test_a_run_that_waits_for_its_own_input_is_refused(plane: ControlPlane, puppet: Puppet) -> None:
    submitted = plane.submit("a", prompt())
    run = puppet.next_run()
    refused(run, lambda _: submitted.completion.result())
    run.returns()
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED


def test_who_registers_a_runtime_that_its_run_keeps_from_leaving_is_refused(
    plane: ControlPlane, puppet: Puppet
) -> None:
    run = run_of(plane, puppet, "a")
    assert run.does(lambda _: plane.register("a"))
    with ThreadPoolExecutor(1) as threads:
        leaving = threads.submit(plane.unregister, "a")
        until(lambda: system_of(plane).waits.doing(LogicalRuntimeId("a")).leaving)
        error = refused(run, lambda _: plane.register("a"))
        assert error.call == "register"
        run.returns()
        result_of(leaving)


# --- what can end is left alone ---------------------------------------------------------


def test_an_input_that_has_ended_is_no_wait(plane: ControlPlane, puppet: Puppet) -> None:
    first = plane.submit("a", prompt())
    puppet.next_run().returns()
    result_of(first.completion)
    run = run_of(plane, puppet, "a")
    assert run.does(lambda _: first.completion.result()).kind is CompletionKind.COMPLETED


def test_a_look_is_no_wait(plane: ControlPlane, puppet: Puppet) -> None:
    run, handle = run_of(plane, puppet, "a"), queued(plane, "a")
    assert isinstance(error_of(run.asks(lambda _: handle.result(0))), TimeoutError)
    assert isinstance(error_of(run.asks(lambda _: handle.exception(-1))), TimeoutError)
    assert run.does(lambda _: handle.done()) is False


def test_what_a_boundary_would_hand_over_may_be_waited_for(
    plane: ControlPlane, puppet: Puppet
) -> None:
    run = run_of(plane, puppet, "a")
    handle = plane.completion("a", plane.ingest("a", steered()))
    assert isinstance(error_of(run.asks(lambda _: handle.result(0.05))), TimeoutError)
    waiting = waits(run, plane, handle)
    run.context.boundary().commit(append=[])  # a thread of the executor's own
    assert result_of(waiting).kind is CompletionKind.COMPLETED_WITHOUT_RESULT


def test_a_run_may_wait_for_another_runtime_that_is_busy(
    plane: ControlPlane, puppet: Puppet
) -> None:
    one, other = run_of(plane, puppet, "a"), run_of(plane, puppet, "b")
    waiting = waits(one, plane, queued(plane, "b"))
    other.returns()
    puppet.next_run().returns()
    assert result_of(waiting).kind is CompletionKind.COMPLETED


def test_a_run_may_wait_for_what_it_has_submitted_elsewhere(
    plane: ControlPlane, puppet: Puppet
) -> None:
    run = run_of(plane, puppet, "a")
    waiting = run.asks(lambda _: plane.submit("b", prompt()).completion.result())
    puppet.next_run().returns()
    assert result_of(waiting).kind is CompletionKind.COMPLETED


def test_a_caller_may_wait_for_whatever_it_likes(plane: ControlPlane, puppet: Puppet) -> None:
    run, handle = run_of(plane, puppet, "a"), queued(plane, "a")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(handle.result)
        run.returns()
        puppet.next_run().returns()
        assert result_of(waiting).kind is CompletionKind.COMPLETED


def test_a_run_that_its_runtime_has_given_up_may_wait(
    open_plane: OpenPlane, puppet: Puppet
) -> None:
    plane = open_plane(puppet, grace_s=0.01)
    plane.register("a")
    run, handle = run_of(plane, puppet, "a"), queued(plane, "a")
    plane.interrupt("a", "now")
    waiting = run.asks(lambda _: handle.result())
    other = puppet.next_run()  # after the grace
    other.returns()
    assert result_of(waiting).kind is CompletionKind.COMPLETED


def test_another_plane_of_the_process_sees_nothing_of_it(
    plane: ControlPlane, puppet: Puppet, open_plane: OpenPlane
) -> None:
    agent = Agent()
    elsewhere = open_plane(agent, store=MemoryStore())
    elsewhere.register("a")
    run = run_of(plane, puppet, "a")
    assert run.does(lambda _: elsewhere.submit("a", prompt()).completion.result())
    run.does(lambda _: elsewhere.unregister("a"))
    run.does(lambda _: elsewhere.stop())


# --- chains -----------------------------------------------------------------------------


def test_whoever_closes_a_chain_is_refused_and_the_others_go_on(
    plane: ControlPlane, puppet: Puppet
) -> None:
    a, b, c = (run_of(plane, puppet, each) for each in "abc")
    behind = {each: queued(plane, each) for each in "abc"}
    first = waits(a, plane, behind["b"])
    second = waits(b, plane, behind["c"])
    error = refused(c, lambda _: behind["a"].result(WAIT_S))
    assert [line.split(" waits for ")[0] for line in error.chain] == [named(c), named(a), named(b)]
    assert all(f"input {each.input_id} of" in str(error) for each in behind.values())  # type: ignore[attr-defined]
    puppet.release()
    assert result_of(second).kind is CompletionKind.COMPLETED
    assert result_of(first).kind is CompletionKind.COMPLETED


def test_a_timeout_on_the_way_breaks_a_chain(plane: ControlPlane, puppet: Puppet) -> None:
    a, b = run_of(plane, puppet, "a"), run_of(plane, puppet, "b")
    behind_a, behind_b = queued(plane, "a"), queued(plane, "b")
    bounded = waits(a, plane, behind_b, WAIT_S)
    waiting = waits(b, plane, behind_a)
    assert not bounded.done()
    plane.interrupt("a", "now")
    plane.destroy("b")
    assert result_of(bounded).kind is CompletionKind.RUNTIME_TERMINATED
    puppet.release()
    assert result_of(waiting).kind is not None


def test_a_run_that_is_told_to_end_breaks_a_chain(plane: ControlPlane, puppet: Puppet) -> None:
    a, b = run_of(plane, puppet, "a"), run_of(plane, puppet, "b")
    behind_a, behind_b = queued(plane, "a"), queued(plane, "b")
    waiting = waits(a, plane, behind_b)
    plane.interrupt("a", "now")
    other = waits(b, plane, behind_a)
    plane.destroy("b")
    assert result_of(waiting).kind is CompletionKind.RUNTIME_TERMINATED
    puppet.release()
    assert result_of(other).kind is CompletionKind.COMPLETED


def test_an_unregistration_closes_a_chain(plane: ControlPlane, puppet: Puppet) -> None:
    a, b = run_of(plane, puppet, "a"), run_of(plane, puppet, "b")
    waiting = waits(a, plane, queued(plane, "b"))
    error = refused(b, lambda _: plane.unregister("a"))
    assert error.call == "unregister"
    assert len(error.chain) == 2
    puppet.release()
    assert result_of(waiting).kind is CompletionKind.COMPLETED
    assert plane.runtime_state("a")  # it was not sent


def test_of_those_who_close_a_chain_together_one_is_refused(
    plane: ControlPlane, puppet: Puppet
) -> None:
    for _ in range(10):
        a, b = run_of(plane, puppet, "a"), run_of(plane, puppet, "b")
        behind_a, behind_b, line = queued(plane, "a"), queued(plane, "b"), threading.Barrier(2)

        def wait(handle: CompletionHandle, line: Any = line) -> Any:
            line.wait(WAIT_S)
            return handle.result()

        asked = [
            a.asks(lambda _, handle=behind_b: wait(handle)),
            b.asks(lambda _, handle=behind_a: wait(handle)),
        ]
        done = next(as_completed(asked, WAIT_S))
        assert isinstance(error_of(done), WouldDeadlock)
        (left,) = [each for each in asked if each is not done]
        assert not left.done()
        for run in (a, b):
            run.returns()
        for _ in range(2):
            puppet.next_run().returns()
        assert result_of(left).kind is CompletionKind.COMPLETED
        result_of(behind_a)
        result_of(behind_b)


# --- slots ------------------------------------------------------------------------------


def test_the_one_run_there_may_be_cannot_wait_for_another(
    open_plane: OpenPlane, puppet: Puppet
) -> None:
    plane = open_plane(puppet, max_concurrent_runs=1)
    plane.register_many(["a", "b"])
    run = run_of(plane, puppet, "a")
    error = refused(run, lambda _: plane.submit("b", prompt()).completion.result())
    assert error.chain[0].endswith("which needs one of 1 run slots")
    handle = queued(plane, "b")
    assert refused(run, lambda _: handle.result(WAIT_S)).chain[0].startswith(named(run))
    puppet.release()
    assert result_of(handle).kind is CompletionKind.COMPLETED


def test_all_runs_there_may_be_cannot_wait_for_another(
    open_plane: OpenPlane, puppet: Puppet
) -> None:
    plane = open_plane(puppet, max_concurrent_runs=2)
    plane.register_many(["a", "b", "c", "d"])
    a, b = run_of(plane, puppet, "a"), run_of(plane, puppet, "b")
    behind_c, behind_d = queued(plane, "c"), queued(plane, "d")
    waiting = waits(a, plane, behind_c)
    error = refused(b, lambda _: behind_d.result())
    assert len(error.chain) == 2
    puppet.release()
    assert result_of(waiting).kind is CompletionKind.COMPLETED


def test_a_run_may_wait_for_a_slot_that_another_run_will_give_back(
    open_plane: OpenPlane, puppet: Puppet
) -> None:
    plane = open_plane(puppet, max_concurrent_runs=2)
    plane.register_many(["a", "b", "c"])
    a, b = run_of(plane, puppet, "a"), run_of(plane, puppet, "b")
    waiting = waits(a, plane, queued(plane, "c"))
    b.returns()
    puppet.next_run().returns()
    assert result_of(waiting).kind is CompletionKind.COMPLETED


def test_a_chain_that_somebody_else_closes_is_found(open_plane: OpenPlane, puppet: Puppet) -> None:
    """The last slot goes while a run waits already."""
    plane = open_plane(puppet, max_concurrent_runs=1)
    plane.register_many(["a", "b"])
    plane.detach_executor("b")
    handle = queued(plane, "b")
    run = run_of(plane, puppet, "a")
    waiting = waits(run, plane, handle)
    plane.attach_executor("b", puppet)
    assert isinstance(error_of(waiting), WouldDeadlock)
    puppet.release()


# --- on threads of ours -----------------------------------------------------------------


def test_threads_of_ours_may_not_wait(plane: ControlPlane, puppet: Puppet) -> None:
    system, told = system_of(plane), Future[Any]()
    run, handle = run_of(plane, puppet, "a"), queued(plane, "a")

    def ask() -> None:
        try:
            told.set_result(handle.result())
        except WouldDeadlock as error:
            told.set_exception(error)

    system.timers.after(0.0, ask)
    error = error_of(told)
    assert isinstance(error, WouldDeadlock)
    assert error.chain == ()
    run.returns()


def test_what_is_refused_on_a_thread_of_ours_has_not_happened(
    plane: ControlPlane, puppet: Puppet
) -> None:
    told: Future[Any] = Future()

    def ask() -> None:
        try:
            told.set_result(plane.ingest("b", prompt()))
        except WouldDeadlock as error:
            told.set_exception(error)

    system_of(plane).timers.after(0.0, ask)
    assert isinstance(error_of(told), WouldDeadlock)
    assert plane.active_input_ids("b") == []


@pytest.mark.parametrize("open_feed", [ControlPlane.subscribe, ControlPlane.watch])
def test_nothing_is_read_where_it_would_have_to_be_brought_about(
    plane: ControlPlane, open_feed: Callable[..., Any]
) -> None:
    feed, told = open_feed(plane, "a"), list[Any]()
    over = threading.Event()

    def ask() -> None:
        with suppress_deadlock(told):
            assert feed.next_within(0) is None
            feed.next_within(WAIT_S)
        over.set()

    system_of(plane).timers.after(0.0, ask)
    assert over.wait(WAIT_S)
    assert [type(each) for each in told] == [WouldDeadlock]


def test_a_store_that_calls_its_plane_is_refused(open_plane: OpenPlane) -> None:
    told: list[Any] = []

    class Curious(MemoryStore):
        def commit_many(self, batches: Any) -> Any:
            with suppress_deadlock(told):
                plane.runtime_state("a", timeout=WAIT_S)
            return super().commit_many(batches)

    plane = open_plane(store=Curious())
    plane.register("a")
    assert isinstance(told[0], WouldDeadlock)


@contextmanager
def suppress_deadlock(told: list[Any]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - the test's to look at
        told.append(error)


def test_a_step_does_not_wait_there_for_the_end_that_another_records(
    open_plane: OpenPlane,
) -> None:
    """Whoever records it waits for this very thread."""
    disk = FrozenDisk(MemoryStore())
    plane = open_plane(store=disk)
    registry = plane.register("a").ops_lifecycle
    one, other = OperationId.new(), OperationId.new()
    for each in (one, other):
        registry.register(each, kind=OperationKind.BACKGROUND_TOOL_OP, display_name="it")
        registry.provisioning_succeeded(each)
    plane.runtime_state("a")
    disk.freeze()
    told: Future[Any] = Future()

    def end() -> None:
        try:
            told.set_result(registry.complete(other))
        except WouldDeadlock as error:
            told.set_exception(error)

    with ThreadPoolExecutor(1) as threads:
        ending = threads.submit(registry.complete, one)
        assert disk.stuck.wait(WAIT_S)
        system_of(plane).timers.after(0.0, end)
        refused = error_of(told)
        disk.thaw()
        assert result_of(ending).status.is_terminal
    assert isinstance(refused, WouldDeadlock)
    assert registry.live_ids == (other,)


# --- nothing is left --------------------------------------------------------------------


def test_nothing_is_kept_of_waits_that_are_over(plane: ControlPlane, puppet: Puppet) -> None:
    run, handle = run_of(plane, puppet, "a"), queued(plane, "a")
    refused(run, lambda _: handle.result())
    with pytest.raises(TimeoutError):
        handle.result(0.01)
    with pytest.raises(CallTimedOut):
        plane.unregister("a", timeout=0.01)
    puppet.release()
    result_of(handle)
    plane.register("a")
    noted = system_of(plane).waits
    assert not noted._waiting
    assert not noted._of_run
    until(lambda: not noted._here and not noted._in_hand)


class LeavesTwice:
    """A run of which its driver says that it leaves, in the middle of its own saying so."""

    run_id, cancelled = RunId.new(), threading.Event()

    def __init__(self, says_so: Callable[[], object]) -> None:
        self._driver = threading.Thread(target=says_so)
        self._looks = 0

    @property
    def runtime_id(self) -> LogicalRuntimeId:
        self._looks += 1
        if self._looks == 3:  # it begins, it is found, it is taken out
            self._driver.start()
            self._driver.join(0.05)  # as far as it gets
        return LogicalRuntimeId("a")


def test_a_run_that_ends_while_it_is_told_to_ends_once(plane: ControlPlane) -> None:
    scene = system_of(plane).waits
    run = LeavesTwice(lambda: scene.run_leaves(run))
    scene.run_begins(run)
    scene.run_leaves(run)
    assert scene.run_of(LogicalRuntimeId("a")) is None
