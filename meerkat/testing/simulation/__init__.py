"""Simulation: whole planes in one thread at a time, replayed by a seed.

``with Simulation(seed=7) as sim:`` is all there is to it; ``simulation`` says what it promises,
``scheduler`` how it works, ``faults`` what can go wrong.
"""

from meerkat.testing.simulation.errors import ProcessKilled, Stuck
from meerkat.testing.simulation.faults import Faults
from meerkat.testing.simulation.simulation import Simulation

__all__ = ["Faults", "ProcessKilled", "Simulation", "Stuck"]
