"""Operation waits: those who want to be told that operations ended, and the telling.

Values and bookkeeping only. The registry guards them with its lock and calls
:func:`tell` after it has let go of it, because a future runs its callbacks, which are
other people's code, in the thread that settles it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeAlias, TypeVar

from attrs import define, field, frozen

from meerkat.identifiers import OperationId, WaitRequestId
from meerkat.operations import OperationOutcome

_T = TypeVar("_T")

Outcomes: TypeAlias = tuple[OperationOutcome, ...]
Telling: TypeAlias = Callable[[], None]
"""Settles one future; called without any lock."""


@frozen(kw_only=True, eq=False)
class WaitRequest:
    """A wait for several operations. Thread-safe."""

    id: WaitRequestId
    operation_ids: tuple[OperationId, ...]
    future: Future[Outcomes] = field(factory=Future, repr=False)
    """The outcomes, in the order asked, once every operation has ended."""

    def cancel(self) -> bool:
        """Stop waiting, which lets another wait begin; False when the wait has ended."""
        return self.future.cancel()


@define(eq=False)
class PendingWait:
    """A wait under way, and the outcomes it has so far. Not thread-safe."""

    request: WaitRequest
    outcomes: dict[OperationId, OperationOutcome] = field(factory=dict)
    missing: set[OperationId] = field(factory=set)

    def note(self, operation_id: OperationId, outcome: OperationOutcome) -> None:
        """Keep the outcome of an operation, if it is one of those waited for."""
        if operation_id in self.missing:
            self.missing.discard(operation_id)
            self.outcomes[operation_id] = outcome

    def telling(self) -> Telling:
        """What tells the waiter, once none is missing."""
        in_order = tuple(self.outcomes[asked] for asked in self.request.operation_ids)
        return partial(settle, self.request.future, in_order)


def settle(future: Future[_T], value: _T) -> None:
    """Give a future its result, unless whoever holds it has cancelled or settled it."""
    with suppress(InvalidStateError):
        if not future.done():
            future.set_result(value)


def when_cancelled(future: Future[_T], forget: Callable[[], None]) -> None:
    """Call ``forget`` in the cancelling thread, should whoever holds the future cancel it."""

    def ended(future: Future[_T]) -> None:
        if future.cancelled():
            future.set_running_or_notify_cancel()  # wakes concurrent.futures.wait as well
            forget()

    future.add_done_callback(ended)


def tell(tellings: Iterable[Telling]) -> None:
    """Tell everybody, in order, even when one callback raises what no callback should."""
    with ExitStack() as rest:
        for telling in reversed(list(tellings)):
            rest.callback(telling)
