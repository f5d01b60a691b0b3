"""Figures: what a plane has counted since its start, and how things stand in it just now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aio_builders import OnLoop, elsewhere, running
from coroutine_builders import AsyncAgent
from operation_builders import TOOL, registered
from passivation_builders import REST_S, driver_of, is_live, passivate
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    Puppet,
    Timed,
    decided,
    progress,
    prompt,
    result_of,
    spoken,
    steered,
    system_of,
)
from plane_stores import FrozenDisk
from restart_builders import Breaking, Plant, at_once, drivers, fail

from actors import ControlPlane, RestartPolicy
from actors import messages as m
from actors.figures import Figures
from meerkat import LogicalRuntimeId, OperationId, RunId, RunOutput
from meerkat.errors import ApplyFailed, CommitUnknown, ControlPlaneStopped, Overloaded
from meerkat.limits import DEFAULT_LIMITS, Limits
from meerkat.store import SqliteStore
from meerkat.testing import Simulation

COUNTED = (
    "accepted",
    "deduplicated",
    "rejected",
    "consumed",
    "superseded",
    "coalesced",
    "abandoned",
    "runs",
    "retries",
    "failed_attempts",
    "restarts",
    "journal_restarts",
    "dead_letters",
    "passivations",
    "commits",
    "batches",
    "commit_errors",
)
DISK = ("commits", "batches")


def counted(figures: Figures, *, but: tuple[str, ...] = DISK) -> dict[str, int]:
    """What was counted, without what is 0."""
    found = {name: getattr(figures, name) for name in COUNTED if name not in but}
    return {name: value for name, value in found.items() if value}


def holds_at_rest(figures: Figures) -> None:
    """What is so of the figures of every plane in which nothing is under way."""
    ended = figures.consumed + figures.superseded + figures.coalesced + figures.abandoned
    assert figures.accepted == ended + figures.pending_inputs
    assert figures.accept_to_consumed_s.count == figures.consumed
    assert figures.group_size.count == figures.commits
    assert figures.group_size.total == figures.batches
    assert (figures.mailbox_messages, figures.mailbox_deepest) == (0, 0)
    assert (figures.open_calls, figures.runs_in_hand, figures.waiting_for_slot) == (0, 0, 0)


def until(plane: ControlPlane, holds: Callable[[Figures], bool]) -> Figures:
    """The figures, once something is so that nobody is told of."""
    patience = threading.Event()
    for _ in range(int(WAIT_S * 200)):
        figures = plane.figures()
        if holds(figures):
            return figures
        patience.wait(0.005)
    raise AssertionError(figures)


def at_rest(plane: ControlPlane) -> Figures:
    """The figures, once the runs have left their places."""
    figures = until(plane, lambda each: not (each.runs_in_hand or each.mailbox_messages))
    holds_at_rest(figures)
    return figures


# --- what is counted --------------------------------------------------------------------


def test_a_new_plane_has_counted_nothing(open_plane: OpenPlane) -> None:
    plane = open_plane(max_concurrent_runs=3)
    figures = plane.figures()
    assert counted(figures, but=()) == {}
    holds_at_rest(figures)
    assert figures.started_at <= figures.at
    assert figures.max_concurrent_runs == 3
    assert figures.live_runtimes_max == DEFAULT_LIMITS.live_runtimes_max
    assert figures.in_flight_max == DEFAULT_LIMITS.in_flight_max
    assert (figures.live_runtimes, figures.set_aside) == (0, 0)
    assert figures.oldest_at is None


def test_what_was_offered_is_counted_by_its_answer(open_plane: OpenPlane, agent: Agent) -> None:
    plane = open_plane(agent)
    plane.register("a")
    sent = [plane.submit("a", prompt(str(index), idempotency_key=str(index))) for index in range(3)]
    sent.append(plane.submit("a", prompt("0", idempotency_key="0")))
    for each in sent:
        result_of(each.completion)
    assert plane.ingest("a", prompt(durability="derived")).is_rejected
    figures = at_rest(plane)
    found = counted(figures)
    assert found.pop("runs") == len(agent.calls)
    assert found == {"accepted": 3, "deduplicated": 1, "rejected": 1, "consumed": 3}
    assert figures.accept_to_durable_s.count == 3


def test_an_offer_that_finds_no_room_is_counted_whichever_the_limit(
    open_plane: OpenPlane, path: Path
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk, limits=Limits(pending_inputs_max=1, in_flight_max=2))
    plane.register_many(["a", "b"])
    assert plane.ingest("a", prompt()).is_accepted
    with pytest.raises(Overloaded, match="pending_inputs_max"):
        plane.ingest("a", prompt())
    assert plane.figures().overloaded == 1
    disk.freeze()
    flying = [plane.submit(name, prompt()) for name in ("b", "b")]
    with pytest.raises(Overloaded, match="in_flight"):
        plane.submit("b", prompt())
    assert plane.figures().overloaded == 2
    disk.thaw()
    for each in flying:
        each.accepted.exception(WAIT_S)


def test_who_was_answered_finds_it_counted(plane: ControlPlane) -> None:
    for number in range(1, 50):
        assert plane.submit("a", prompt()).completion.result(WAIT_S)
        figures = plane.figures()
        assert (figures.accepted, figures.consumed) == (number, number)


def test_an_input_that_no_run_needs_is_accepted_and_ends(open_plane: OpenPlane) -> None:
    """Without an executor; ephemeral ones, which no commit holds, are counted as well."""
    plane = open_plane()
    plane.register("a")
    for text in ("1", "2", "3"):
        plane.ingest("a", progress(text, supersession_key="k"))
    plane.ingest("a", progress("kept", durability="ephemeral"))
    before = plane.figures()
    assert counted(before) == {"accepted": 4, "coalesced": 2}
    assert before.pending_inputs == 2
    assert plane.reset("a").inputs_abandoned == 2
    assert counted(at_rest(plane)) == {"accepted": 4, "coalesced": 2, "abandoned": 2}


def test_a_run_that_fails_is_counted_and_so_is_the_one_that_tries_again(
    open_plane: OpenPlane,
) -> None:
    def behave(called: Any, _context: Any) -> None:
        if called.text == "never" or called.attempt == 1:
            raise ApplyFailed("not yet", recoverable=True)

    plane = open_plane(Agent(behave))
    plane.register_many(["a", "b"])
    result_of(plane.submit("a", prompt("second")).completion)
    found = {"accepted": 1, "consumed": 1, "runs": 2, "retries": 1, "failed_attempts": 1}
    assert counted(at_rest(plane)) == found
    result_of(plane.submit("b", prompt("never")).completion)
    found = {"accepted": 2, "consumed": 1, "abandoned": 1}
    found |= {"runs": 5, "retries": 3, "failed_attempts": 4}
    assert counted(at_rest(plane)) == found


def test_an_input_consumed_at_a_boundary_is_consumed_once(open_plane: OpenPlane) -> None:
    puppet = Puppet()
    plane = open_plane(puppet)
    plane.register("a")
    first = plane.submit("a", prompt())
    run = puppet.next_run()
    second = plane.submit("a", steered())
    result_of(second.accepted)
    said = [{"role": "user", "content": "now"}]
    run.does(lambda context: context.boundary().commit(append=said))
    assert plane.figures().consumed == 1
    run.returns()
    result_of(first.completion)
    assert counted(at_rest(plane)) == {"accepted": 2, "consumed": 2, "runs": 1}


def test_a_continuation_of_the_planes_own_is_accepted_though_nobody_offers_it(
    open_plane: OpenPlane, agent: Agent
) -> None:
    plane = open_plane(agent)
    bindings = plane.register("a")
    operation_id: OperationId = registered(bindings, TOOL)
    bindings.ops_lifecycle.provisioning_succeeded(operation_id)
    bindings.ops_lifecycle.complete(operation_id, {"found": 1})
    agent.next_call()
    figures = until(plane, lambda each: each.consumed == 1)
    assert counted(figures) == {"accepted": 1, "consumed": 1, "runs": 1}
    assert figures.accept_to_durable_s.count == 0


def test_restarts_are_counted_and_a_runtime_that_is_set_aside_until_somebody_acts(
    open_plane: OpenPlane, plant: Plant
) -> None:
    plane = open_plane(restart=drivers(2))
    plane.register_many(["a", "b"])
    plant("a")
    fail(plane, "a", times=2)
    figures = until(plane, lambda each: each.restarts == 2)  # the caller is answered before it
    assert figures.set_aside == 0
    fail(plane, "a")
    figures = until(plane, lambda each: each.set_aside == 1)
    assert figures.restarts == 2
    plane.recover("a", timeout=WAIT_S)
    assert plane.figures().set_aside == 0
    assert system_of(plane).standing.refusing == set()


def test_what_nobody_knows_to_have_landed_is_not_accepted(
    open_plane: OpenPlane, path: Path
) -> None:
    disk = Breaking(SqliteStore(path))
    plane = open_plane(store=disk, restart=RestartPolicy(drivers=at_once(), journal=at_once()))
    plane.register("a")
    before = plane.figures()
    disk.break_next()
    with pytest.raises(CommitUnknown):
        plane.ingest("a", prompt(), timeout=WAIT_S)
    assert plane.ingest("a", prompt(), timeout=WAIT_S).is_accepted
    figures = at_rest(plane)
    found = {"accepted": 1, "restarts": 1, "journal_restarts": 1, "commit_errors": 1}
    assert counted(figures) == found
    assert figures.batches == before.batches + 1


def test_dead_letters_are_counted(plane: ControlPlane) -> None:
    driver = driver_of(plane, "a")
    plane.unregister("a")
    while is_live(plane, "a"):
        pass
    driver.tell(m.RunProgressed(RunId.new(), "too late"))
    assert plane.figures().dead_letters == plane.dead_letters().count == 1


def test_passivations_are_counted_and_take_what_waits_out_of_memory(open_plane: OpenPlane) -> None:
    clock = FakeClock()
    plane = open_plane(clock=clock, passivate_after=REST_S)
    plane.register_many(["a", "b"])
    plane.ingest("a", progress())
    assert (plane.figures().live_runtimes, plane.figures().pending_inputs) == (2, 1)
    passivate(plane, clock, "a", "b")
    figures = plane.figures()
    assert (figures.live_runtimes, figures.passivations) == (0, 2)
    assert (figures.pending_inputs, figures.oldest_at) == (0, None)
    (waiting,) = plane.active_input_ids("a")
    state = plane.input_state("a", waiting)
    assert state is not None
    figures = plane.figures()
    assert (figures.live_runtimes, figures.pending_inputs) == (1, 1)
    assert figures.oldest_at == state.created_at
    assert figures.accepted == 1


def test_batches_that_waited_for_the_disk_are_one_group(open_plane: OpenPlane, path: Path) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    names = [str(number) for number in range(6)]
    plane.register_many(names)
    before = plane.figures()
    disk.freeze()
    first = plane.submit("0", progress())
    assert disk.stuck.wait(WAIT_S)
    sent = [plane.submit(name, progress()) for name in names[1:]]
    for name in names[1:]:
        decided(plane, name)
    waiting = plane.figures()
    assert waiting.open_calls >= len(names)
    assert waiting.batches == before.batches
    disk.thaw()
    for each in (first, *sent):
        result_of(each.accepted)
    figures = at_rest(plane)
    grown = [
        bound
        for bound, now, then in zip(
            figures.group_size.bounds,
            figures.group_size.counts,
            before.group_size.counts,
            strict=False,
        )
        for _ in range(now - then)
    ]
    assert grown == [1, 8]
    assert figures.batches == before.batches + len(names)


# --- how long ---------------------------------------------------------------------------


class Wayward(FakeClock):
    """A clock that goes backwards, both ways of it, whenever somebody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def now(self) -> datetime:
        self.looks += 1
        return datetime(2020, 1, 1, tzinfo=UTC) - timedelta(seconds=self.looks)

    def monotonic(self) -> float:
        self.looks += 1
        return -float(self.looks)


