"""The test kit: what hosts test their executors, policies, stores and sessions with.

We test meerkat with it, too. It is the one part of ``meerkat`` that knows of ``actors``, and
nothing that runs knows of it. It needs the extra ``[testing]``. A name is loaded when it is
first asked for, so that a child process with one fail point does not wait for Hypothesis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meerkat.testing import invariants
    from meerkat.testing.invariants import InvariantBroken, Promises

__all__ = [
    "InvariantBroken",
    "Promises",
    "invariants",
]

_WHERE: Final[dict[str, str]] = {
    "InvariantBroken": "invariants",
    "Promises": "invariants",
    "invariants": "invariants",
}
"""Which module has a name; its own, if it is a module."""


def __getattr__(name: str) -> Any:
    """A name of the kit, from the module that has it."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = import_module(f"{__name__}.{_WHERE[name]}")
    return found if _WHERE[name] == name else getattr(found, name)
