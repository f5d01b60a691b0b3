"""Processes: a forked child that does something, says how far it is, and may be killed."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Child:
    """A forked process and the two pipes to it: lines it says, and one that ends when we let go."""

    def __init__(self, work: Callable[[Child], object]) -> None:
        reading, writing = os.pipe()
        waiting, holding = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            os.close(holding)
            self._writing, self._waiting = writing, waiting
            self._end_after(work)
        os.close(writing)
        os.close(waiting)
        self._holding: int | None = holding
        self._reading = os.fdopen(reading, "r", encoding="utf-8")

    # --- in the child -------------------------------------------------------------------

    def _end_after(self, work: Callable[[Child], object]) -> None:
        status = 1
        try:
            work(self)
            status = 0
        except BaseException:  # noqa: BLE001 - told to the parent
            self.say("error " + traceback.format_exc().replace("\n", "\\n"))
        finally:
            os._exit(status)

    def say(self, line: str) -> None:
        """Tell the parent; what it reads was said in full."""
        os.write(self._writing, (line + "\n").encode())

    def wait(self) -> None:
        """Wait until the parent lets go."""
        os.read(self._waiting, 1)

    # --- in the parent ------------------------------------------------------------------

    def heard(self) -> str:
        """The next line, or nothing at the child's end; an error there is an error here."""
        line = self._reading.readline().rstrip("\n")
        assert not line.startswith("error "), line.replace("\\n", "\n")
        return line

    def lines(self) -> Iterator[str]:
        """Every line that is still to come."""
        while line := self.heard():
            yield line

    def kill(self) -> list[str]:
        """SIGKILL; gives the lines that were said before."""
        os.kill(self.pid, signal.SIGKILL)
        said = list(self.lines())
        os.waitpid(self.pid, 0)
        self.pid = 0
        return said

    def end(self) -> int:
        """Let go and wait for the end; gives the exit status."""
        if self._holding is not None:
            os.close(self._holding)
            self._holding = None
        status = 0
        if self.pid:
            _, status = os.waitpid(self.pid, 0)
            self.pid = 0
        self._reading.close()
        return os.waitstatus_to_exitcode(status)


@contextmanager
def child(work: Callable[[Child], object]) -> Iterator[Child]:
    """A child that has ended when the block has."""
    made = Child(work)
    try:
        yield made
    finally:
        made.end()