def test_no_time_is_negative_whatever_the_clock_does(open_plane: OpenPlane, agent: Agent) -> None:
    plane = open_plane(agent, clock=Wayward(), passivate_after=None)
    plane.register("a")
    for _ in range(5):
        result_of(plane.submit("a", prompt()).completion)
    figures = plane.figures()
    for times in (figures.accept_to_durable_s, figures.accept_to_consumed_s):
        assert (times.counts[0], times.count, times.total) == (5, 5, 0.0)


def test_times_are_those_of_the_planes_clock(open_plane: OpenPlane, path: Path) -> None:
    clock, disk, puppet = Timed(), FrozenDisk(SqliteStore(path)), Puppet()
    plane = open_plane(puppet, clock=clock, store=disk, passivate_after=None)
    plane.register("a")
    disk.freeze()
    sent = plane.submit("a", prompt())
    assert disk.stuck.wait(WAIT_S)
    clock.pass_time(3.0)
    disk.thaw()
    run = puppet.next_run()
    result_of(sent.accepted)
    assert plane.figures().accept_to_durable_s.total == pytest.approx(3.0)
    clock.pass_time(40.0)
    run.returns()
    result_of(sent.completion)
    figures = plane.figures()
    assert figures.accept_to_consumed_s.total == pytest.approx(43.0)
    where = figures.accept_to_consumed_s.bounds.index(50.0)
    assert figures.accept_to_consumed_s.counts[where] == 1


