"""Keys: what a person types while something is drawn, and what else ends a wait.

The terminal gives each key at once, unseen, and is as it was behind it. A resize ends a wait
too, and SIGTERM comes out as Ctrl-C does, so that whoever draws can leave the terminal in order.
"""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final, TextIO

from actors.cli.signals import as_ctrl_c, handled

KEY_BYTES_MAX: Final = 64
"""How much is read at a time of what was typed."""

END: Final = "\x04"
"""Ctrl-D, and what comes of a terminal that is gone: nobody types there any more."""

_RESIZED: Final = "\0"


class Keys:
    """Waits for keys. Used by one thread."""

    def __init__(self, *watched: int) -> None:
        self._watched = watched

    def within(self, seconds: float) -> str:
        """What is typed first; nothing after so many seconds, and after a resize at once."""
        ready, _, _ = select.select(self._watched, [], [], seconds)
        return "".join(map(_typed_at, ready)).strip(_RESIZED)


def _typed_at(source: int) -> str:
    with suppress(OSError):  # the terminal is gone
        return os.read(source, KEY_BYTES_MAX).decode(errors="replace") or END
    return END


@contextmanager
def keys(terminal: TextIO | None) -> Iterator[Keys]:
    """The keys of ``terminal``, if it is one; without one every wait takes its time."""
    with ExitStack() as undo:
        watched = []
        undo.enter_context(as_ctrl_c())
        watched.append(undo.enter_context(_resizes()))
        if terminal is not None and terminal.isatty():
            watched.append(undo.enter_context(_each_key(terminal.fileno())))
        yield Keys(*watched)


@contextmanager
def _resizes() -> Iterator[int]:
    """Something to read from, once the terminal has another size."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def note(_number: int, _frame: Any) -> None:
        with suppress(BlockingIOError):  # one that nobody has taken in yet is enough
            os.write(writer, _RESIZED.encode())

    try:
        with handled(signal.SIGWINCH, note):
            yield reader
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def _each_key(terminal: int) -> Iterator[int]:
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
