"""Let go: what hosts may still hold of the bindings of runtimes that left memory.

The plane keeps no registry of a passivated runtime that the store can give back. While a
host holds one, or its cursors, whoever asks again is given the same objects.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from meerkat.bindings import SessionRuntimeBindings
from meerkat.epoch import EpochCursorSnapshot, EpochCursorState
from meerkat.identifiers import RuntimeEpochId, SessionId
from meerkat.operations_registry import OpsLifecycleRegistry


class LetGo:
    """Registries and cursors that are kept for as long as somebody else keeps them.

    Cursors that have moved are kept for good: the last of it may not be stored yet. Not
    thread-safe; the table of bindings guards it.
    """

    def __init__(self) -> None:
        self._registries = WeakValueDictionary[RuntimeEpochId, OpsLifecycleRegistry]()
        self._cursors = WeakValueDictionary[RuntimeEpochId, EpochCursorState]()
        self._moved: dict[RuntimeEpochId, EpochCursorState] = {}

    def put(self, bindings: SessionRuntimeBindings) -> None:
        """Let go of these."""
        epoch_id, registry, cursors = (
            bindings.epoch_id,
            bindings.ops_lifecycle,
            bindings.cursor_state,
        )
        self._registries[epoch_id] = registry
        self._cursors[epoch_id] = cursors
        if registry.watermark or cursors.snapshot() != EpochCursorSnapshot():
            self._moved[epoch_id] = cursors

    def cursors(self, epoch_id: RuntimeEpochId) -> EpochCursorState | None:
        """The cursors of an epoch, if anybody holds them."""
        return self._cursors.get(epoch_id)

    def take_back(
        self, session_id: SessionId, epoch_id: RuntimeEpochId
    ) -> SessionRuntimeBindings | None:
        """The bindings of an epoch whose registry somebody holds."""
        registry = self._registries.get(epoch_id)
        if registry is None:
            return None
        taken = SessionRuntimeBindings(
            session_id=session_id,
            epoch_id=epoch_id,
            ops_lifecycle=registry,
            cursor_state=self.cursors(epoch_id) or EpochCursorState(),
        )
        self.drop(epoch_id)
        return taken

    def drop(self, epoch_id: RuntimeEpochId) -> None:
        """The epoch has bindings again, or is over."""
        self._registries.pop(epoch_id, None)
        self._cursors.pop(epoch_id, None)
        self._moved.pop(epoch_id, None)

    def held(self) -> list[tuple[RuntimeEpochId, OpsLifecycleRegistry]]:
        """The registries that somebody holds, and of which epoch they are."""
        return list(self._registries.items())