# --- how things stand -------------------------------------------------------------------


def test_what_runs_and_what_waits_is_told_as_it_is_now(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, max_concurrent_runs=1)
    plane.register_many(["a", "b"])
    first = plane.submit("a", prompt("1"))
    agent.next_call()
    sent = [plane.submit("a", prompt("2")), plane.submit("b", prompt("3"))]
    for each in (first, *sent):
        result_of(each.accepted)
    figures = until(plane, lambda each: each.waiting_for_slot == 1)
    assert (figures.runs_in_hand, figures.runs, figures.live_runtimes) == (1, 1, 2)
    assert figures.pending_inputs == 3
    oldest = plane.input_state("a", result_of(first.accepted).input_id)
    assert oldest is not None
    assert plane.figures().oldest_at == oldest.created_at
    agent.release()
    for each in (first, *sent):
        result_of(each.completion)
    assert at_rest(plane).oldest_at is None


def test_the_oldest_is_found_among_runtimes_that_rest(open_plane: OpenPlane) -> None:
    plane = open_plane()
    plane.register_many(["a", "b", "c"])
    accepted_at = []
    for name in "bac":
        plane.ingest(name, progress())
        (input_id,) = plane.active_input_ids(name)
        state = plane.input_state(name, input_id)
        assert state is not None
        accepted_at.append(state.created_at)
    assert plane.figures().oldest_at == accepted_at[0]
    plane.reset("b")
    assert plane.figures().oldest_at == accepted_at[1]
    assert plane.figures().pending_inputs == 2


