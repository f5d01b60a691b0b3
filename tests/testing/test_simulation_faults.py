"""Faults of a simulation: each kind happens when it is asked for, is typed, and can be replayed."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from meerkat import LogicalRuntimeId, PromptInput, RunContext, RunOutput, StagedInput
from meerkat.errors import CommitUnknown, MeerkatError, StoreError
from meerkat.outcomes import CompletionKind
from meerkat.testing import Faults, ProcessKilled, Simulation

T = TypeVar("T")
A = LogicalRuntimeId("a")
MINUTE_S = 60.0


def echo(_context: RunContext, primitive: StagedInput) -> RunOutput:
    return RunOutput(append=[{"role": "user", "content": primitive.text}], result=primitive.text)


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(store_fails=1.0), StoreError),
        (Faults(batch_fails=1.0), StoreError),
        (Faults(store_forgets=1.0), CommitUnknown),
        (Faults(writer_fails=1.0), CommitUnknown),
        (Faults(defect=1.0), MeerkatError),
        (Faults(kill_in_commit=1.0), ProcessKilled),
        (Faults(kill=1.0), ProcessKilled),
    ],
    ids=repr,
)
def test_what_always_fails_is_told_by_its_own_error(
    faults: Faults, error: type[BaseException]
) -> None:
    with Simulation(seed=5, faults=faults) as sim, pytest.raises(error):
        sim.plane().register("a", timeout=MINUTE_S)


@pytest.mark.parametrize("seed", range(10))
def test_a_write_that_was_killed_is_there_or_not_and_one_in_doubt_is_there(seed: int) -> None:
    with Simulation(seed=seed, faults=Faults(store_forgets=1.0)) as sim:
        with pytest.raises(CommitUnknown):
            sim.plane().register("a")
        assert sim.store.load_runtime(A) is not None
    with Simulation(seed=seed, faults=Faults(store_fails=1.0)) as sim:
        with pytest.raises(StoreError):
            sim.plane().register("a")
        assert sim.store.load_runtime(A) is None


def test_a_kill_in_a_commit_comes_before_it_as_often_as_behind_it() -> None:
    def is_there(seed: int) -> bool:
        with Simulation(seed=seed, faults=Faults(kill_in_commit=1.0)) as sim:
            with pytest.raises(ProcessKilled):
                sim.plane().register("a")
            return sim.store.load_runtime(A) is not None

    assert {is_there(seed) for seed in range(10)} == {True, False}


def test_an_executor_fails_before_it_works_and_behind_that() -> None:
    calls = 0

    def counts(context: RunContext, primitive: StagedInput) -> RunOutput:
        nonlocal calls
        calls += 1
        return echo(context, primitive)

    with Simulation(seed=2, faults=Faults(executor_fails=1.0)) as sim:
        plane = sim.plane(counts)
        plane.register("a")
        handles = [plane.submit("a", PromptInput(str(number))).completion for number in range(9)]
        ends = [handle.result().kind for handle in handles]
    assert set(ends) == {CompletionKind.ABANDONED}
    assert 0 < calls < 27


def test_a_slow_disk_takes_time_and_others_go_on_meanwhile() -> None:
    with Simulation(seed=3, faults=Faults(slow_disk=1.0)) as sim:
        plane = sim.plane(echo)
        plane.register("a")
        assert sim.now > 0.1
        first = plane.submit("a", PromptInput("first"))
        second = plane.submit("a", PromptInput("second"))
        assert [each.completion.result().result for each in (first, second)] == ["first", "second"]


def test_a_stall_takes_time_from_those_who_wait() -> None:
    with Simulation(seed=3, faults=Faults(stall=1.0)) as sim:
        plane = sim.plane(echo)
        plane.register("a")
        assert sim.now > 1.0


def test_the_time_of_day_jumps_and_the_other_does_not() -> None:
    with Simulation(seed=3, faults=Faults(clock_jump=1.0)) as sim:
        began = sim.clock.now()
        sim.plane(echo).register("a")
        assert abs(sim.clock.now() - began) > timedelta(minutes=1)
        assert sim.now < 1.0


def test_the_clock_is_set_by_hand() -> None:
    with Simulation() as sim:
        began = sim.clock.now()
        sim.clock.jump(days=-1)
        assert began - sim.clock.now() == timedelta(days=1)
        sim.clock.freeze()
        stood = sim.clock.now()
        sim.skip(MINUTE_S)
        assert sim.clock.now() == stood
        sim.clock.thaw()
        sim.skip(MINUTE_S)
        assert abs(sim.clock.now() - stood - timedelta(seconds=MINUTE_S)) < timedelta(seconds=1)
        assert sim.now == pytest.approx(2 * MINUTE_S)


def test_a_simulation_that_fails_itself_says_so() -> None:
    def breaks() -> None:
        raise OSError("not now")

    with Simulation() as sim:
        plane = sim.plane(echo)
        sim._scheduler.fate, sim._scheduler.fate_at = breaks, sim._scheduler.steps + 3
        with pytest.raises(OSError, match="not now"):
            plane.register("a")
        sim._scheduler.fate_at = sim._scheduler.steps + 1_000


def test_calm_ends_all_faults() -> None:
    faults = Faults(
        kill=0.05, store_fails=0.3, writer_fails=0.3, defect=0.3, executor_fails=1.0, stall=0.1
    )
    with Simulation(seed=9, faults=faults) as sim:
        plane = None
        with suppress(MeerkatError, ProcessKilled):
            plane = sim.plane(echo)
            plane.register("a", timeout=MINUTE_S)
        sim.calm()
        if plane is not None:
            plane.stop()
        plane = sim.plane(echo)
        plane.register("a")
        outcome = plane.ingest("a", PromptInput("hello"))
        assert plane.completion("a", outcome).result().result == "hello"


def test_a_host_has_threads_of_its_own_that_a_kill_lets_live() -> None:
    with Simulation() as sim:
        plane = sim.plane(echo)
        plane.register("a")
        told: list[str] = []

        def waits() -> str:
            try:
                sim.sleep(MINUTE_S)
            except ProcessKilled:
                told.append("killed")
            return "on"

        waiting = sim.begin(waits)
        sim.run()
        sim.kill()
        assert waiting.result() == "on"
        assert told == ["killed"]
        failing = sim.begin(lambda: plane.runtime_state("a"))
        with pytest.raises(ProcessKilled):
            failing.result()


@pytest.mark.parametrize("seed", range(30))
def test_a_simulation_is_made_again_from_what_it_says(seed: int) -> None:
    faults = Faults.drawn(seed)
    sim = Simulation(seed=seed, faults=faults)
    again = eval(repr(sim))
    assert (again.seed, again.faults) == (seed, faults)
    with sim, again:
        """Neither has to do anything."""


def test_drawn_faults_are_of_every_kind_and_none_for_some_seeds() -> None:
    drawn = [Faults.drawn(seed) for seed in range(300)]
    kinds = {name for faults in drawn for name in re.findall(r"(\w+)=", repr(faults))}
    assert kinds == {name for name in Faults.__slots__ if not name.startswith("_")}
    assert Faults() in drawn
    assert not Faults().any


@pytest.mark.parametrize("rate", [-0.1, 1.1, "often"])
def test_what_is_no_rate_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match="kill"):
        Faults(kill=rate)
