"""Fault points: raise at a chosen line of our own code, once, on whichever thread comes there.

The interpreter's trace function is asked at every line of the modules that are watched; the
code under test knows nothing of it. A line is where its first instruction is: the second time
that a ``with`` is traced its lock is about to be given back, and an error there would keep it,
which is a flaw of tracing and nothing that happens by itself.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import actors

Point = tuple[str, int]
"""A module of actors, and a line in it."""

FOLDER = str(Path(actors.__file__).parent)


@cache
def _starts(code: CodeType) -> frozenset[int]:
    """Where each line of a function begins, as an offset into its instructions."""
    first: dict[int, int] = {}
    for start, _end, line in code.co_lines():
        if line is not None:
            first.setdefault(line, start)
    return frozenset(first.values())


def _is_at_its_start(frame: FrameType) -> bool:
    return frame.f_lasti in _starts(frame.f_code)


class FaultPoints:
    """Watches some modules: which lines are reached, or raises at one of them, once.

    Threads that are started while it is installed are watched, and so is this one.
    """

    def __init__(self, *modules: str) -> None:
        self._names = {f"{FOLDER}/{module}.py": module for module in modules}
        self._lock = threading.Lock()
        self._at: Point | None = None
        self._error: BaseException | None = None
        self._passes = 0
        self.armed = False
        self.fired = False
        self.reached: dict[Point, int] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        before = sys.gettrace(), threading.gettrace()
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            yield
        finally:
            self.armed = False
            sys.settrace(before[0])
            threading.settrace(before[1])  # type: ignore[arg-type]

    def raise_at(self, point: Point, error: BaseException, *, after: int = 0) -> None:
        """Raise there, after it was passed ``after`` times."""
        self._at, self._error, self._passes = point, error, after

    def _enter(self, frame: FrameType, _event: str, _arg: object) -> Any:
        name = self._names.get(frame.f_code.co_filename)
        if name is None or (self._at is not None and name != self._at[0]):
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, _arg: object) -> Any:
        if event == "line" and self.armed and _is_at_its_start(frame):
            point = (self._names[frame.f_code.co_filename], frame.f_lineno)
            if self._at is None:
                self.reached[point] = self.reached.get(point, 0) + 1
            elif point == self._at and self._takes():
                assert self._error is not None
                raise self._error
        return self._line

    def _takes(self) -> bool:
        with self._lock:
            if self.fired:
                return False
            self._passes -= 1
            self.fired = self._passes < 0
            return self.fired
