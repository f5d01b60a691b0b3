"""Ledger and lanes: what a runtime knows, and what waits.

The ledger holds every non-terminal input, in order of insertion, and the finished ones
that no store remembers. The lanes are a projection of it: an input is in its lane exactly
while it is queued. Both change through :meth:`Ledger.put` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meerkat.identifiers import IdempotencyKey, InputId, SupersessionKey
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.inputs import Durability
from meerkat.origins import InputKind
from meerkat.policy import Lane, QueueMode

_Scope = tuple[InputKind, SupersessionKey]
_REPLACEABLE = frozenset({QueueMode.SUPERSEDE, QueueMode.COALESCE})


_TRIED_FIRST: Final = 2**64
"""Puts what a run had in hand ahead of what none had, whatever their admission sequences."""


class _WaitingLane:
    """One lane: input ids in order of admission, whatever order they enter in.

    What was in flight before comes first: it had the head of the lane when it was staged.
    """

    __slots__ = ("_in_order", "_sequences", "by_scope")

    def __init__(self) -> None:
        self._sequences: dict[InputId, int] = {}
        self._in_order = True
        self.by_scope: dict[_Scope, dict[InputId, None]] = {}

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[InputId]:
        if not self._in_order:  # a rolled-back input returned: its place is further ahead
            self._sequences = dict(sorted(self._sequences.items(), key=lambda item: item[1]))
            self._in_order = True
        return iter(self._sequences)

    def enter(self, state: InputState) -> None:
        sequence = (state.admission_sequence or 0) - (_TRIED_FIRST if state.attempt_count else 0)
        if self._sequences and sequence < next(reversed(self._sequences.values())):
            self._in_order = False
        self._sequences[state.input_id] = sequence
        scope = _scope_of(state)
        if scope is not None:
            self.by_scope.setdefault(scope, {})[state.input_id] = None

    def leave(self, state: InputState) -> None:
        self._sequences.pop(state.input_id, None)
        scope = _scope_of(state)
        if scope is None:
            return
        sharing = self.by_scope.get(scope, {})
        sharing.pop(state.input_id, None)
        if not sharing:
            self.by_scope.pop(scope, None)


def _scope_of(state: InputState) -> _Scope | None:
    decision, waiting = state.policy, state.input
    if decision is None or waiting is None or waiting.supersession_key is None:
        return None
    if decision.queue_mode not in _REPLACEABLE:
        return None
    return waiting.kind, waiting.supersession_key


class Ledger:
    """The inputs of one runtime. Owned by its driver; not thread-safe.

    A finished input stays known until :meth:`forget` says that the store knows of its end.
    ``archived_max`` bounds the finished inputs kept for want of a store: all of them for a
    runtime without one (None), the last few ephemeral ones for a runtime with one.
    """

    __slots__ = (
        "_active",
        "_archive",
        "_archived_max",
        "_by_key",
        "_lanes",
        "_settling",
        "has_ephemeral",
    )

    def __init__(self, archived_max: int | None) -> None:
        self.has_ephemeral = False
        """Has it ever held an input that no store remembers?"""
        self._active: dict[InputId, InputState] = {}
        self._archive: dict[InputId, InputState] = {}
        self._archived_max = archived_max
        self._by_key: dict[IdempotencyKey, InputId] = {}
        self._settling: dict[InputId, InputState] = {}
        self._lanes: dict[Lane, _WaitingLane] = {}  # each made with its first input

    def __len__(self) -> int:
        return len(self._active) + len(self._settling) + len(self._archive)

    @property
    def active_count(self) -> int:
        """How many inputs are not terminal."""
        return len(self._active)

    @property
    def first(self) -> InputState | None:
        """The non-terminal input that was taken in first; None when there is none."""
        return next(iter(self._active.values()), None)

    def active(self) -> Iterator[InputState]:
        """The non-terminal inputs, in order of insertion."""
        return iter(tuple(self._active.values()))

    def finished(self) -> Iterator[InputState]:
        """The finished inputs that no store remembers, in the order of their ends."""
        return iter(tuple(self._archive.values()))

    def get(self, input_id: InputId) -> InputState | None:
        """An input by its id, as far as memory knows it."""
        return (
            self._active.get(input_id)
            or self._settling.get(input_id)
            or self._archive.get(input_id)
        )

    def get_by_key(self, key: IdempotencyKey | None) -> InputState | None:
        """An input by its idempotency key, as far as memory knows it."""
        input_id = None if key is None else self._by_key.get(key)
        return None if input_id is None else self.get(input_id)

    def waiting(self, lane: Lane) -> Iterator[InputState]:
        """The inputs of a lane, head first."""
        return (self._active[input_id] for input_id in self._lanes.get(lane, ()))

    def waiting_count(self, lane: Lane) -> int:
        """How many inputs wait in a lane."""
        return len(self._lanes.get(lane, ()))

    @property
    def has_waiting(self) -> bool:
        """Does anything wait, in whichever lane?"""
        return any(self._lanes.values())

    def replaceable(
        self, lane: Lane, kind: InputKind, key: SupersessionKey
    ) -> tuple[InputState, ...]:
        """The queued inputs that a newer one of the same kind and key replaces.

        More than one when an input came back from a failed run behind a newer one's back.
        """
        waiting = self._lanes.get(lane)
        sharing = waiting.by_scope.get((kind, key), ()) if waiting else ()
        return tuple(self._active[input_id] for input_id in sharing)

    def put(self, state: InputState) -> None:
        """Take in a new version of an input; lanes and keys follow it."""
        before = self._active.get(state.input_id)
        if before is not None and before.phase is InputPhase.QUEUED:
            self._lane_of(before).leave(before)
        if state.is_terminal:
            self._finish(state)
            return
        self._active[state.input_id] = state
        if state.durability is Durability.EPHEMERAL:
            self.has_ephemeral = True
        if state.idempotency_key is not None:
            self._by_key[state.idempotency_key] = state.input_id
        if state.phase is InputPhase.QUEUED:
            self._lane_of(state).enter(state)

    def rebuild_lanes(self) -> None:
        """Project the lanes afresh from the inputs, in order of admission."""
        self._lanes = {}
        queued = [s for s in self._active.values() if s.phase is InputPhase.QUEUED]
        for state in sorted(queued, key=lambda each: each.admission_sequence or 0):
            self._lane_of(state).enter(state)

    def forget(self, input_id: InputId) -> None:
        """Let a finished input go: from now on the store answers for it."""
        state = self._settling.pop(input_id, None)
        if state is not None:
            self._forget_key(state)

    def _finish(self, state: InputState) -> None:
        self._active.pop(state.input_id, None)
        if state.idempotency_key is not None:
            self._by_key[state.idempotency_key] = state.input_id
        if self._archived_max is not None and state.durability is not Durability.EPHEMERAL:
            self._settling[state.input_id] = state
            return
        self._archive[state.input_id] = state
        self.has_ephemeral = self.has_ephemeral or state.durability is Durability.EPHEMERAL
        if self._archived_max is not None and len(self._archive) > self._archived_max:
            self._forget_key(self._archive.pop(next(iter(self._archive))))

    def _forget_key(self, state: InputState) -> None:
        if state.idempotency_key is not None:
            self._by_key.pop(state.idempotency_key, None)

    def _lane_of(self, state: InputState) -> _WaitingLane:
        lane = (None if state.policy is None else state.policy.lane) or Lane.QUEUE
        waiting = self._lanes.get(lane)
        if waiting is None:
            waiting = self._lanes[lane] = _WaitingLane()
        return waiting
