"""Forks: a child of the test's process that does something, and says what came of it.

It is killed when it has not said so in time, which the parent sees: a child hangs for ever if
it waits for a thread, or for a lock, that the fork has not carried over.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
from collections.abc import Callable
from typing import Any

PATIENCE_S = 20


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` gives in a forked child, or raises there."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.register(signal.SIGALRM, file=2, all_threads=True, chain=True)
        signal.alarm(PATIENCE_S)
        try:
            said: tuple[bool, Any] = (True, work())
        except BaseException as error:  # noqa: BLE001 - raised in the parent
            said = (False, error)
        os.write(writing, pickle.dumps(said))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        raw = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child hangs"
    worked, value = pickle.loads(raw)
    if not worked:
        raise value
    return value


def refusal(call: Callable[[], Any]) -> str:
    """The name of the error that a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the test's to look at
        return type(error).__name__
    return "none"