def test_mail_that_nobody_comes_to_is_counted(open_plane: OpenPlane) -> None:
    plane = open_plane()
    plane.register_many(["a", "b", "c"])
    let_go, held = threading.Event(), threading.Semaphore(0)

    def hold(_memory: Any, _store: Any) -> None:
        held.release()
        let_go.wait(WAIT_S)

    asked = [plane._door.read(name, "hold", hold) for name in "ab"]
    for _ in "ab":
        assert held.acquire(timeout=WAIT_S)
    asked += [plane._door.read("a", "look", lambda _memory, _store: None) for _ in range(5)]
    asked += [plane._door.read("b", "look", lambda _memory, _store: None) for _ in range(2)]
    figures = plane.figures()
    assert (figures.mailbox_messages, figures.mailbox_deepest) == (7, 5)
    assert figures.open_calls == 9
    let_go.set()
    for each in asked:
        result_of(each.reply)
    assert at_rest(plane).live_runtimes == 3


# --- starts and ends --------------------------------------------------------------------


def test_each_start_counts_anew_and_an_ended_plane_tells_nothing(
    open_plane: OpenPlane, agent: Agent
) -> None:
    plane = open_plane(agent)
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    first = plane.figures()
    plane.stop()
    for tell in (plane.figures, plane.runs_in_hand, plane.supervision):
        with pytest.raises(ControlPlaneStopped):
            tell()
    plane.start()
    figures = plane.figures()
    assert counted(figures, but=()) == {}
    assert figures.started_at > first.started_at


