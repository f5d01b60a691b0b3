"""Attention: what a run is told while it is under way, and how it waits to be told.

The driver says what is the case, from its mailbox; the run looks when it likes. A level
(something is steered) holds until it is taken back, a call (work waits) is heard once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from actors.light import LightCondition, LightEvent
from meerkat.errors import RunCancelled, RunRefused
from meerkat.runs import WakeReason


class Attention:
    """What one run is to know. Thread-safe."""

    def __init__(self) -> None:
        self.cancelled: threading.Event = LightEvent()
        self.waits = False
        """Is the run waiting just now, by its own will?"""
        self._changed = LightCondition()
        self._steered = False
        self._work_waits = False
        self._ends_at_boundary = False
        self._over = False
        self._listeners: list[Callable[[], object]] = []

    # --- told by others -----------------------------------------------------------------

    def cancel(self) -> None:
        """The run is to end now."""
        self.cancelled.set()
        self._tell()

    def end_at_boundary(self) -> None:
        """The run is to end at its next boundary, or where it waits."""
        self._ends_at_boundary = True
        self._tell()

    def steer(self, *, waiting: bool) -> None:
        """Something is steered into the run, or nothing any more."""
        self._steered = waiting
        if waiting:
            self._tell()

    def call(self) -> None:
        """Work waits behind the run, and asks it to yield."""
        self._work_waits = True
        self._tell()

    def end(self) -> None:
        """The run is over: whoever still holds its context learns that."""
        self._over = True
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    # --- looked at by the run -----------------------------------------------------------

    def refuse_over(self) -> None:
        """Raise RunRefused when the run is over."""
        if self._over:
            raise RunRefused("the run is over")

    def refuse_ended(self) -> None:
        """Raise RunRefused when the run is over, RunCancelled when it is to end here."""
        self.refuse_over()
        if self._ends_at_boundary:
            raise RunCancelled

    def reason(self) -> WakeReason | None:
        """Why a waiting run is to look up; None when it may wait on. Hears a call once."""
        self.refuse_ended()
        if self.cancelled.is_set():
            return WakeReason.CANCELLED
        if self._steered:
            return WakeReason.STEERED
        if self._work_waits:
            self._work_waits = False
            return WakeReason.WORK_WAITING
        return None

    def wait(self, seconds: float) -> WakeReason:
        """Wait for a reason on this thread."""
        found: list[WakeReason] = []

        def look() -> bool:
            reason = self.reason()
            found.extend([reason] if reason else [])
            return bool(found)

        with self._changed:
            self._changed.wait_for(look, seconds)
        return found[0] if found else WakeReason.TIMEOUT

    def listen(self, listener: Callable[[], object]) -> None:
        """Call ``listener``, which must not raise, whenever there is something to look at."""
        with self._changed:
            self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], object]) -> None:
        """Do not call it any more."""
        with self._changed:
            self._listeners.remove(listener)
