"""Copyable: what a store does besides that its runtimes can be copied whole into another one.

A copy has to come by what nobody asks for who runs a session: every input as it is stored, in
the order in which they came, and the operations of epochs that are over. And it has to be able
to begin again.
"""

from __future__ import annotations

from typing import Protocol, TypeGuard, runtime_checkable

from meerkat.identifiers import LogicalRuntimeId
from meerkat.ops_snapshot import OperationRow
from meerkat.store.protocol import InputRow, Page, RuntimeStore, does_all_of


@runtime_checkable
class CopyableStore(RuntimeStore, Protocol):
    """A RuntimeStore that can be copied, and copied into. Every method is thread-safe."""

    def page_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputRow]:
        """All inputs as they are stored, in the order in which they came.

        ``after`` is the id of the last one before it; the payload is None where it was let go.
        """
        ...

    def page_operations(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[OperationRow]:
        """The ended operations of every epoch, by epoch and by their place in its feed."""
        ...

    def erase(self, runtime_id: LogicalRuntimeId, *, limit: int = 1000) -> bool:
        """Remove a runtime with all that belongs to it, ``limit`` rows at most in one call.

        Is nothing left of it? Its own row goes last. For whoever owns the store, and knows that
        the truth is elsewhere.
        """
        ...


def copyable(store: RuntimeStore) -> TypeGuard[CopyableStore]:
    """Can it be copied, and copied into?"""
    return does_all_of(CopyableStore, store)
