"""Garbage: collected at steps that the seed decides, not when the interpreter likes.

What nobody holds any more is told to some parts of a plane, by way of weak references: when the
interpreter finds out depends on everything that the process has done before. Outside of a
simulation that is of no interest; in one, it is a difference between two runs of a seed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

EVERY_STEPS: Final = 100_000
"""Steps from one collection to the next: a step leaves little behind."""


@contextmanager
def collected_at_steps() -> Iterator[None]:
    """While this lasts, the interpreter collects nothing by itself."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
