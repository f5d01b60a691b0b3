"""Promises: what a host was told, noted as it happens, and held against the store later.

A kill, a power cut or a lost commit may take back only what nobody was told. So whoever
drives a plane notes here what it was told, and asks afterwards what of it still stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from threading import Lock
from typing import Final

from attrs import define, field

from meerkat.identifiers import InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.inputs import Durability
from meerkat.outcomes import (
    Accepted,
    AcceptOutcome,
    CompletionHandle,
    CompletionKind,
    CompletionOutcome,
    Deduplicated,
)
from meerkat.receipts import RunBoundaryReceipt
from meerkat.store.protocol import RuntimeStore
from meerkat.testing.invariants_moments import pages
from meerkat.testing.invariants_rows import InvariantBroken

_K, _P = CompletionKind, InputPhase
_ENDS: Final = {
    _K.COMPLETED: frozenset({_P.CONSUMED}),
    _K.COMPLETED_WITHOUT_RESULT: frozenset({_P.CONSUMED}),
    _K.CANCELLED: frozenset({_P.ABANDONED}),
    _K.ABANDONED: frozenset({_P.ABANDONED}),
    _K.DISPLACED: frozenset({_P.SUPERSEDED, _P.COALESCED}),
}
"""How a handle ends → how its input has; a runtime that ended says nothing of its inputs."""

Named = tuple[str, str]
"""A runtime and an input, or a runtime and a run, by their texts."""


@define
class _Noted:
    """Everything that was noted. Ids are kept as texts, as a child process prints them."""

    accepted: dict[Named, None] = field(factory=dict)
    refused: dict[Named, None] = field(factory=dict)
    seen: dict[Named, str] = field(factory=dict)
    calls: dict[str, dict[str, tuple[str, ...]]] = field(factory=dict)
    receipts: dict[tuple[str, str, int], tuple[str, ...]] = field(factory=dict)
    handles: dict[object, Named] = field(factory=dict)
    ends: dict[Named, CompletionKind] = field(factory=dict)
    resolved: Counter[object] = field(factory=Counter)


class Promises:
    """What a host was told; :meth:`check` says whether it still holds. Thread-safe.

    Note each thing behind the moment at which it was told, executor calls when they begin.
    Ids may be given as their texts. The counts are attributes, up to date after
    :meth:`count`: ``acknowledged``, ``lost``, ``revived``, ``receipted``, ``receipts_lost``,
    ``calls``, ``run_again``, ``early_calls``, ``handles`` and ``false_ends``.
    """

    acknowledged = lost = revived = receipted = receipts_lost = 0
    calls = run_again = early_calls = handles = false_ends = 0

    def __init__(self) -> None:
        self._lock, self._noted = Lock(), _Noted()
        self._broken: list[InvariantBroken] = []

    # --- what is noted ------------------------------------------------------------------

    def accepted(
        self, runtime_id: LogicalRuntimeId | str, told: AcceptOutcome | InputId | str
    ) -> None:
        """An input was accepted, now or, as Deduplicated says, before.

        An ephemeral one promises nothing, and neither does Rejected; an id is a durable one's.
        """
        input_id = _durable_id(told)
        if input_id is None:
            return
        name = str(runtime_id), input_id
        with self._lock:
            self._noted.accepted[name] = None
            self._noted.refused.pop(name, None)

    def refused(self, runtime_id: LogicalRuntimeId | str, input_id: InputId | str) -> None:
        """An input's acceptance raised, and not for a doubt (CommitUnknown): it is not there."""
        name = str(runtime_id), str(input_id)
        with self._lock:
            if name not in self._noted.accepted:
                self._noted.refused[name] = None

    def offered_again(self, runtime_id: LogicalRuntimeId | str, input_id: InputId | str) -> None:
        """An input that was refused is offered again: from now on it may be there."""
        with self._lock:
            self._noted.refused.pop((str(runtime_id), str(input_id)), None)

    def told(self, runtime_id: LogicalRuntimeId | str, input_id: InputId | str, how: str) -> None:
        """Something that names a durable input has left: an event, an answer."""
        with self._lock:
            self._noted.seen.setdefault((str(runtime_id), str(input_id)), how)

    def called(
        self,
        runtime_id: LogicalRuntimeId | str,
        run_id: RunId | str,
        input_ids: Iterable[InputId | str],
    ) -> None:
        """An executor was called. Ephemeral inputs are left out by who notes it."""
        with self._lock:
            runs = self._noted.calls.setdefault(str(runtime_id), {})
            runs.setdefault(str(run_id), tuple(map(str, input_ids)))

    def receipt(self, runtime_id: LogicalRuntimeId | str, receipt: RunBoundaryReceipt) -> None:
        """A receipt was seen."""
        place = str(runtime_id), str(receipt.run_id), receipt.sequence
        with self._lock:
            self._noted.receipts[place] = tuple(map(str, receipt.contributing_input_ids))

    def handle(
        self,
        runtime_id: LogicalRuntimeId | str,
        input_id: InputId | str,
        handle: CompletionHandle,
    ) -> None:
        """A completion handle was given; how it ends is noted when it does."""
        with self._lock:
            self._noted.handles[id(handle), len(self._noted.handles)] = (
                str(runtime_id),
                str(input_id),
            )
            name = next(reversed(self._noted.handles))
        handle.add_done_callback(
            lambda done: self.resolved(runtime_id, input_id, done.result().kind, handle=name)
        )

    def resolved(
        self,
        runtime_id: LogicalRuntimeId | str,
        input_id: InputId | str,
        told: CompletionOutcome | CompletionKind | str,
        *,
        handle: object = None,
    ) -> None:
        """A handle of an input has ended; ``handle`` names it, where there are several."""
        kind = CompletionKind(told.kind if isinstance(told, CompletionOutcome) else told)
        name = str(runtime_id), str(input_id)
        with self._lock:
            self._noted.handles.setdefault(handle or name, name)
            self._noted.resolved[handle or name] += 1
            if kind is not CompletionKind.RUNTIME_TERMINATED:
                self._noted.ends[name] = kind

    # --- what still holds ---------------------------------------------------------------

    def check(self, store: RuntimeStore) -> None:
        """Hold everything against a store: InvariantBroken (7, 8, 10 or 16) for what is not so.

        The counts are up to date then, also when it raises. No plane should write meanwhile.
        """
        self.count(store)
        if self._broken:
            raise self._broken[0]

    def count(self, store: RuntimeStore) -> None:
        """Bring the counts up to date without raising for what they say."""
        with self._lock:
            self._broken = []
            self._count_acknowledged(store)
            self._count_runs(store)
            self._count_handles(store)

    def _fault(self, number: int, found: str, name: Named) -> None:
        self._broken.append(InvariantBroken(number, found, runtime_id=name[0], input_id=name[1]))

    def _count_acknowledged(self, store: RuntimeStore) -> None:
        noted, self.lost, self.revived = self._noted, 0, 0
        self.acknowledged = len(noted.accepted)
        for name in noted.accepted:
            if _stored(store, name) is None:
                self.lost += 1
                self._fault(8, "its acceptance returned, and it is lost", name)
        for name in noted.refused:
            if _stored(store, name) is not None:
                self.revived += 1
                self._fault(8, "its acceptance raised, and it is there", name)
        for name, how in noted.seen.items():
            if _stored(store, name) is None:
                self._fault(16, f"{how} told of it, and it is not there", name)

    def _count_runs(self, store: RuntimeStore) -> None:
        noted = self._noted
        self.calls = sum(map(len, noted.calls.values()))
        self.run_again = self.early_calls = self.receipts_lost = 0
        proven = noted.receipts
        runtimes = {*noted.calls, *(each[0] for each in proven)}
        for runtime_id in runtimes:
            kept = {
                (runtime_id, str(each.run_id), each.sequence): tuple(
                    map(str, each.contributing_input_ids)
                )
                for each in pages(store.page_receipts, LogicalRuntimeId(runtime_id))
            }
            for place, ids in proven.items():
                if place[0] == runtime_id and kept.get(place) != ids:
                    self.receipts_lost += 1
                    self._fault(
                        10, f"receipt {place[1:]} was seen, and is not so", (runtime_id, ids[0])
                    )
            self._count_repeats(runtime_id, {**proven, **kept})
            self._count_early(store, runtime_id)
        self.receipted = len(proven)

    def _count_repeats(
        self, runtime_id: str, kept: dict[tuple[str, str, int], tuple[str, ...]]
    ) -> None:
        """What a run has a receipt for belongs to no later run."""
        runs = self._noted.calls.get(runtime_id, {})
        order = {run_id: place for place, run_id in enumerate(runs)}
        proven: dict[str, str] = {}  # the first run with a receipt: there may be two, wrongly
        for (_, run_id, _), ids in kept.items():
            for input_id in ids if run_id in order else ():
                first = proven.setdefault(input_id, run_id)
                proven[input_id] = min(first, run_id, key=order.__getitem__)
        for run_id, input_ids in runs.items():
            for input_id in input_ids:
                first = proven.get(input_id, run_id)
                if order[first] < order[run_id]:
                    self.run_again += 1
                    found = f"run {first} has a receipt for it, and it was run again by {run_id}"
                    self._fault(10, found, (runtime_id, input_id))

    def _count_early(self, store: RuntimeStore, runtime_id: str) -> None:
        """An executor is called for what is committed as staged for it."""
        for run_id, input_ids in self._noted.calls.get(runtime_id, {}).items():
            for input_id in input_ids:
                state = _stored(store, (runtime_id, input_id))
                if state is None or state.phase is InputPhase.ACCEPTED:
                    self.early_calls += 1
                    found = f"run {run_id} was called for it, and it was never staged"
                    self._fault(16, found, (runtime_id, input_id))

    def _count_handles(self, store: RuntimeStore) -> None:
        noted, self.handles, self.false_ends = self._noted, len(self._noted.handles), 0
        for handle, times in noted.resolved.items():
            if times > 1:
                self.false_ends += 1
                self._fault(7, f"its handle ended {times} times", noted.handles[handle])
        for name, kind in noted.ends.items():
            state = _stored(store, name)
            if state is None or state.phase not in _ENDS[kind]:
                self.false_ends += 1
                is_now = "not stored" if state is None else str(state.phase)
                self._fault(7, f"its handle ended as {kind}, and it is {is_now}", name)


def _durable_id(told: AcceptOutcome | InputId | str) -> str | None:
    """The input that an answer promises to keep; None for an answer that promises nothing."""
    match told:
        case Accepted(input_id=input_id, state=state):
            pass
        case Deduplicated(existing_id=input_id, existing_state=state):
            pass
        case AcceptOutcome():
            return None
        case _:
            return str(told)
    return None if state.durability is Durability.EPHEMERAL else str(input_id)


def _stored(store: RuntimeStore, name: Named) -> InputState | None:
    return store.load_input(LogicalRuntimeId(name[0]), InputId.parse(name[1]))
