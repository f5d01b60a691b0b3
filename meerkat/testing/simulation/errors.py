"""Errors: what a simulation says to the host in it."""

from __future__ import annotations


class ProcessKilled(BaseException):
    """The simulated process was killed: nobody answers any more.

    What was acknowledged before is in the store; of everything else nobody knows. It happens to
    the host, as an interrupt does: what catches the errors of a plane does not catch it.
    """


class Stuck(AssertionError):
    """A wait of the host would never end."""
