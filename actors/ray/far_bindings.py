"""Far bindings: a session's bindings, seen from a process that does not drive it.

The ids are the session's, the cursors as they were when the shard answered. The registry of its
operations is the shard's: executors have it, as ``context.bindings``. Every step and question to
the one here says so.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NoReturn

from attrs import astuple

from actors.ray.wire import FarBindings
from meerkat.bindings import SessionRuntimeBindings
from meerkat.epoch import EpochCursorSnapshot, EpochCursorState
from meerkat.errors import NotInThisProcess
from meerkat.operations_registry import OpsLifecycleRegistry

_INSTEAD: Final = "an executor has them, as context.bindings"


class _FarCursors(EpochCursorState):
    """Cursors to look at: they are moved where the runtime is."""

    __slots__ = ()

    def _advance(self, to: EpochCursorSnapshot) -> None:  # noqa: ARG002 - as its base
        raise NotInThisProcess("the cursors of a session", _INSTEAD)


class _FarHost:
    """The host of a registry that is elsewhere."""

    record = observe = begun = before_wait = new_lock = None

    def now(self) -> datetime:
        """Nobody asks: every step is refused before."""
        self.check()

    def check(self) -> NoReturn:
        """Refuse."""
        raise NotInThisProcess("the operations of a session", _INSTEAD)


def bindings_of(far: FarBindings) -> SessionRuntimeBindings:
    """The bindings that stand for those of a shard."""
    host: Any = _FarHost()
    registry = OpsLifecycleRegistry.of_host(host)
    registry._made = host  # noqa: SLF001 - one with steps asks its host, and one without does not
    return SessionRuntimeBindings(
        session_id=far.session_id,
        epoch_id=far.epoch_id,
        ops_lifecycle=registry,
        cursor_state=_FarCursors.from_recovered(*astuple(far.cursors)),
    )
