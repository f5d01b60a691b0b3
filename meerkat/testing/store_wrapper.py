"""Store wrapper: a store around another one, whose every call goes past one method.

What a test wants of a store that is slow, forgetful or broken is said in ``around``; the rest
is the store it stands before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from meerkat.conversation import SessionSnapshot
from meerkat.errors import StoreError
from meerkat.identifiers import IdempotencyKey, InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputState
from meerkat.limits import Retention
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import (
    Batch,
    InputRow,
    Order,
    Page,
    Pruned,
    RuntimeRow,
    RuntimeStore,
    RuntimeSummary,
)
from meerkat.store.protocol import EVERY_STATE

T = TypeVar("T")

COMMITS: Final = frozenset({"commit", "commit_many"})
"""The calls that make something durable for a runtime."""

WRITES: Final = COMMITS | {"offer", "prune"}
"""The calls that change what is stored: of one that failed nobody may know what it did."""


class StoreWrapper:
    """A RuntimeStore before another one, ``inner``; it does what that one does.

    A subclass overrides :meth:`around`, which is given every call. As thread-safe as ``inner``.
    Whatever else ``inner`` has is found here too.
    """

    def __init__(self, inner: RuntimeStore) -> None:
        self.inner = inner

    def around(self, _method: str, call: Callable[[], T]) -> T:
        """Make a call of the method of this name; what it gives or raises is the caller's."""
        return call()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # it has not come to that yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.inner, name)

    # --- the calls of a store -----------------------------------------------------------

    def acquire(self) -> None:
        """Become the one owner."""
        self.around("acquire", self.inner.acquire)

    def close(self) -> None:
        """Let go of everything."""
        self.around("close", self.inner.close)

    def commit(self, batch: Batch) -> None:
        """Commit one batch."""
        self.around("commit", partial(self.inner.commit, batch))

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        """Commit many batches together."""
        return self.around("commit_many", partial(self.inner.commit_many, batches))

    def offer(self, runtime_id: LogicalRuntimeId, rows: Sequence[InputRow]) -> None:
        """Insert inputs as accepted."""
        self.around("offer", partial(self.inner.offer, runtime_id, rows))

    def load_runtime(self, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
        """The runtime's row."""
        return self.around("load_runtime", partial(self.inner.load_runtime, runtime_id))

    def list_runtimes(self, *, after: str | None = None, limit: int = 1000) -> Page[RuntimeRow]:
        """The runtimes by id."""
        call = partial(self.inner.list_runtimes, after=after, limit=limit)
        return self.around("list_runtimes", call)

    def page_summaries(
        self,
        order: Order = Order.ID,
        *,
        states: Collection[RuntimeState] = EVERY_STATE,
        after: str | None = None,
        limit: int = 1000,
    ) -> Page[RuntimeSummary]:
        """The runtimes at a glance."""
        call = partial(self.inner.page_summaries, order, states=states, after=after, limit=limit)
        return self.around("page_summaries", call)

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        """The registered runtimes with work or news."""
        return self.around("runtimes_with_work", self.inner.runtimes_with_work)

    def load_active_inputs(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        """The non-terminal inputs."""
        return self.around("load_active_inputs", partial(self.inner.load_active_inputs, runtime_id))

    def load_input(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> InputState | None:
        """One input."""
        return self.around("load_input", partial(self.inner.load_input, runtime_id, input_id))

    def load_input_by_key(
        self, runtime_id: LogicalRuntimeId, key: IdempotencyKey
    ) -> InputState | None:
        """The input of a key."""
        call = partial(self.inner.load_input_by_key, runtime_id, key)
        return self.around("load_input_by_key", call)

    def load_known_inputs(
        self,
        runtime_id: LogicalRuntimeId,
        input_ids: Sequence[InputId],
        keys: Sequence[IdempotencyKey],
    ) -> list[InputState]:
        """The inputs that have one of these ids or keys."""
        call = partial(self.inner.load_known_inputs, runtime_id, input_ids, keys)
        return self.around("load_known_inputs", call)

    def load_boundary_receipt(
        self, runtime_id: LogicalRuntimeId, run_id: RunId, sequence: int
    ) -> RunBoundaryReceipt | None:
        """One receipt."""
        call = partial(self.inner.load_boundary_receipt, runtime_id, run_id, sequence)
        return self.around("load_boundary_receipt", call)

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        """The session."""
        call = partial(self.inner.load_session_snapshot, runtime_id)
        return self.around("load_session_snapshot", call)

    def load_ops_snapshot(self, runtime_id: LogicalRuntimeId) -> OpsSnapshot | None:
        """The epoch's operations."""
        return self.around("load_ops_snapshot", partial(self.inner.load_ops_snapshot, runtime_id))

    def page_active_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """The non-terminal inputs, a page at a time."""
        call = partial(self.inner.page_active_inputs, runtime_id, after=after, limit=limit)
        return self.around("page_active_inputs", call)

    def page_terminal_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """Finished inputs."""
        call = partial(self.inner.page_terminal_inputs, runtime_id, after=after, limit=limit)
        return self.around("page_terminal_inputs", call)

    def page_abandoned_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """The inputs that were given up, a page at a time."""
        call = partial(self.inner.page_abandoned_inputs, runtime_id, after=after, limit=limit)
        return self.around("page_abandoned_inputs", call)

    def load_payloads(
        self, runtime_id: LogicalRuntimeId, input_ids: Sequence[InputId]
    ) -> dict[InputId, bytes]:
        """What inputs say."""
        call = partial(self.inner.load_payloads, runtime_id, input_ids)
        return self.around("load_payloads", call)

    def page_receipts(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[RunBoundaryReceipt]:
        """Receipts."""
        call = partial(self.inner.page_receipts, runtime_id, after=after, limit=limit)
        return self.around("page_receipts", call)

    def prune(
        self,
        keep: Retention,
        now: datetime,
        *,
        after: str | None = None,
        limit: int = 256,
        spared: frozenset[RunId] = frozenset(),
    ) -> Pruned:
        """One step of cutting down what is past ``keep``."""
        call = partial(self.inner.prune, keep, now, after=after, limit=limit, spared=spared)
        return self.around("prune", call)
