"""Many calls: one call of a host that is many messages, with few outstanding at a time.

What waits for an answer is kept alive by everybody on the way to it, a hundred objects a
call. A hundred thousand at once are gone through by the garbage collector again and again.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

from actors.clock import Clock
from actors.replies import Reply, refuse_deadlock, wait_for
from meerkat.errors import CallTimedOut

T = TypeVar("T")

OUTSTANDING_MAX: Final = 512
"""Messages without an answer: a full group of the journal's."""


class ManyCalls(Generic[T]):
    """The answers of many calls, in their order. Used by one thread.

    ``timeout_s`` is for all of them together. Where it passes, or a call is refused, the rest
    is to be sent all the same: what is raised is raised at the end. WouldDeadlock on a thread
    that runs drivers.
    """

    def __init__(self, call: str, clock: Clock, timeout_s: float | None) -> None:
        refuse_deadlock(call)
        self._call = call
        self._clock = clock
        self._timeout_s = timeout_s
        self._until = None if timeout_s is None else clock.monotonic() + timeout_s
        self._waiting: deque[Reply[T]] = deque()
        self._answers: list[T] = []
        self._refused: Exception | None = None
        self._late: CallTimedOut | None = None

    def sent(self, reply: Reply[T]) -> None:
        """One more call is on its way; waits while too many are."""
        self._waiting.append(reply)
        if len(self._waiting) >= OUTSTANDING_MAX:
            self._take(OUTSTANDING_MAX // 2)

    def results(self) -> list[T]:
        """All answers; raises CallTimedOut, or the first refusal."""
        self._take(len(self._waiting))
        error = self._late or self._refused
        if error is not None:
            raise error
        return self._answers

    def _take(self, count: int) -> None:
        for _ in range(count):
            reply = self._waiting.popleft()
            if self._late is None:
                self._wait_for(reply)

    def _wait_for(self, reply: Reply[T]) -> None:
        left_s = None if self._until is None else max(0.0, self._until - self._clock.monotonic())
        try:
            self._answers.append(wait_for(reply, self._call, left_s))
        except Exception as error:  # noqa: BLE001 - whatever a call was answered with
            if isinstance(error, CallTimedOut) and not reply.done():
                self._late = CallTimedOut(self._call, self._timeout_s or 0.0)
            else:
                self._refused = self._refused or error
