"""Executors: what a host may give to perform runs, and how a run can end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeAlias, runtime_checkable

from attrs import field, frozen

from meerkat.checks import kind_of
from meerkat.conversation import Conversation, Plan, SessionSnapshot
from meerkat.errors import (
    ApplyFailed,
    ExecutorStopped,
    MeerkatError,
    RecoveryCorruption,
    RunCancelled,
    StoreError,
)
from meerkat.interfaces import AsyncRunContext, RunContext
from meerkat.json_values import JsonValue, carriable
from meerkat.limits import TEXT_BYTES_MAX
from meerkat.runs import RunOutput, StagedInput

ExecutorFunction: TypeAlias = Callable[[RunContext, StagedInput], RunOutput]
CoroutineFunction: TypeAlias = Callable[[AsyncRunContext, StagedInput], Awaitable[RunOutput]]


@runtime_checkable
class ExecutorObject(Protocol):
    """An executor with an ``apply``; a ``stop(runtime_id)`` is called when it has one."""

    def apply(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        """Perform one run."""
        ...


@runtime_checkable
class CoroutineExecutorObject(Protocol):
    """The same with an ``async def apply``; its ``stop`` may be a coroutine function too."""

    async def apply(self, context: AsyncRunContext, primitive: StagedInput) -> RunOutput:
        """Perform one run."""
        ...


Executor: TypeAlias = (
    ExecutorFunction | CoroutineFunction | ExecutorObject | CoroutineExecutorObject
)
"""Host code that performs runs. A function must be thread-safe; a coroutine function runs
on the event loop of its control plane."""


def checked_executor(executor: object) -> Executor:
    """Pass an executor on; TypeError for what is none."""
    if isinstance(executor, type) or not callable(getattr(executor, "apply", executor)):
        raise TypeError(f"an executor is callable or has apply(), not {kind_of(executor)}")
    return executor  # type: ignore[return-value]


def is_coroutine(executor: Executor) -> bool:
    """Does it run on an event loop?"""
    apply = getattr(executor, "apply", executor)
    while isinstance(apply, partial):
        apply = apply.func
    return inspect.iscoroutinefunction(apply) or inspect.iscoroutinefunction(
        getattr(apply, "__call__", None)  # noqa: B004 - the method itself is looked at
    )


# --- how a run ends ---------------------------------------------------------------------


@frozen
class Succeeded:
    """The executor gave an output that can be committed."""

    plan: Plan
    result: JsonValue = field(repr=False)
    conversation: Conversation


@frozen
class Failed:
    """The executor raised, or gave what cannot be committed."""

    error: str = field(repr=False)
    recoverable: bool
    error_type: str | None = None
    """What was raised, without a word of its text."""


@frozen
class Cancelled:
    """The executor said that its run was cancelled."""


@frozen
class Stopped:
    """The executor takes no more runs."""


@frozen
class Unreadable:
    """The committed session could not be read: the store's fault, not the executor's."""

    error: StoreError | RecoveryCorruption


Ending: TypeAlias = Succeeded | Failed | Cancelled | Stopped | Unreadable


class SessionUnreadable(StoreError):
    """What the store holds of a run's session cannot be read."""

    def __init__(self, fault: StoreError | RecoveryCorruption) -> None:
        super().__init__(str(fault))
        self.fault = fault


def ending_of(error: BaseException, *, cancelled: bool) -> Ending:
    """How a run ends that raised; ``cancelled`` says whether it had been told to end.

    Lets nothing through: an error is host code too.
    """
    try:
        return _ending_of(error, cancelled=cancelled)
    except BaseException as another:  # noqa: BLE001 - what the host raised fails in its turn
        return Failed(f"{type(another).__name__} while its error was read", recoverable=True)


def _ending_of(error: BaseException, *, cancelled: bool) -> Ending:
    match error:
        case SessionUnreadable(fault=fault):
            return Unreadable(fault)
        case RunCancelled():
            return Cancelled()
        case asyncio.CancelledError() if cancelled:
            return Cancelled()
        case BaseExceptionGroup() if error.split((RunCancelled, asyncio.CancelledError))[1] is None:
            return Cancelled()  # in tasks of the run's own
        case ExecutorStopped():
            return Stopped()
        case ApplyFailed(reason=reason, recoverable=recoverable):
            return Failed(_text_of(reason), bool(recoverable), type(error).__name__)
        case _:
            named = "" if isinstance(error, MeerkatError) else type(error).__name__
            return Failed(_text_of(error, named), recoverable=True, error_type=type(error).__name__)


def planned(
    output: object,
    conversation: Conversation,
    committed: Callable[[], SessionSnapshot] | None = None,
) -> Succeeded:
    """Work out what an output changes; ApplyFailed for one that cannot be stored."""
    if not isinstance(output, RunOutput):
        if inspect.iscoroutine(output):
            output.close()  # it will not be awaited: do not have Python say so as well
        raise ApplyFailed(f"an executor gives a RunOutput, not {type(output).__name__}")
    try:
        plan = conversation.plan(output, committed)
    except ValueError as error:
        raise ApplyFailed(f"the output cannot be stored: {error}") from error
    return Succeeded(plan, output.result, conversation)


def _text_of(value: object, named: str = "") -> str:
    try:
        text = bounded(str(value))
    except BaseException:  # noqa: BLE001 - the text is host code too
        text = "its text cannot be had"
    return ": ".join(part for part in (named, text) if part)


def bounded(text: str) -> str:
    """The text as it is kept: what is too long of it is cut off, and it says so."""
    raw = carriable(text).encode()
    if len(raw) <= TEXT_BYTES_MAX:
        return raw.decode()
    mark = f" … [cut: {len(raw)} bytes]"
    kept = raw[: TEXT_BYTES_MAX - len(mark.encode())].decode(errors="ignore")
    return kept + mark
