"""Boundaries: what was steered into a run, handed over while the run goes on.

An executor takes the inputs in, and commits them with what they made of the conversation
so far. What it does not commit stays queued, uncounted, for a later boundary or run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from meerkat.conversation import Message
from meerkat.errors import RunRefused
from meerkat.identifiers import InputId
from meerkat.inputs import Input
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import RunOutput, append_of

C = TypeVar("C")

Commit: TypeAlias = Callable[[tuple[InputId, ...], RunOutput], RunBoundaryReceipt]
AwaitableCommit: TypeAlias = Callable[
    [tuple[InputId, ...], RunOutput], Awaitable[RunBoundaryReceipt]
]


class _HandedOver(Generic[C]):
    """Inputs at a boundary. Falsy when nothing was steered. Used by its run alone."""

    __slots__ = ("_commit", "inputs")

    def __init__(self, inputs: tuple[Input, ...], commit: C) -> None:
        self.inputs = inputs
        self._commit: C | None = commit

    def __bool__(self) -> bool:
        return bool(self.inputs)

    def __repr__(self) -> str:
        committed = self._commit is None
        return f"{type(self).__name__}(inputs={len(self.inputs)}, committed={committed})"

    @property
    def texts(self) -> list[str]:
        """The texts of the inputs, in their order."""
        appends = [append_of(each) for each in self.inputs]
        return [append.text for append in appends if append is not None]

    def _ids(self) -> tuple[InputId, ...]:
        return tuple(each.id for each in self.inputs)

    def _open(self) -> C:
        """How to commit it; RunRefused when there is nothing to commit, or nothing more."""
        if not self.inputs:
            raise RunRefused("a boundary without inputs has nothing to commit")
        if self._commit is None:
            raise RunRefused("this boundary is committed already")
        return self._commit


class Boundary(_HandedOver[Commit]):
    """What was steered into the run in hand. Falsy when nothing was.

    ``inputs`` are the inputs, ``texts`` their texts. Used by the run's own thread only.
    """

    __slots__ = ()

    def commit(
        self,
        *,
        append: Sequence[Message] | None = None,
        messages: Sequence[Message] | None = None,
        snapshot: bytes | None = None,
    ) -> RunBoundaryReceipt:
        """Consume exactly these inputs, with the conversation so far; durable on return.

        Works for as long as the run is in hand, one that is to end included; afterwards it
        raises RunCancelled. Raises RunRefused for a boundary that is empty or committed
        already, and TypeError or ValueError as RunOutput does; nothing has happened then. A
        StoreError ends the run: it is cancelled, and its work is taken up again from what
        the store holds.
        """
        commit = self._open()
        receipt = commit(
            self._ids(), RunOutput(append=append, messages=messages, snapshot=snapshot)
        )
        self._commit = None
        return receipt


class AsyncBoundary(_HandedOver[AwaitableCommit]):
    """The same for a coroutine executor: ``commit`` is awaited. Used by the run's own task."""

    __slots__ = ()

    async def commit(
        self,
        *,
        append: Sequence[Message] | None = None,
        messages: Sequence[Message] | None = None,
        snapshot: bytes | None = None,
    ) -> RunBoundaryReceipt:
        """Consume exactly these inputs, with the conversation so far; durable on return.

        Raises what :meth:`Boundary.commit` does. It cannot be cut short: a cancellation
        comes when the commit is over.
        """
        commit = self._open()
        output = RunOutput(append=append, messages=messages, snapshot=snapshot)
        receipt = await commit(self._ids(), output)
        self._commit = None
        return receipt
