"""Faults: what goes wrong in a simulation, and how often. When exactly is drawn from the seed."""

from __future__ import annotations

import math
import random
from typing import Any, Final

from attrs import Attribute, evolve, field, fields, frozen

DAY_S: Final = 86_400.0

KINDS_MAX: Final = 0.8
"""The share of all kinds that a seed may draw."""


def _rate(_faults: object, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} is a rate from 0 to 1, not {value!r}")


def _rate_field() -> Any:
    return field(default=0.0, validator=_rate)


@frozen(kw_only=True, repr=False)
class Faults:
    """How often what goes wrong: rates, from 0 for never to 1 for always. None unless it is said.

    ValueError for what is no rate. Its repr, pasted into Python, is the same value again.
    """

    kill: float = _rate_field()
    """Of the steps between which a process is killed."""
    kill_in_commit: float = _rate_field()
    """Of the commits in which it is killed: before it is on disk, or behind that."""
    store_fails: float = _rate_field()
    """Of the calls of a store that fail before they are done, with a StoreError."""
    store_forgets: float = _rate_field()
    """Of the writes that are done, and fail all the same, with CommitUnknown."""
    batch_fails: float = _rate_field()
    """Of the batches that a store refuses among others that it commits."""
    slow_disk: float = _rate_field()
    """Of the commits that take up to ten seconds."""
    writer_fails: float = _rate_field()
    """Of the commits that raise what is no StoreError, before they are done or after."""
    executor_fails: float = _rate_field()
    """Of the calls of an executor that raise before it, or in its place when it is done."""
    defect: float = _rate_field()
    """Of the looks at the time of day, by a driver, that raise: a defect of our own."""
    stall: float = _rate_field()
    """Of the steps after which the process stands still for up to ten seconds."""
    clock_jump: float = _rate_field()
    """Of the steps after which the time of day is another one, up to a day off, or stands."""

    def __repr__(self) -> str:
        said = (
            f"{each.name}={value!r}"
            for each in fields(type(self))
            if (value := getattr(self, each.name))
        )
        return f"Faults({', '.join(said)})"

    @property
    def any(self) -> bool:
        """Does anything ever go wrong?"""
        return self != NO_FAULTS

    @classmethod
    def drawn(cls, seed: int, *, without: tuple[str, ...] = ()) -> Faults:
        """A mixture for a seed: some kinds, rare or frequent; none at all for some seeds."""
        chance = random.Random(f"faults of {seed}")  # noqa: S311 - to be replayed is what it is for
        share = chance.random() * KINDS_MAX
        drawn = {
            name: round(often * 10 ** -chance.uniform(0, 1.5), 6)
            for name, often in _OFTEN.items()
            if chance.random() < share and name not in without
        }
        return evolve(NO_FAULTS, **drawn)


NO_FAULTS: Final = Faults()

_OFTEN: Final = {
    "kill": 0.01,
    "kill_in_commit": 0.05,
    "store_fails": 0.05,
    "store_forgets": 0.05,
    "batch_fails": 0.1,
    "slow_disk": 0.2,
    "writer_fails": 0.03,
    "executor_fails": 0.2,
    "defect": 0.01,
    "stall": 0.02,
    "clock_jump": 0.02,
}


class Draw:
    """When something that has a rate happens next. Cheap where it is rare."""

    __slots__ = ("_chance", "_left", "rate")

    def __init__(self, chance: random.Random, rate: float) -> None:
        self._chance = chance
        self.rate = rate
        self._left = self.gap()

    def gap(self) -> float:
        """How many times from one to the next; for ever with a rate of 0."""
        if self.rate <= 0:
            return math.inf
        if self.rate >= 1:
            return 1
        drawn = math.log(1.0 - self._chance.random()) / math.log1p(-self.rate)
        return 1 + math.floor(drawn)

    def cease(self) -> None:
        """From now on it never happens."""
        self.rate, self._left = 0.0, math.inf

    def happens(self) -> bool:
        """Does it happen this time?"""
        self._left -= 1
        if self._left > 0:
            return False
        self._left = self.gap()
        return True
