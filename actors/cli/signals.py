"""Signals: Ctrl-C and SIGTERM as news for the main thread, or both as Ctrl-C.

Of a job the first one asks the job to stop and is told through the queue. The second one ends the
process there and then, which loses nothing that was accepted: it is what a crash does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from actors.cli.news import Interrupted, NewsQueue
from actors.cli.progress import SHOW_CURSOR
from actors.cli.status import ExitStatus

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping_signals(news: NewsQueue, at_once: Callable[[], None]) -> Iterator[None]:
    """Handle the signals that stop a job; ``at_once`` is called before a sudden end.

    Outside the main thread nothing is changed: only that thread can handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = False

    def handle(_number: int, _frame: Any) -> None:
        nonlocal told
        if told:
            at_once()
            with suppress(OSError):
                if os.isatty(2):
                    os.write(2, SHOW_CURSOR)
            os._exit(ExitStatus.INTERRUPTED)
        told = True
        news.put(Interrupted())

    before = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def handled(number: int, handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Have a signal handled so meanwhile. Outside the main thread nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def as_ctrl_c() -> Iterator[None]:
    """Have either signal raise KeyboardInterrupt, so that what is under way is left in order.

    SIGINT too: whoever started this may have had it ignored, as a shell does in the background.
    """
    with ExitStack() as undo:
        for number in STOPPING:
            undo.enter_context(handled(number, _interrupt))
        yield


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
