"""Tally: what is stored of one runtime, counted. For people: nothing that runs relies on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol, TypeGuard, TypeVar

from attrs import frozen

from meerkat.conversation import SessionSnapshot
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.outcomes import completion_of
from meerkat.store.protocol import Page, RuntimeStore, does_all_of

T = TypeVar("T")


@frozen(kw_only=True)
class Tally:
    """The counts of one runtime. ``ended`` has the phases in which at least one input ended.

    ``last_error`` is that of the input that is tried next, of those that have failed; where none
    has, why the one was given up that was given up last.
    """

    pending: int
    ended: Mapping[InputPhase, int]
    receipts: int
    messages: int
    snapshot_bytes: int | None
    last_error: str | None


NOTHING: Final = Tally(
    pending=0, ended={}, receipts=0, messages=0, snapshot_bytes=None, last_error=None
)


class Counting(Protocol):
    """A store that counts by itself, and finds the newest of what has ended."""

    def tally(self, runtime_id: LogicalRuntimeId) -> Tally:
        """What is stored of a runtime, counted."""
        ...

    def page_newest_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """Finished inputs, those first that came last."""
        ...


def _counts(store: object) -> TypeGuard[Counting]:
    return does_all_of(Counting, store)


def tally_in(store: RuntimeStore, runtime_id: LogicalRuntimeId) -> Tally:
    """The tally of a runtime, by the store itself where it can. Raises StoreError."""
    if _counts(store):
        return store.tally(runtime_id)
    return tally_by_pages(store, runtime_id)


def newest_inputs(
    store: RuntimeStore, runtime_id: LogicalRuntimeId, *, after: str | None, limit: int
) -> Page[InputState]:
    """Finished inputs, those first that came last, in the same way. Raises StoreError."""
    if _counts(store):
        return store.page_newest_inputs(runtime_id, after=after, limit=limit)
    return newest_by_pages(store, runtime_id, after=after, limit=limit)


def tally_by_pages(store: RuntimeStore, runtime_id: LogicalRuntimeId) -> Tally:
    """The tally of a runtime in any store; it reads everything that the runtime has."""
    waiting = store.load_active_inputs(runtime_id)
    snapshot = store.load_session_snapshot(runtime_id) or SessionSnapshot()
    counts: Counter[InputPhase] = Counter()
    given_up: InputState | None = None
    for state in _every(lambda after: store.page_terminal_inputs(runtime_id, after=after)):
        counts[state.phase] += 1
        if state.phase is InputPhase.ABANDONED and (
            given_up is None or state.updated_at >= given_up.updated_at
        ):
            given_up = state
    errors = [state.last_error for state in waiting if state.last_error]
    return Tally(
        pending=len(waiting),
        ended={phase: counts[phase] for phase in InputPhase if counts[phase]},
        receipts=sum(1 for _ in _every(lambda at: store.page_receipts(runtime_id, after=at))),
        messages=snapshot.message_count,
        snapshot_bytes=None if snapshot.opaque is None else len(snapshot.opaque),
        last_error=errors[0] if errors else why_given_up(given_up),
    )


def newest_by_pages(
    store: RuntimeStore, runtime_id: LogicalRuntimeId, *, after: str | None, limit: int
) -> Page[InputState]:
    """Finished inputs, those first that were admitted last; in any store, reading all of them."""
    found = list(_every(lambda place: store.page_terminal_inputs(runtime_id, after=place)))
    found.sort(key=lambda state: state.admission_sequence or 0, reverse=True)
    if after is not None:
        places = [str(state.input_id) for state in found]
        found = found[places.index(after) + 1 :] if after in places else []
    shown = tuple(found[:limit])
    return Page(shown, str(shown[-1].input_id) if len(found) > limit else None)


def why_given_up(state: InputState | None) -> str | None:
    """Why an input was given up."""
    outcome = None if state is None else completion_of(state)
    return None if outcome is None else outcome.error or outcome.reason


def _every(read: Callable[[str | None], Page[T]]) -> Iterator[T]:
    after = None
    while True:
        page = read(after)
        yield from page.items
        if page.next is None:
            return
        after = page.next
