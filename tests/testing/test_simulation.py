"""Simulation: shipped planes run in it, time costs nothing in it, and a seed replays it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from meerkat import InputPhase, PromptInput, RunContext, RunOutput, StagedInput
from meerkat.errors import ApplyFailed, CallTimedOut
from meerkat.limits import Backoff
from meerkat.outcomes import CompletionKind
from meerkat.testing import ProcessKilled, Simulation, Stuck

SEEDS = range(20)
HOUR_S = 3600.0


def echo(_context: RunContext, primitive: StagedInput) -> RunOutput:
    return RunOutput(append=[{"role": "user", "content": primitive.text}], result=primitive.text)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plane_lives_in_it_as_it_does_elsewhere(seed: int) -> None:
    with Simulation(seed=seed) as sim:
        plane = sim.plane(echo)
        plane.register("a")
        outcome = plane.ingest("a", PromptInput("hello"))
        assert plane.completion("a", outcome).result().result == "hello"
        report = plane.stop()
        assert report.store_closed
        assert report.runtimes_with_work == 0
        sim.check()


def test_back_offs_take_no_time() -> None:
    def fails(_context: RunContext, _primitive: StagedInput) -> RunOutput:
        raise ApplyFailed("always")

    with Simulation() as sim:
        plane = sim.plane(fails, backoff=Backoff(base_s=HOUR_S, cap_s=24 * HOUR_S))
        plane.register("a")
        outcome = plane.ingest("a", PromptInput("hello"))
        ended = plane.completion("a", outcome).result()
        assert ended.kind is CompletionKind.ABANDONED
        assert sim.now > HOUR_S


def test_a_run_that_waits_lets_others_run() -> None:
    def waits(context: RunContext, primitive: StagedInput) -> RunOutput:
        context.wait(HOUR_S)
        return echo(context, primitive)

    with Simulation() as sim:
        plane = sim.plane(waits)
        plane.register_many([*"abc"])
        handles = [plane.submit(each, PromptInput(each)).completion for each in "abc"]
        assert [handle.result().result for handle in handles] == ["a", "b", "c"]
        assert HOUR_S <= sim.now < 2 * HOUR_S


def test_skipping_time_does_what_is_due_in_it() -> None:
    with Simulation() as sim:
        plane = sim.plane(echo, passivate_after=HOUR_S)
        plane.register("a")
        sim.skip(HOUR_S / 2)
        assert sim.now == pytest.approx(HOUR_S / 2)
        sim.skip(HOUR_S)
        assert sim.now == pytest.approx(1.5 * HOUR_S)


def test_what_was_acknowledged_survives_a_kill_and_what_was_not_does_not() -> None:
    with Simulation(seed=3) as sim:
        plane = sim.plane()
        plane.register("a")
        outcome = plane.ingest("a", PromptInput("hello"))
        unsaid = plane.submit("a", PromptInput("unheard"))
        sim.kill()
        plane = sim.plane(echo)
        assert plane.completion("a", outcome).result().result == "hello"
        assert not unsaid.accepted.done()
        assert sim.kills == 1
        sim.check()


def test_a_run_that_kills_its_process_does_nothing_after_that() -> None:
    with Simulation() as sim:
        calls: list[int] = []

        def dies_once(context: RunContext, primitive: StagedInput) -> RunOutput:
            calls.append(context.attempt)
            if context.attempt == 1:
                sim.kill()
                calls.append(0)
            return echo(context, primitive)

        plane = sim.plane(dies_once)
        plane.register("a")
        outcome = plane.ingest("a", PromptInput("hello"))
        with pytest.raises(ProcessKilled):
            plane.completion("a", outcome).result()
        assert plane.stop().runs_ended == 0
        plane = sim.plane(dies_once)
        assert plane.completion("a", outcome).result().result == "hello"
        assert calls == [1, 2]


def test_a_wait_that_would_never_end_is_said_to() -> None:
    with Simulation() as sim:
        plane = sim.plane()
        plane.register("a")
        outcome = plane.ingest("a", PromptInput("hello"))
        with pytest.raises(CallTimedOut):
            plane.completion("a", outcome, timeout=0)
        handle = plane.completion("a", outcome)
        with pytest.raises(TimeoutError):
            handle.result(HOUR_S)
        assert sim.now >= HOUR_S
        with pytest.raises(Stuck):
            handle.result()
        assert plane.input_state("a", outcome.input_id).phase is InputPhase.QUEUED  # type: ignore[union-attr]


def test_coroutine_executors_are_refused() -> None:
    async def later(_context: Any, _primitive: StagedInput) -> RunOutput:
        return RunOutput()

    with Simulation() as sim:
        with pytest.raises(TypeError, match="coroutine"):
            sim.plane(later)
        plane = sim.plane()
        plane.register("a")
        plane.attach_executor("a", later)
        outcome = plane.ingest("a", PromptInput("hello"))
        ended = plane.completion("a", outcome).result()
        assert ended.kind is CompletionKind.ABANDONED


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    with Simulation() as sim:

        def waits(context: RunContext, primitive: StagedInput) -> RunOutput:
            context.wait(HOUR_S)
            return echo(context, primitive)

        for _ in range(3):
            plane = sim.plane(waits)
            plane.register("a")
            plane.ingest("a", PromptInput("hello"))
            sim.run()
            sim.kill()
    assert threading.active_count() == before


def test_an_error_says_how_to_replay_it() -> None:
    with pytest.raises(ValueError, match="mine") as caught, Simulation(seed=7):
        raise ValueError("mine")
    assert caught.value.__notes__ == ["to replay it: Simulation(seed=7)"]
    assert repr(Simulation(3, patience_s=5)) == "Simulation(seed=3, patience_s=5)"


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from test_simulation import digest_of
print(digest_of(int(sys.argv[1])))
"""


def digest_of(seed: int) -> str:
    with Simulation(seed=seed) as sim:
        plane = sim.plane(echo)
        names = [f"r{number}" for number in range(5)]
        plane.register_many(names)
        for number in range(20):
            plane.submit(names[number % 5], PromptInput(str(number)))
        sim.run()
        sim.kill()
        sim.plane(echo).stop()
        return f"{sim.digest} {sim.deliveries} {sim.now}"


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_replays_it(hash_seed: str) -> None:
    script = SCRIPT.format(here=str(Path(__file__).parent))
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    told = subprocess.run(
        [sys.executable, "-c", script, "11"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == digest_of(11)


def test_seeds_differ() -> None:
    assert len({digest_of(seed) for seed in SEEDS}) == len(SEEDS)
