"""The store protocol: batches in, values out.

A store keeps values and checks fences; it holds no rule about inputs or runtimes. Batches
of many runtimes may share one transaction, each all-or-nothing on its own, so that a store
behind a network costs one round trip for a group.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, Generic, Protocol, TypeGuard, TypeVar, runtime_checkable

from attrs import field, frozen

from meerkat.conversation import SessionChange, SessionSnapshot
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import StoreError
from meerkat.identifiers import (
    IdempotencyKey,
    InputId,
    LogicalRuntimeId,
    RunId,
    RuntimeEpochId,
    SessionId,
)
from meerkat.input_lifecycle import InputState
from meerkat.limits import Retention
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OperationRow, OpsSnapshot
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.words import Word

T = TypeVar("T")

_GONE: Final = frozenset({RuntimeState.STOPPED, RuntimeState.DESTROYED})


@frozen(kw_only=True)
class RuntimeRow:
    """What is stored of a runtime itself.

    ``fence`` counts its commits: who has not seen the last of them cannot write.
    ``set_aside`` says why the runtime was given up by the process that had it last, until
    somebody acts; any other commit of the runtime clears it.
    ``paused`` says that no run is to be started, until somebody resumes it.
    ``feed_watermark`` is the last sequence given in the completion feed of the present epoch,
    ``live_operations`` the number of its operations that are noted as begun: counted by who
    commits, and kept as it is.
    """

    runtime_id: LogicalRuntimeId
    session_id: SessionId | None = None
    epoch_id: RuntimeEpochId | None = None
    state: RuntimeState = RuntimeState.IDLE
    fence: int = 0
    registered: bool = True
    next_admission_sequence: int = 0
    silent_intents: frozenset[str] = frozenset()
    cursors: EpochCursorSnapshot = field(factory=EpochCursorSnapshot)
    feed_watermark: int = 0
    live_operations: int = 0
    set_aside: str | None = None
    paused: bool = False

    @property
    def has_news(self) -> bool:
        """Has it operations that its next process has to tell of?

        They have ended and were not read of, or are live and end with the present process. Of
        a stopped or destroyed runtime none is told: only another epoch revives it, if any.
        """
        unread = self.feed_watermark > self.cursors.runtime_observed_seq
        return (unread or self.live_operations > 0) and self.state not in _GONE


@frozen
class InputRow:
    """A new version of an input. ``payload`` comes with the first; None keeps the stored one."""

    state: InputState
    payload: bytes | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Batch:
    """What one runtime commits together.

    It is refused whole (Fenced) unless the stored fence is ``expected_fence``; 0 means that
    there is no row yet. ``runtime`` replaces the row and carries the fence from now on.

    ``operations`` have ended. One of the present epoch is stored once, and written again the
    batch is refused; of an epoch that is over, whose ends nobody numbers any more, the first
    that is written stays.

    ``begun`` are operations that have begun, live until a row of ``operations`` ends them;
    they are noted under the epoch of ``runtime``, and without one not at all. One that is noted
    or has ended already stays as it is.
    """

    runtime: RuntimeRow
    expected_fence: int
    inputs: tuple[InputRow, ...] = ()
    receipts: tuple[RunBoundaryReceipt, ...] = ()
    begun: tuple[OperationRecord, ...] = ()
    operations: tuple[OperationRow, ...] = ()
    session: tuple[SessionChange, ...] = field(default=(), repr=False)


@frozen
class Page(Generic[T]):
    """A part of a listing; ``next`` is where the following page starts, None at the end."""

    items: tuple[T, ...]
    next: str | None


@frozen(kw_only=True)
class Pruned:
    """What one step of pruning did; ``next`` is where the following one starts, None at the end."""

    inputs: int = 0
    receipts: int = 0
    operations: int = 0
    next: str | None = None


class Order(Word):
    """In which order runtimes are listed."""

    ID = "id"
    """By name."""
    PENDING = "pending"
    """Those with most inputs that have not ended come first, then by name."""
    OLDEST = "oldest"
    """Whose oldest input that has not ended was accepted first comes first; then by name."""


EVERY_STATE: Final = frozenset(RuntimeState)

PLACE_MAX: Final = 2**63 - 1
"""The last place in a listing by number, from which those that come first for being many count
down: what names a place never begins like an option of a command line."""


@frozen(kw_only=True)
class RuntimeSummary:
    """One runtime at a glance, for people and their tools: nothing that runs relies on it.

    One whose row cannot be read is listed all the same, with what is wrong: a bad row must
    not hide the others from who has to mend it.
    """

    name: str
    """Its id, as it is stored."""
    row: RuntimeRow | None
    """None when it cannot be read; then ``unreadable`` says why."""
    pending: int
    """Inputs that have not ended."""
    oldest_at: datetime | None
    """When the oldest of them was accepted; None without one, or where that cannot be read."""
    unreadable: str | None = None


@runtime_checkable
class RuntimeStore(Protocol):
    """Durable storage for runtimes. Every method is thread-safe and may block on the disk.

    Whatever goes wrong is a StoreError: Fenced and CommitUnknown are kinds of it. Rows that
    cannot be read raise RecoveryCorruption naming the row.
    """

    def acquire(self) -> None:
        """Become the one owner that may write; StoreError names the present owner."""
        ...

    def close(self) -> None:
        """Let go of everything; the next call opens it again. Idempotent."""
        ...

    def commit(self, batch: Batch) -> None:
        """Commit one batch: durable on return, or nothing of it happened."""
        ...

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        """Commit many batches together; one answer each, and a bad one fails alone.

        Raises CommitUnknown when nobody knows which of them happened.
        """
        ...

    def offer(self, runtime_id: LogicalRuntimeId, rows: Sequence[InputRow]) -> None:
        """Insert inputs as accepted, by a process that does not own the runtime."""
        ...

    def load_runtime(self, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
        """The runtime's row, or None for one never registered."""
        ...

    def list_runtimes(self, *, after: str | None = None, limit: int = 1000) -> Page[RuntimeRow]:
        """The runtimes by id, a page at a time."""
        ...

    def page_summaries(
        self,
        order: Order = Order.ID,
        *,
        states: Collection[RuntimeState] = EVERY_STATE,
        after: str | None = None,
        limit: int = 1000,
    ) -> Page[RuntimeSummary]:
        """The runtimes in these states at a glance, a page at a time."""
        ...

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        """The registered runtimes with non-terminal inputs or news, each once, by id.

        It costs what has work, not what is known. A feed may be named that has been read
        already: that repeats a notice, and loses none.
        """
        ...

    def load_active_inputs(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        """The non-terminal inputs in order of admission, those without a number last."""
        ...

    def load_input(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> InputState | None:
        """One input, finished or not."""
        ...

    def load_input_by_key(
        self, runtime_id: LogicalRuntimeId, key: IdempotencyKey
    ) -> InputState | None:
        """The one input that claimed an idempotency key."""
        ...

    def load_known_inputs(
        self,
        runtime_id: LogicalRuntimeId,
        input_ids: Sequence[InputId],
        keys: Sequence[IdempotencyKey],
    ) -> list[InputState]:
        """The inputs that have one of these ids or keys, finished or not, in any order."""
        ...

    def load_boundary_receipt(
        self, runtime_id: LogicalRuntimeId, run_id: RunId, sequence: int
    ) -> RunBoundaryReceipt | None:
        """The receipt of exactly this run and sequence."""
        ...

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        """What was committed last of the session, or None."""
        ...

    def load_ops_snapshot(self, runtime_id: LogicalRuntimeId) -> OpsSnapshot | None:
        """The present epoch's last ended operations, FEED_MAX at most, and all its live ones.

        None without an epoch.
        """
        ...

    def page_active_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """The same, a page at a time; ``after`` is the id of the last one before it."""
        ...

    def page_terminal_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """Finished inputs for inspection, in a stable order."""
        ...

    def page_abandoned_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """The inputs that were given up, in the order in which they came; ``after`` as above.

        It costs what was given up, however much else has ended.
        """
        ...

    def load_payloads(
        self, runtime_id: LogicalRuntimeId, input_ids: Sequence[InputId]
    ) -> dict[InputId, bytes]:
        """What these inputs say, as it was committed, finished or not.

        Those that are not stored, and those whose payload was let go, are left out.
        """
        ...

    def page_receipts(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[RunBoundaryReceipt]:
        """Receipts for inspection, those of one run in sequence."""
        ...

    def prune(
        self,
        keep: Retention,
        now: datetime,
        *,
        after: str | None = None,
        limit: int = 256,
        spared: frozenset[RunId] = frozenset(),
    ) -> Pruned:
        """One step of cutting down what is past ``keep``: a look at ``limit`` rows at most.

        Whatever it changes is one small transaction; commits go in between two steps. A
        finished input loses its payload, policy and history, and stays known by its key and
        its id; the receipts of a run go once all its contributors have. Ended operations go
        that are out of their feed and were read, or of an epoch that is over. Never touched:
        an input that has not ended, and a run that it, or ``spared``, names.
        """
        ...


def does_all_of(protocol: type[object], value: object) -> bool:
    """Has ``value`` every call of a protocol, those that it passes on included?

    ``isinstance`` does not see those from Python 3.12 on.
    """
    return all(hasattr(value, name) for name in vars(protocol) if not name.startswith("_"))


def is_store(value: object) -> TypeGuard[RuntimeStore]:
    """Is it a store, or put around one?"""
    return does_all_of(RuntimeStore, value)
