"""Tally: what one call did, counted where it happens.

``runs`` is counted around the executor. ``completed``, ``abandoned`` and ``receipts`` are
counted in what the store has committed, so that they say what is durable and nothing else:
an input ends once and a receipt is written once, whatever is retried, resumed or joined in
between. Ephemeral inputs are in no commit; their handles tell of them.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from actors.executors import Executor, is_coroutine
from meerkat.errors import ExecutorStopped, StoreError
from meerkat.input_lifecycle import InputPhase
from meerkat.interfaces import AsyncRunContext, RunContext
from meerkat.outcomes import CompletionKind
from meerkat.runs import RunOutput, StagedInput
from meerkat.store import Batch, RuntimeStore
from meerkat.words import Word


class Count(Word):
    """What is counted, in the order of the summary."""

    ACCEPTED = "accepted"
    DEDUPLICATED = "deduplicated"
    REJECTED = "rejected"
    COMPLETED = "completed"
    ABANDONED = "abandoned"
    RUNS = "runs"
    RECEIPTS = "receipts"


COUNTED_PHASES: Final[Mapping[InputPhase, Count]] = {
    InputPhase.CONSUMED: Count.COMPLETED,
    InputPhase.ABANDONED: Count.ABANDONED,
}
COUNTED_ENDINGS: Final[Mapping[CompletionKind, Count]] = {
    CompletionKind.COMPLETED: Count.COMPLETED,
    CompletionKind.COMPLETED_WITHOUT_RESULT: Count.COMPLETED,
    CompletionKind.ABANDONED: Count.ABANDONED,
    CompletionKind.CANCELLED: Count.ABANDONED,
}


class Tally:
    """The counts of one call. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Count] = Counter()

    def add(self, count: Count, by: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[count] += by

    def __getitem__(self, count: Count) -> int:
        return self._counts[count]

    def summary(self, seconds: float) -> dict[str, int | float]:
        """All of it, in order, with the time it took."""
        return {**{str(count): self[count] for count in Count}, "seconds": round(seconds, 3)}


class CallsInHand:
    """The executor's calls: counted, and how many have not returned. Thread-safe."""

    def __init__(self, tally: Tally, stopped: Callable[[], None]) -> None:
        self._tally = tally
        self._stopped = stopped
        self._lock = threading.Lock()
        self.in_hand = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Around one call; ``stopped`` is told when the executor takes no more runs."""
        self._tally.add(Count.RUNS)
        self._in_hand(1)
        try:
            yield
        except ExecutorStopped:
            self._stopped()
            raise
        finally:
            self._in_hand(-1)

    def _in_hand(self, by: int) -> None:
        with self._lock:
            self.in_hand += by


def counted_executor(executor: Executor, calls: CallsInHand) -> Executor:
    """The executor, its calls counted; of the same kind as it is."""
    apply: Any = getattr(executor, "apply", executor)

    def counted(context: RunContext, primitive: StagedInput) -> RunOutput:
        with calls.counted():
            output: RunOutput = apply(context, primitive)
            return output

    async def counted_coroutine(context: AsyncRunContext, primitive: StagedInput) -> RunOutput:
        with calls.counted():
            output: RunOutput = await apply(context, primitive)
            return output

    return counted_coroutine if is_coroutine(executor) else counted


class CountedStore:
    """A store that counts what it has committed; in everything else it is the store."""

    def __init__(
        self, store: RuntimeStore, tally: Tally, failed: Callable[[StoreError], None]
    ) -> None:
        self._store = store
        self._tally = tally
        self._failed = failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        """Commit, and count what has landed; ``failed`` is told of what has not."""
        try:
            answers = self._store.commit_many(batches)
        except StoreError as error:
            self._failed(error)
            raise
        for batch, refused in zip(batches, answers, strict=True):
            if refused is None:
                self._count(batch)
            else:
                self._failed(refused)
        return answers

    def _count(self, batch: Batch) -> None:
        for row in batch.inputs:
            count = COUNTED_PHASES.get(row.state.phase)
            if count is not None:
                self._tally.add(count)
        if batch.receipts:
            self._tally.add(Count.RECEIPTS, len(batch.receipts))


def counted_store(
    store: RuntimeStore, tally: Tally, failed: Callable[[StoreError], None]
) -> RuntimeStore:
    """The store, counted. What is not about commits passes it by."""
    return cast("RuntimeStore", CountedStore(store, tally, failed))
