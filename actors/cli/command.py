"""The command as executor: a program of the user's, started for each run.

It gets one JSON document on standard input and answers with one on standard output. A
non-zero exit, and an answer that is none, is a failed attempt that says what was wrong.
The program runs in a process group of its own: the end of a run takes all of it along, and
Ctrl-C on the terminal does not reach it behind our back.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any, Final

from actors.cli.executors import reply_to
from actors.cli.status import UsageError
from meerkat.codec import to_document
from meerkat.errors import ApplyFailed, DecodeError, RunCancelled
from meerkat.interfaces import RunContext
from meerkat.json_values import dump, parse
from meerkat.runs import RunOutput, StagedInput

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Longest answer that is read: a whole message list of a long session."""

STDERR_TAIL_BYTES: Final = 2_000
"""How much of standard error a failure carries: the end, where the error is."""

START_S: Final = 1.0
"""How long the start of a program may hold up the end of all of them: it takes milliseconds."""

CANCEL_POLL_S: Final = 0.1
"""How long a cancelled run may go unnoticed."""

TERM_GRACE_S: Final = 1.0
"""What a program has for itself between SIGTERM and SIGKILL; a run is fenced after 5 s."""


class CommandExecutor:
    """Starts the command for each run. Thread-safe: runs go on side by side."""

    def __init__(self, command: str) -> None:
        try:
            self._argv = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--command {command!r}: {error}") from error
        if not self._argv:
            raise UsageError("--command is empty")
        if shutil.which(self._argv[0]) is None:
            raise UsageError(f"--command: there is no program {self._argv[0]!r}")
        self._changed = threading.Condition()  # entered anew by a signal in the thread that has it
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._starting = 0
        self._over = False

    def apply(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        """Perform one run. Raises ApplyFailed and RunCancelled."""
        with (
            tempfile.TemporaryFile() as request,
            tempfile.TemporaryFile() as answer,
            tempfile.TemporaryFile() as errors,
        ):
            request.write(_request(context, primitive))
            request.seek(0)
            process = self._start(stdin=request, stdout=answer, stderr=errors)
            status = self._wait_for(process, context)
            if status:
                raise ApplyFailed(_failure(status, errors))
            return _output(_read_start(answer, ANSWER_BYTES_MAX + 1), primitive)

    def kill_all(self) -> None:
        """End every program that still runs, at once; none is started from now on."""
        with self._changed:
            self._over = True
            self._changed.wait_for(lambda: not self._starting, START_S)
            processes = tuple(self._processes)
        for process in processes:
            _signal_group(process, signal.SIGKILL)

    def _start(
        self, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start the program: from before it runs until it is known, ``kill_all`` waits for it."""
        with self._changed:
            if self._over:
                raise RunCancelled
            self._starting += 1
        process = None
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                self._argv, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
            )
            return process
        finally:
            with self._changed:
                self._starting -= 1
                if process is not None:
                    self._processes.add(process)
                self._changed.notify_all()

    def _wait_for(self, process: subprocess.Popen[bytes], context: RunContext) -> int:
        """Give the exit status; raise RunCancelled, with nothing left running, if cancelled."""
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(CANCEL_POLL_S)
                if context.cancelled.is_set():
                    raise RunCancelled
        finally:
            if process.returncode is None:
                _end_group(process)
            else:
                _signal_group(process, signal.SIGKILL)  # what it started and left behind
            with self._changed:
                self._processes.discard(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(TERM_GRACE_S)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _request(context: RunContext, primitive: StagedInput) -> bytes:
    return dump(
        {
            "runtime_id": str(context.runtime_id),
            "run_id": str(context.run_id),
            "attempt": context.attempt,
            "messages": context.messages,
            "inputs": [to_document(each) for each in primitive.inputs],
            "text": primitive.text,
        }
    )


# --- reading what came back -------------------------------------------------------------


def _read_start(file: IO[bytes], size: int) -> bytes:
    file.seek(0)
    return file.read(size)


def _failure(status: int, errors: IO[bytes]) -> str:
    length = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, length - STDERR_TAIL_BYTES))
    tail = errors.read().decode(errors="replace").strip()
    if status < 0:
        what = f"the command was ended by signal {-status}"
    else:
        what = f"the command ended with status {status}"
    return f"{what}: {tail}" if tail else f"{what} and said nothing on standard error"


def _from_reply(reply: Any, primitive: StagedInput) -> RunOutput:
    if not isinstance(reply, str):
        raise TypeError(f"reply is text, not {type(reply).__name__}")
    return reply_to(primitive, reply)


_ANSWERS: Final[Mapping[str, Callable[[Any, StagedInput], RunOutput]]] = {
    "append": lambda messages, _: RunOutput(append=messages),
    "messages": lambda messages, _: RunOutput(messages=messages),
    "reply": _from_reply,
}
"""The one key of an answer → what its value makes of the run."""


def _output(answer: bytes, primitive: StagedInput) -> RunOutput:
    """Read an answer; ApplyFailed says what is wrong with it."""
    try:
        key, value = _answered(answer)
        return _ANSWERS[key](value, primitive)
    except DecodeError as error:
        raise ApplyFailed(f"the command's answer: {error.reason}") from None
    except (TypeError, ValueError) as error:
        raise ApplyFailed(f"the command's answer: {error}") from None


def _answered(answer: bytes) -> tuple[str, Any]:
    if len(answer) > ANSWER_BYTES_MAX:
        raise ValueError(f"longer than {ANSWER_BYTES_MAX} bytes")
    if not answer.strip():
        raise ValueError("there is none on standard output")
    document = parse(answer)
    if not isinstance(document, dict) or len(document) != 1 or not _ANSWERS.keys() & document:
        raise ValueError(f"expected one JSON object with one key of {', '.join(_ANSWERS)}")
    ((key, value),) = document.items()
    if value is None:
        raise ValueError(f"{key} is null")
    return key, value
