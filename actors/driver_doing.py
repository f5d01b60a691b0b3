"""What a driver is doing, as who waits for it may see it: ids and sizes, from any thread.

It is read without a lock, while the driver goes on: what is said was the case a moment ago.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from attrs import frozen

from meerkat.identifiers import InputId

if TYPE_CHECKING:
    from actors.driver import DriverActor


@frozen(kw_only=True)
class Doing:
    """One driver at one moment."""

    waits_for_slot: bool
    """Has it work to run, and no slot?"""
    waits_for_disk: bool
    """Is a commit of its own on its way?"""
    held_off: bool
    """Does it start nothing before a back-off is over?"""
    unavailable: str | None
    """The code of what keeps the runtime from being loaded."""
    leaving: bool
    """Does an unregistration wait for the end of its run?"""
    letters: int
    """How many messages wait for it."""
    at_boundary: Container[InputId]
    """What the run in hand would be given at its next boundary."""

    def __str__(self) -> str:
        said = {
            "waits for a run slot": self.waits_for_slot,
            "waits for the disk": self.waits_for_disk,
            "waits for a back-off": self.held_off,
            f"is unavailable ({self.unavailable})": self.unavailable is not None,
            "is being unregistered": self.leaving,
            f"has {self.letters} messages to handle": bool(self.letters),
        }
        return ", ".join(text for text, holds in said.items() if holds)


def doing(driver: DriverActor) -> Doing:
    """What a driver is doing just now. Any thread."""
    unavailable = driver.unavailable
    return Doing(
        waits_for_slot=driver.seat.waits_for_slot,
        waits_for_disk=driver.in_flight is not None,
        held_off=driver.held_off,
        unavailable=None if unavailable is None else unavailable.code,
        leaving=bool(driver.unregistering),
        letters=driver.letters,
        at_boundary=driver.seat.at_boundary,
    )
