"""What the tests of the command line share: files of inputs, and ways to call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import actors
from actors.cli import main

ROOT = Path(actors.__file__).resolve().parents[1]
SUMMARY_KEYS = [
    "accepted",
    "deduplicated",
    "rejected",
    "completed",
    "abandoned",
    "runs",
    "receipts",
    "seconds",
]

LOGGING_EXECUTOR = """\
import os, time
from meerkat import RunOutput

def say(text):
    with open("runs.log", "a") as log:
        log.write(text + "\\n")

def answer(context, primitive):
    say(primitive.text)
    time.sleep(float(os.environ.get("RUN_S", "0")))
    reply = primitive.text.upper()
    return RunOutput(append=[{"role": "assistant", "content": reply}], result=reply)

def fail(context, primitive):
    say(primitive.text)
    raise ValueError("the model is out")

not_callable = 5

class Agent:
    apply = staticmethod(answer)

agent = Agent()

async def later(context, primitive):
    return RunOutput()
"""


def prompt(runtime_id: str, key: str | None, content: Any = None, **header: Any) -> dict[str, Any]:
    """A line of the file, as a document; the content is the key unless given."""
    body = {"input_type": "prompt", "content": key if content is None else content, **header}
    if key is not None:
        body["idempotency_key"] = key
    return {"runtime_id": runtime_id, "input": body}


def progress(runtime_id: str, key: str) -> dict[str, Any]:
    """A line whose input wakes nobody."""
    body = {
        "input_type": "peer",
        "content": key,
        "convention": {
            "convention_type": "response_progress",
            "request_id": "r",
            "phase": "in_progress",
        },
        "source": {"type": "peer", "peer_id": "p"},
        "idempotency_key": key,
    }
    return {"runtime_id": runtime_id, "input": body}


def write_inputs(path: Path, lines: Iterable[dict[str, Any] | str | bytes]) -> Path:
    """Write a file of inputs; a document is encoded, text and bytes go in as they are."""
    with path.open("wb") as file:
        for line in lines:
            raw = json.dumps(line) if isinstance(line, dict) else line
            file.write((raw.encode() if isinstance(raw, str) else raw) + b"\n")
    return path


def summary_of(output: str) -> dict[str, Any]:
    """The last line of standard output, which is JSON with exactly the pinned keys."""
    summary: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert list(summary) == SUMMARY_KEYS
    return summary


def counts_of(output: str) -> tuple[int, ...]:
    """accepted, deduplicated, rejected, completed, abandoned, runs, receipts."""
    return tuple(summary_of(output)[key] for key in SUMMARY_KEYS[:-1])


def environment(**more: str) -> dict[str, str]:
    """An environment in which the project is found from any folder."""
    own = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TERM")
    kept = {k: v for k, v in os.environ.items() if k not in own and not k.startswith("PYTHON")}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, **more}


def command_of(*arguments: str) -> list[str]:
    """What starts the command line in a process of its own."""
    return [sys.executable, "-m", "actors.cli", *arguments]


def start(*arguments: str, cwd: Path, **more: str) -> subprocess.Popen[str]:
    """Start the command line, its output in pipes."""
    return subprocess.Popen(
        command_of(*arguments),
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def meerkat(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Call the command line in a process of its own."""
    return subprocess.run(
        command_of(*arguments),
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def call(capsys: Any, *arguments: str | Path) -> tuple[int, str, str]:
    """Call the command line in this process: status, standard output, standard error."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def messages_of(capsys: Any, runtime_id: str, *more: str) -> list[dict[str, Any]]:
    """The committed messages, as ``show`` prints them."""
    status, out, _ = call(capsys, "show", runtime_id, "--messages", "--json", *more)
    assert status == 0
    document = json.loads(out)
    assert list(document) == ["runtime_id", "state", "messages"]
    found: list[dict[str, Any]] = document["messages"]
    return found


def texts_of(messages: Sequence[dict[str, Any]], role: str = "user") -> list[Any]:
    """What one role said."""
    return [message["content"] for message in messages if message["role"] == role]


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 30) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


def lines_in(path: Path) -> list[str]:
    """The whole lines of a log that another process writes."""
    return path.read_text().splitlines() if path.exists() else []
