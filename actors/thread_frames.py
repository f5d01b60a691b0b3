"""Thread frames: where another thread is just now.

While the interpreter looks it holds a lock of its own. In Python 3.11 a garbage collection may
begin in the middle of that and let other threads run; the next one that needs the lock, to
start a thread even, stops the whole process for good. So nothing is collected meanwhile. Both
the switch and the lock are the process's, so this module is, too.
"""

from __future__ import annotations

import gc
import sys
import threading
from types import FrameType
from typing import Final

looking: Final = threading.Lock()
"""Held while collections are switched off."""


def frame_of(thread_id: int | None) -> FrameType | None:
    """The innermost frame of a thread; None for one that is not there. Thread-safe.

    A collector that the host has switched off stays so.
    """
    with looking:
        collects = gc.isenabled()
        try:
            gc.disable()
            frames = sys._current_frames()  # noqa: SLF001 - there is no other way to it
        finally:
            if collects:
                gc.enable()
    return None if thread_id is None else frames.get(thread_id)
