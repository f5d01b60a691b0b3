"""Thread frames: where another thread is just now.

While the interpreter looks it holds a lock of its own. In Python 3.11 a garbage collection may
begin in the middle of that and let other threads run; the next one that needs the lock, to
start a thread even, stops the whole process for good. And one that begins while a frame is made
for the caller of another may let that caller return: what the frame then shows is gone, and
reading it ends the process. So nothing is collected meanwhile. Both the switch and the lock are
the process's, so this module is, too.
"""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

looking: Final = threading.Lock()
"""Held while collections are switched off."""


def frame_of(thread_id: int | None) -> FrameType | None:
    """The innermost frame of a thread; None for one that is not there. Thread-safe.

    A collector that the host has switched off stays so.
    """
    with _nothing_collected():
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way to it
    return None if thread_id is None else frames.get(thread_id)


def stack_of(frame: FrameType, frames_max: int) -> str:
    """The innermost frames of a thread that goes on, as a traceback prints them. Thread-safe."""
    places: list[tuple[FrameType, int]] = []
    with _nothing_collected():
        here: FrameType | None = frame
        while here is not None and len(places) < frames_max:
            places.append((here, here.f_lineno))
            here = here.f_back
    return "".join(traceback.StackSummary.extract(reversed(places)).format())


@contextmanager
def _nothing_collected() -> Iterator[None]:
    with looking:
        collects = gc.isenabled()
        try:
            gc.disable()
            yield
        finally:
            if collects:
                gc.enable()
