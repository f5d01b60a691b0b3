"""Builders for traces: a tracing that notes what it is told, and one that fails throughout."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from plane_builders import WAIT_S

from actors.tracing import OfferTrace, RunEnd
from actors.watching import RuntimeNotice
from meerkat import Input, LogicalRuntimeId, RunBoundaryReceipt
from meerkat.runs import RunInHand

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")
"""What a host has in its context where it calls."""
current: contextvars.ContextVar[RunNoted | None] = contextvars.ContextVar("current", default=None)
"""The run whose context this is."""


class OfferNoted:
    """The trace of one offer: who called, and what became of it."""

    def __init__(self, runtime_id: LogicalRuntimeId, input: Input) -> None:  # noqa: A002
        self.runtime_id = str(runtime_id)
        self.input = input
        self.caller = caller.get()
        self.outcomes: SimpleQueue[Any] = SimpleQueue()

    def ended(self, outcome: Any) -> None:
        self.outcomes.put(outcome)

    @property
    def outcome(self) -> Any:
        """What became of it, said once."""
        outcome = self.outcomes.get(timeout=WAIT_S)
        assert self.outcomes.empty()
        return outcome


class RunNoted:
    """The trace of one run."""

    def __init__(self, run: RunInHand, offers: Sequence[OfferTrace]) -> None:
        self.run = run
        self.callers = [each.caller for each in offers if isinstance(each, OfferNoted)]
        self.boundaries: list[tuple[RunBoundaryReceipt, list[str]]] = []
        self.ends: SimpleQueue[RunEnd] = SimpleQueue()

    @contextmanager
    def performing(self) -> Iterator[None]:
        token = current.set(self)
        try:
            yield
        finally:
            current.reset(token)

    def committed(self, receipt: RunBoundaryReceipt, offers: Sequence[OfferTrace]) -> None:
        callers = [each.caller for each in offers if isinstance(each, OfferNoted)]
        self.boundaries.append((receipt, callers))

    def ended(self, end: RunEnd) -> None:
        self.ends.put(end)

    @property
    def end(self) -> RunEnd:
        """How it ended, said once."""
        end = self.ends.get(timeout=WAIT_S)
        assert self.ends.empty()
        return end


class Noted:
    """A tracing that notes what it is told."""

    def __init__(self) -> None:
        self.offers: list[OfferNoted] = []
        self.notices: SimpleQueue[RuntimeNotice] = SimpleQueue()
        self._runs: SimpleQueue[RunNoted] = SimpleQueue()

    def offered(self, runtime_id: LogicalRuntimeId, input: Input) -> OfferNoted:  # noqa: A002
        offer = OfferNoted(runtime_id, input)
        self.offers.append(offer)
        return offer

    def run_begins(
        self,
        runtime_id: LogicalRuntimeId,
        run: RunInHand,
        inputs: Sequence[Input],
        offers: Sequence[OfferTrace],
    ) -> RunNoted:
        noted = RunNoted(run, offers)
        self._runs.put(noted)
        return noted

    def noticed(self, notice: RuntimeNotice) -> None:
        self.notices.put(notice)

    def next_run(self) -> RunNoted:
        return self._runs.get(timeout=WAIT_S)


class Raising:
    """A tracing of which every part raises, from ``stage`` on, and counts how often."""

    STAGES = ("offered", "offer_ended", "run_begins", "performing", "enter", "leave", "told")

    def __init__(self, stage: str, error: BaseException) -> None:
        self._from = self.STAGES.index(stage)
        self._error = error
        self.raised = 0

    def _reach(self, stage: str) -> Raising:
        if self.STAGES.index(stage) >= self._from:
            self.raised += 1
            raise self._error
        return self

    def offered(self, *_given: Any) -> Raising:
        self._reach("offered")
        return _RaisingOffer(self)  # type: ignore[return-value]

    def run_begins(self, *_given: Any) -> Raising:
        return self._reach("run_begins")

    def performing(self) -> Raising:
        return self._reach("performing")

    def __enter__(self) -> None:
        self._reach("enter")

    def __exit__(self, *_given: object) -> bool:
        self._reach("leave")
        return True  # which is not listened to

    def committed(self, *_given: Any) -> None:
        self._reach("told")

    def ended(self, *_given: Any) -> None:
        self._reach("told")

    def noticed(self, *_given: Any) -> None:
        self._reach("told")


class _RaisingOffer:
    def __init__(self, tracing: Raising) -> None:
        self._tracing = tracing

    def ended(self, _outcome: Any) -> None:
        self._tracing._reach("offer_ended")
