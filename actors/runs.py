"""Runs: the executor is called here, on a thread that is nobody's mailbox.

A bounded number of runs is under way at a time. Whoever wants to run asks for a slot first
and stages its work only with the slot in hand, so that waiting costs no attempt.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias, runtime_checkable

from attrs import field, frozen

from meerkat.bindings import SessionRuntimeBindings
from meerkat.conversation import Conversation, Plan
from meerkat.errors import ApplyFailed, ExecutorStopped, MeerkatError, RunCancelled, StoreError
from meerkat.identifiers import LogicalRuntimeId, RunId
from meerkat.interfaces import RunContext
from meerkat.json_values import JsonValue, carriable
from meerkat.limits import TEXT_BYTES_MAX
from meerkat.runs import RunInHand, RunOutput, StagedInput

logger = logging.getLogger(__name__)

ExecutorFunction: TypeAlias = Callable[[RunContext, StagedInput], RunOutput]


@runtime_checkable
class ExecutorObject(Protocol):
    """An executor with an ``apply``; a ``stop(runtime_id)`` is called when it has one."""

    def apply(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        """Perform one run."""
        ...


Executor: TypeAlias = ExecutorFunction | ExecutorObject
"""Host code that performs runs: a function or an object. Must be thread-safe."""


def checked_executor(executor: object) -> Executor:
    """Pass an executor on; TypeError for what is none."""
    call = getattr(executor, "apply", executor)
    if inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004 - the method itself is looked at
    ):
        raise TypeError("an executor is an ordinary function or method, not a coroutine one")
    if not callable(call):
        raise TypeError(f"an executor is callable or has apply(), not {type(executor).__name__}")
    return executor  # type: ignore[return-value]


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


@frozen
class Cancelled:
    """The executor said that its run was cancelled."""


@frozen
class Stopped:
    """The executor takes no more runs."""


@frozen
class Unreadable:
    """The committed session could not be read: the store's fault, not the executor's."""

    error: StoreError


Ending: TypeAlias = Succeeded | Failed | Cancelled | Stopped | Unreadable


class SessionUnreadable(StoreError):
    """The committed session of a run cannot be read just now."""


class Run:
    """One run: what the executor is handed, and the thread function that hands it over.

    The attributes of the context are read by the run's own thread; ``cancelled`` is set by
    any thread.
    """

    def __init__(
        self,
        *,
        runtime_id: LogicalRuntimeId,
        run: RunInHand,
        primitive: StagedInput,
        executor: Executor,
        conversation: Conversation | None,
        load: Callable[[], Conversation],
        bindings: Callable[[], SessionRuntimeBindings],
        report: Callable[[RunId, str], None],
        ended: Callable[[RunId, Ending], None],
    ) -> None:
        self.runtime_id = runtime_id
        self.run_id = run.run_id
        self.attempt = run.attempt
        self.cancelled = threading.Event()
        self._bindings = bindings
        self._primitive = primitive
        self._executor = executor
        self._committed = conversation
        self._load = load
        self._report = report
        self._ended = ended

    def _conversation(self) -> Conversation:
        if self._committed is None:
            self._committed = self._load()
        return self._committed

    @property
    def bindings(self) -> SessionRuntimeBindings:
        """The runtime's epoch, registry and cursors."""
        return self._bindings()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The committed messages: a fresh list, the caller's to change."""
        return self._conversation().messages()

    @property
    def snapshot(self) -> bytes | None:
        """The opaque bytes that were committed last."""
        return self._conversation().committed().opaque

    def raise_if_cancelled(self) -> None:
        """Raise RunCancelled when the run has been cancelled."""
        if self.cancelled.is_set():
            raise RunCancelled

    def progress(self, text: str) -> None:
        """Tell the readers of events how far the run is; TypeError for what is no text."""
        if not isinstance(text, str):
            raise TypeError(f"progress is a text, not {type(text).__name__}")
        self._report(self.run_id, bounded(text))

    def perform(self) -> None:
        """Call the executor and say how it ended, whatever it does. Lets nothing through."""
        try:
            ending = self._outcome()
        except BaseException as error:  # noqa: BLE001 - what the host raised fails in its turn
            ending = Failed(f"{type(error).__name__} while its error was read", recoverable=True)
        self._ended(self.run_id, ending)

    def _outcome(self) -> Ending:
        try:
            apply: Any = getattr(self._executor, "apply", self._executor)
            return self._planned(apply(self, self._primitive))
        except SessionUnreadable as error:
            return Unreadable(error)
        except RunCancelled:
            return Cancelled()
        except ExecutorStopped:
            return Stopped()
        except ApplyFailed as error:
            return Failed(_text_of(error.reason), bool(error.recoverable))
        except BaseException as error:  # noqa: BLE001 - whatever a host raises is a failure
            named = "" if isinstance(error, MeerkatError) else type(error).__name__
            return Failed(_text_of(error, named), recoverable=True)

    def _planned(self, output: object) -> Succeeded:
        if not isinstance(output, RunOutput):
            raise ApplyFailed(f"an executor gives a RunOutput, not {type(output).__name__}")
        try:
            conversation = self._conversation()
            plan = conversation.plan(output)
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


# --- where runs happen ------------------------------------------------------------------


class RunSlots:
    """A bounded number of slots, handed on in the order they were asked for. Thread-safe."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, granted: Callable[[], None]) -> bool:
        """Take a slot now; or False, and ``granted`` is called once one is ours."""
        with self._lock:
            if self._free and not self._waiting:
                self._free -= 1
                return True
            self._waiting.append(granted)
            return False

    @property
    def contended(self) -> bool:
        """Does anybody wait for a slot?"""
        return bool(self._waiting)

    def give_back(self) -> None:
        """Hand the slot on."""
        with self._lock:
            granted = self._waiting.popleft() if self._waiting else None
            if granted is None:
                self._free += 1
        if granted is not None:
            granted()


class RunThreads:
    """Daemon threads for host code, made on demand and kept. Thread-safe.

    There is one for each task that is under way: a thread that host code does not return
    is simply replaced.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._made = 0
        self._stopped = False

    def start(self, task: Callable[[], None]) -> None:
        """Run ``task``, which must not raise, on a thread of its own."""
        with self._lock:
            if self._stopped:
                return
            spare = self._idle > 0
            if spare:
                self._idle -= 1
            else:
                self._made += 1
        self._tasks.put(task)
        if not spare:
            name = f"meerkat-run-{self._made}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def stop(self) -> None:
        """End the threads that are idle now, and the others when their task returns."""
        with self._lock:
            self._stopped = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            with self._lock:
                if self._stopped:
                    return
                self._idle += 1
