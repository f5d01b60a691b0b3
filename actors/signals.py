"""Signals: SIGTERM ends a ``with`` block of the main thread by an exception, as Ctrl-C does.

Where SIGTERM has its default action, which ends the process there and then, a block in the
main thread has it raise SystemExit instead, for as long as the block lasts: what the host has
in hand is unwound, and the plane is stopped in order. Nobody else's handler is ever replaced.

One handler serves all blocks that are nested. It stands in the process's own table of signals,
where the inner blocks find it: nothing here is global.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Final

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit status by which shells, and those who watch processes, know the signal."""

_PATIENCE: Final = 2
"""The signal that has a stop wait for no run."""


class Terminator:
    """Handles SIGTERM for the blocks that are open. Used in the main thread alone.

    In a block it raises SystemExit. While a block stops its plane that would cut the wait for
    its end short: SystemExit comes behind it, a second signal hurries it, and a third one
    raises all the same.
    """

    def __init__(self) -> None:
        self.blocks = 0
        self.stopping: Callable[[], None] | None = None
        """How to hurry the stop that is under way."""
        self.owed = False
        self.received = 0

    def __call__(self, _number: int, _frame: object) -> None:
        """The signal has come."""
        self.received += 1
        if self.stopping is None or self.received > _PATIENCE:
            raise SystemExit(TERMINATED)
        self.owed = True
        if self.received == _PATIENCE:
            self.stopping()


class TermBlocks:
    """The ``with`` blocks of one plane in the main thread. Outside it, nothing is done here.

    ``hurry`` has a stop of the plane wait for no run.
    """

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._handlers: list[Terminator | None] = []

    def enter(self) -> None:
        """A block begins: from now on SIGTERM ends it in order, unless the host handles it."""
        if not _in_main_thread():
            return
        present = signal.getsignal(signal.SIGTERM)
        handler = present if isinstance(present, Terminator) and present.blocks else None
        ours = handler is None and (present is signal.SIG_DFL or isinstance(present, Terminator))
        if ours:  # one without a block was left by a block that Ctrl-C cut short at its end
            handler = Terminator()
        if handler is not None:
            handler.blocks += 1
        self._handlers.append(handler)  # before it is in use: a signal may come in between
        if ours:
            signal.signal(signal.SIGTERM, handler)

    def stops(self) -> None:
        """The block is over, and its plane is being stopped."""
        handler = self._handlers[-1] if self._handlers and _in_main_thread() else None
        if handler is not None:
            handler.stopping = self._hurry
            if handler.received >= _PATIENCE:
                self._hurry()

    def leave(self) -> None:
        """The plane is stopped. SystemExit, if a signal came meanwhile."""
        handler = self._handlers.pop() if self._handlers and _in_main_thread() else None
        if handler is None:
            return
        handler.stopping = None
        handler.blocks -= 1
        present: object = signal.getsignal(signal.SIGTERM)
        if not handler.blocks and present is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if handler.owed:
            handler.owed = False
            raise SystemExit(TERMINATED)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
