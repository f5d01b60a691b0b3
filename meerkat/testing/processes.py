"""Processes: children that work on something, say what they were told, and are killed.

What a child says was so before it said it, and each word has left before its next step is
taken: what a parent has read is what the host in the child had been told when it died.

Children are forked from a server that has loaded everything already and runs no thread, which
takes a few milliseconds each. A child ends when nobody hears it any more.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from meerkat.codec import from_json, to_json
from meerkat.fail_points import FailPoint
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId
from meerkat.json_values import dump, parse
from meerkat.outcomes import CompletionOutcome
from meerkat.receipts import RunBoundaryReceipt
from meerkat.testing.fail_points import FailPoints
from meerkat.testing.invariants import Promises

PATIENCE_S: Final = 60.0
"""How long a child may say nothing before it counts as one that hangs."""

_LOADED: Final = ("actors", "actors.control_plane", "meerkat.store", __name__)
"""What the server has loaded before it forks the first child."""

_KILLED: Final = -signal.SIGKILL

Words: TypeAlias = Sequence[Any]
"""What a child says at once: a word, and JSON values."""


class ChildFailed(AssertionError):
    """A child has failed, or hangs, where it was to work; the text is its traceback."""


# --- in the child -----------------------------------------------------------------------


class Told:
    """What a child was told, on its way to the parent. Thread-safe.

    The names are those of :class:`meerkat.testing.Promises`, where the parent has it noted.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = Lock()

    def say(self, *words: Any) -> None:
        """Say something that JSON can carry. When nobody hears it, the process ends here."""
        said = dump(list(words))
        try:
            with self._lock:
                self._connection.send_bytes(said)
        except OSError:
            os._exit(1)

    def accepted(self, runtime_id: LogicalRuntimeId | str, input_id: InputId) -> None:
        """An input was accepted, and is durable."""
        self.say("accepted", str(runtime_id), str(input_id))

    def called(
        self, runtime_id: LogicalRuntimeId | str, run_id: RunId, input_ids: Iterable[InputId]
    ) -> None:
        """An executor was called; said before it does anything."""
        self.say("called", str(runtime_id), str(run_id), [str(each) for each in input_ids])

    def receipt(self, runtime_id: LogicalRuntimeId | str, receipt: RunBoundaryReceipt) -> None:
        """A receipt was seen."""
        self.say("receipt", str(runtime_id), to_json(receipt).decode())

    def resolved(
        self, runtime_id: LogicalRuntimeId | str, input_id: InputId, outcome: CompletionOutcome
    ) -> None:
        """The handle of an input has ended."""
        self.say("resolved", str(runtime_id), str(input_id), str(outcome.kind))


Program: TypeAlias = Callable[..., object]
"""What a child does: called with a :class:`Told` and the arguments it was started with."""


def _live(
    connection: Connection, program: str, arguments: Sequence[Any], kills: Mapping[str, int]
) -> None:
    """All that a child does."""
    told = Told(connection)
    try:
        module, _, name = program.partition(":")
        points = FailPoints()
        for point, at in kills.items():
            points.kills(FailPoint(point), at=at)
        told.say("born")
        work: Program = getattr(import_module(module), name)
        with points:
            work(told, *arguments)
        told.say("done", {str(point): passes for point, passes in points.reached.items()})
    except BaseException:  # noqa: BLE001 - told to the parent, whatever it is
        told.say("failed", traceback.format_exc())


# --- in the parent ----------------------------------------------------------------------

_NOTED: Final[Mapping[str, Callable[..., None]]] = {
    "accepted": lambda promises, *said: promises.accepted(*said),
    "called": lambda promises, *said: promises.called(*said),
    "receipt": lambda promises, runtime_id, receipt: promises.receipt(
        runtime_id, from_json(RunBoundaryReceipt, receipt.encode())
    ),
}
"""What a child says → how it is noted. Handles of different lives are different handles."""


