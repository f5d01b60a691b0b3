"""Collector: puts off full garbage collections while something large is built to stay.

A full collection goes through everything there is. While a hundred thousand runtimes are made
it runs again and again, finds nothing, and takes half of the time. The young generations, where
garbage is, are collected all the while. The setting is the process's, so this module is, too.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PUT_OFF: Final = 1_000
"""How many times as seldom full collections are."""


class _PutOff:
    """Who wants them put off just now, and what was set before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wanted = 0
        self.before = gc.get_threshold()
        self.during = self.before


_state: Final = _PutOff()


@contextmanager
def full_collections_put_off() -> Iterator[None]:
    """For as long as this lasts. What a host has switched off, or sets meanwhile, stays so."""
    with _state.lock:
        _state.wanted += 1
        if _state.wanted == 1:
            _state.before = young, middle, old = gc.get_threshold()
            _state.during = young, middle, old * PUT_OFF
            gc.set_threshold(*_state.during)
    try:
        yield
    finally:
        with _state.lock:
            _state.wanted -= 1
            if not _state.wanted and gc.get_threshold() == _state.during:
                gc.set_threshold(*_state.before)