def test_a_plane_that_stops_tells_how_far_it_is(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    sent = plane.submit("a", prompt())
    agent.next_call()
    stopping = threading.Thread(target=plane.stop)
    stopping.start()
    assert system_of(plane).stopping.begun.wait(WAIT_S)
    assert plane.figures().runs_in_hand == 1
    agent.release()
    stopping.join(WAIT_S)
    assert result_of(sent.accepted).is_accepted


def test_an_input_of_an_earlier_process_is_consumed_here_and_was_not_accepted_here(
    open_plane: OpenPlane, path: Path
) -> None:
    first = open_plane()
    first.register("a")
    first.ingest("a", prompt())
    first.stop()
    plane = open_plane(Agent())
    figures = until(plane, lambda each: each.consumed == 1)
    assert counted(figures) == {"consumed": 1, "runs": 1}


# --- under load -------------------------------------------------------------------------

THREADS = 8
EACH = 60
NAMES = ("a", "b", "c", "d")


def offer(plane: ControlPlane, number: int) -> list[Any]:
    """What became of many inputs, each of which two threads offer."""
    sent = []
    for index in range(EACH):
        key = f"{number // 2}-{index}"
        sent.append(plane.submit(NAMES[index % 4], prompt(key, idempotency_key=key)))
    for each in sent:
        result_of(each.completion)
    return [result_of(each.accepted) for each in sent]


def fell(plane: ControlPlane, over: threading.Event) -> list[str]:
    """What was counted and is less the next time, looked at again and again."""
    found, before = list[str](), plane.figures()
    while not over.is_set():
        after = plane.figures()
        found += [name for name in COUNTED if getattr(after, name) < getattr(before, name)]
        before = after
        over.wait(0.001)
    return found


def test_under_eight_threads_nothing_is_lost_and_nothing_is_counted_twice(
    open_plane: OpenPlane,
) -> None:
    def behave(called: Any, _context: Any) -> None:
        if called.attempt == 1 and called.text.endswith("7"):
            raise ApplyFailed("once", recoverable=True)

    agent, over = Agent(behave), threading.Event()
    plane = open_plane(agent)
    plane.register_many(NAMES)
    with ThreadPoolExecutor(THREADS + 1) as threads:
        reader = threads.submit(fell, plane, over)
        offers = [threads.submit(offer, plane, number) for number in range(THREADS)]
        answers = [each for answer in offers for each in answer.result(6 * WAIT_S)]
        over.set()
        assert result_of(reader) == []
    figures = at_rest(plane)
    assert figures.accepted == figures.consumed == THREADS * EACH // 2
    assert figures.deduplicated == THREADS * EACH // 2
    assert figures.accept_to_durable_s.count == figures.accepted
    assert figures.accepted == sum(each.is_accepted for each in answers)
    assert figures.runs == len(agent.calls)
    assert figures.retries == sum(called.attempt > 1 for called in agent.calls) > 0
    assert figures.failed_attempts >= figures.retries


def test_nothing_is_kept_of_what_has_ended(open_plane: OpenPlane, agent: Agent) -> None:
    plane = open_plane(agent)
    plane.register_many(NAMES)
    for name in NAMES:
        result_of(plane.submit(name, prompt()).completion)
    at_rest(plane)
    system = system_of(plane)
    assert system.standing.with_inputs == system.standing.refusing == set()
    assert system.counts.restarted == {}
    assert plane.runs_in_hand() == ()
    for name in NAMES:
        plane.ingest(name, progress())
    assert len(system.standing.with_inputs) == len(NAMES)
    for name in NAMES:
        plane.unregister(name)
    while len(system.directory):
        pass
    assert system.standing.with_inputs == set()
    assert LogicalRuntimeId("a") not in system.directory


# --- elsewhere --------------------------------------------------------------------------


def test_from_an_event_loop_the_same_is_told_without_a_wait(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        agent = AsyncAgent(held=True)
        async with running(path, agent) as plane:
            sent = plane.submit("a", prompt())
            await sent.accepted
            await elsewhere(agent.next_call)
            (run,) = plane.runs_in_hand()
            assert str(run.runtime_id) == "a"
            figures = plane.figures()
            assert (figures.accepted, figures.pending_inputs, figures.runs_in_hand) == (1, 1, 1)
            assert {each.name for each in plane.supervision().children} >= {"journal", "drivers"}
            agent.release()
            await sent.completion
            assert plane.figures().consumed == 1
        with pytest.raises(ControlPlaneStopped):
            plane.figures()

    on_loop(main)


def test_a_plane_in_a_simulation_tells_the_same() -> None:
    with Simulation(seed=3) as sim:
        plane = sim.plane(lambda _context, staged: RunOutput(append=spoken(staged)))
        plane.register("a")
        sent = [plane.submit("a", prompt(str(number))) for number in range(3)]
        assert plane.figures().mailbox_messages == 3
        for each in sent:
            each.completion.result()
        sim.run()
        holds_at_rest(plane.figures())
        assert plane.figures().consumed == 3
        assert len(plane.supervision().children) > 3