class Child:
    """A child process, seen from its parent; what it says is noted in ``promises``.

    For one thread. Raises ChildFailed when the child has failed or hangs.
    """

    def __init__(self, process: Any, connection: Connection, promises: Promises) -> None:
        self._process = process
        self._connection = connection
        self._promises = promises
        self._name = process.pid
        self.reached: Mapping[FailPoint, int] = {}
        """How often it came to each fail point; known of one that has done its work."""
        self.status: int | None = None
        """Its exit status once it has ended: 0, or -9 for one that was killed."""

    def hear(self, within_s: float = PATIENCE_S) -> Words | None:
        """What it says next; None when it has ended. ChildFailed when it says nothing."""
        try:
            if not self._connection.poll(within_s):
                raise ChildFailed(f"a child said nothing for {within_s} s")
            said: Words = parse(self._connection.recv_bytes())
        except (EOFError, OSError):  # killed, be it in the middle of a word
            return None
        return self._heard(said)

    def _heard(self, said: Words) -> Words:
        what, *rest = said
        if what == "failed":
            raise ChildFailed(rest[0])
        if what == "done":
            self.reached = {FailPoint(point): passes for point, passes in rest[0].items()}
        elif what == "resolved":
            self._promises.resolved(*rest, handle=(self._name, *rest))
        elif what in _NOTED:
            _NOTED[what](self._promises, *rest)
        return said

    def listen(self, seconds: float) -> list[Words]:
        """Hear what it says within a time."""
        until, heard = time.monotonic() + seconds, list[Words]()
        while (left := until - time.monotonic()) > 0 and self._connection.poll(left):
            said = self.hear()
            if said is None:
                break
            heard.append(said)
        return heard

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP, say, and SIGCONT."""
        os.kill(self._process.pid, number)

    def kill(self) -> bool:
        """SIGKILL, and hear what it had said; False for one that had ended by itself."""
        if self.status is None:
            self._process.kill()
        return self.end()

    def end(self) -> bool:
        """Hear it out; was it killed? False for one that has done its work."""
        if self.status is None:
            while self.hear() is not None:
                pass
            self._take_leave()
        if self.status not in (0, _KILLED):
            raise ChildFailed(f"a child has ended with status {self.status}")
        return self.status == _KILLED

    def forget(self) -> None:
        """End it, whatever it says."""
        if self.status is None:
            self._process.kill()
            self._take_leave()

    def _take_leave(self) -> None:
        self._process.join(PATIENCE_S)
        if self._process.exitcode is None:
            raise ChildFailed("a child says nothing any more, and does not end")
        self.status = self._process.exitcode
        self._process.close()
        self._connection.close()


class Children:
    """Starts child processes. A context manager: what still lives at its end is killed.

    For one thread. ``preload`` names modules that children need, so that not each of them has
    to load them; it counts for the first Children of a process. A script of a host's that uses
    it keeps what it does under ``if __name__ == "__main__"``, as multiprocessing wants it.
    """

    def __init__(self, preload: Iterable[str] = ()) -> None:
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", *_LOADED, *preload])
        self._children: list[Child] = []

    def start(
        self,
        program: str,
        *arguments: Any,
        promises: Promises | None = None,
        kills: Mapping[FailPoint, int] | None = None,
    ) -> Child:
        """Start a child that does ``program``, a function given as ``module:name``.

        It is called with a Told and ``arguments``, which pickle can carry. ``kills`` has it
        killed at a pass of a fail point.
        """
        hearing, saying = self._context.Pipe(duplex=False)
        at = {str(point): passes for point, passes in (kills or {}).items()}
        process = self._context.Process(
            target=_live, args=(saying, program, arguments, at), daemon=True
        )
        process.start()
        saying.close()
        child = Child(process, hearing, promises or Promises())
        self._children = [each for each in self._children if each.status is None]
        self._children.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.forget()
