"""Agents that replay the airline sessions with every tool call as a background operation.

A call is registered with the session's registry, completed from another thread, and waited
for; what is appended is what the operation brought. An agent that is tried again takes up what
a call has brought before, and begins anew what was cut off with its process.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from airline import next_turn

from meerkat import OperationId, OpsLifecycleRegistry, RunContext, RunOutput, StagedInput
from meerkat.interfaces import AsyncRunContext
from meerkat.operation_errors import NotFound
from meerkat.operations import (
    OperationCompleted,
    OperationKind,
    OperationOutcome,
    OperationTerminated,
)
from meerkat.runs import ExecutionKind

WAIT_S = 30.0

_WORKERS = ThreadPoolExecutor(8, "tool")
"""Where tools work: never on the thread of a run."""


def operation_of(runtime_id: str, number: int, attempt: int) -> OperationId:
    """The operation of the n-th tool result of a session, once for each process that was killed."""
    return OperationId(uuid5(NAMESPACE_URL, f"{runtime_id}/{number}/{attempt}"))


class Counts:
    """What an agent did, by runtime; and its tools stand still while a test wants it.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prompts: Counter[str] = Counter()
        self._continuations: Counter[str] = Counter()
        self._tools: Counter[str] = Counter()
        self._hold_at: int | None = None
        self._held = threading.Event()
        self._go_on = threading.Event()
        self._go_on.set()
        self.begun = set[OperationId]()
        """The operations that this agent has begun, and goes on with."""

    def note_run(self, runtime_id: str, *, continues: bool) -> None:
        with self._lock:
            (self._continuations if continues else self._prompts)[runtime_id] += 1

    def note_tool(self, runtime_id: str) -> None:
        with self._lock:
            self._tools[runtime_id] += 1
            if self._tools.total() == self._hold_at:
                self._go_on.clear()
                self._held.set()

    def hold_at_tool(self, number: int) -> threading.Event:
        """Have the tools stand still from the n-th on; the Event is set when they do."""
        self._hold_at = number
        return self._held

    def release(self) -> None:
        self._go_on.set()

    def work(self, complete: Callable[[], object]) -> None:
        """Complete an operation, once the tools do not stand still. On a thread of its own."""
        self._go_on.wait(WAIT_S)
        complete()

    @property
    def prompt_runs(self) -> int:
        with self._lock:
            return self._prompts.total()

    @property
    def tools(self) -> int:
        with self._lock:
            return self._tools.total()

    @property
    def continuations(self) -> Counter[str]:
        with self._lock:
            return self._continuations.copy()


class Turn:
    """The recorded turn that a run replays, and the operations of its tool calls."""

    def __init__(self, context: Any, primitive: StagedInput) -> None:
        self.runtime_id = str(context.runtime_id)
        self.bindings = context.bindings
        self.number, self.messages = next_turn(context, primitive)
        before = sum(message["role"] == "tool" for message in context.messages)
        self._places = itertools.count(before)

    @property
    def registry(self) -> OpsLifecycleRegistry:
        registry: OpsLifecycleRegistry = self.bindings.ops_lifecycle
        return registry

    def begin_call(self, message: dict[str, Any], counts: Counts) -> tuple[OperationId, bool]:
        """Register the call behind a tool message; False when it has ended in another attempt."""
        place = next(self._places)
        for attempt in itertools.count():
            operation_id = operation_of(self.runtime_id, place, attempt)
            try:
                outcome = self.registry.snapshot(operation_id).outcome
            except NotFound:
                break
            if outcome is None and operation_id not in counts.begun:  # its process was killed
                outcome = self.registry.watch(operation_id).result(WAIT_S)
            if not isinstance(outcome, OperationTerminated):
                return operation_id, outcome is None
        counts.begun.add(operation_id)
        counts.note_tool(self.runtime_id)
        kind = OperationKind.BACKGROUND_TOOL_OP
        self.registry.register(operation_id, kind=kind, display_name=message["name"])
        self.registry.provisioning_succeeded(operation_id)
        return operation_id, True

    def show(self, message: dict[str, Any], outcome: OperationOutcome | None) -> dict[str, Any]:
        """The tool message as the agent's model sees it: with what its operation brought."""
        assert isinstance(outcome, OperationCompleted)
        self.bindings.cursor_state.advance_agent_applied_cursor(self.registry.watermark)
        return {**message, "content": outcome.result}


def continues(primitive: StagedInput) -> bool:
    """Is this a run of a continuation, which has nothing to say?"""
    return primitive.execution_kind is ExecutionKind.RESUME_PENDING


class ToolAgent:
    """An ordinary executor. Its tools work on threads of their own."""

    def __init__(self) -> None:
        self.counts = Counts()

    def apply(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        self.counts.note_run(str(context.runtime_id), continues=continues(primitive))
        if continues(primitive):
            return RunOutput()
        turn = Turn(context, primitive)
        said = [self._said(turn, message) for message in turn.messages]
        return RunOutput(append=said, result=turn.number)

    def _said(self, turn: Turn, message: dict[str, Any]) -> dict[str, Any]:
        if message["role"] != "tool":
            return message
        operation_id, works = turn.begin_call(message, self.counts)
        if works:
            complete = partial(turn.registry.complete, operation_id, message["content"])
            _WORKERS.submit(self.counts.work, complete)
        (outcome,) = turn.registry.wait_all([operation_id]).future.result(WAIT_S)
        return turn.show(message, outcome)


class CoroutineToolAgent:
    """The same as a coroutine executor; the thread that works is the event loop's to lend."""

    def __init__(self) -> None:
        self.counts = Counts()

    async def apply(self, context: AsyncRunContext, primitive: StagedInput) -> RunOutput:
        self.counts.note_run(str(context.runtime_id), continues=continues(primitive))
        if continues(primitive):
            return RunOutput()
        turn = Turn(context, primitive)
        said = [await self._said(turn, message) for message in turn.messages]
        return RunOutput(append=said, result=turn.number)

    async def _said(self, turn: Turn, message: dict[str, Any]) -> dict[str, Any]:
        if message["role"] != "tool":
            return message
        operation_id, works = turn.begin_call(message, self.counts)
        ended = asyncio.wrap_future(turn.registry.watch(operation_id))
        if works:
            complete = partial(turn.registry.complete, operation_id, message["content"])
            await asyncio.to_thread(self.counts.work, complete)
        return turn.show(message, await ended)


class UnreliableToolAgent(ToolAgent):
    """The same, but the first attempt at a turn with tools fails when they have all worked."""

    def apply(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        output = super().apply(context, primitive)
        called = any(message["role"] == "tool" for message in output.append or ())
        if called and context.attempt == 1:
            raise RuntimeError("unreliable after its tools")
        return output


class DoomedToolAgent(ToolAgent):
    """The same, in a process that kills itself some time after its n-th tool is due."""

    def __init__(self) -> None:
        super().__init__()
        self._due = itertools.count(1)

    def _said(self, turn: Turn, message: dict[str, Any]) -> dict[str, Any]:
        if message["role"] == "tool" and next(self._due) == int(os.environ["MEERKAT_KILL_AT_TOOL"]):
            delay_s = float(os.environ["MEERKAT_KILL_DELAY_S"])
            threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return super()._said(turn, message)


doomed = DoomedToolAgent()
