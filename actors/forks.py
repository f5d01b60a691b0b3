"""Forks: a control plane lives in one process. A forked child has a copy of it, and no threads.

Whatever a child would wait for is never answered there, and a lock that another thread held at
the moment of the fork is held for ever. So every call looks here first, before any lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakSet

from actors.ground import ground_here
from actors.pool import registry_lock
from actors.thread_frames import looking
from meerkat.epoch import advancing
from meerkat.errors import ControlPlaneForked
from meerkat.operations_registry import making


class Home:
    """The process that a plane lives in. Thread-safe."""

    __slots__ = ("__weakref__", "_in_child", "left")

    def __init__(self) -> None:
        self.left = False
        """Is this a forked child of that process?"""
        self._in_child: list[Callable[[], object]] = []
        _homes.add(self)

    def check(self) -> None:
        """Raise ControlPlaneForked in a forked child."""
        if self.left:
            raise ControlPlaneForked

    def in_child(self, call: Callable[[], object]) -> None:
        """Have a forked child make a call that takes no lock of the plane."""
        self._in_child.append(call)

    def leave(self) -> None:
        """What is here from now on is a forked child."""
        self.left = True
        calls, self._in_child = self._in_child, []
        for call in calls:
            call()


_homes: WeakSet[Home] = WeakSet()


def home_here() -> Home:
    """The process that this thread is in."""
    ground = ground_here()
    return Home() if ground is None else ground.home()


def _leave_all() -> None:
    for home in list(_homes):
        home.leave()


if hasattr(os, "register_at_fork"):
    # The locks that are one for the process are to be free in the child, for planes of its own.
    for lock in (registry_lock(), making, advancing, looking):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    os.register_at_fork(after_in_child=_leave_all)
