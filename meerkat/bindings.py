"""Bindings: what ties an agent's build to the runtime of its session.

A build that belongs to a session works with that session's registry and cursors and never
with ones of its own; a build on its own has its own. Who prepares bindings, and when an
epoch rotates, is the control plane's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

from attrs import evolve, field, frozen, validators

from meerkat.epoch import EpochCursorState
from meerkat.errors import MeerkatError
from meerkat.identifiers import RuntimeEpochId, SessionId
from meerkat.operations_registry import OpsLifecycleRegistry


class SessionBindingsMismatch(MeerkatError):
    """A build was given the bindings of another session."""

    code = "session_bindings_mismatch"

    def __init__(self, session_id: SessionId, bound_session_id: SessionId) -> None:
        super().__init__(
            f"Session bindings mismatch: session {session_id} was given those of {bound_session_id}"
        )
        self.session_id = session_id
        self.bound_session_id = bound_session_id


@frozen(kw_only=True)
class SessionRuntimeBindings:
    """One session's epoch, registry and cursors. Immutable, safe to share.

    Copies, deep ones too, share the registry and the cursors; two are equal when they do.
    The repr holds the session id and the epoch id only. Raises TypeError for a wrong type.
    """

    session_id: SessionId = field(validator=validators.instance_of(SessionId))
    epoch_id: RuntimeEpochId = field(validator=validators.instance_of(RuntimeEpochId))
    ops_lifecycle: OpsLifecycleRegistry = field(
        validator=validators.instance_of(OpsLifecycleRegistry), repr=False
    )
    cursor_state: EpochCursorState = field(
        validator=validators.instance_of(EpochCursorState), repr=False
    )

    def __deepcopy__(self, _memo: dict[int, object]) -> Self:
        return evolve(self)


class RuntimeBuildMode(ABC):
    """How an agent's build comes by its registry and cursors: on its own, or a session's."""

    __slots__ = ()

    @staticmethod
    def default() -> RuntimeBuildMode:
        """What a build does unless told otherwise: stand alone."""
        return StandaloneEphemeral()

    @abstractmethod
    def resolve(
        self, session_id: SessionId, *, new_registry: Callable[[], OpsLifecycleRegistry]
    ) -> SessionRuntimeBindings:
        """The bindings that a build for this session works with.

        ``new_registry`` is called by a build that stands alone, and never by another.
        Raises SessionBindingsMismatch for the bindings of another session.
        """


@frozen
class StandaloneEphemeral(RuntimeBuildMode):
    """A build on its own: each has a new epoch, registry and cursors; nothing is durable."""

    def resolve(
        self, session_id: SessionId, *, new_registry: Callable[[], OpsLifecycleRegistry]
    ) -> SessionRuntimeBindings:
        """New bindings at every call; raises what ``new_registry`` raises."""
        return SessionRuntimeBindings(
            session_id=session_id,
            epoch_id=RuntimeEpochId.new(),
            ops_lifecycle=new_registry(),
            cursor_state=EpochCursorState(),
        )


@frozen
class SessionOwned(RuntimeBuildMode):
    """A build that belongs to the session of its bindings."""

    bindings: SessionRuntimeBindings = field(
        validator=validators.instance_of(SessionRuntimeBindings)
    )

    def resolve(
        self, session_id: SessionId, *, new_registry: Callable[[], OpsLifecycleRegistry]
    ) -> SessionRuntimeBindings:
        """The bindings themselves; SessionBindingsMismatch for another session."""
        del new_registry  # a second registry would compete with the session's own
        if session_id != self.bindings.session_id:
            raise SessionBindingsMismatch(session_id, self.bindings.session_id)
        return self.bindings
