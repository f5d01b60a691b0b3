"""Stopping: how far the end of a plane is, who may hurry it, and what it says at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen

from actors.light import LightCondition, LightEvent
from meerkat.identifiers import LogicalRuntimeId

NAMES_MAX: Final = 100
"""Runtimes that a report names of each kind; the numbers are of all."""


@frozen(kw_only=True)
class ShutdownReport:
    """What a stop has found, done and left.

    Runs are those that were in hand when the stop began, or began while it drained. Each is
    in one of the first three numbers.
    """

    runs_ended: int = 0
    """Ended by themselves: what they brought, or how they failed, is committed."""
    runs_cancelled: int = 0
    """Gave way when they were told to; their inputs are kept, and cost no attempt."""
    runs_left: int = 0
    """Had not returned when the grace was over. Their inputs are kept; their threads stay."""
    cancelled: tuple[LogicalRuntimeId, ...] = ()
    """Whose runs gave way: the first ``NAMES_MAX``."""
    left: tuple[LogicalRuntimeId, ...] = ()
    """Whose runs were left: the first ``NAMES_MAX``."""
    runtimes_unsettled: int = 0
    """Had no run, and waited all the same: for a disk that did not answer in time."""
    calls_refused: int = 0
    """Calls that were answered ControlPlaneStopped."""
    handles_ended: int = 0
    """Completion handles that the stop ended, of inputs that are kept for the next start."""
    runtimes_with_work: int | None = None
    """Runtimes that the next start takes up; None when the store could not be asked."""
    store_closed: bool = True
    """Is the store closed? One that does not answer is left open until the process ends."""
    seconds: float = 0.0
    """How long the stop took, in seconds by the plane's clock."""
    failure: str | None = None
    """What the plane failed with, when it ended by itself; None when it was told to stop."""


class Stopping:
    """The end of one plane. Thread-safe; a signal handler may hurry it.

    ``begun`` is set when it was asked for, ``ended`` when all of it is over; from then on
    ``report`` is what it was.
    """

    def __init__(self) -> None:
        self.begun = LightEvent()
        self.ended = LightEvent()
        self.report = ShutdownReport()
        self._changed = LightCondition()
        self._hurried = False

    def hurry(self) -> None:
        """Be patient with runs no longer: what comes now, or waits already, waits no more."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float, *, patient: bool) -> bool:
        """Wait until the predicate holds, and say so; ``patient`` for as long as nobody hurries.

        It is looked at whenever :meth:`changed` was called.
        """
        with self._changed:
            self._changed.wait_for(lambda: predicate() or (patient and self._hurried), timeout_s)
            return predicate()

    def changed(self) -> None:
        """Something of what is waited for has changed."""
        with self._changed:
            self._changed.notify_all()
