"""Signals in a test: an exception at every point where the interpreter would let one through.

Python handles a signal between two instructions, and only after a call, at the beginning of a
function and at the end of a loop. ``interrupted_at`` raises at the n-th of these points in our
own code, on the thread it is used in.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import actors

OURS = str(Path(actors.__file__).parent)
LETS_THROUGH = {dis.opmap[name] for name in ("CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME")}


class Interruption:
    """One exception, raised at the n-th point; ``at`` says where, once it has been."""

    def __init__(self, number: int, error: type[BaseException]) -> None:
        self._left = number
        self._error = error
        self._last: dict[FrameType | None, int] = {}
        self.at = ""

    def trace(self, frame: FrameType, event: str, _arg: object) -> Any:
        if self.at or not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "call":
            self._point(frame)
        elif event == "opcode":
            last, self._last[frame] = self._last.get(frame), frame.f_lasti
            if last is not None and frame.f_code.co_code[last] in LETS_THROUGH:
                self._point(frame)
        elif event == "return":
            self._last.pop(frame, None)
            self._last.pop(frame.f_back, None)  # none is let through behind a call of our own
        return self.trace

    def _point(self, frame: FrameType) -> None:
        self._left -= 1
        if not self._left:
            code = frame.f_code
            self.at = f"{Path(code.co_filename).name}:{frame.f_lineno} in {code.co_name}"
            raise self._error


@contextmanager
def interrupted_at(
    number: int, error: type[BaseException] = KeyboardInterrupt
) -> Iterator[Interruption]:
    """Raise at the n-th point in this block, and nowhere if it has fewer."""
    interruption, before = Interruption(number, error), sys.gettrace()
    sys.settrace(interruption.trace)
    try:
        yield interruption
    finally:
        sys.settrace(before)
