"""How fast a simulation is: deliveries a second, and how much time it skips in one.

    python benchmarks/simulation.py [--rounds N]

A delivery is one message that one actor has handled, whatever that takes; nearly all of it is
the shipped code's. So it is measured for bare actors, which do nothing with their messages, for
a run that looks at other runtimes, and for inputs that go all the way: four to five messages
each, for the offer, its commit, the end of its run, and that commit, with what the host, the
executor and the store do for them. Each with the time of the processor, since the wall clock goes
on while others have it. What a plane on threads takes for the same inputs stands beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from actors import ControlPlane
from actors.ground import ground_here
from actors.pool import PooledActor
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.store import MemoryStore
from meerkat.testing import Simulation

RUNTIMES: Final = 100
LOOKS: Final = 30
INPUTS: Final = 30
BALLS: Final = 20
BOUNCES: Final = 2_000
HOUR_S: Final = 3_600.0
HOURS: Final = 1_000
NAMES: Final = tuple(f"r{number}" for number in range(RUNTIMES))

Work = Callable[[Simulation], Callable[[], object]]
"""What is set up, and then measured."""


def answer(_context: RunContext, primitive: StagedInput) -> RunOutput:
    """An executor that costs next to nothing."""
    return RunOutput(append=[{"role": "user", "content": primitive.text}], result="noted")


class Player(PooledActor):
    """Throws back what is thrown to it, so many times."""

    other: Any = None

    def on_receive(self, message: Any) -> None:
        """Catch a ball."""
        if message:
            self.other.actor_ref.tell(message - 1)


def bare_actors(sim: Simulation) -> Callable[[], object]:
    """Two actors that do nothing but answer each other."""
    ground = ground_here()
    if ground is None:
        raise RuntimeError("this is no simulation")
    pool = ground.pool()
    here, there = Player(pool), Player(pool)
    here.other, there.other = there, here

    def play() -> None:
        for _ in range(BALLS):
            here.actor_ref.tell(BOUNCES)
        sim.run()

    return play


def a_run_that_looks(sim: Simulation) -> Callable[[], object]:
    """A run that looks at other runtimes, and waits for each answer."""

    def look(_context: RunContext, primitive: StagedInput) -> RunOutput:
        for _ in range(LOOKS):
            for name in NAMES[1:]:
                plane.runtime_state(name)
        return answer(_context, primitive)

    plane = sim.plane(look)
    plane.register_many(NAMES)

    def look_at_all() -> None:
        plane.submit(NAMES[0], PromptInput("look")).completion.result()

    return look_at_all


def work_off(plane: ControlPlane) -> None:
    """Have inputs worked, a hundred under way at a time."""
    for _ in range(INPUTS):
        handles = [plane.submit(name, PromptInput("hello")).completion for name in NAMES]
        for handle in handles:
            handle.result()


def inputs(sim: Simulation) -> Callable[[], object]:
    """Inputs that go all the way."""
    plane = sim.plane(answer)
    plane.register_many(NAMES)
    return lambda: work_off(plane)


def measured(work: Work, seed: int) -> tuple[float, float]:
    """Deliveries in a second of the clock, and of the processor."""
    with Simulation(seed=seed) as sim:
        measure = work(sim)
        before, wall, cpu = sim.deliveries, time.perf_counter(), time.process_time()
        measure()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return (sim.deliveries - before) / wall, (sim.deliveries - before) / cpu


def seconds_an_input(seed: int | None) -> float:
    """Time of the processor for one input, in a simulation or on threads."""
    if seed is None:
        with ControlPlane(MemoryStore(), answer) as plane:
            plane.register_many(NAMES)
            cpu = time.process_time()
            work_off(plane)
            return (time.process_time() - cpu) / (INPUTS * RUNTIMES)
    with Simulation(seed=seed) as sim:
        work = inputs(sim)
        cpu = time.process_time()
        work()
        return (time.process_time() - cpu) / (INPUTS * RUNTIMES)


def hours_a_second() -> float:
    """How many hours of a plane at rest pass in a second."""
    with Simulation() as sim:
        sim.plane(answer).register("a")
        began = time.perf_counter()
        sim.skip(HOURS * HOUR_S)
        return HOURS / (time.perf_counter() - began)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="seeds, of which the median is told")
    rounds = range(parser.parse_args().rounds)
    print(f"{'deliveries a second, median of seeds':40} {'of the clock':>14} {'processor':>12}")
    for work in (bare_actors, a_run_that_looks, inputs):
        rates = [measured(work, seed) for seed in rounds]
        wall, cpu = (statistics.median(each) for each in zip(*rates, strict=True))
        print(f"{work.__name__.replace('_', ' '):40} {wall:14,.0f} {cpu:12,.0f}")
    pairs = [(seconds_an_input(seed), seconds_an_input(None)) for seed in rounds]
    here, there = (statistics.median(each) * 1e6 for each in zip(*pairs, strict=True))
    print(f"\nprocessor, an input: simulated {here:.0f} us, on threads {there:.0f} us")
    print(f"time that is skipped: {hours_a_second():,.0f} hours a second")


if __name__ == "__main__":
    main()
