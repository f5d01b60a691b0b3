"""What a RuntimeStore reads and lists, the same in every SQL store but for the dialect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

from attrs import frozen

from meerkat.identifiers import IdempotencyKey, InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputState
from meerkat.limits import JSON_INT_MAX
from meerkat.ops_snapshot import OperationRow
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.listing import inputs_of
from meerkat.store.protocol import (
    EVERY_STATE,
    InputRow,
    Order,
    Page,
    RuntimeRow,
    RuntimeSummary,
)
from meerkat.store.rows import (
    input_of,
    operation_of,
    receipt_of,
    runtime_id_of,
    runtime_of,
    signed,
)

T = TypeVar("T")

InputRows: TypeAlias = Callable[[Any, str, str | None, int], list[Any]]
"""What finds rows of inputs: of a runtime, behind an input or from the first, so many."""

Summaries: TypeAlias = Callable[
    [Any, Order, Collection[RuntimeState], str | None, int], Page[RuntimeSummary]
]


@frozen(kw_only=True)
class Listings:
    """The listings as one dialect has them; each looks through a reader of the store."""

    summaries: Summaries
    active_inputs: InputRows
    terminal_inputs: InputRows
    abandoned_inputs: InputRows
    arrived_inputs: InputRows
    """All of them, in the order in which they came."""


@frozen(kw_only=True)
class ReadStatements:
    """The reads as one dialect has them."""

    runtime: str
    """By id."""
    runtimes: str
    """Those behind a name, so many, by id."""
    with_work: str
    active_inputs: str
    """Of a runtime, in order of admission, those without a number last."""
    input: str
    """Of a runtime, by id."""
    input_by_key: str
    """Of a runtime, by idempotency key."""
    receipt: str
    """Of a runtime, a run, and a sequence."""
    receipts: str
    """Of a runtime, those behind (run, is the sequence negative, sequence), so many."""
    operations: str
    """Of a runtime, those behind (epoch, is the place negative, place), so many."""
    before_all: tuple[str, bool, int]
    """What every receipt, and every operation, is behind."""


class SqlReads:
    """Reads of a SQL store. Its ``_rows`` and ``_look`` find them, and raise StoreError."""

    _reads: ClassVar[ReadStatements]
    _listings: ClassVar[Listings]

    def _rows(self, statement: str, *values: object) -> Sequence[Sequence[Any]]:
        raise NotImplementedError

    def _look(self, look: Callable[[Any], T]) -> T | None:
        """What ``look`` makes of a reader; None when nothing has been stored yet."""
        raise NotImplementedError

    def _key(self, key: IdempotencyKey) -> object:
        """A key as it is stored."""
        return key.value

    def load_runtime(self, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
        """The runtime's row, or None."""
        rows = self._rows(self._reads.runtime, runtime_id.value)
        return runtime_of(rows[0]) if rows else None

    def list_runtimes(self, *, after: str | None = None, limit: int = 1000) -> Page[RuntimeRow]:
        """The runtimes by id, a page at a time."""
        rows = self._rows(self._reads.runtimes, after or "", limit + 1)
        items = tuple(runtime_of(row) for row in rows[:limit])
        return Page(items, rows[limit - 1][0] if len(rows) > limit else None)

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        """The registered runtimes with non-terminal inputs or news, by id."""
        return [runtime_id_of(text) for (text,) in self._rows(self._reads.with_work)]

    def load_active_inputs(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        """The non-terminal inputs in order of admission, those without a number last."""
        rows = self._rows(self._reads.active_inputs, runtime_id.value)
        return [input_of(row) for row in rows]

    def load_input(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> InputState | None:
        """One input, finished or not."""
        rows = self._rows(self._reads.input, runtime_id.value, str(input_id))
        return input_of(rows[0]) if rows else None

    def load_input_by_key(
        self, runtime_id: LogicalRuntimeId, key: IdempotencyKey
    ) -> InputState | None:
        """The one input that claimed an idempotency key."""
        rows = self._rows(self._reads.input_by_key, runtime_id.value, self._key(key))
        return input_of(rows[0]) if rows else None

    def load_boundary_receipt(
        self, runtime_id: LogicalRuntimeId, run_id: RunId, sequence: int
    ) -> RunBoundaryReceipt | None:
        """The receipt of exactly this run and sequence."""
        if not 0 <= sequence <= JSON_INT_MAX:
            return None
        values = (runtime_id.value, str(run_id), signed(sequence))
        rows = self._rows(self._reads.receipt, *values)
        return receipt_of(rows[0]) if rows else None

    def page_receipts(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[RunBoundaryReceipt]:
        """Receipts, by run id and sequence; ``after`` is ``run_id/sequence``."""
        place = self._place(after)
        rows = self._rows(self._reads.receipts, runtime_id.value, *place, limit + 1)
        items = tuple(receipt_of(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, f"{items[-1].run_id}/{items[-1].sequence:020d}" if more else None)

    def page_operations(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[OperationRow]:
        """Ended operations, by epoch and place; ``after`` is ``epoch_id/place``."""
        place = self._place(after)
        rows = self._rows(self._reads.operations, runtime_id.value, *place, limit + 1)
        items = tuple(operation_of(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, f"{items[-1].epoch_id}/{items[-1].seq:020d}" if more else None)

    def _place(self, after: str | None) -> tuple[str, bool, int]:
        """What a page begins behind, of rows that have an id and a number."""
        if after is None:
            return self._reads.before_all
        named, _, number = after.partition("/")
        last = signed(int(number))
        return named, last < 0, last

    def page_summaries(
        self,
        order: Order = Order.ID,
        *,
        states: Collection[RuntimeState] = EVERY_STATE,
        after: str | None = None,
        limit: int = 1000,
    ) -> Page[RuntimeSummary]:
        """The runtimes at a glance, a page at a time."""
        found = self._listings.summaries
        return self._look(lambda reader: found(reader, order, states, after, limit)) or Page(
            (), None
        )

    def page_active_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """The inputs that have not ended, in order of admission, a page at a time."""
        return self._inputs(self._listings.active_inputs, runtime_id, after, limit)

    def page_terminal_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """Finished inputs, in a stable order, a page at a time."""
        return self._inputs(self._listings.terminal_inputs, runtime_id, after, limit)

    def page_abandoned_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """The inputs that were given up, in the order in which they came."""
        return self._inputs(self._listings.abandoned_inputs, runtime_id, after, limit)

    def page_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputRow]:
        """All inputs as they are stored, in the order in which they came."""
        found = self._listings.arrived_inputs
        rows = self._look(lambda reader: found(reader, runtime_id.value, after, limit + 1)) or []
        items = tuple(InputRow(input_of(row), row[3]) for row in rows[:limit])
        return Page(items, rows[limit - 1][0] if len(rows) > limit else None)

    def _inputs(
        self, found: InputRows, runtime_id: LogicalRuntimeId, after: str | None, limit: int
    ) -> Page[InputState]:
        rows = self._look(lambda reader: found(reader, runtime_id.value, after, limit + 1))
        return inputs_of(rows or [], limit)
