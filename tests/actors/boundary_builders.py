"""Builders for boundaries: a run in hand, what is steered into it, and what the disk says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from plane_builders import Puppet, PuppetRun, prompt, result_of, steered

from actors import ControlPlane
from meerkat import (
    Boundary,
    CompletionHandle,
    Input,
    LogicalRuntimeId,
    RunBoundaryReceipt,
    RunContext,
)
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

A = LogicalRuntimeId("a")
COMPLETED = CompletionKind.COMPLETED
TAKEN_IN = CompletionKind.COMPLETED_WITHOUT_RESULT
TERMINATED = CompletionKind.RUNTIME_TERMINATED

Messages = list[dict[str, Any]]


# --- in the run -------------------------------------------------------------------------


def begun(plane: ControlPlane, puppet: Puppet) -> tuple[CompletionHandle, PuppetRun]:
    """A run in hand, of a prompt "first", and the handle of that prompt."""
    submission = plane.submit("a", prompt("first"))
    return submission.completion, puppet.next_run()


def ingested(plane: ControlPlane, *inputs: Input) -> list[Any]:
    """Offer inputs, each of them durable on return; their ids."""
    for each in inputs:
        assert plane.ingest("a", each).is_accepted
    return [each.id for each in inputs]


def at_boundary(context: RunContext) -> Boundary:
    return context.boundary()


def messages_of(context: RunContext) -> Messages:
    return context.messages


def commit(**form: Any) -> Callable[[RunContext], RunBoundaryReceipt]:
    """The deed of taking in all that was steered."""
    return lambda context: context.boundary().commit(**form)


def expect_run(puppet: Puppet, text: str, attempt: int = 1, *, ends: bool = True) -> PuppetRun:
    run = puppet.next_run()
    assert (run.called.text, run.called.attempt) == (text, attempt)
    if ends:
        run.returns()
    return run


class Midway:
    """A run of "first" that has been handed "one"; "two" was steered into it since."""

    def __init__(self, plane: ControlPlane, puppet: Puppet, *, committed: bool = True) -> None:
        self.plane = plane
        self.ids: dict[str, Any] = {}
        self.handles: dict[str, CompletionHandle] = {}
        self._offer(prompt("first"))
        self.run = puppet.next_run()
        self._offer(steered("one"))
        self.boundary: Boundary = self.run.does(at_boundary)
        if committed:
            self.commit()
        self._offer(steered("two"))

    def _offer(self, offered: Any) -> None:
        submission = self.plane.submit("a", offered)
        assert result_of(submission.accepted).is_accepted
        self.ids[offered.content] = offered.id
        self.handles[offered.content] = submission.completion

    def committing(self) -> Future[Any]:
        return self.run.asks(lambda _: self.boundary.commit(append=said("taken: one")))

    def commit(self) -> RunBoundaryReceipt:
        receipt: RunBoundaryReceipt = result_of(self.committing())
        return receipt

    def ended(self) -> dict[str, CompletionKind]:
        """How each input ended, all of which it waits for."""
        return {text: result_of(handle).kind for text, handle in self.handles.items()}


# --- on the disk, as a second connection finds it ---------------------------------------


def said(*texts: str) -> Messages:
    return [{"role": "user", "content": text} for text in texts]


def stored(path: Path) -> Messages:
    """The committed messages."""
    snapshot = SqliteStore(path).load_session_snapshot(A)
    found: Messages = [] if snapshot is None else json.loads(snapshot.messages)
    return found


def texts_in(path: Path) -> list[str]:
    return [message["content"] for message in stored(path)]


def proven(path: Path) -> dict[tuple[Any, int], list[Any]]:
    """The contributors of every receipt, by run and sequence."""
    receipts = SqliteStore(path).page_receipts(A).items
    return {(each.run_id, each.sequence): list(each.contributing_input_ids) for each in receipts}


def digest(messages: Messages) -> str:
    """The digest of a message list, worked out from its definition."""
    canonical = json.dumps(messages, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
