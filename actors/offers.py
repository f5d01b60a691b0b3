"""Offers: inputs for runtimes that another process has, stored for it to take in.

Whatever waits goes in one transaction, as in the journal; but an offer needs no fence and no
order among runtimes, so it is done on whichever thread is free, one group at a time.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from attrs import field, frozen

from actors.light import LightEvent
from actors.logs import said_of, without_text
from actors.pool import serving
from actors.run_places import RunThreads
from meerkat.errors import ControlPlaneStopped, StoreError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.outcomes import AcceptOutcome
from meerkat.store import InputRow
from meerkat.store.sharing import SharedStore

logger = logging.getLogger(__name__)

OFFERS_A_GROUP: Final = 512
"""Offers in one transaction: past this size a commit's fixed cost no longer shows."""


@frozen
class Offer:
    """An input for a runtime that is elsewhere, and whom to tell what became of it."""

    runtime_id: LogicalRuntimeId
    row: InputRow = field(repr=False)
    told: Callable[[AcceptOutcome | BaseException], object]


class Offers:
    """The offers that wait for the store. Thread-safe.

    ``pending_max`` is how many inputs of a runtime may be there that have not ended. ``offered``
    is told of which runtimes, once that is done: it may ask the store, and fail.
    """

    def __init__(
        self,
        store: SharedStore,
        threads: RunThreads,
        offered: Callable[[Sequence[LogicalRuntimeId]], object],
        *,
        pending_max: int,
    ) -> None:
        self._pending_max = pending_max
        self._offered = offered
        self._store = store
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[Offer] = deque()
        self._untold: Counter[LogicalRuntimeId] = Counter()
        self._at_rest = LightEvent()
        self._at_rest.set()
        self._closed = False

    def has(self, runtime_id: LogicalRuntimeId) -> bool:
        """Is an input of this runtime on its way? One that comes now is to stay behind it."""
        return runtime_id in self._untold

    def put(self, offer: Offer) -> None:
        """Have an input offered; it is told on another thread, once it is durable."""
        with self._lock:
            refused = self._closed
            if not refused:
                self._waiting.append(offer)
                self._untold[offer.runtime_id] += 1
                begins = self._at_rest.is_set()
                self._at_rest.clear()
        if refused:
            offer.told(ControlPlaneStopped())
        elif begins:
            self._begin()

    def stop(self, timeout_s: float) -> bool:
        """Take no more; says whether those that wait were offered within the time."""
        with self._lock:
            self._closed = True
        return self._at_rest.wait(timeout_s)

    def _begin(self) -> None:
        try:
            self._threads.start(self._work)
        except RuntimeError as error:  # no thread to be had
            while not self._rests():
                for offer in self._next():
                    self._tell(offer, StoreError(f"not offered: {error}"))

    def _work(self) -> None:
        with serving():
            while True:
                group = self._next()
                if group:
                    self._offer(group)
                elif self._rests():
                    return

    def _next(self) -> list[Offer]:
        with self._lock:
            count = min(OFFERS_A_GROUP, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]

    def _rests(self) -> bool:
        with self._lock:
            if not self._waiting:
                self._at_rest.set()
            return self._at_rest.is_set()

    def _offer(self, group: list[Offer]) -> None:
        answers: list[AcceptOutcome | Exception] | list[BaseException]
        try:
            rows = [(each.runtime_id, each.row) for each in group]
            answers = self._store.offer_many(rows, pending_max=self._pending_max)
        except BaseException as error:
            if not isinstance(error, StoreError):
                logger.exception("offers could not be made", exc_info=without_text(error))
            answers = [error] * len(group)
        for offer, answer in zip(group, answers, strict=True):
            self._tell(offer, answer)
        try:
            self._offered(list({each.runtime_id: None for each in group}))
        except Exception as error:  # noqa: BLE001 - who has them looks all the same
            logger.warning("it is not known who takes in what was offered: %s", said_of(error))

    def _tell(self, offer: Offer, answer: AcceptOutcome | BaseException) -> None:
        with self._lock:
            self._untold[offer.runtime_id] -= 1
            if not self._untold[offer.runtime_id]:
                del self._untold[offer.runtime_id]
        try:
            offer.told(answer)
        except BaseException as error:
            logger.exception("an offer was not answered", exc_info=without_text(error))
