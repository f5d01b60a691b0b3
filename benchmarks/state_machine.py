"""How many steps a second the state machine takes, in memory.

    python benchmarks/state_machine.py [--examples N] [--steps N]

A step is one rule: a call or a few, what the executor does, a crash; and after it the check of
the whole model and of all invariants. Of the seconds those of the processor are counted, too:
Hypothesis's own drawing is in them.
"""

from __future__ import annotations

import argparse
import logging
import time

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from meerkat.testing import RuntimeStateMachine


class Counting(RuntimeStateMachine):
    """Counts its steps."""

    steps = 0

    @invariant()
    def counts(self) -> None:
        """One more."""
        type(self).steps += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the faults are told to happen
    began, worked = time.perf_counter(), time.process_time()
    run_state_machine_as_test(
        Counting,
        settings=settings(
            max_examples=asked.examples,
            stateful_step_count=asked.steps,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - worked
    print(
        f"state machine: {Counting.steps} steps, {Counting.steps / wall_s:,.0f} a second, "
        f"{Counting.steps / cpu_s:,.0f} a second of the processor"
    )


if __name__ == "__main__":
    main()
