"""Warm starts: calls of a program by forks of a process that has what it needs imported.

Most of the time of a call is the start of Python and the imports. A fork has them behind it and
goes on as ``python -m PROGRAM`` does: with the streams it is given, None in the place of a
closed one as Python has it, and to the end of the interpreter. What the environment makes of
the start itself, as a locale does, it has from the process it is a fork of.

Run as a script, this is that process. Its arguments are its end of a socket, the module that is
the program, and those that are imported before.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Self, TextIO

WAIT_S: Final = 60
STREAMS: Final = ("stdin", "stdout", "stderr")
ERRORS: Final = 2


class WarmStart:
    """A process that makes calls one after the other, each in a fork of itself."""

    def __init__(self, environment: Mapping[str, str], program: str, *imported: str) -> None:
        self._door, other = socket.socketpair()
        self._door.settimeout(WAIT_S)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(other.fileno()), program, *imported],
                env=environment,
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._lines = self._door.makefile()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._lines.close()
        self._door.close()
        self._process.wait(WAIT_S)

    def begin(
        self, *arguments: str, cwd: Path, streams: Sequence[int | None], **more: str
    ) -> BegunCall:
        """Call the program; ``streams`` are its input, output and errors, None for closed."""
        given = [each for each in streams if each is not None]
        call = {
            "arguments": arguments,
            "cwd": str(cwd),
            "open": [number for number, each in enumerate(streams) if each is not None],
            "environment": more,
        }
        socket.send_fds(self._door, [json.dumps(call).encode() + b"\n"], given)
        return BegunCall(int(self._lines.readline()), self)

    def ended(self, timeout_s: float) -> int:
        """The exit status of the call that was begun last."""
        self._door.settimeout(timeout_s)
        return int(self._lines.readline())


class BegunCall:
    """A call of a program that has begun."""

    def __init__(self, pid: int, start: WarmStart) -> None:
        self._pid, self._start = pid, start

    def wait(self, timeout: float = WAIT_S) -> int:
        """Wait for its end: the exit status, below 0 for a signal."""
        try:
            return self._start.ended(timeout)
        except TimeoutError:
            os.kill(self._pid, signal.SIGKILL)
            raise


# --- the process and its forks ----------------------------------------------------------


def _next_call(door: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    raw, streams, _, _ = socket.recv_fds(door, 65536, len(STREAMS))
    while raw and not raw.endswith(b"\n"):
        raw += door.recv(65536)
    return (json.loads(raw), streams) if raw else None


def _standard(number: int, before: TextIO) -> TextIO:
    """A standard stream as the interpreter makes it where it begins."""
    return open(
        number,
        "w" if number else "r",
        1 if number == ERRORS else -1,
        encoding=before.encoding,
        errors=before.errors,
        closefd=False,
    )


def _become(call: dict[str, Any], streams: list[int]) -> None:
    """Be the process that was asked for, up to where the program is called."""
    os.setsid()
    os.chdir(call["cwd"])
    os.environ.update(call["environment"])
    for number, stream in zip(call["open"], streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    for number, name in enumerate(STREAMS):
        stream = _standard(number, getattr(sys, name)) if number in call["open"] else None
        if stream is None:
            os.close(number)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv[1:] = call["arguments"]
    sys.path[0] = call["cwd"]


def _fork_for_each(door: socket.socket) -> bool:
    """Serve until the other side goes; True in a fork, which is to make its call."""
    while asked := _next_call(door):
        child = os.fork()
        if child == 0:
            door.close()
            _become(*asked)
            return True
        for stream in asked[1]:
            os.close(stream)
        door.sendall(f"{child}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        door.sendall(f"{status}\n".encode())
    return False


if __name__ == "__main__":
    _, number, program, *imported = sys.argv
    for each in imported:
        import_module(each)
    if _fork_for_each(socket.socket(fileno=int(number))):
        runpy.run_module(program, run_name="__main__", alter_sys=True)
